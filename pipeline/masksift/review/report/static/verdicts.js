// What the reviewer has said: kept in this browser under the run's fingerprint, saved as a file, and read from one.
"use strict";

(() => {
  const WORDS = ["accept", "reject", "unsure"];
  const MARKS = { accept: "✓", reject: "✗", unsure: "?" };
  const MEANINGS = {
    accept: "the label is wrong, as was found",
    reject: "the label is right",
    unsure: "cannot be said",
  };
  const places = new Map(); // by source and index: {whole: entry or null, regions: rank -> entry}
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
      kept = false; // there is no such store here, or it holds what this page did not write
    }
    // Another tab of the same report has gone on: what it has kept is what there is.
    window.addEventListener("storage", (event) => {
      if (event.key !== storageKey() || event.newValue === null) return;
      places.clear();
      try {
        take(JSON.parse(event.newValue));
      } catch (error) {
        masksift.say(`Another tab has kept what cannot be read: ${error.message}`);
      }
      tell();
    });
  }

  function put(entry) {
    const at = key([entry.source, entry.index]);
    if (!places.has(at)) places.set(at, { whole: null, regions: new Map() });
    const place = places.get(at);
    if (entry.region === null) place.whole = entry;
    else place.regions.set(entry.region.rank, entry);
  }

  // All of a file, or none: raises an Error that says what is wrong with it.
  function take(file) {
    const object = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
    if (!object(file) || file.format !== 1 || typeof file.run !== "string" || !Array.isArray(file.verdicts)) {
      throw new Error("it is no file of verdicts (format 1)");
    }
    if (file.run !== run) {
      throw new Error(`it is of the run ${file.run.slice(0, 12)}, and this report is of ${run.slice(0, 12)}`);
    }
    const entries = file.verdicts.map((said, number) => {
      const region = said?.region ?? null;
      const good =
        object(said) &&
        WORDS.includes(said.verdict) &&
        typeof said.image_id === "string" &&
        typeof said.source === "string" &&
        Number.isInteger(said.index) &&
        said.index >= 0 &&
        (region === null || (object(region) && Number.isInteger(region.rank) && region.rank >= 1));
      if (!good) throw new Error(`its verdict ${number + 1} is none`);
      return { ...said, region };
    });
    entries.forEach(put);
    return entries.length;
  }

  function entries() {
    return [...places.values()].flatMap((place) => [...(place.whole ? [place.whole] : []), ...place.regions.values()]);
  }

  const asText = () => JSON.stringify({ format: 1, run, verdicts: entries() }, null, 1);

  function tell() {
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
    tell();
  }

  // Say something of a row, or of one region of it; null takes it back.
  function set(row, region, verdict) {
    const [source, index] = row.place;
    if (verdict !== null) {
      const name = (number) => (number === null ? null : masksift.data.className(number));
      const told = region && {
        rank: region.rank,
        kind: region.kind,
        given: name(region.given),
        suggested: name(region.suggested),
        area: region.area,
        y0: region.y0,
        x0: region.x0,
        y1: region.y1,
        x1: region.x1,
      };
      put({ verdict, image_id: row.image_id, source, index, region: told ?? null });
    } else {
      const place = places.get(key(row.place));
      if (region) place?.regions.delete(region.rank);
      else if (place) place.whole = null;
      if (place && place.whole === null && place.regions.size === 0) places.delete(key(row.place));
    }
    keep();
  }

  const ofWhole = (row) => places.get(key(row.place))?.whole?.verdict ?? null;
  const ofRegion = (row, region) => places.get(key(row.place))?.regions.get(region.rank)?.verdict ?? null;

  // As `masksift.verdicts.Verdicts.of_image` has it: accepted where it or any region is, else its own word, else
  // rejected where all that is said of its regions is.
  function together(place) {
    if (place === undefined) return null;
    const said = new Set([...place.regions.values()].map((entry) => entry.verdict));
    const whole = place.whole?.verdict ?? null;
    if (whole === "accept" || said.has("accept")) return "accept";
    if (whole !== null) return whole;
    return said.size === 0 ? null : said.size === 1 && said.has("reject") ? "reject" : "unsure";
  }
  const ofImage = (row) => together(places.get(key(row.place)));

  // How often which word was said of the regions of a row.
  function ofRegions(row) {
    const counts = { accept: 0, reject: 0, unsure: 0 };
    for (const entry of places.get(key(row.place))?.regions.values() ?? []) counts[entry.verdict] += 1;
    return counts;
  }

  function counts() {
    const found = { images: places.size, regions: 0, accept: 0, reject: 0, unsure: 0 };
    for (const place of places.values()) {
      found[together(place)] += 1;
      found.regions += place.regions.size;
    }
    return found;
  }

  function save() {
    const url = URL.createObjectURL(new Blob([asText()], { type: "application/json" }));
    masksift.el("a", { href: url, download: `verdicts-${run.slice(0, 12)}.json` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  }

  async function read(file) {
    try {
      const taken = take(JSON.parse(await file.text()));
      keep();
      masksift.say(`${masksift.many(taken, "verdict")} read from ${masksift.plain(file.name)}`);
    } catch (error) {
      masksift.say(`${masksift.plain(file.name)} was not taken: ${error.message}`);
    }
  }

  masksift.verdicts = {
    WORDS,
    MARKS,
    MEANINGS,
    open,
    set,
    ofWhole,
    ofRegion,
    ofImage,
    ofRegions,
    counts,
    save,
    read,
    heard: (listener) => listeners.push(listener),
    get kept() {
      return kept;
    },
    get changes() {
      return changes;
    },
  };
})();
