// The view state: filters, sort order, page, layer, budget and open image. The address holds all of it behind `#`, so
// that a view can be shared as a link. Also the list of rows that filters and sort order select.
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

  // Change values, update the address and notify the listeners. `push`: add an entry to the browser history.
  function set(updates, push = false) {
    const changed = new Set(Object.keys(updates).filter((name) => !same(values[name], updates[name])));
    if (changed.size === 0) return;
    Object.assign(values, updates);
    if (FILTERS.some((name) => changed.has(name)) && updates.page === undefined) {
      if (values.page !== 1) changed.add("page");
      values.page = 1;
    }
    write(push);
    listeners.forEach((listener) => listener(changed));
  }

  // Browsers limit how often the address may change, so replacements are debounced.
  let timer = null;
  function write(push) {
    clearTimeout(timer);
    if (push) history.pushState(null, "", address());
    else timer = setTimeout(() => history.replaceState(null, "", address()), 150);
  }
  const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

  function address() {
    const params = new URLSearchParams();
    for (const [name, value] of Object.entries(values)) {
      if (name === "columns") for (const [column, key] of Object.entries(value)) params.set(`col.${column}`, key);
      else if (!same(value, DEFAULTS[name])) params.set(name, String(value));
    }
    const text = params.toString();
    return text === "" ? location.pathname + location.search : `#${text}`;
  }

  // Values of the address that are valid for this report, defaults for the rest.
  function parseAddress() {
    const run = masksift.data.run;
    const params = new URLSearchParams(location.hash.slice(1));
    const parsed = { ...DEFAULTS, columns: {} };
    const number = (name, min, max) => {
      const value = params.get(name);
      return value !== null && /^\d+$/.test(value) && +value >= min && +value <= max ? +value : null;
    };
    const choice = (name, allowed) => (allowed.includes(params.get(name)) ? params.get(name) : DEFAULTS[name]);
    parsed.page = number("page", 1, Infinity) ?? 1;
    parsed.sort = choice("sort", ["rank", "flagged", "region", ...run.methods]);
    parsed.given = params.get("given") === "none" ? "none" : number("given", 0, run.classes.length - 1);
    parsed.suggested = number("suggested", 0, run.classes.length - 1);
    parsed.source = number("source", 0, run.sources.length - 1);
    parsed.status = choice("status", Object.keys(run.counts));
    parsed.verdict = choice("verdict", ["none", "partial", "reviewed", ...masksift.decisions.WORDS]);
    parsed.q = params.get("q") ?? "";
    parsed.layer = choice("layer", LAYERS);
    parsed.budget = number("budget", 1, run.scored);
    parsed.image = number("image", 0, run.rows - 1);
    for (const column of run.columns) {
      const key = params.get(`col.${column}`);
      if (key !== null) parsed.columns[column] = key;
    }
    return parsed;
  }

  function readAddress() {
    clearTimeout(timer);
    const parsed = parseAddress();
    const changed = new Set(Object.keys(parsed).filter((name) => !same(values[name], parsed[name])));
    Object.assign(values, parsed);
    if (changed.size > 0) listeners.forEach((listener) => listener(changed));
  }

  // The number of images to review; by default a tenth of all scored images, at most those in the report.
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
    onChange: (listener) => listeners.push(listener),
    filtered: () => FILTERS.slice(1).some((name) => !same(values[name], DEFAULTS[name])),
    clear: () => set({ ...Object.fromEntries(FILTERS.slice(1).map((name) => [name, DEFAULTS[name]])) }),
  };

  // Encode a column value for the address and the filter options; null is a value too.
  masksift.columnKey = (value) => (value === null ? "!" : `=${value}`);

  // Numbers of the matching rows in order; null for all rows by rank, for which no file needs to be read.
  const list = {
    numbers: null,
    get length() {
      return list.numbers === null ? masksift.data.run.rows : list.numbers.length;
    },
    at: (position) => (list.numbers === null ? position : list.numbers[position]),
    find: (number) => (list.numbers === null ? number : list.numbers.indexOf(number)),
    async make(onProgress) {
      if (!masksift.state.filtered() && values.sort === "rank") return null;
      await masksift.data.readAll(onProgress);
      const regions = values.sort === "region" ? await firstRegions(onProgress) : null;
      const matching = [];
      for (let number = 0; number < masksift.data.run.rows; number++) {
        const row = masksift.data.row(number);
        if (matches(row)) matching.push([number, sortValue(row, regions)]);
      }
      return matching.sort(([one, a], [other, b]) => a - b || one - other).map(([number]) => number);
    },
  };
  masksift.list = list;

  // The sort key, ascending; rows without a value come last.
  function sortValue(row, regions) {
    if (values.sort === "rank") return row.number;
    const value =
      regions !== null
        ? regions[row.number]
        : values.sort === "flagged"
          ? -(row.flagged ?? NaN)
          : row.scores[values.sort];
    return Number.isNaN(value) ? Number.MAX_VALUE : value;
  }

  let cachedRanks = null;
  async function firstRegions(onProgress) {
    cachedRanks ??= await masksift.data.firstRegions(onProgress);
    return cachedRanks;
  }

  function matches(row) {
    const { given, suggested, source, status, verdict, q, columns } = values;
    if (source !== null && row.source !== source) return false;
    if (status !== null && row.status !== status) return false;
    if (q !== "" && !normalize(row.image_id).includes(normalize(q))) return false;
    if (Object.entries(columns).some(([name, key]) => masksift.columnKey(row.columns[name]) !== key)) return false;
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
    const decision = masksift.decisions.ofImage(row);
    if (verdict === "none") return decision === null;
    return verdict === "reviewed" ? masksift.decisions.WORDS.includes(decision) : decision === verdict;
  }
  const pairs = (row) => (row.pair === null ? row.pairs : [...row.pairs, row.pair]);
  const normalize = (text) => text.normalize("NFC").toLowerCase();
})();
