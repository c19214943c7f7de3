// Filters, sort order and layer switches.
"use strict";

(() => {
  const { el, count, pluralize } = masksift;
  const { state } = masksift;
  const fields = {}; // form fields by name
  let columns = {}; // values of the rows by column

  const option = (value, text) => el("option", { value }, text);

  function selectField(key, title, options, onChange, current, hint = null) {
    const select = el(
      "select",
      { id: `filter-${key}`, onchange: () => onChange(select.value) },
      option("", "any"),
      ...options.map(([value, text]) => option(value, text)),
    );
    fields[key] = { select, current };
    return el("label", { class: "field", title: hint }, el("span", {}, title), select);
  }

  const text = (value) => (value === null ? "" : String(value));
  const whole = (value) => (/^\d+$/.test(value) ? Number(value) : value === "" ? null : value);

  masksift.filters = () => {
    const run = masksift.data.run;
    const named = run.classes.map(({ name }, number) => [number, masksift.plain(name)]);
    const stateField = (key, title, options, read = (value) => value || null, hint = null) =>
      selectField(
        key,
        title,
        options,
        (value) => state.set({ [key]: read(value) }, true),
        () => text(state.values[key]),
        hint,
      );
    const pairHint = "Images with a listed region of these classes, or with these classes for most flagged pixels";
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
    fields.q = { select: search, current: () => state.values.q };
    const order = el(
      "select",
      { id: "sort", onchange: () => state.set({ sort: order.value }, true) },
      option("rank", "rank"),
      ...run.methods.map((method) => option(method, `${method}, lowest first`)),
      option("flagged", "flagged pixels, most first"),
      option("region", "rank of the worst region"),
    );
    fields.sort = { select: order, current: () => state.values.sort };
    const clear = el("button", { type: "button", id: "clear", onclick: state.clear }, "Clear filters");
    const form = el(
      "form",
      { class: "filters", onsubmit: (event) => event.preventDefault() },
      stateField("given", "Given", [["none", "unlabeled (omission)"], ...named], whole, pairHint),
      stateField("suggested", "Suggested", named, whole, pairHint),
      stateField(
        "source",
        "Source",
        run.sources.map((name, number) => [number, masksift.plain(name)]),
        whole,
      ),
      ...run.columns.map((name) =>
        selectField(
          `col.${name}`,
          masksift.plain(name),
          [],
          (value) => state.set({ columns: without(state.values.columns, name, value) }, true),
          () => text(state.values.columns[name] ?? null),
        ),
      ),
      stateField(
        "status",
        "Status",
        Object.entries(run.counts)
          .filter(([, number]) => number > 0)
          .map(([status]) => [status, masksift.statusName(status)]),
      ),
      stateField("verdict", "Decision", [
        ["none", "none"],
        ["partial", "partly reviewed"],
        ["reviewed", "reviewed"],
        ["accept", "accepted"],
        ["reject", "rejected"],
        ["unsure", "unsure"],
      ]),
      el("label", { class: "field wide" }, el("span", {}, "Search id"), search),
      el("label", { class: "field" }, el("span", {}, "Sort by"), order),
      clear,
    );
    return form;
  };

  function without(columns, name, value) {
    const { [name]: _, ...others } = columns;
    return value === "" ? others : { ...others, [name]: value };
  }

  // Show the state in the form. A value of the address that no loaded row has gets an option too.
  masksift.showFilters = () => {
    for (const { select, current } of Object.values(fields)) {
      const value = current();
      if (select.tagName === "SELECT" && ![...select.options].some((existing) => existing.value === value)) {
        select.append(option(value, masksift.plain(value.replace(/^[=!]/, "") || "(none)")));
      }
      if (select.value !== value) select.value = value;
    }
    document.getElementById("clear").hidden = !state.filtered();
  };

  // Fill the column filters from the loaded rows.
  masksift.fillColumnFilters = () => {
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
        ...values.map((value) => option(masksift.columnKey(value), value === null ? "(none)" : masksift.plain(value))),
      );
    }
    masksift.showFilters();
  };

  const NAMES = { picture: "Image", given: "Given", predicted: "Prediction" };
  const toggles = {};

  // Layer switches: one of three base layers, flagged pixels, outlines, and the opacity of the planes.
  masksift.layers = () => {
    const button = (name, title, key, onclick) => {
      const node = el(
        "button",
        { type: "button", title: `${title} (${key})`, "aria-pressed": "false", onclick },
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
        ...state.LAYERS.map((layer, index) => button(layer, NAMES[layer], index + 1, () => state.set({ layer }))),
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
  masksift.view = (changes = {}) => {
    Object.assign(view, changes);
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

  masksift.listDescription = () => {
    const { rows, scored, ranked_by: by } = masksift.data.run;
    if (rows === 0) return "This report has no images.";
    const shown =
      masksift.list.length === rows
        ? `${pluralize(rows, "image")}`
        : `${count(masksift.list.length)} of ${pluralize(rows, "image")}`;
    const total = scored > rows ? `, the first of ${count(scored)} ranked by ${by}` : "";
    const order =
      state.values.sort === "rank"
        ? ""
        : `, sorted by ${state.values.sort === "flagged" ? "flagged pixels" : state.values.sort}`;
    const scope = order !== "" && scored > rows ? " (this report does not contain the others)" : "";
    return `${shown}${total}${order}${scope}`;
  };
})();
