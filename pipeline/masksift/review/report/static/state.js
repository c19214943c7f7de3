// What is looked at: filters, order, page, layer, budget and the one image that is open. All of it stands in the
// address behind `#`, so that a link to it can be sent. And the list that the filters and the order make of the rows.
"use strict";

(() => {
  const DEFAULTS = {
    page: 1,
    sort: "rank",
    given: null,
    suggested: null,
    source: null,
    status: null,
    verdict: null,
    q: "",
    columns: {},
    layer: "picture",
    budget: null,
    image: null,
  };
  const FILTERS = ["sort", "given", "suggested", "source", "status", "verdict", "q", "columns"];
  const LAYERS = ["picture", "given", "predicted"];
  const values = { ...DEFAULTS };
  const listeners = [];
  masksift.PAGE = 24;

  // Takes what is told, writes the address, and tells those who listen which of the values are others now.
  // `push`: whether the browser's way back leads to what was before.
  function set(told, push = false) {
    const changed = new Set(Object.keys(told).filter((name) => !same(values[name], told[name])));
    if (changed.size === 0) return;
    Object.assign(values, told);
    if (FILTERS.some((name) => changed.has(name)) && told.page === undefined) {
      if (values.page !== 1) changed.add("page");
      values.page = 1;
    }
    write(push);
    listeners.forEach((listener) => listener(changed));
  }

  // Browsers let an address be written so many times a minute and no more: what only replaces it waits for a moment.
  let waiting = null;
  function write(push) {
    clearTimeout(waiting);
    if (push) history.pushState(null, "", address());
    else waiting = setTimeout(() => history.replaceState(null, "", address()), 150);
  }
  const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

  function address() {
    const words = new URLSearchParams();
    for (const [name, value] of Object.entries(values)) {
      if (name === "columns") for (const [column, told] of Object.entries(value)) words.set(`col.${column}`, told);
      else if (!same(value, DEFAULTS[name])) words.set(name, String(value));
    }
    const text = words.toString();
    return text === "" ? location.pathname + location.search : `#${text}`;
  }

  // What the address says, where it makes sense for this report; all else as it is at first.
  function fromAddress() {
    const run = masksift.data.run;
    const words = new URLSearchParams(location.hash.slice(1));
    const found = { ...DEFAULTS, columns: {} };
    const number = (name, least, most) => {
      const value = words.get(name);
      return value !== null && /^\d+$/.test(value) && +value >= least && +value <= most ? +value : null;
    };
    const one = (name, allowed) => (allowed.includes(words.get(name)) ? words.get(name) : DEFAULTS[name]);
    found.page = number("page", 1, Infinity) ?? 1;
    found.sort = one("sort", ["rank", "flagged", "evidence", ...run.methods]);
    found.given = words.get("given") === "none" ? "none" : number("given", 0, run.classes.length - 1);
    found.suggested = number("suggested", 0, run.classes.length - 1);
    found.source = number("source", 0, run.sources.length - 1);
    found.status = one("status", Object.keys(run.counts));
    found.verdict = one("verdict", ["none", "any", ...masksift.verdicts.WORDS]);
    found.q = words.get("q") ?? "";
    found.layer = one("layer", LAYERS);
    found.budget = number("budget", 1, run.scored);
    found.image = number("image", 0, run.rows - 1);
    for (const column of run.columns) {
      const told = words.get(`col.${column}`);
      if (told !== null) found.columns[column] = told;
    }
    return found;
  }

  function readAddress() {
    clearTimeout(waiting);
    const found = fromAddress();
    const changed = new Set(Object.keys(found).filter((name) => !same(values[name], found[name])));
    Object.assign(values, found);
    if (changed.size > 0) listeners.forEach((listener) => listener(changed));
  }

  // Images that are to be reviewed: as many as were chosen, at first a tenth of all and no more than the page shows.
  function budget() {
    const { scored, rows } = masksift.data.run;
    return values.budget ?? Math.min(scored, Math.max(1, Math.round(scored / 10)), Math.max(1, rows));
  }

  masksift.state = {
    values,
    set,
    readAddress,
    budget,
    FILTERS,
    LAYERS,
    heard: (listener) => listeners.push(listener),
    filtered: () => FILTERS.slice(1).some((name) => !same(values[name], DEFAULTS[name])),
    clear: () => set({ ...Object.fromEntries(FILTERS.slice(1).map((name) => [name, DEFAULTS[name]])) }),
  };

  // A value of a column as the address and the choices have it: null is a value too.
  masksift.columnWord = (value) => (value === null ? "!" : `=${value}`);

  // The numbers of the rows that pass, in order. Of all rows in the order of ranks nothing need be read.
  const list = {
    numbers: null,
    get length() {
      return list.numbers === null ? masksift.data.run.rows : list.numbers.length;
    },
    at: (place) => (list.numbers === null ? place : list.numbers[place]),
    find: (number) => (list.numbers === null ? number : list.numbers.indexOf(number)),
    async make(heard) {
      if (!masksift.state.filtered() && values.sort === "rank") return null;
      await masksift.data.readAll(heard);
      const evidence = values.sort === "evidence" ? await evidences(heard) : null;
      const passed = [];
      for (let number = 0; number < masksift.data.run.rows; number++) {
        const row = masksift.data.row(number);
        if (passes(row)) passed.push([number, value(row, evidence)]);
      }
      return passed.sort(([one, a], [other, b]) => a - b || one - other).map(([number]) => number);
    },
  };
  masksift.list = list;

  // What is sorted by, the least first; what has none comes last.
  function value(row, evidence) {
    if (values.sort === "rank") return row.number;
    const found =
      evidence !== null
        ? -evidence[row.number]
        : values.sort === "flagged"
          ? -(row.flagged ?? NaN)
          : row.scores[values.sort];
    return Number.isNaN(found) ? Number.MAX_VALUE : found;
  }

  // Evidence of the worst region of each row: it stands in the regions, which are looked through once and not kept.
  let evidenceOf = null;
  async function evidences(heard) {
    evidenceOf ??= await masksift.data.evidences(heard);
    return evidenceOf;
  }

  function passes(row) {
    const { given, suggested, source, status, verdict, q, columns } = values;
    if (source !== null && row.source !== source) return false;
    if (status !== null && row.status !== status) return false;
    if (q !== "" && !folded(row.image_id).includes(folded(q))) return false;
    if (Object.entries(columns).some(([name, told]) => masksift.columnWord(row.columns[name]) !== told)) return false;
    if (
      (given !== null || suggested !== null) &&
      !pairs(row).some(
        ([first, second]) =>
          (given === null || first === (given === "none" ? null : given)) &&
          (suggested === null || second === suggested),
      )
    ) {
      return false;
    }
    if (verdict === null) return true;
    const said = masksift.verdicts.ofImage(row);
    return verdict === "none" ? said === null : verdict === "any" ? said !== null : said === verdict;
  }
  const pairs = (row) => (row.pair === null ? row.pairs : [...row.pairs, row.pair]);
  const folded = (text) => text.normalize("NFC").toLowerCase();
})();
