// The whole: reads the run, puts the parts in their places, and takes keys to them.
"use strict";

(() => {
  const { el, count, many } = masksift;
  const { data, state, cursor, verdicts } = masksift;
  const help = document.getElementById("help");
  const large = document.getElementById("large");

  // What this reader prefers, for all reports: kept where there is such a store.
  const PREFERRED = "masksift-page";
  const preferred = { theme: "auto", goesOn: false };
  masksift.prefer = (told = {}) => {
    Object.assign(preferred, told);
    if (!["auto", "light", "dark"].includes(preferred.theme)) preferred.theme = "auto";
    cursor.goesOn = preferred.goesOn === true;
    document.documentElement.dataset.theme = preferred.theme;
    document.getElementById("theme").textContent = `Theme: ${preferred.theme}`;
    try {
      localStorage.setItem(PREFERRED, JSON.stringify(preferred));
    } catch {
      // it is asked again the next time
    }
  };

  function theme() {
    const next = { auto: "dark", dark: "light", light: "auto" };
    const button = document.getElementById("theme");
    button.title = "Light, dark, or as the system has it";
    button.addEventListener("click", () => masksift.prefer({ theme: next[preferred.theme] }));
    let kept = {};
    try {
      kept = JSON.parse(localStorage.getItem(PREFERRED)) ?? {};
    } catch {
      kept = {};
    }
    masksift.prefer(kept);
  }

  masksift.toSection = (id) => document.getElementById(id).scrollIntoView({ block: "start" });

  function reviewed() {
    const found = verdicts.counts();
    const words = verdicts.WORDS.filter((word) => found[word] > 0).map((word) =>
      el("span", { class: word }, `${count(found[word])} ${verdicts.MARKS[word]}`),
    );
    const line = document.getElementById("reviewed");
    if (found.images === 0) line.replaceChildren(el("span", { class: "faint" }, "nothing reviewed yet"));
    else {
      line.replaceChildren(
        el("strong", {}, count(found.images)),
        found.images === 1 ? " image" : " images",
        " reviewed (",
        ...words.flatMap((word, at) => (at ? [" ", word] : [word])),
        ")",
        found.regions > 0 ? `, ${many(found.regions, "region")}` : "",
      );
    }
    if (!verdicts.kept && verdicts.changes > 0)
      line.append(el("strong", { class: "warn" }, " not kept by this browser: save them"));
    document.getElementById("save").disabled = found.images === 0;
  }

  const KEYS = [
    ["→ or j, ← or k", "next image, image before"],
    ["n, p", "next region, region before; after the last one the whole image"],
    ["a", "accept: the label is wrong, as was found"],
    ["r", "reject: the label is right"],
    ["u", "unsure"],
    ["Backspace", "take the verdict back"],
    ["1, 2, 3", "picture, given labels, prediction"],
    ["4", "flagged pixels on or off"],
    ["o", "outlines on or off"],
    ["Enter", "open the image"],
    ["Esc", "close it"],
    ["+, −, 0, z", "larger, smaller, all of it, the chosen region (open image)"],
    ["?", "these keys"],
  ];

  function showHelp() {
    if (help.open) return help.close();
    help.replaceChildren(
      el("h2", {}, "Keys"),
      el("dl", { class: "lines" }, ...KEYS.map(([key, told]) => [el("dt", {}, key), el("dd", {}, told)])),
      el(
        "p",
        { class: "faint" },
        "A verdict is on the region that is chosen, else on the whole image and on all of its regions that have none " +
          "of their own. Verdicts stay in this browser; save them as a file for ",
        el("code", {}, "masksift evaluate"),
        " and ",
        el("code", {}, "masksift export"),
        ".",
      ),
      el("button", { type: "button", onclick: () => help.close() }, "Close"),
    );
    help.showModal();
  }

  const ACTS = {
    ArrowRight: () => move(1),
    j: () => move(1),
    ArrowLeft: () => move(-1),
    k: () => move(-1),
    n: () => cursor.step(1),
    p: () => cursor.step(-1),
    a: () => say("accept"),
    r: () => say("reject"),
    u: () => say("unsure"),
    Backspace: () => say(null),
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
    await cursor.move(step);
    if (!large.open) masksift.focusCard();
  }
  async function say(verdict) {
    await cursor.say(verdict);
    if (!large.open) masksift.focusCard();
  }
  function open() {
    if (cursor.row !== null && !large.open) state.set({ image: cursor.row.number }, true);
  }

  function key(event) {
    const { target } = event;
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (help.open && event.key !== "?") return;
    const typed = target.matches("select, textarea, input:not([type=checkbox], [type=range])");
    const slid = target.matches("[type=range]") && event.key.startsWith("Arrow");
    const act = ACTS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    const pressed = event.key === "Enter" && target.closest("button, input, select, [tabindex]") !== null;
    if (typed || slid || pressed || act === undefined || data.run === null) return;
    event.preventDefault();
    Promise.resolve(act()).catch(failed);
  }

  async function relist() {
    if (!(await masksift.makeList())) return;
    const { image, page } = state.values;
    // First the cursor: no key may speak of an image that is not there any more.
    if (image === null) await cursor.go((page - 1) * masksift.PAGE);
    else await cursor.go(masksift.list.find(image), image);
    await masksift.showPage();
  }
  masksift.relist = relist;

  async function follow(changed) {
    if (changed.has("layer")) masksift.view();
    if (changed.has("budget")) {
      masksift.budgetMoved?.();
      masksift.mark();
    }
    if (changed.has("given") || changed.has("suggested")) masksift.markPairs();
    if (state.FILTERS.some((name) => changed.has(name))) {
      masksift.showFilters();
      await relist();
    } else if (changed.has("page")) {
      const inside = Math.floor(cursor.at / masksift.PAGE) + 1 === state.values.page;
      if (!inside) await cursor.go((state.values.page - 1) * masksift.PAGE);
      await masksift.showPage();
    }
    if (changed.has("image")) masksift.openLarge();
  }
  const failed = (error) => masksift.say(error.message);

  // What is needed for the first look comes first; the other rows follow while it is looked at.
  async function begin() {
    theme();
    document.getElementById("keys").addEventListener("click", showHelp);
    await data.open();
    verdicts.open(data.run.run);
    masksift.facts();
    masksift.scores();
    masksift.gallery();
    masksift.large();
    state.readAddress();
    masksift.view();
    masksift.showFilters();
    masksift.markPairs();
    masksift.budgetMoved?.();
    reviewed();
    listen();
    if (data.run.rows === 0) return masksift.showPage();
    await data.readRows(0);
    masksift.budgetMoved?.();
    await relist();
    if (state.filtered() || state.values.page > 1) masksift.toSection("images");
    if (state.values.image !== null) masksift.openLarge();
    await data.readAll();
    masksift.readColumns();
    masksift.budgetMoved?.();
    masksift.mark();
    return null;
  }

  function listen() {
    state.heard((changed) => {
      follow(changed).catch(failed);
    });
    verdicts.heard(reviewed);
    window.addEventListener("popstate", state.readAddress);
    document.addEventListener("keydown", key);
    for (const button of document.querySelectorAll("nav [data-to]")) {
      button.addEventListener("click", () => masksift.toSection(button.dataset.to));
    }
    const file = document.getElementById("file");
    document.getElementById("save").addEventListener("click", verdicts.save);
    document.getElementById("load").addEventListener("click", () => file.click());
    file.addEventListener("change", async () => {
      for (const one of file.files) await verdicts.read(one);
      file.value = "";
    });
  }

  begin().catch(failed);
})();
