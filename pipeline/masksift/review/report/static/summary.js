// The run summary at the top of the page, and the class table.
"use strict";

(() => {
  const { el, name, count, pluralize, share, score } = masksift;
  const STATUS = {
    scored: "scored",
    missing_chunk: "missing chunk",
    unreadable: "unreadable chunk",
    bad_labels: "bad labels",
    bad_probabilities: "bad probabilities",
    all_ignored: "all ignored",
  };
  masksift.statusName = (status) => STATUS[status] ?? status;

  function showRun() {
    const run = masksift.data.run;
    const section = document.getElementById("run");
    document.title = `masksift: ${run.out}`;
    section.replaceChildren(
      el(
        "div",
        { class: "head" },
        el("h2", {}, name(run.out)),
        el(
          "p",
          { class: "faint" },
          `run ${run.run.slice(0, 12)}, started ${time(run.started)}`,
          run.finished === null ? null : `, took ${masksift.duration(run.seconds)}`,
          ` with ${pluralize(run.workers, "worker")}, masksift ${run.masksift}`,
        ),
      ),
      el("dl", { class: "facts" }, ...tiles(run)),
      stages(run),
    );
  }

  const time = (text) =>
    text
      .replace("T", " ")
      .replace(/(:\d\d)\.\d+/, "$1")
      .replace(/\+00:00$|Z$/, " UTC");

  function tiles(run) {
    const quarantinedCounts = Object.entries(run.counts).filter(
      ([status, number]) => status !== "scored" && number > 0,
    );
    const quarantined = quarantinedCounts.reduce((sum, [, number]) => sum + number, 0);
    const reasons = quarantinedCounts.map(([status, number]) =>
      el(
        "li",
        {},
        el(
          "button",
          {
            type: "button",
            class: "link",
            title: "Show these images",
            onclick: () => {
              masksift.state.set({ status }, true);
              masksift.toSection("images");
            },
          },
          `${masksift.statusName(status)}: ${count(number)}`,
        ),
        ...causes(run, status),
      ),
    );
    return [
      tile("Images scored", count(run.scored), `of ${count(run.images)} in ${pluralize(run.sources.length, "source")}`),
      tile("Quarantined", count(quarantined), quarantinedCounts.length === 0 ? "no image" : el("ul", {}, ...reasons)),
      tile(
        "Pixels flagged",
        share(run.flagged_pixels, run.pixels),
        `${count(run.flagged_pixels)} of ${count(run.pixels)} labeled pixels`,
      ),
      tile(
        "Estimated label errors",
        count(run.estimated_issues),
        `pixels, ${share(run.estimated_issues, run.pixels)}, by confident learning`,
      ),
      tile("Ranked by", run.ranked_by, run.scored === 0 ? "no image is scored" : `worst first; ${reportSize(run)}`),
    ];
  }

  // The causes of a status: number of images, an example and the advice.
  function causes(run, status) {
    const listed = (run.quarantine ?? []).filter((cause) => cause.status === status);
    if (listed.length === 0) return [];
    const items = listed.map(({ images, image, reason, advice }) =>
      el("li", { title: reason }, `${count(images)}, such as ${image}: ${advice ?? reason}`),
    );
    return [el("ul", {}, ...items)];
  }

  function reportSize(run) {
    const note = run.keeps_evidence ? "" : "; predictions are not shown, because the run kept no evidence";
    return `${pluralize(run.rows, "image")} in this report${note}`;
  }

  const tile = (title, value, ...more) =>
    el("div", {}, el("dt", {}, title), el("dd", {}, el("strong", {}, value), el("span", { class: "faint" }, ...more)));

  function stages(run) {
    if (run.stages.length === 0) return null;
    const longest = Math.max(...run.stages.map((stage) => stage.seconds), 1e-9);
    const rows = run.stages.map((stage) =>
      el(
        "tr",
        {},
        el("th", { scope: "row" }, stage.name),
        el("td", { class: "number" }, masksift.duration(stage.seconds)),
        el("td", { class: "bar" }, el("span", { style: { "--share": stage.seconds / longest } })),
        el("td", { class: "number" }, masksift.bytes(stage.bytes_read)),
        el("td", { class: "number" }, masksift.bytes(stage.bytes_written)),
      ),
    );
    const head = ["stage", "time", "", "read", "written"].map((title, index) =>
      el("th", { scope: "col", class: index > 0 ? "number" : null }, title),
    );
    return el(
      "div",
      { class: "scroll stages" },
      el("table", { "aria-label": "Time by stage" }, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows)),
    );
  }

  // A sortable table. Columns are [title, value(row), cell(row), numeric]; numeric columns sort descending first.
  function sortable(label, columns, rows, sortedBy) {
    const body = el("tbody");
    const heads = columns.map(([title, , , numeric], column) =>
      el(
        "th",
        { scope: "col", class: numeric ? "number" : null },
        el("button", { type: "button", onclick: () => sort(column) }, title),
      ),
    );
    let by = null;
    let descending = false;

    function sort(column) {
      descending = by === column ? !descending : Boolean(columns[column][3]);
      by = column;
      const value = columns[column][1];
      const isEmpty = (row) => value(row) === null; // empty values come last in both directions
      const order = (one, other) => (value(one) < value(other) ? -1 : value(one) > value(other) ? 1 : 0);
      const sorted = rows
        .filter((row) => !isEmpty(row))
        .sort((one, other) => (descending ? order(other, one) : order(one, other)));
      heads.forEach((head, index) =>
        head.setAttribute("aria-sort", index !== by ? "none" : descending ? "descending" : "ascending"),
      );
      body.replaceChildren(
        ...[...sorted, ...rows.filter(isEmpty)].map((row) =>
          el(
            "tr",
            {},
            ...columns.map(([, , cell, numeric]) => el("td", { class: numeric ? "number" : null }, cell(row))),
          ),
        ),
      );
    }
    sort(sortedBy);
    return el(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
      el("table", {}, el("thead", {}, el("tr", {}, ...heads)), body),
    );
  }

  function classes() {
    const run = masksift.data.run;
    const rows = run.classes.map((row, number) => ({ ...row, number }));
    const threshold = (which) => [(row) => row[which], (row) => score(row[which], 3), true];
    const columns = [
      ["class", (row) => row.number, (row) => [masksift.swatch(row.color), name(row.name)], false],
      ["pixels", (row) => row.pixels, (row) => count(row.pixels), true],
      ["flagged", (row) => row.flagged, (row) => count(row.flagged), true],
      ["quality", ...threshold("quality")],
      ["confident ≥", ...threshold("confident_threshold")],
      ["decision ≥", ...threshold("decision_threshold")],
    ];
    return el(
      "div",
      { class: "panel" },
      el("h2", {}, pluralize(rows.length, "class", "classes")),
      el(
        "p",
        { class: "faint" },
        "Quality: share of the pixels labeled with a class that are not flagged. A prediction is confident from the " +
          "confident threshold on; ",
        el("code", {}, "tccp"),
        " uses the decision threshold.",
      ),
      sortable("Class table", columns, rows, 2),
    );
  }

  masksift.summary = () => {
    showRun();
    document.getElementById("classes").replaceChildren(classes(), masksift.heat());
  };
})();
