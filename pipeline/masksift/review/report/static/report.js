// Entry point: loads the run, builds the page and dispatches keys.
"use strict";

(() => {
  const { el, count, pluralize } = masksift;
  const { data, state, selection, decisions } = masksift;
  const help = document.getElementById("help");
  const lightbox = document.getElementById("lightbox");

  // Preferences of this browser, shared by all reports.
  const PREFERENCES_KEY = "masksift-page";
  const preferences = { theme: "auto", autoAdvance: false };
  masksift.prefer = (changes = {}) => {
    Object.assign(preferences, changes);
    if (!["auto", "light", "dark"].includes(preferences.theme)) preferences.theme = "auto";
    selection.autoAdvance = preferences.autoAdvance === true;
    document.documentElement.dataset.theme = preferences.theme;
    document.getElementById("theme").textContent = `Theme: ${preferences.theme}`;
    try {
      localStorage.setItem(PREFERENCES_KEY, JSON.stringify(preferences));
    } catch {
      // without local storage the preferences last for this visit only
    }
  };

  function restorePreferences() {
    const next = { auto: "dark", dark: "light", light: "auto" };
    const button = document.getElementById("theme");
    button.title = "Light, dark, or the system setting";
    button.addEventListener("click", () => masksift.prefer({ theme: next[preferences.theme] }));
    let stored = {};
    try {
      stored = JSON.parse(localStorage.getItem(PREFERENCES_KEY)) ?? {};
    } catch {
      stored = {};
    }
    masksift.prefer(stored);
  }

  masksift.toSection = (id) => document.getElementById(id).scrollIntoView({ block: "start" });

  function showReviewed() {
    const totals = decisions.counts();
    const words = decisions.WORDS.filter((word) => totals[word] > 0).map((word) =>
      el("span", { class: word }, `${count(totals[word])} ${decisions.MARKS[word]}`),
    );
    const line = document.getElementById("reviewed");
    const nothing = totals.images + totals.partial === 0;
    if (nothing) line.replaceChildren(el("span", { class: "faint" }, "nothing reviewed yet"));
    else {
      line.replaceChildren(
        el("strong", {}, count(totals.images)),
        totals.images === 1 ? " image" : " images",
        " reviewed",
        ...words.flatMap((word, index) => [index ? " " : " (", word]),
        words.length > 0 ? ")" : "",
        totals.partial > 0 ? `, ${count(totals.partial)} partly reviewed` : "",
        totals.regions > 0 ? `, ${pluralize(totals.regions, "region")}` : "",
      );
    }
    if (!decisions.kept && decisions.changes > 0)
      line.append(el("strong", { class: "warn" }, " not stored by this browser: save them"));
    document.getElementById("save").disabled = nothing;
  }

  const KEYS = [
    ["→ or j, ← or k", "next image, previous image"],
    ["n, p", "next region, previous region; after the last one the whole image"],
    ["a", "accept: the label is wrong, as flagged"],
    ["r", "reject: the label is right"],
    ["u", "unsure"],
    ["Backspace", "withdraw the decision"],
    ["1, 2, 3", "image, given labels, prediction"],
    ["4", "flagged pixels on or off"],
    ["o", "outlines on or off"],
    ["Enter", "open the image"],
    ["Esc", "close the image"],
    ["+, −, 0, z", "zoom in, zoom out, fit, selected region (open image)"],
    ["?", "this help"],
  ];

  function showHelp() {
    if (help.open) return help.close();
    help.replaceChildren(
      el("h2", {}, "Keys"),
      el("dl", { class: "lines" }, ...KEYS.map(([key, action]) => [el("dt", {}, key), el("dd", {}, action)])),
      el(
        "p",
        { class: "faint" },
        "A decision applies to the selected region, or else to the whole image and to all of its regions without a " +
          "separate decision. An image is right if it is rejected, or if all of its listed regions are; with fewer " +
          "decided regions it is partly reviewed and counts as neither. Decisions are stored in this browser; save " +
          "them to a file for ",
        el("code", {}, "masksift evaluate"),
        " and ",
        el("code", {}, "masksift export"),
        ".",
      ),
      el("button", { type: "button", onclick: () => help.close() }, "Close"),
    );
    help.showModal();
  }

  const ACTIONS = {
    ArrowRight: () => move(1),
    j: () => move(1),
    ArrowLeft: () => move(-1),
    k: () => move(-1),
    n: () => selection.stepRegion(1),
    p: () => selection.stepRegion(-1),
    a: () => decide("accept"),
    r: () => decide("reject"),
    u: () => decide("unsure"),
    Backspace: () => decide(null),
    1: () => state.set({ layer: "picture" }),
    2: () => state.set({ layer: "given" }),
    3: () => state.set({ layer: "predicted" }),
    4: () => masksift.view({ issues: !masksift.view().issues }),
    o: () => masksift.view({ outlines: !masksift.view().outlines }),
    "+": () => masksift.zoomBy(1.5),
    "=": () => masksift.zoomBy(1.5),
    "-": () => masksift.zoomBy(1 / 1.5),
    0: () => masksift.zoomFit(),
    Enter: open,
    z: () => masksift.zoomRegion(),
    "?": showHelp,
  };

  async function move(step) {
    await selection.move(step);
    if (!lightbox.open) masksift.focusCard();
  }
  async function decide(decision) {
    await selection.decide(decision);
    if (!lightbox.open) masksift.focusCard();
  }
  function open() {
    if (selection.row !== null && !lightbox.open) state.set({ image: selection.row.number }, true);
  }

  function onKey(event) {
    const { target } = event;
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (help.open && event.key !== "?") return;
    const typing = target.matches("select, textarea, input:not([type=checkbox], [type=range])");
    const sliding = target.matches("[type=range]") && event.key.startsWith("Arrow");
    const action = ACTIONS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    const pressing = event.key === "Enter" && target.closest("button, input, select, [tabindex]") !== null;
    if (typing || sliding || pressing || action === undefined || data.run === null) return;
    event.preventDefault();
    Promise.resolve(action()).catch(showError);
  }

  async function rebuildList() {
    if (!(await masksift.makeList())) return;
    const { image, page } = state.values;
    // Move the selection first, so that no key acts on an image that the list no longer contains.
    if (image === null) await selection.goTo((page - 1) * masksift.PAGE);
    else await selection.goTo(masksift.list.find(image), image);
    await masksift.showPage();
  }
  masksift.rebuildList = rebuildList;

  async function applyChanges(changed) {
    if (changed.has("layer")) masksift.view();
    if (changed.has("budget")) {
      masksift.budgetMoved?.();
      masksift.markBudget();
    }
    if (changed.has("given") || changed.has("suggested")) masksift.markPairs();
    if (state.FILTERS.some((name) => changed.has(name))) {
      masksift.showFilters();
      await rebuildList();
    } else if (changed.has("page")) {
      const onPage = Math.floor(selection.position / masksift.PAGE) + 1 === state.values.page;
      if (!onPage) await selection.goTo((state.values.page - 1) * masksift.PAGE);
      await masksift.showPage();
    }
    if (changed.has("image")) masksift.openLightbox();
  }
  const showError = (error) => masksift.showMessage(error.message);

  // Show the first page as early as possible, then load the remaining rows.
  async function main() {
    restorePreferences();
    document.getElementById("keys").addEventListener("click", showHelp);
    await data.open();
    decisions.open(data.run.run);
    masksift.summary();
    masksift.scores();
    masksift.gallery();
    masksift.lightbox();
    state.readAddress();
    masksift.view();
    masksift.showFilters();
    masksift.markPairs();
    masksift.budgetMoved?.();
    showReviewed();
    listen();
    if (data.run.rows === 0) return masksift.showPage();
    await data.readRows(0);
    masksift.budgetMoved?.();
    await rebuildList();
    if (state.filtered() || state.values.page > 1) masksift.toSection("images");
    if (state.values.image !== null) masksift.openLightbox();
    await data.readAll();
    decisions.countListed();
    masksift.fillColumnFilters();
    masksift.budgetMoved?.();
    masksift.markBudget();
    return null;
  }

  function listen() {
    state.onChange((changed) => {
      applyChanges(changed).catch(showError);
    });
    decisions.onChange(showReviewed);
    window.addEventListener("popstate", state.readAddress);
    document.addEventListener("keydown", onKey);
    for (const button of document.querySelectorAll("nav [data-to]")) {
      button.addEventListener("click", () => masksift.toSection(button.dataset.to));
    }
    const file = document.getElementById("file");
    document.getElementById("save").addEventListener("click", decisions.save);
    document.getElementById("load").addEventListener("click", () => file.click());
    file.addEventListener("change", async () => {
      for (const selected of file.files) await decisions.load(selected);
      file.value = "";
    });
  }

  main().catch(showError);
})();
