// A card of the gallery: one image with its rank, its worst region in words, and its decision.
"use strict";

(() => {
  const { el, name, count, pluralize, score } = masksift;
  const { state, selection, decisions } = masksift;
  const MAX_OUTLINES = 10; // regions outlined on a card; the lightbox outlines all

  masksift.card = (row, position) => {
    const overlay = masksift.imageOverlay(row);
    const caption = el("p", { class: "caption" });
    const regionMarks = el("span", { class: "region-decisions" });
    const buttons = masksift.decisionButtons(`image ${masksift.plain(row.image_id)}`, (decision) => {
      decisions.set(row, null, decision);
      if (selection.position !== position) selection.goTo(position);
    });
    const open = openButton(row, position, overlay.node);
    const foot = el("div", { class: "foot" }, buttons.node, regionMarks);
    const classes = row.rank === null ? "card quarantined" : "card";
    const node = el("li", { class: classes, "data-number": row.number }, heading(row), open, caption, foot);
    let regions = [];
    let selected = -1;

    function showDecisions() {
      buttons.show(decisions.ofWholeImage(row));
      const combined = decisions.ofImage(row);
      for (const word of decisions.WORDS) node.classList.toggle(word, combined === word);
      regionMarks.replaceChildren(...regionDecisions(row));
      overlay.markSelected(selected, regions);
    }
    function showRegions() {
      overlay.setRegions(regions.slice(0, Math.max(MAX_OUTLINES, selected + 1)));
      caption.replaceChildren(...describe(row, regions, selected));
      showDecisions();
    }
    function setRegions(loaded) {
      regions = loaded;
      showRegions();
    }
    function setCurrent(current, region) {
      node.classList.toggle("current", current);
      const next = current ? region : -1;
      if (next !== selected) {
        selected = next;
        showRegions();
      }
    }
    showRegions();
    return { row, position, node, open, showDecisions, setRegions, setCurrent };
  };

  const rankText = (row) => (row.rank === null ? masksift.statusName(row.status) : count(row.rank));

  function heading(row) {
    const { ranked_by: by } = masksift.data.run;
    return el(
      "div",
      { class: "title" },
      el("span", { class: "rank", title: row.rank === null ? "not ranked" : "rank" }, rankText(row)),
      el("span", { class: "id", title: masksift.plain(row.image_id) }, name(row.image_id)),
      el("span", { class: "value", title: by }, row.rank === null ? "" : score(row.scores[by])),
    );
  }

  // The image is the button that opens it in the lightbox.
  function openButton(row, position, overlay) {
    const rank = row.rank === null ? rankText(row) : `rank ${rankText(row)}`;
    const label = `Open ${masksift.plain(row.image_id)}, ${rank}`;
    const onclick = () => {
      selection.goTo(position);
      state.set({ image: row.number }, true);
    };
    const onfocus = () => {
      if (selection.position !== position && state.values.image === null) selection.goTo(position);
    };
    return el("button", { type: "button", class: "frame", "aria-label": label, onclick, onfocus }, overlay);
  }

  // The caption: the reason of a quarantined image, else the selected region, or the worst one.
  function describe(row, regions, selected) {
    const details = row.warnings.map(masksift.plain).join("\n");
    const warning =
      details === "" ? [] : [el("span", { class: "warn", title: details }, " some data cannot be shown")];
    if (row.reason !== null) return [row.reason, ...warning];
    if (regions.length === 0) {
      const none = row.flagged
        ? `${pluralize(row.flagged, "flagged pixel")}, no region is listed`
        : "No pixel is flagged";
      return [row.regions > 0 ? "…" : none, ...warning];
    }
    const { given, suggested, area } = regions[Math.max(0, selected)];
    const others = row.listed_regions - 1;
    const more = others > 0 ? ` · and ${pluralize(others, "more region")}` : "";
    const place = selected >= 0 ? ` · region ${selected + 1} of ${regions.length}` : more;
    return [...masksift.data.regionNodes(given, suggested, area), el("span", { class: "faint" }, place), ...warning];
  }

  function regionDecisions(row) {
    const counts = decisions.regionCounts(row);
    const progress = decisions.progressText(row);
    const title = `${progress} reviewed`;
    const partial = progress === "" ? [] : [el("span", { class: "faint", title }, "partly reviewed")];
    const marks = decisions.WORDS.filter((word) => counts[word] > 0).map((word) => {
      const title = `${pluralize(counts[word], "region")}: ${word}`;
      return el("span", { class: word, title }, `${counts[word]} ${decisions.MARKS[word]}`);
    });
    return [...marks, ...partial];
  }
})();
