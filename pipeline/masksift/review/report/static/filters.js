// What is chosen among the images: filters, order, and which layers show.
"use strict";

(() => {
  const { el, count, many } = masksift;
  const { state } = masksift;
  const fields = {}; // the choices by name, so that they can be set to what the address says
  let columns = {}; // the values of each column that the rows have, by column

  const option = (value, text) => el("option", { value }, text);

  function choice(key, title, options, taken, shown, hint = null) {
    const select = el(
      "select",
      { id: `filter-${key}`, onchange: () => taken(select.value) },
      option("", "any"),
      ...options.map(([value, text]) => option(value, text)),
    );
    fields[key] = { select, shown };
    return el("label", { class: "field", title: hint }, el("span", {}, title), select);
  }

  const text = (value) => (value === null ? "" : String(value));
  const whole = (value) => (/^\d+$/.test(value) ? Number(value) : value === "" ? null : value);

  masksift.filters = () => {
    const run = masksift.data.run;
    const named = run.classes.map(({ name }, number) => [number, masksift.plain(name)]);
    const simple = (key, title, options, read = (value) => value || null, hint = null) =>
      choice(
        key,
        title,
        options,
        (value) => state.set({ [key]: read(value) }, true),
        () => text(state.values[key]),
        hint,
      );
    const ofPair = "Images with a listed region of these classes, or most of whose flagged pixels are of them";
    let typing = null;
    const search = el("input", {
      type: "search",
      id: "filter-q",
      autocomplete: "off",
      spellcheck: "false",
      oninput: () => {
        clearTimeout(typing);
        typing = setTimeout(() => state.set({ q: search.value }), 120);
      },
    });
    fields.q = { select: search, shown: () => state.values.q };
    const order = el(
      "select",
      { id: "sort", onchange: () => state.set({ sort: order.value }, true) },
      option("rank", "rank"),
      ...run.methods.map((method) => option(method, `${method}, lowest first`)),
      option("flagged", "flagged pixels, most first"),
      option("evidence", "evidence of the worst region, most first"),
    );
    fields.sort = { select: order, shown: () => state.values.sort };
    const clear = el("button", { type: "button", id: "clear", onclick: state.clear }, "Clear filters");
    const form = el(
      "form",
      { class: "filters", onsubmit: (event) => event.preventDefault() },
      simple("given", "Given", [["none", "nothing (an omission)"], ...named], whole, ofPair),
      simple("suggested", "Suggested", named, whole, ofPair),
      simple(
        "source",
        "Source",
        run.sources.map((name, number) => [number, masksift.plain(name)]),
        whole,
      ),
      ...run.columns.map((name) =>
        choice(
          `col.${name}`,
          masksift.plain(name),
          [],
          (value) => state.set({ columns: without(state.values.columns, name, value) }, true),
          () => text(state.values.columns[name] ?? null),
        ),
      ),
      simple(
        "status",
        "Status",
        Object.entries(run.counts)
          .filter(([, number]) => number > 0)
          .map(([status]) => [status, masksift.statusName(status)]),
      ),
      simple("verdict", "Verdict", [
        ["none", "none yet"],
        ["any", "some"],
        ["accept", "accepted"],
        ["reject", "rejected"],
        ["unsure", "unsure"],
      ]),
      el("label", { class: "field wide" }, el("span", {}, "Text in the id"), search),
      el("label", { class: "field" }, el("span", {}, "Order"), order),
      clear,
    );
    return form;
  };

  function without(columns, name, value) {
    const { [name]: _, ...others } = columns;
    return value === "" ? others : { ...others, [name]: value };
  }

  // The form says what the state is; a value that the address names and the rows read so far lack gets its line too.
  masksift.showFilters = () => {
    for (const { select, shown } of Object.values(fields)) {
      const value = shown();
      if (select.tagName === "SELECT" && ![...select.options].some((known) => known.value === value)) {
        select.append(option(value, masksift.plain(value.replace(/^[=!]/, "") || "(none)")));
      }
      if (select.value !== value) select.value = value;
    }
    document.getElementById("clear").hidden = !state.filtered();
  };

  // The choices of columns, from the rows that have been read.
  masksift.readColumns = () => {
    const run = masksift.data.run;
    if (run.columns.length === 0) return;
    columns = Object.fromEntries(run.columns.map((name) => [name, new Set()]));
    for (let number = 0; number < run.rows; number++) {
      if (!masksift.data.has(number)) continue;
      for (const [name, value] of Object.entries(masksift.data.row(number).columns)) columns[name].add(value);
    }
    for (const name of run.columns) {
      const { select } = fields[`col.${name}`];
      const values = [...columns[name]].sort((one, other) =>
        (one ?? "").localeCompare(other ?? "", "en", { numeric: true }),
      );
      select.replaceChildren(
        option("", "any"),
        ...values.map((value) => option(masksift.columnWord(value), value === null ? "(none)" : masksift.plain(value))),
      );
    }
    masksift.showFilters();
  };

  const NAMES = { picture: "Picture", given: "Given", predicted: "Prediction" };
  const toggles = {};

  // The layers: one of three below, what is flagged and the outlines above it, and how much the planes cover.
  masksift.layers = () => {
    const button = (name, title, key, pressed) => {
      const node = el(
        "button",
        { type: "button", title: `${title} (${key})`, "aria-pressed": "false", onclick: pressed },
        title,
      );
      (toggles[name] ??= []).push(node);
      return node;
    };
    const opacity = el("input", {
      type: "range",
      min: 0,
      max: 100,
      step: 5,
      "aria-label": "Opacity of the layers",
      class: "opacity",
      oninput: () => masksift.view({ opacity: Number(opacity.value) / 100 }),
    });
    (toggles.opacity ??= []).push(opacity);
    return el(
      "div",
      { class: "layers" },
      el(
        "div",
        { class: "joined", role: "group", "aria-label": "Layer" },
        ...state.LAYERS.map((layer, at) => button(layer, NAMES[layer], at + 1, () => state.set({ layer }))),
      ),
      el(
        "div",
        { class: "joined", role: "group", "aria-label": "Marks" },
        button("issues", "Issues", 4, () => masksift.view({ issues: !view.issues })),
        button("outlines", "Outlines", "o", () => masksift.view({ outlines: !view.outlines })),
      ),
      el("label", { class: "opacity-label", title: "Opacity of the layers" }, "Opacity", opacity),
    );
  };

  const view = { issues: true, outlines: true, opacity: 0.6 };
  masksift.view = (told = {}) => {
    Object.assign(view, told);
    const root = document.documentElement;
    root.dataset.layer = state.values.layer;
    root.dataset.issues = view.issues ? "on" : "off";
    root.dataset.outlines = view.outlines ? "on" : "off";
    root.style.setProperty("--opacity", String(view.opacity));
    for (const layer of state.LAYERS) press(layer, state.values.layer === layer);
    press("issues", view.issues);
    press("outlines", view.outlines);
    toggles.opacity?.forEach((slider) => {
      slider.value = Math.round(100 * view.opacity);
    });
    return view;
  };
  const press = (name, pressed) =>
    toggles[name]?.forEach((button) => button.setAttribute("aria-pressed", String(pressed)));

  // What the list is, in words.
  masksift.listText = () => {
    const { rows, scored, ranked_by: by } = masksift.data.run;
    if (rows === 0) return "There is no image in this report.";
    const some =
      masksift.list.length === rows
        ? `${many(rows, "image")}`
        : `${count(masksift.list.length)} of ${many(rows, "image")}`;
    const left = scored > rows ? `: those that ${by} ranks first of ${count(scored)}` : "";
    const order =
      state.values.sort === "rank"
        ? ""
        : `, by ${state.values.sort === "flagged" ? "flagged pixels" : state.values.sort}`;
    const only = order !== "" && scored > rows ? " (of these alone: the others are not in this report)" : "";
    return `${some}${left}${order}${only}`;
  };
})();
