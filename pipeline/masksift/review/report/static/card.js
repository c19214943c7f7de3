// One image in the gallery: its rank, what it looks like, its worst region in words, and what was said of it.
"use strict";

(() => {
  const { el, name, count, many, score } = masksift;
  const { state, cursor, verdicts } = masksift;
  const OUTLINED = 10; // regions of a small picture: the others show in the large view

  masksift.card = (row, at) => {
    const shot = masksift.shot(row);
    const caption = el("p", { class: "caption" });
    const ofRegions = el("span", { class: "of-regions" });
    const buttons = masksift.verdictButtons(`image ${masksift.plain(row.image_id)}`, (verdict) => {
      verdicts.set(row, null, verdict);
      if (cursor.at !== at) cursor.go(at);
    });
    const open = opening(row, at, shot.node);
    const foot = el("div", { class: "foot" }, buttons.node, ofRegions);
    const kind = row.rank === null ? "card lost" : "card";
    const node = el("li", { class: kind, "data-number": row.number }, heading(row), open, caption, foot);
    let regions = [];
    let chosen = -1;

    // What was said of it, as it is now.
    function say() {
      buttons.show(verdicts.ofWhole(row));
      const together = verdicts.ofImage(row);
      for (const word of verdicts.WORDS) node.classList.toggle(word, together === word);
      ofRegions.replaceChildren(...saidOfRegions(row));
      shot.choose(chosen, regions, row);
    }
    function outline() {
      shot.regions(regions.slice(0, Math.max(OUTLINED, chosen + 1)));
      caption.replaceChildren(...words(row, regions, chosen));
      say();
    }
    // Its regions have been read.
    function show(read) {
      regions = read;
      outline();
    }
    // The cursor is on it, and on which of its regions; or it is elsewhere.
    function current(here, region) {
      node.classList.toggle("current", here);
      const next = here ? region : -1;
      if (next !== chosen) {
        chosen = next;
        outline();
      }
    }
    outline();
    return { row, at, node, open, say, show, current };
  };

  const title = (row) => (row.rank === null ? masksift.statusName(row.status) : count(row.rank));

  function heading(row) {
    const { ranked_by: by } = masksift.data.run;
    return el(
      "div",
      { class: "title" },
      el("span", { class: "rank", title: row.rank === null ? "not ranked" : "rank" }, title(row)),
      el("span", { class: "id", title: masksift.plain(row.image_id) }, name(row.image_id)),
      el("span", { class: "value", title: by }, row.rank === null ? "" : score(row.scores[by])),
    );
  }

  // The picture is the button that opens it.
  function opening(row, at, shot) {
    const rank = row.rank === null ? title(row) : `rank ${title(row)}`;
    const told = `Open ${masksift.plain(row.image_id)}, ${rank}`;
    const onclick = () => {
      cursor.go(at);
      state.set({ image: row.number }, true);
    };
    const onfocus = () => {
      if (cursor.at !== at && state.values.image === null) cursor.go(at);
    };
    return el("button", { type: "button", class: "frame", "aria-label": told, onclick, onfocus }, shot);
  }

  // What is to be said of it: why it has no rank, or the chosen region, at first the worst one.
  function words(row, regions, chosen) {
    const lost = row.lost.map(masksift.plain).join("\n");
    const warning = lost === "" ? [] : [el("span", { class: "warn", title: lost }, " not all can be shown")];
    if (row.reason !== null) return [row.reason, ...warning];
    if (regions.length === 0) {
      const none = row.flagged ? `${many(row.flagged, "flagged pixel")}, no region is listed` : "No pixel is flagged";
      return [row.regions > 0 ? "…" : none, ...warning];
    }
    const { given, suggested, area } = regions[Math.max(0, chosen)];
    const others = regions.length - 1;
    const more = others > 0 ? ` · and ${many(others, "more region")}` : "";
    const place = chosen >= 0 ? ` · region ${chosen + 1} of ${regions.length}` : more;
    return [...masksift.data.shown(given, suggested, area), el("span", { class: "faint" }, place), ...warning];
  }

  function saidOfRegions(row) {
    const counts = verdicts.ofRegions(row);
    return verdicts.WORDS.filter((word) => counts[word] > 0).map((word) => {
      const told = `${many(counts[word], "region")}: ${word}`;
      return el("span", { class: word, title: told }, `${counts[word]} ${verdicts.MARKS[word]}`);
    });
  }
})();
