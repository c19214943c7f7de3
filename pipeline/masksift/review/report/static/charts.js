// Which class is given for which, the distribution of each score, and how far a budget of reviews reaches.
"use strict";

(() => {
  const { el, svg, name, count, many, score } = masksift;
  const MOST = 20; // classes that the heat map has at first

  // Classes by the flagged pixels that they have a part in, the most first.
  function byFlagged(pairs, classes) {
    const sums = new Array(classes).fill(0);
    for (const [given, suggested, pixels] of pairs) {
      sums[given] += pixels;
      sums[suggested] += pixels;
    }
    return sums
      .map((sum, number) => [sum, number])
      .filter(([sum]) => sum > 0)
      .sort(([one, a], [other, b]) => other - one || a - b)
      .map(([, number]) => number);
  }

  masksift.heat = () => {
    const { pairs, classes } = masksift.data.run;
    const order = byFlagged(pairs, classes.length);
    const panel = el("div", { class: "panel heat" });
    if (order.length === 0) {
      panel.append(el("h2", {}, "Given by suggested"), el("p", { class: "faint" }, "No pixel is flagged."));
      return panel;
    }
    const room = el("div", { class: "scroll" });
    const more =
      order.length > MOST &&
      el(
        "button",
        { type: "button", "aria-pressed": "false", onclick: () => draw(more.getAttribute("aria-pressed") !== "true") },
        `All ${order.length} classes`,
      );
    const draw = (all) => {
      if (more) more.setAttribute("aria-pressed", String(all));
      room.replaceChildren(grid(all ? order : order.slice(0, MOST), pairs));
      mark();
    };
    panel.append(
      el("div", { class: "across" }, el("h2", {}, "Given by suggested"), more || null),
      el(
        "p",
        { class: "faint" },
        "Flagged pixels of each given class (rows) that look like another (columns). " +
          "A cell shows the images in question.",
      ),
      room,
      el(
        "ol",
        { class: "pairs", "aria-label": "Most frequent pairs" },
        ...pairs
          .slice(0, 5)
          .map((pair) =>
            el(
              "li",
              {},
              choice(pair, "link", masksift.data.shown(pair[0], pair[1], pair[2]), ` in ${many(pair[3], "image")}`),
            ),
          ),
      ),
    );
    draw(false);
    return panel;
  };

  function choice([given, suggested, pixels, images], kind, ...children) {
    const told = `${masksift.data.told(given, suggested, pixels)} in ${many(images, "image")}`;
    return el(
      "button",
      {
        type: "button",
        class: kind,
        title: told,
        "aria-label": told,
        "data-pair": `${given} ${suggested}`,
        onclick: () => pick(given, suggested),
      },
      ...children,
    );
  }

  // The pair becomes the filter; the one that is the filter is let go.
  function pick(given, suggested) {
    const { values, set } = masksift.state;
    const again = values.given === given && values.suggested === suggested;
    set(again ? { given: null, suggested: null } : { given, suggested }, true);
    if (!again) masksift.toSection("images");
  }

  function mark() {
    const { given, suggested } = masksift.state.values;
    for (const cell of document.querySelectorAll("#classes [data-pair]")) {
      cell.setAttribute("aria-pressed", String(cell.dataset.pair === `${given} ${suggested}`));
    }
  }
  masksift.markPairs = mark;

  function grid(order, pairs) {
    const place = new Map(order.map((number, at) => [number, at]));
    const inside = pairs.filter(([given, suggested]) => place.has(given) && place.has(suggested));
    const most = Math.max(...inside.map((pair) => pair[2]));
    const header = (number, style, kind) => {
      const told = masksift.data.run.classes[number];
      return el(
        "span",
        { class: kind, style, title: masksift.plain(told.name) },
        masksift.swatch(told.colour),
        name(told.name),
      );
    };
    const cells = inside
      .map((pair) => {
        const cell = choice(pair, "cell");
        cell.style.setProperty("--heat", String(0.08 + 0.92 * Math.sqrt(pair[2] / most)));
        cell.style.gridArea = `${place.get(pair[0]) + 2} / ${place.get(pair[1]) + 2}`;
        cell.tabIndex = -1;
        return { cell, row: place.get(pair[0]), column: place.get(pair[1]) };
      })
      .sort((one, other) => one.row - other.row || one.column - other.column);
    if (cells.length > 0) cells[0].cell.tabIndex = 0;
    const size = order.length > MOST ? "12px" : "22px";
    return el(
      "div",
      {
        class: "grid",
        role: "group",
        "aria-label": "Given by suggested, a cell a pair of classes",
        style: { "--classes": order.length, "--size": size },
        onkeydown: (event) => walk(event, cells),
      },
      el("span", { class: "corner faint" }, "given ↓ suggested →"),
      ...order.map((number, at) => header(number, { "grid-area": `1 / ${at + 2}` }, "column")),
      ...order.map((number, at) => header(number, { "grid-area": `${at + 2} / 1` }, "row")),
      ...order.map((_, at) => el("span", { class: "same", style: { "grid-area": `${at + 2} / ${at + 2}` } })),
      ...cells.map(({ cell }) => cell),
    );
  }

  // Arrows go from cell to cell; one of them is reached by the tabulator.
  function walk(event, cells) {
    const at = cells.findIndex(({ cell }) => cell === event.target);
    if (at === -1 || !event.key.startsWith("Arrow")) return;
    event.preventDefault();
    event.stopPropagation();
    const { row, column } = cells[at];
    const nearest = (there) =>
      there.sort(
        (one, other) =>
          Math.abs(one.row - row) - Math.abs(other.row - row) ||
          Math.abs(one.column - column) - Math.abs(other.column - column),
      )[0];
    const next = {
      ArrowLeft: () => cells[at - 1],
      ArrowRight: () => cells[at + 1],
      ArrowUp: () => nearest(cells.filter((other) => other.row < row)),
      ArrowDown: () => nearest(cells.filter((other) => other.row > row)),
    }[event.key]();
    if (next === undefined) return;
    event.target.tabIndex = -1;
    next.cell.tabIndex = 0;
    next.cell.focus();
  }

  // The score of the image that is reviewed last with a budget of so many: [least, most], equal where it is known.
  function reached(images) {
    const { run } = masksift.data;
    if (images <= run.rows && masksift.data.has(images - 1)) {
      const row = masksift.data.row(images - 1);
      if (row.rank === images) return [row.scores[run.ranked_by], row.scores[run.ranked_by]];
    }
    const before = run.budget.findLast(([number]) => number <= images);
    const after = run.budget.find(([number]) => number >= images);
    return [before[1], after[1]];
  }
  masksift.reachedText = (images) => {
    const [least, most] = reached(images).map((value) => score(value));
    return least === most ? least : `${least} to ${most}`;
  };

  masksift.scores = () => {
    const run = masksift.data.run;
    const section = document.getElementById("scores");
    if (run.scored === 0) {
      section.replaceChildren(
        el("div", { class: "panel" }, el("h2", {}, "Scores"), el("p", { class: "faint" }, "No image is scored.")),
      );
      return;
    }
    const stops = run.budget.map(([images]) => images);
    const slider = el("input", {
      type: "range",
      id: "budget",
      min: 0,
      max: stops.length - 1,
      step: 1,
      "aria-label": "Images to review",
      oninput: () => masksift.state.set({ budget: stops[slider.value] }),
    });
    const number = el("input", {
      type: "number",
      id: "budget-number",
      min: 1,
      max: run.scored,
      "aria-label": "Images to review, a number",
      onchange: () => {
        const wanted = Math.round(Number(number.value));
        if (wanted >= 1) masksift.state.set({ budget: Math.min(wanted, run.scored) });
        update();
      },
    });
    const said = el("output", { for: "budget budget-number" });
    const log = el("input", { type: "checkbox", onchange: () => draw() });
    const room = el("div", { class: "histograms" });
    const draw = () => {
      room.replaceChildren(
        ...run.methods
          .filter((method) => run.distribution[method])
          .map((method) => histogram(method, run.distribution[method], log.checked)),
      );
      update();
    };

    function update() {
      const images = masksift.state.budget();
      const at = stops.findIndex((stop) => stop >= images);
      slider.value = at;
      number.value = images;
      const [least, most] = reached(images);
      slider.setAttribute("aria-valuetext", many(images, "image"));
      said.replaceChildren(
        `of ${count(run.scored)} images: `,
        el("strong", {}, masksift.share(images, run.scored)),
        `, up to a ${run.ranked_by} of `,
        el("strong", {}, masksift.reachedText(images)),
      );
      const figure = room.querySelector(".ranked");
      figure?.querySelector(".budget").style.setProperty("left", `${50 * (least + most)}%`);
      figure
        ?.querySelectorAll("rect")
        .forEach((bar) => bar.classList.toggle("inside", Number(bar.dataset.bin) / 100 < (least + most) / 2));
    }
    masksift.budgetMoved = update;
    section.replaceChildren(
      el(
        "div",
        { class: "panel" },
        el(
          "div",
          { class: "across" },
          el("h2", {}, "Scores"),
          el("label", { class: "faint" }, log, " logarithmic heights"),
        ),
        el(
          "div",
          { class: "budget-line" },
          el("label", { for: "budget-number" }, "Budget: review"),
          number,
          slider,
          said,
        ),
        room,
      ),
    );
    draw();
  };

  function histogram(method, counts, logarithmic) {
    const run = masksift.data.run;
    const height = (value) => (logarithmic ? Math.log1p(value) : value);
    const most = height(Math.max(...counts, 1));
    const bars = counts.map((value, bin) =>
      value === 0
        ? null
        : svg(
            "rect",
            {
              x: bin + 0.08,
              width: 0.84,
              y: 40 - (40 * height(value)) / most,
              height: (40 * height(value)) / most,
              "data-bin": bin,
            },
            svg("title", {}, `${(bin / 100).toFixed(2)} to ${((bin + 1) / 100).toFixed(2)}: ${many(value, "image")}`),
          ),
    );
    const first = counts.findIndex((value) => value > 0);
    const peak = counts.indexOf(Math.max(...counts));
    const told = `Distribution of ${method}: the least is about ${first / 100}, most images have about ${peak / 100}`;
    const ranked = method === run.ranked_by;
    return el(
      "figure",
      { class: ranked ? "ranked" : null },
      el("figcaption", {}, method, ranked ? el("span", { class: "faint" }, " ranks") : null),
      el(
        "div",
        { class: "plot" },
        svg("svg", { viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img", "aria-label": told }, ...bars),
        ranked ? el("span", { class: "budget", "aria-hidden": "true" }) : null,
      ),
      el(
        "div",
        { class: "axis faint", "aria-hidden": "true" },
        el("span", {}, "0"),
        el("span", {}, "0.5"),
        el("span", {}, "1"),
      ),
    );
  }
})();
