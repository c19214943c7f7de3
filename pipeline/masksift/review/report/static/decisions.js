// The reviewer's decisions: kept in this browser under the run's fingerprint, saved to a file and loaded from one.
"use strict";

(() => {
  const WORDS = ["accept", "reject", "unsure"];
  const MARKS = { accept: "✓", reject: "✗", unsure: "?" };
  const MEANINGS = {
    accept: "the label is wrong, as flagged",
    reject: "the label is right",
    unsure: "cannot tell",
  };
  // By source and index: {whole: entry or null, regions: rank -> entry, listed: rows of the region table or null}.
  const images = new Map();
  const listeners = [];
  let run = "";
  let kept = true;
  let changes = 0;

  const key = ([source, index]) => JSON.stringify([source, index]);
  const storageKey = () => `masksift-verdicts:${run}`;

  function open(fingerprint) {
    run = fingerprint;
    try {
      const text = localStorage.getItem(storageKey());
      if (text !== null) take(JSON.parse(text));
    } catch {
      kept = false; // no local storage, or content that this page did not write
    }
    // Another tab of the same report has saved: its state replaces ours.
    window.addEventListener("storage", (event) => {
      if (event.key !== storageKey() || event.newValue === null) return;
      images.clear();
      try {
        take(JSON.parse(event.newValue));
      } catch (error) {
        masksift.showMessage(`Another tab stored decisions that cannot be read: ${error.message}`);
      }
      notify();
    });
  }

  function put(entry) {
    const id = key([entry.source, entry.index]);
    if (!images.has(id)) images.set(id, { whole: null, regions: new Map(), listed: null });
    const image = images.get(id);
    image.listed = entry.listed_regions ?? image.listed;
    if (entry.region === null) image.whole = entry;
    else image.regions.set(entry.region.rank, entry);
  }

  // Take all entries of a file, or none: throws an Error that says what is wrong.
  function take(file) {
    const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
    if (!isObject(file) || file.format !== 1 || typeof file.run !== "string" || !Array.isArray(file.verdicts)) {
      throw new Error("it is not a decisions file (format 1)");
    }
    if (file.run !== run) {
      throw new Error(`it belongs to run ${file.run.slice(0, 12)}, this report shows run ${run.slice(0, 12)}`);
    }
    const entries = file.verdicts.map((entry, position) => {
      const region = entry?.region ?? null;
      const valid =
        isObject(entry) &&
        WORDS.includes(entry.verdict) &&
        typeof entry.image_id === "string" &&
        typeof entry.source === "string" &&
        Number.isInteger(entry.index) &&
        entry.index >= 0 &&
        (entry.listed_regions == null || (Number.isInteger(entry.listed_regions) && entry.listed_regions >= 0)) &&
        (region === null || (isObject(region) && Number.isInteger(region.rank) && region.rank >= 1));
      if (!valid) throw new Error(`entry ${position + 1} is not a valid decision`);
      return { ...entry, region };
    });
    entries.forEach(put);
    return entries.length;
  }

  function entries() {
    return [...images.values()].flatMap(({ whole, regions, listed }) =>
      [...(whole ? [whole] : []), ...regions.values()].map((entry) => ({ ...entry, listed_regions: listed })),
    );
  }

  const asText = () => JSON.stringify({ format: 1, run, verdicts: entries() }, null, 1);

  function notify() {
    changes += 1;
    listeners.forEach((listener) => listener());
  }

  function keep() {
    try {
      localStorage.setItem(storageKey(), asText());
      kept = true;
    } catch {
      kept = false;
    }
    notify();
  }

  // Decide on a row, or on one of its regions; null withdraws the decision.
  function set(row, region, decision) {
    const [source, index] = row.key;
    if (decision !== null) {
      const className = (number) => (number === null ? null : masksift.data.className(number));
      const description = region && {
        rank: region.rank,
        kind: region.kind,
        given: className(region.given),
        suggested: className(region.suggested),
        area: region.area,
        y0: region.y0,
        x0: region.x0,
        y1: region.y1,
        x1: region.x1,
      };
      const image = { image_id: row.image_id, source, index, listed_regions: row.listed_regions };
      put({ verdict: decision, ...image, region: description ?? null });
    } else {
      const image = images.get(key(row.key));
      if (region) image?.regions.delete(region.rank);
      else if (image) image.whole = null;
      if (image && image.whole === null && image.regions.size === 0) images.delete(key(row.key));
    }
    keep();
  }

  const ofWholeImage = (row) => images.get(key(row.key))?.whole?.verdict ?? null;
  const ofRegion = (row, region) => images.get(key(row.key))?.regions.get(region.rank)?.verdict ?? null;

  // The same rule as `ReviewDecisions.for_image` in masksift/review/decisions.py.
  function combined(image) {
    const words = [...image.regions.values()].map((entry) => entry.verdict);
    const whole = image.whole?.verdict ?? null;
    if (whole === "accept" || words.includes("accept")) return "accept";
    if (whole !== null) return whole;
    if (words.length !== image.listed) return "partial";
    return words.includes("unsure") ? "unsure" : "reject";
  }
  function ofImage(row) {
    const image = images.get(key(row.key));
    if (image === undefined) return null;
    image.listed = row.listed_regions; // files of older versions lack it
    return combined(image);
  }

  // Take the numbers of listed regions from all loaded rows, so that the totals agree with the cards.
  function countListed() {
    const { data } = masksift;
    for (let number = 0; number < data.run.rows; number++) if (data.has(number)) ofImage(data.row(number));
    listeners.forEach((listener) => listener());
  }

  // "3 of 45 regions" for a partly reviewed image, else empty.
  function progressText(row) {
    if (ofImage(row) !== "partial") return "";
    const decided = images.get(key(row.key)).regions.size;
    return `${masksift.count(decided)} of ${masksift.pluralize(row.listed_regions, "region")}`;
  }

  // Number of regions of a row by decision.
  function regionCounts(row) {
    const counts = { accept: 0, reject: 0, unsure: 0 };
    for (const entry of images.get(key(row.key))?.regions.values() ?? []) counts[entry.verdict] += 1;
    return counts;
  }

  function counts() {
    const totals = { accept: 0, reject: 0, unsure: 0, partial: 0, regions: 0 };
    for (const image of images.values()) {
      totals[combined(image)] += 1;
      totals.regions += image.regions.size;
    }
    return { ...totals, images: images.size - totals.partial };
  }

  function save() {
    const url = URL.createObjectURL(new Blob([asText()], { type: "application/json" }));
    masksift.el("a", { href: url, download: `verdicts-${run.slice(0, 12)}.json` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  }

  async function load(file) {
    try {
      const count = take(JSON.parse(await file.text()));
      countListed();
      keep();
      masksift.showMessage(`${masksift.pluralize(count, "decision")} loaded from ${masksift.plain(file.name)}`);
    } catch (error) {
      masksift.showMessage(`${masksift.plain(file.name)} was not loaded: ${error.message}`);
    }
  }

  masksift.decisions = {
    WORDS,
    MARKS,
    MEANINGS,
    open,
    set,
    ofWholeImage,
    ofRegion,
    ofImage,
    countListed,
    progressText,
    regionCounts,
    counts,
    save,
    load,
    onChange: (listener) => listeners.push(listener),
    get kept() {
      return kept;
    },
    get changes() {
      return changes;
    },
  };
})();
