// The class heat map, the score histograms and the review budget.
"use strict";

(() => {
  const { el, svg, name, count, pluralize, score } = masksift;
  const COLLAPSED_CLASSES = 20; // classes of the heat map before "All classes" is pressed

  // Classes by the flagged pixels of their pairs, most first.
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
    const container = el("div", { class: "scroll" });
    const more =
      order.length > COLLAPSED_CLASSES &&
      el(
        "button",
        { type: "button", "aria-pressed": "false", onclick: () => draw(more.getAttribute("aria-pressed") !== "true") },
        `All ${order.length} classes`,
      );
    const draw = (all) => {
      if (more) more.setAttribute("aria-pressed", String(all));
      container.replaceChildren(grid(all ? order : order.slice(0, COLLAPSED_CLASSES), pairs));
      mark();
    };
    panel.append(
      el("div", { class: "across" }, el("h2", {}, "Given by suggested"), more || null),
      el(
        "p",
        { class: "faint" },
        "Flagged pixels by given class (rows) and suggested class (columns). " +
          "Click a cell to filter the images.",
      ),
      container,
      el(
        "ol",
        { class: "pairs", "aria-label": "Most frequent pairs" },
        ...pairs
          .slice(0, 5)
          .map((pair) =>
            el(
              "li",
              {},
              choice(
                pair,
                "link",
                masksift.data.regionNodes(pair[0], pair[1], pair[2]),
                ` in ${pluralize(pair[3], "image")}`,
              ),
            ),
          ),
      ),
    );
    draw(false);
    return panel;
  };

  function choice([given, suggested, pixels, images], kind, ...children) {
    const label = `${masksift.data.regionText(given, suggested, pixels)} in ${pluralize(images, "image")}`;
    return el(
      "button",
      {
        type: "button",
        class: kind,
        title: label,
        "aria-label": label,
        "data-pair": `${given} ${suggested}`,
        onclick: () => pick(given, suggested),
      },
      ...children,
    );
  }

  // Filter by a pair of classes; picking the same pair again clears the filter.
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
    const place = new Map(order.map((number, position) => [number, position]));
    const inside = pairs.filter(([given, suggested]) => place.has(given) && place.has(suggested));
    const largest = Math.max(...inside.map((pair) => pair[2]));
    const header = (number, style, kind) => {
      const { color, name: className } = masksift.data.run.classes[number];
      return el(
        "span",
        { class: kind, style, title: masksift.plain(className) },
        masksift.swatch(color),
        name(className),
      );
    };
    const cells = inside
      .map((pair) => {
        const cell = choice(pair, "cell");
        cell.style.setProperty("--heat", String(0.08 + 0.92 * Math.sqrt(pair[2] / largest)));
        cell.style.gridArea = `${place.get(pair[0]) + 2} / ${place.get(pair[1]) + 2}`;
        cell.tabIndex = -1;
        return { cell, row: place.get(pair[0]), column: place.get(pair[1]) };
      })
      .sort((one, other) => one.row - other.row || one.column - other.column);
    if (cells.length > 0) cells[0].cell.tabIndex = 0;
    const size = order.length > COLLAPSED_CLASSES ? "12px" : "22px";
    return el(
      "div",
      {
        class: "grid",
        role: "group",
        "aria-label": "Given by suggested class, one cell per pair",
        style: { "--classes": order.length, "--size": size },
        onkeydown: (event) => walk(event, cells),
      },
      el("span", { class: "corner faint" }, "given ↓ suggested →"),
      ...order.map((number, position) => header(number, { "grid-area": `1 / ${position + 2}` }, "column")),
      ...order.map((number, position) => header(number, { "grid-area": `${position + 2} / 1` }, "row")),
      ...order.map((_, position) =>
        el("span", { class: "same", style: { "grid-area": `${position + 2} / ${position + 2}` } }),
      ),
      ...cells.map(({ cell }) => cell),
    );
  }

  // Arrow keys move between cells; Tab reaches one cell only.
  function walk(event, cells) {
    const position = cells.findIndex(({ cell }) => cell === event.target);
    if (position === -1 || !event.key.startsWith("Arrow")) return;
    event.preventDefault();
    event.stopPropagation();
    const { row, column } = cells[position];
    const nearest = (candidates) =>
      candidates.sort(
        (one, other) =>
          Math.abs(one.row - row) - Math.abs(other.row - row) ||
          Math.abs(one.column - column) - Math.abs(other.column - column),
      )[0];
    const next = {
      ArrowLeft: () => cells[position - 1],
      ArrowRight: () => cells[position + 1],
      ArrowUp: () => nearest(cells.filter((other) => other.row < row)),
      ArrowDown: () => nearest(cells.filter((other) => other.row > row)),
    }[event.key]();
    if (next === undefined) return;
    event.target.tabIndex = -1;
    next.cell.tabIndex = 0;
    next.cell.focus();
  }

  // Bounds [lowest, highest] of the score of the last image within a budget; equal where the score is known.
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
    const [lowest, highest] = reached(images).map((value) => score(value));
    return lowest === highest ? lowest : `${lowest} to ${highest}`;
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
      "aria-label": "Number of images to review",
      onchange: () => {
        const wanted = Math.round(Number(number.value));
        if (wanted >= 1) masksift.state.set({ budget: Math.min(wanted, run.scored) });
        update();
      },
    });
    const summary = el("output", { for: "budget budget-number" });
    const log = el("input", { type: "checkbox", onchange: () => draw() });
    const container = el("div", { class: "histograms" });
    const draw = () => {
      container.replaceChildren(
        ...run.methods
          .filter((method) => run.distribution[method])
          .map((method) => histogram(method, run.distribution[method], log.checked)),
      );
      update();
    };

    function update() {
      const images = masksift.state.budget();
      slider.value = stops.findIndex((stop) => stop >= images);
      number.value = images;
      const [lowest, highest] = reached(images);
      slider.setAttribute("aria-valuetext", pluralize(images, "image"));
      summary.replaceChildren(
        `of ${count(run.scored)} images: `,
        el("strong", {}, masksift.share(images, run.scored)),
        `, up to a ${run.ranked_by} of `,
        el("strong", {}, masksift.reachedText(images)),
      );
      const figure = container.querySelector(".ranked");
      figure?.querySelector(".budget").style.setProperty("left", `${50 * (lowest + highest)}%`);
      figure
        ?.querySelectorAll("rect")
        .forEach((bar) => bar.classList.toggle("inside", Number(bar.dataset.bin) / 100 < (lowest + highest) / 2));
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
          el("label", { class: "faint" }, log, " logarithmic scale"),
        ),
        el(
          "div",
          { class: "budget-line" },
          el("label", { for: "budget-number" }, "Budget: review"),
          number,
          slider,
          summary,
        ),
        container,
      ),
    );
    draw();
  };

  function histogram(method, counts, logarithmic) {
    const run = masksift.data.run;
    const height = (value) => (logarithmic ? Math.log1p(value) : value);
    const tallest = height(Math.max(...counts, 1));
    const bars = counts.map((value, bin) =>
      value === 0
        ? null
        : svg(
            "rect",
            {
              x: bin + 0.08,
              width: 0.84,
              y: 40 - (40 * height(value)) / tallest,
              height: (40 * height(value)) / tallest,
              "data-bin": bin,
            },
            svg(
              "title",
              {},
              `${(bin / 100).toFixed(2)} to ${((bin + 1) / 100).toFixed(2)}: ${pluralize(value, "image")}`,
            ),
          ),
    );
    const first = counts.findIndex((value) => value > 0);
    const peak = counts.indexOf(Math.max(...counts));
    const label = `Distribution of ${method}: minimum about ${first / 100}, peak at about ${peak / 100}`;
    const ranked = method === run.ranked_by;
    return el(
      "figure",
      { class: ranked ? "ranked" : null },
      el("figcaption", {}, method, ranked ? el("span", { class: "faint" }, " (ranked by)") : null),
      el(
        "div",
        { class: "plot" },
        svg("svg", { viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img", "aria-label": label }, ...bars),
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
