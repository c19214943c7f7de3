// The head: what was run, what came of it, how long it took; and the table of classes.
"use strict";

(() => {
  const { el, name, count, many, share, score } = masksift;
  const STATUS = {
    scored: "scored",
    missing_chunk: "missing chunk",
    unreadable: "unreadable chunk",
    bad_labels: "bad labels",
    bad_probabilities: "bad probabilities",
    all_ignored: "all ignored",
  };
  masksift.statusName = (status) => STATUS[status] ?? status;

  function facts() {
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
          `run ${run.run.slice(0, 12)}, begun ${time(run.started)}`,
          run.finished === null ? null : `, took ${masksift.duration(run.seconds)}`,
          ` with ${many(run.workers, "worker")}, masksift ${run.masksift}`,
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
    const lost = Object.entries(run.counts).filter(([status, number]) => status !== "scored" && number > 0);
    const quarantined = lost.reduce((sum, [, number]) => sum + number, 0);
    const reasons = lost.map(([status, number]) =>
      el(
        "li",
        {},
        el(
          "button",
          {
            type: "button",
            class: "link",
            title: "Show these",
            onclick: () => {
              masksift.state.set({ status }, true);
              masksift.toSection("images");
            },
          },
          `${masksift.statusName(status)}: ${count(number)}`,
        ),
      ),
    );
    return [
      tile("Images scored", count(run.scored), `of ${count(run.images)} in ${many(run.sources.length, "source")}`),
      tile("Quarantined", count(quarantined), lost.length === 0 ? "none has a fault" : el("ul", {}, ...reasons)),
      tile(
        "Pixels flagged",
        share(run.flagged_pixels, run.pixels),
        `${count(run.flagged_pixels)} of ${count(run.pixels)} that are labelled`,
      ),
      tile(
        "Estimated wrong",
        count(run.estimated_issues),
        `pixels, ${share(run.estimated_issues, run.pixels)}, by confident learning`,
      ),
      tile("Ranked by", run.ranked_by, run.scored === 0 ? "no image is scored" : `the worst come first; ${shown(run)}`),
    ];
  }

  function shown(run) {
    const kept = run.keeps_evidence ? "" : "; predictions were not kept, so that they cannot be shown";
    return `${many(run.rows, "image")} in this report${kept}`;
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
    const head = ["stage", "time", "", "read", "written"].map((title, at) =>
      el("th", { scope: "col", class: at > 0 ? "number" : null }, title),
    );
    return el(
      "div",
      { class: "scroll stages" },
      el("table", { "aria-label": "Time by stage" }, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows)),
    );
  }

  // A table that its columns sort: [title, value of a row, its cell, whether it is a number], numbers the most first.
  function sortable(label, columns, rows, sortedBy) {
    const body = el("tbody");
    const heads = columns.map(([title, , , numeric], place) =>
      el(
        "th",
        { scope: "col", class: numeric ? "number" : null },
        el("button", { type: "button", onclick: () => sort(place) }, title),
      ),
    );
    let by = null;
    let down = false;

    function sort(place) {
      down = by === place ? !down : Boolean(columns[place][3]);
      by = place;
      const value = columns[place][1];
      const without = (row) => value(row) === null; // these come last either way
      const order = (one, other) => (value(one) < value(other) ? -1 : value(one) > value(other) ? 1 : 0);
      const sorted = rows
        .filter((row) => !without(row))
        .sort((one, other) => (down ? order(other, one) : order(one, other)));
      heads.forEach((head, at) =>
        head.setAttribute("aria-sort", at !== by ? "none" : down ? "descending" : "ascending"),
      );
      body.replaceChildren(
        ...[...sorted, ...rows.filter(without)].map((row) =>
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
    const rows = run.classes.map((told, number) => ({ ...told, number }));
    const threshold = (which) => [(row) => row[which], (row) => score(row[which], 3), true];
    const columns = [
      ["class", (row) => row.number, (row) => [masksift.swatch(row.colour), name(row.name)], false],
      ["pixels", (row) => row.pixels, (row) => count(row.pixels), true],
      ["flagged", (row) => row.flagged, (row) => count(row.flagged), true],
      ["quality", ...threshold("quality")],
      ["confident from", ...threshold("confident_threshold")],
      ["decided at", ...threshold("decision_threshold")],
    ];
    return el(
      "div",
      { class: "panel" },
      el("h2", {}, many(rows.length, "class", "classes")),
      el(
        "p",
        { class: "faint" },
        "Quality is the share of the pixels given a class that are not flagged. A pixel is " +
          "predicted confidently from the first threshold on; ",
        el("code", {}, "tccp"),
        " decides at the second.",
      ),
      sortable("Table of classes", columns, rows, 2),
    );
  }

  masksift.facts = () => {
    facts();
    document.getElementById("classes").replaceChildren(classes(), masksift.heat());
  };
})();
