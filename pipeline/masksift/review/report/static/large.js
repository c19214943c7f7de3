// One image as large as the window: to zoom and to move, with its facts, scores, classes and regions beside it.
"use strict";

(() => {
  const { el, name, count, score, share } = masksift;
  const { state, cursor, verdicts } = masksift;
  const CLOSEST = 32; // pixels of the screen that a pixel of the picture takes at most
  const dialog = document.getElementById("large");
  let shot = null;
  let row = null;
  let zoom = { by: 1, x: 0, y: 0 }; // times the size that fits; the corner in pixels of the screen
  let parts = {};

  masksift.large = () => {
    parts = {
      title: el("h2"),
      stage: el("div", { class: "stage" }),
      tag: el("div", { class: "tag", hidden: true }),
      side: el("div", { class: "side" }),
      place: el("span", { class: "faint place" }),
    };
    parts.verdict = masksift.verdictButtons("the whole image", (word) => {
      cursor.choose(-1);
      cursor.say(word);
    });
    dialog.replaceChildren(titlebar(), toolbar(), el("div", { class: "both" }, parts.stage, parts.side));
    dialog.addEventListener("close", () => {
      state.set({ image: null });
      row = shot = null;
      parts.stage.replaceChildren(); // its picture may be large
      masksift.focusCard();
    });
    new ResizeObserver(place).observe(parts.stage);
    listen(parts.stage);
    cursor.heard(show);
    verdicts.heard(() => {
      if (row !== null) said();
    });
  };

  function titlebar() {
    const button = (text, title, key, pressed) =>
      el("button", { type: "button", title: `${title} (${key})`, "aria-label": title, onclick: pressed }, text);
    return el(
      "header",
      { class: "titlebar" },
      button("‹", "Image before", "left", () => cursor.move(-1)),
      button("›", "Next image", "right", () => cursor.move(1)),
      parts.title,
      parts.place,
      el("span", { class: "space" }),
      button("−", "Smaller", "-", () => zoomBy(1 / 1.5)),
      button("+", "Larger", "+", () => zoomBy(1.5)),
      button("Fit", "All of it", "0", fit),
      button("Region", "The chosen region, large", "z", toRegion),
      button("×", "Close", "Esc", () => dialog.close()),
    );
  }

  function toolbar() {
    const onchange = (event) => masksift.prefer({ goesOn: event.target.checked });
    const goesOn = el("input", { type: "checkbox", id: "goes-on", checked: cursor.goesOn, onchange });
    return el(
      "div",
      { class: "toolbar" },
      masksift.layers(),
      el("div", { class: "of-image" }, el("span", { class: "about" }, "Whole image"), parts.verdict.node),
      el("label", { class: "goes-on", title: "To the next region or image" }, goesOn, " go on after a verdict"),
    );
  }

  // Opens on the image that the state names, or closes.
  masksift.openLarge = () => {
    if (state.values.image === null) return dialog.close();
    if (!dialog.open) {
      dialog.showModal();
      dialog.focus(); // no button: the space bar would press it
    }
    if (cursor.row?.number === state.values.image) show();
    else cursor.go(masksift.list.find(state.values.image), state.values.image);
  };

  function show() {
    if (state.values.image === null || cursor.row === null) return;
    if (cursor.row.number !== row?.number) begin();
    if (parts.shownRegions !== cursor.regions) {
      parts.shownRegions = cursor.regions;
      shot.regions(cursor.regions, cursor.choose);
      listRegions();
    }
    said();
    if (cursor.chosen && zoom.by > 1) center(cursor.chosen);
  }

  function begin() {
    row = cursor.row;
    shot = masksift.shot(row);
    parts.shownRegions = null;
    parts.title.replaceChildren(name(row.image_id));
    const at = masksift.list.find(row.number);
    parts.place.textContent = at === -1 ? "not in the list" : `${count(at + 1)} of ${count(masksift.list.length)}`;
    shot.node.append(parts.tag);
    parts.stage.replaceChildren(shot.node);
    parts.regions = el("ol", { class: "regions" });
    parts.side.replaceChildren(
      facts(),
      el("h3", {}, "Regions"),
      parts.regions,
      el("h3", {}, "Scores"),
      scores(),
      ...legend(),
    );
    parts.side.scrollTop = 0;
    fit();
    ahead();
  }

  // The picture of the next image is on its way while this one is looked at.
  function ahead() {
    const next = cursor.at + 1;
    if (next >= masksift.list.length || !masksift.data.has(masksift.list.at(next))) return;
    const row = masksift.data.row(masksift.list.at(next));
    if (row.picture) new Image().src = masksift.data.file(row, "jpg");
    if (row.planes !== "") new Image().src = masksift.data.file(row, "png");
  }

  function facts() {
    const run = masksift.data.run;
    const [height, width] = row.size;
    const lines = [
      ["rank", row.rank === null ? masksift.statusName(row.status) : `${count(row.rank)} of ${count(run.scored)}`],
      ["source", [name(run.sources[row.source]), ` · ${count(row.index)}`]],
      ...run.columns.map((column) => [name(column), row.columns[column] === null ? "–" : name(row.columns[column])]),
      ["size", `${count(width)} × ${count(height)}`],
    ];
    if (row.flagged !== null)
      lines.push(["flagged", `${count(row.flagged)} px, ${share(row.flagged, width * height)} of all`]);
    if (row.pair !== null) {
      lines.push([
        "most of it",
        [
          `given `,
          name(masksift.data.className(row.pair[0])),
          ", suggested ",
          name(masksift.data.className(row.pair[1])),
        ],
      ]);
    }
    if (row.reason !== null) lines.push(["reason", row.reason]);
    row.lost.forEach((why) => lines.push(["not shown", why]));
    return el("dl", { class: "lines" }, ...lines.map(([title, value]) => [el("dt", {}, title), el("dd", {}, value)]));
  }

  function scores() {
    const { methods, ranked_by: by } = masksift.data.run;
    const lines = methods.map((method) =>
      el(
        "tr",
        { class: method === by ? "ranked" : null },
        el("th", { scope: "row" }, method),
        el("td", { class: "number" }, score(row.scores[method])),
        el("td", { class: "bar" }, el("span", { style: { "--share": row.scores[method] || 0 } })),
      ),
    );
    return el("table", { class: "scores", "aria-label": "Scores" }, el("tbody", {}, ...lines));
  }

  function legend() {
    if (row.classes.length === 0) return [];
    return [
      el("h3", {}, "Classes"),
      el(
        "ul",
        { class: "legend" },
        ...row.classes.map((number) => {
          const told = masksift.data.run.classes[number];
          return el("li", {}, masksift.swatch(told.colour), name(told.name));
        }),
      ),
    ];
  }

  function listRegions() {
    const { regions } = cursor;
    parts.buttons = regions.map((region, at) => {
      const verdict = masksift.verdictButtons(`region ${at + 1}`, (word) => {
        cursor.choose(at);
        cursor.say(word);
      });
      const means =
        region.kind === "omission" || region.self === null
          ? `predicted with ${score(region.predicted, 2)}`
          : `given class ${score(region.self, 2)}, predicted ${score(region.predicted, 2)}`;
      const line = el(
        "button",
        { type: "button", class: "region", onclick: () => cursor.choose(cursor.region === at ? -1 : at) },
        el("span", { class: "mark", "aria-hidden": "true" }),
        ...masksift.data.shown(region.given, region.suggested, region.area),
      );
      const more = el(
        "div",
        { class: "more" },
        el(
          "span",
          { class: "faint" },
          `rank ${count(region.rank)} of all, evidence ${score(region.evidence, 1)}, ${means}`,
        ),
        verdict.node,
      );
      return { node: el("li", {}, line, more), line, verdict, region };
    });
    parts.regions.replaceChildren(...parts.buttons.map(({ node }) => node));
    if (regions.length > 0) return;
    parts.regions.append(el("li", { class: "faint" }, row.regions > 0 ? "…" : "none is listed"));
  }

  // Verdicts and the chosen region, as they are now.
  function said() {
    parts.verdict.show(verdicts.ofWhole(row));
    shot.choose(cursor.region, cursor.regions, row);
    parts.buttons.forEach(({ node, line, verdict, region }, at) => {
      const word = verdicts.ofRegion(row, region);
      verdict.show(word);
      for (const one of verdicts.WORDS) node.classList.toggle(one, one === word);
      line.querySelector(".mark").textContent = word === null ? "" : verdicts.MARKS[word];
      line.setAttribute("aria-current", String(at === cursor.region));
      line.setAttribute("aria-label", `${line.textContent}${word === null ? "" : `: ${word}`}`);
      node.classList.toggle("chosen", at === cursor.region);
      if (at === cursor.region) node.scrollIntoView({ block: "nearest" });
    });
    const region = cursor.chosen;
    parts.tag.hidden = region === null;
    if (region === null) return;
    parts.tag.replaceChildren(...masksift.data.shown(region.given, region.suggested, region.area));
    parts.tag.classList.toggle("below", region.y0 < 0.12 * row.size[0]);
    parts.tag.classList.toggle("left", region.x0 > 0.5 * row.size[1]);
    const [top, left] = [region.y0 / row.size[0], region.x0 / row.size[1]];
    const [bottom, right] = [region.y1 / row.size[0], region.x1 / row.size[1]];
    for (const [key, value] of Object.entries({ top, left, bottom, right }))
      parts.tag.style.setProperty(`--${key}`, `${100 * value}%`);
  }

  // The size at which all of it fits.
  function fitting() {
    const [height, width] = row.shown;
    const by = Math.min(parts.stage.clientWidth / width, parts.stage.clientHeight / height);
    return { width: width * by, height: height * by, by };
  }

  function place() {
    if (row === null || parts.stage.clientWidth === 0) return;
    const size = fitting();
    const bound = (at, inside, outside) =>
      inside <= outside ? (outside - inside) / 2 : Math.min(0, Math.max(outside - inside, at));
    zoom.x = bound(zoom.x, size.width * zoom.by, parts.stage.clientWidth);
    zoom.y = bound(zoom.y, size.height * zoom.by, parts.stage.clientHeight);
    const told = { left: zoom.x, top: zoom.y, width: size.width * zoom.by, height: size.height * zoom.by };
    for (const [key, value] of Object.entries(told)) shot.node.style.setProperty(key, `${value}px`);
    parts.stage.classList.toggle("zoomed", zoom.by > 1);
  }

  function fit() {
    zoom = { by: 1, x: 0, y: 0 };
    place();
  }

  // Closer or farther, so that what is at a point of the stage stays there: at first its middle.
  function zoomBy(factor, x = parts.stage.clientWidth / 2, y = parts.stage.clientHeight / 2) {
    if (row === null) return;
    const most = Math.max(1, CLOSEST / fitting().by);
    const by = Math.min(most, Math.max(1, zoom.by * factor));
    zoom = { by, x: x - ((x - zoom.x) * by) / zoom.by, y: y - ((y - zoom.y) * by) / zoom.by };
    place();
  }
  masksift.zoomBy = zoomBy;
  masksift.zoomFit = () => {
    if (row !== null) fit();
  };

  function center(region) {
    const size = fitting();
    const middle = [(region.x0 + region.x1) / 2 / row.size[1], (region.y0 + region.y1) / 2 / row.size[0]];
    zoom.x = parts.stage.clientWidth / 2 - middle[0] * size.width * zoom.by;
    zoom.y = parts.stage.clientHeight / 2 - middle[1] * size.height * zoom.by;
    place();
  }

  // The chosen region, or the first one, at half of the stage.
  function toRegion() {
    if (row === null || cursor.regions.length === 0) return;
    if (cursor.region === -1) cursor.choose(0);
    const { x0, y0, x1, y1 } = cursor.chosen;
    const size = fitting();
    const half =
      Math.min(
        (parts.stage.clientWidth * row.size[1]) / ((x1 - x0) * size.width),
        (parts.stage.clientHeight * row.size[0]) / ((y1 - y0) * size.height),
      ) / 2;
    zoom.by = Math.min(Math.max(1, CLOSEST / size.by), Math.max(1, half));
    center(cursor.chosen);
  }
  masksift.zoomRegion = toRegion;

  function listen(stage) {
    stage.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        const box = stage.getBoundingClientRect();
        zoomBy(Math.exp(-event.deltaY / 400), event.clientX - box.left, event.clientY - box.top);
      },
      { passive: false },
    );
    stage.addEventListener("dblclick", (event) => {
      const box = stage.getBoundingClientRect();
      if (zoom.by > 1) fit();
      else zoomBy(4, event.clientX - box.left, event.clientY - box.top);
    });
    let from = null;
    let dragged = false;
    stage.addEventListener("pointerdown", (event) => {
      dragged = false;
      if (event.button === 0 && zoom.by > 1) from = { x: event.clientX, y: event.clientY, zoom };
    });
    stage.addEventListener("pointermove", (event) => {
      if (from === null) return;
      const [x, y] = [event.clientX - from.x, event.clientY - from.y];
      if (!dragged && Math.hypot(x, y) < 4) return;
      dragged = true;
      stage.setPointerCapture(event.pointerId);
      zoom = { by: from.zoom.by, x: from.zoom.x + x, y: from.zoom.y + y };
      place();
    });
    for (const end of ["pointerup", "pointercancel"])
      stage.addEventListener(end, () => {
        from = null;
      });
    // Where a box is dragged it is not chosen.
    stage.addEventListener(
      "click",
      (event) => {
        if (dragged) event.stopPropagation();
      },
      true,
    );
  }
})();
