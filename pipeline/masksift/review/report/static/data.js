// The data of the report: classic scripts that call `masksift.run`, `masksift.rows` and `masksift.regions`, because
// a page opened from disk cannot fetch files. All rows stay in memory, by column; regions are cached for a few files.
"use strict";

(() => {
  const CACHED_REGION_FILES = 4;
  const received = new Map();
  const loadingFiles = new Map();
  const chunks = [];
  const regionFiles = new Map();
  let run = null;

  masksift.run = (data) => received.set("run", data);
  masksift.rows = (number, data) => received.set(`rows-${number}`, data);
  masksift.regions = (number, data) => received.set(`regions-${number}`, data);

  // Trusted Types: the browser loads no other script than these.
  const DATA_FILE = /^data\/(run|rows-\d{5,}|regions-\d{5,})\.js$/;
  const rules = { createScriptURL: (path) => (DATA_FILE.test(path) ? path : "") };
  const policy = window.trustedTypes ? window.trustedTypes.createPolicy("masksift", rules) : rules;

  // Load one script and return the data it registers under `key`; rejects if the file is missing or registers none.
  function load(path, key) {
    if (loadingFiles.has(key)) return loadingFiles.get(key);
    const loading = new Promise((resolve, reject) => {
      const script = document.createElement("script");
      const end = () => {
        const data = received.get(key);
        received.delete(key);
        loadingFiles.delete(key);
        script.remove();
        if (data === undefined) reject(new Error(`${path} cannot be read: the report folder is incomplete`));
        else resolve(data);
      };
      script.onload = end;
      script.onerror = end;
      script.src = policy.createScriptURL(path);
      document.head.append(script);
    });
    loadingFiles.set(key, loading);
    return loading;
  }

  const fiveDigits = (number) => String(number).padStart(5, "0");
  const numbers = (list) => Float64Array.from(list, (value) => (value === null ? NaN : value));

  // Typed arrays for scores: filters scan thousands of rows at each keystroke.
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
      if (run.format !== 2) throw new Error(`this page reads report format 2, the data have format ${run.format}`);
      run.files = Math.ceil(run.rows / run.rows_per_file);
      return run;
    },

        async readRows(file) {
      if (chunks[file] !== undefined) return;
      const loaded = await load(`data/rows-${fiveDigits(file)}.js`, `rows-${file}`);
      chunks[file] ??= compact(loaded);
    },
    async readAll(onProgress = () => {}) {
      for (let file = 0; file < run.files; file++) {
        if (chunks[file] !== undefined) continue;
        await data.readRows(file);
        onProgress(Math.min(run.rows, (file + 1) * run.rows_per_file));
      }
    },
    get complete() {
      for (let file = 0; file < run.files; file++) if (chunks[file] === undefined) return false;
      return true;
    },
    has: (number) => chunks[Math.floor(number / run.rows_per_file)] !== undefined,

    // One row as an object; its file must have been read.
    row(number) {
      const chunk = chunks[Math.floor(number / run.rows_per_file)];
      const offset = number % run.rows_per_file;
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
        "agrees_less",
        "misplaced",
        "size",
        "view_size",
        "picture",
        "planes",
        "sheet",
        "classes",
        "regions",
        "listed_regions",
        "pairs",
        "warnings",
      ])
        row[name] = chunk[name][offset];
      if (Number.isNaN(row.flagged)) row.flagged = null;
      for (const name of run.columns) row.columns[name] = chunk.columns[name][offset];
      for (const method of run.methods) row.scores[method] = chunk.scores[method][offset];
      row.key = [run.sources[row.source], row.index];
      return row;
    },

    // The regions of one row, in the order of the region table.
    async regionsOf(row) {
      if (row.regions === 0) return [];
      const file = data.fileOf(row.number);
      const regions = regionFiles.get(file) ?? (await load(`data/regions-${fiveDigits(file)}.js`, `regions-${file}`));
      regionFiles.delete(file); // reinsert as the most recently used
      regionFiles.set(file, regions);
      if (regionFiles.size > CACHED_REGION_FILES) regionFiles.delete(regionFiles.keys().next().value);
      return regions[row.number % run.regions_per_file].map(region);
    },
    // The rank of the first region of each row, NaN without regions. Reads every file and caches none.
    async firstRegions(onProgress) {
      const ranks = new Float64Array(run.rows).fill(NaN);
      for (let file = 0; file * run.regions_per_file < run.rows; file++) {
        const first = file * run.regions_per_file;
        const last = Math.min(run.rows, first + run.regions_per_file);
        const hasRegions = (number) =>
          chunks[Math.floor(number / run.rows_per_file)].regions[number % run.rows_per_file] > 0;
        const rows = Array.from({ length: last - first }, (_, offset) => first + offset).filter(hasRegions);
        if (rows.length === 0) continue;
        const regions = regionFiles.get(file) ?? (await load(`data/regions-${fiveDigits(file)}.js`, `regions-${file}`));
        for (const number of rows) ranks[number] = region(regions[number - first][0]).rank;
        onProgress(last);
      }
      return ranks;
    },
    fileOf: (number) => Math.floor(number / run.regions_per_file),
    get cachedRegionFiles() {
      return regionFiles.size;
    },
    file: (row, ending) => `pictures/${String(row.sheet[0]).padStart(8, "0")}.${ending}`,

    // Position of a file that shows a part of it in the box of an image, relative to the box. The file is a stack of
    // cells with `planes` planes for each image of the sheet; the image is in the middle of its cell.
    sheetStyle(row, plane = 0, planes = 1) {
      const [, position, images, rows, columns] = row.sheet;
      const [height, width] = row.view_size;
      const top = (position * planes + plane) * rows + Math.floor((rows - height) / 2);
      return {
        "--top": `${(-100 * top) / height}%`,
        "--width": `${(100 * columns) / width}%`,
        "--height": `${(100 * images * planes * rows) / height}%`,
      };
    },

    className: (number) => (number === null ? "nothing" : run.classes[number].name),
    // Describe a region as text for an attribute: "given road, suggested sidewalk, 4,120 px".
    regionText(given, suggested, pixels) {
      const first = given === null ? "unlabeled" : `given ${masksift.plain(data.className(given))}`;
      return `${first}, suggested ${masksift.plain(data.className(suggested))}, ${masksift.count(pixels)} px`;
    },
    // The same as DOM nodes.
    regionNodes(given, suggested, pixels) {
      const first = given === null ? ["unlabeled"] : ["given ", masksift.name(data.className(given))];
      const size = masksift.el("span", { class: "whole" }, `${masksift.count(pixels)} px`);
      return [...first, ", suggested ", masksift.name(data.className(suggested)), ", ", size];
    },
  };
  masksift.data = data;

  function region([rank, kind, given, suggested, y0, x0, y1, x1, area, priority, evidence, self, predicted]) {
    return { rank, kind, given, suggested, y0, x0, y1, x1, area, priority, evidence, self, predicted };
  }
})();
