// What the report holds: classic scripts that call `masksift.run`, `masksift.rows` and `masksift.regions`, since no
// other file can be read from the disk. All rows stay, as columns; of the regions a few files only.
"use strict";

(() => {
  const REGION_FILES = 4;
  const received = new Map();
  const underWay = new Map();
  const chunks = [];
  const regionFiles = new Map();
  let run = null;

  masksift.run = (data) => received.set("run", data);
  masksift.rows = (number, data) => received.set(`rows-${number}`, data);
  masksift.regions = (number, data) => received.set(`regions-${number}`, data);

  // The browser itself lets no other script in than these.
  const OURS = /^data\/(run|rows-\d{5,}|regions-\d{5,})\.js$/;
  const rules = { createScriptURL: (path) => (OURS.test(path) ? path : "") };
  const policy = window.trustedTypes ? window.trustedTypes.createPolicy("masksift", rules) : rules;

  // What one script hands over, under the key it says. Rejects where the file is not there or says nothing.
  function load(path, key) {
    if (underWay.has(key)) return underWay.get(key);
    const loading = new Promise((resolve, reject) => {
      const script = document.createElement("script");
      const end = () => {
        const data = received.get(key);
        received.delete(key);
        underWay.delete(key);
        script.remove();
        if (data === undefined) reject(new Error(`${path} cannot be read: the folder of the report is not whole`));
        else resolve(data);
      };
      script.onload = end;
      script.onerror = end;
      script.src = policy.createScriptURL(path);
      document.head.append(script);
    });
    underWay.set(key, loading);
    return loading;
  }

  const five = (number) => String(number).padStart(5, "0");
  const numbers = (list) => Float64Array.from(list, (value) => (value === null ? NaN : value));

  // Scores as machine numbers: thousands of rows are looked through at each stroke of a key.
  function compact(data) {
    data.scores = Object.fromEntries(Object.entries(data.scores).map(([method, list]) => [method, numbers(list)]));
    data.flagged = numbers(data.flagged);
    return data;
  }

  const data = {
    get run() {
      return run;
    },

    async open() {
      run = await load("data/run.js", "run");
      if (run.format !== 1) throw new Error(`this page reads reports of format 1, and the data are of ${run.format}`);
      run.files = Math.ceil(run.rows / run.rows_per_file);
      return run;
    },

    // Files of rows, read up to and including the one with a number.
    async readRows(file) {
      if (chunks[file] !== undefined) return;
      const found = await load(`data/rows-${five(file)}.js`, `rows-${file}`);
      chunks[file] ??= compact(found);
    },
    async readAll(heard = () => {}) {
      for (let file = 0; file < run.files; file++) {
        if (chunks[file] !== undefined) continue;
        await data.readRows(file);
        heard(Math.min(run.rows, (file + 1) * run.rows_per_file));
      }
    },
    get complete() {
      for (let file = 0; file < run.files; file++) if (chunks[file] === undefined) return false;
      return true;
    },
    has: (number) => chunks[Math.floor(number / run.rows_per_file)] !== undefined,

    // One row as an object; its file has been read.
    row(number) {
      const chunk = chunks[Math.floor(number / run.rows_per_file)];
      const at = number % run.rows_per_file;
      const row = { number, columns: {}, scores: {} };
      for (const name of [
        "rank",
        "image_id",
        "source",
        "index",
        "status",
        "reason",
        "flagged",
        "pair",
        "size",
        "shown",
        "picture",
        "planes",
        "classes",
        "regions",
        "pairs",
        "lost",
      ])
        row[name] = chunk[name][at];
      if (Number.isNaN(row.flagged)) row.flagged = null;
      for (const name of run.columns) row.columns[name] = chunk.columns[name][at];
      for (const method of run.methods) row.scores[method] = chunk.scores[method][at];
      row.place = [run.sources[row.source], row.index];
      return row;
    },

    // The regions of one row, most evidence first.
    async regionsOf(row) {
      if (row.regions === 0) return [];
      const file = data.fileOf(row.number);
      const found = regionFiles.get(file) ?? (await load(`data/regions-${five(file)}.js`, `regions-${file}`));
      regionFiles.delete(file); // the last used stand last
      regionFiles.set(file, found);
      if (regionFiles.size > REGION_FILES) regionFiles.delete(regionFiles.keys().next().value);
      return found[row.number % run.regions_per_file].map(region);
    },
    // The most evidence of any region of each row, NaN where there is none: each file is read, and none is kept.
    async evidences(heard) {
      const found = new Float64Array(run.rows).fill(NaN);
      for (let file = 0; file * run.regions_per_file < run.rows; file++) {
        const first = file * run.regions_per_file;
        const last = Math.min(run.rows, first + run.regions_per_file);
        const listed = (number) =>
          chunks[Math.floor(number / run.rows_per_file)].regions[number % run.rows_per_file] > 0;
        const rows = Array.from({ length: last - first }, (_, place) => first + place).filter(listed);
        if (rows.length === 0) continue;
        const regions = regionFiles.get(file) ?? (await load(`data/regions-${five(file)}.js`, `regions-${file}`));
        for (const number of rows) found[number] = region(regions[number - first][0]).evidence;
        heard(last);
      }
      return found;
    },
    fileOf: (number) => Math.floor(number / run.regions_per_file),
    get keptRegionFiles() {
      return regionFiles.size;
    },
    file: (row, ending) => `pictures/${String(row.number).padStart(8, "0")}.${ending}`,

    className: (number) => (number === null ? "nothing" : run.classes[number].name),
    // "given road, suggested sidewalk, 4,120 px", for an attribute.
    told(given, suggested, pixels) {
      const first = given === null ? "nothing labelled" : `given ${masksift.plain(data.className(given))}`;
      return `${first}, suggested ${masksift.plain(data.className(suggested))}, ${masksift.count(pixels)} px`;
    },
    // The same as nodes.
    shown(given, suggested, pixels) {
      const first = given === null ? ["nothing labelled"] : ["given ", masksift.name(data.className(given))];
      const size = masksift.el("span", { class: "whole" }, `${masksift.count(pixels)} px`);
      return [...first, ", suggested ", masksift.name(data.className(suggested)), ", ", size];
    },
  };
  masksift.data = data;

  function region([rank, kind, given, suggested, y0, x0, y1, x1, area, evidence, self, predicted]) {
    return { rank, kind, given, suggested, y0, x0, y1, x1, area, evidence, self, predicted };
  }
})();
