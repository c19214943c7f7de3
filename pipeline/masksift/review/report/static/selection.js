// The selected image and region: shared by the gallery and the lightbox, and the target of keys and buttons.
"use strict";

(() => {
  const listeners = [];
  let turn = 0; // number of the latest request; results of earlier ones are dropped
  let regionsLoaded = Promise.resolve();

  const selection = {
    position: 0, // in the list
    row: null, // null while there is none, or while it loads
    regions: [],
    region: -1, // -1: the whole image
    autoAdvance: false,
    onChange: (listener) => listeners.push(listener),
    get selectedRegion() {
      return selection.regions[selection.region] ?? null;
    },

    // Select the image at a position of the list, or the row `number` even if the list lacks it.
    async goTo(position, number = null) {
      const mine = ++turn;
      const { list, data, state, PAGE } = masksift;
      const bounded = Math.max(0, Math.min(position, list.length - 1));
      Object.assign(selection, { position: bounded, row: null, regions: [], region: -1 });
      if (list.length === 0 && number === null) return notify();
      const wanted = number ?? list.at(selection.position);
      await data.readRows(Math.floor(wanted / data.run.rows_per_file));
      if (mine !== turn) return;
      selection.row = data.row(wanted);
      const changes = { image: state.values.image === null ? null : wanted };
      if (list.length > 0 && list.at(selection.position) === wanted) {
        changes.page = Math.floor(selection.position / PAGE) + 1;
      }
      state.set(changes);
      if (mine !== turn) return;
      notify();
      regionsLoaded = data.regionsOf(selection.row).then(
        (regions) => {
          if (mine !== turn) return;
          selection.regions = regions;
          notify();
        },
        (error) => masksift.showMessage(error.message),
      );
    },

    async move(step) {
      const next = selection.position + step;
      if (next >= 0 && next < masksift.list.length) await selection.goTo(next);
    },

    // Cycle through the image and its regions: image, first region, ..., last region, image.
    async stepRegion(step) {
      await regionsLoaded;
      const count = selection.regions.length + 1;
      selection.selectRegion(((selection.region + 1 + step + count) % count) - 1);
    },
    selectRegion(region) {
      selection.region = region;
      notify();
    },

    // Decide on the selected region, or else on the image; null withdraws the decision.
    async decide(decision) {
      if (selection.row === null) return;
      masksift.decisions.set(selection.row, selection.selectedRegion, decision);
      if (decision === null || !selection.autoAdvance) return;
      if (selection.region >= 0 && selection.region + 1 < selection.regions.length) {
        selection.selectRegion(selection.region + 1);
      } else await selection.move(1);
    },
  };
  masksift.selection = selection;

  function notify() {
    listeners.forEach((listener) => listener());
  }
})();
