// The image, and the region of it, that keys and buttons speak of: one for the gallery and for the large view.
"use strict";

(() => {
  const listeners = [];
  let turn = 0;
  let ready = Promise.resolve();

  const cursor = {
    at: 0, // its place in the list
    row: null, // null: none, or not read yet
    regions: [],
    region: -1, // -1: the whole image
    heard: (listener) => listeners.push(listener),
    get chosen() {
      return cursor.regions[cursor.region] ?? null;
    },

    // Goes to a place of the list. `number`: a row that is shown although the list lacks it.
    async go(at, number = null) {
      const mine = ++turn;
      const { list, data, state, PAGE } = masksift;
      Object.assign(cursor, { at: Math.max(0, Math.min(at, list.length - 1)), row: null, regions: [], region: -1 });
      if (list.length === 0 && number === null) return tell();
      const wanted = number ?? list.at(cursor.at);
      await data.readRows(Math.floor(wanted / data.run.rows_per_file));
      if (mine !== turn) return;
      cursor.row = data.row(wanted);
      const moved = { image: state.values.image === null ? null : wanted };
      if (list.length > 0 && list.at(cursor.at) === wanted) moved.page = Math.floor(cursor.at / PAGE) + 1;
      state.set(moved);
      if (mine !== turn) return;
      tell();
      ready = data.regionsOf(cursor.row).then(
        (regions) => {
          if (mine !== turn) return;
          cursor.regions = regions;
          tell();
        },
        (error) => masksift.say(error.message),
      );
    },

    async move(step) {
      if (cursor.at + step >= 0 && cursor.at + step < masksift.list.length) await cursor.go(cursor.at + step);
    },

    // From the image to its first region, on to the last one, and to the image again; or the other way.
    async step(by) {
      await ready;
      const count = cursor.regions.length + 1;
      cursor.choose(((cursor.region + 1 + by + count) % count) - 1);
    },
    choose(region) {
      cursor.region = region;
      tell();
    },

    // A verdict on the region that is chosen, else on the image; null takes it back.
    async say(verdict) {
      if (cursor.row === null) return;
      masksift.verdicts.set(cursor.row, cursor.chosen, verdict);
      if (verdict === null || !cursor.goesOn) return;
      if (cursor.region >= 0 && cursor.region + 1 < cursor.regions.length) cursor.choose(cursor.region + 1);
      else await cursor.move(1);
    },
    goesOn: false,
  };
  masksift.cursor = cursor;

  function tell() {
    listeners.forEach((listener) => listener());
  }
})();
