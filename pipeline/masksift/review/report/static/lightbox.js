// The lightbox: one image in the full window with zoom and pan, next to its details, scores, classes and regions.
"use strict";

(() => {
  const { el, name, count, pluralize, score, share } = masksift;
  const { state, selection, decisions } = masksift;
  const MAX_PIXEL_SIZE = 32; // screen pixels of one image pixel at the largest zoom
  const dialog = document.getElementById("lightbox");
  let overlay = null;
  let row = null;
  let zoom = { by: 1, x: 0, y: 0 }; // factor over the fitting size, upper left corner in screen pixels
  let parts = {};

  masksift.lightbox = () => {
    parts = {
      title: el("h2"),
      stage: el("div", { class: "stage" }),
      tag: el("div", { class: "tag", hidden: true }),
      side: el("div", { class: "side" }),
      place: el("span", { class: "faint place" }),
      progress: el("span", { class: "faint", role: "status" }),
    };
    parts.decision = masksift.decisionButtons("the whole image", (word) => {
      selection.selectRegion(-1);
      selection.decide(word);
    });
    dialog.replaceChildren(titlebar(), toolbar(), el("div", { class: "both" }, parts.stage, parts.side));
    dialog.addEventListener("close", () => {
      state.set({ image: null });
      row = overlay = null;
      parts.stage.replaceChildren(); // release the image, which may be large
      masksift.focusCard();
    });
    new ResizeObserver(applyZoom).observe(parts.stage);
    listen(parts.stage);
    selection.onChange(show);
    decisions.onChange(() => {
      if (row !== null) showDecisions();
    });
  };

  function titlebar() {
    const button = (text, title, key, onclick) =>
      el("button", { type: "button", title: `${title} (${key})`, "aria-label": title, onclick }, text);
    return el(
      "header",
      { class: "titlebar" },
      button("‹", "Previous image", "left", () => selection.move(-1)),
      button("›", "Next image", "right", () => selection.move(1)),
      parts.title,
      parts.place,
      el("span", { class: "space" }),
      button("−", "Zoom out", "-", () => zoomBy(1 / 1.5)),
      button("+", "Zoom in", "+", () => zoomBy(1.5)),
      button("Fit", "Fit the whole image", "0", fit),
      button("Region", "Zoom to the selected region", "z", zoomToRegion),
      button("×", "Close", "Esc", () => dialog.close()),
    );
  }

  function toolbar() {
    const onchange = (event) => masksift.prefer({ autoAdvance: event.target.checked });
    const autoAdvance = el("input", { type: "checkbox", id: "auto-advance", checked: selection.autoAdvance, onchange });
    return el(
      "div",
      { class: "toolbar" },
      masksift.layers(),
      el(
        "div",
        { class: "whole-image" },
        el("span", { class: "about" }, "Whole image"),
        parts.decision.node,
        parts.progress,
      ),
      el(
        "label",
        { class: "auto-advance", title: "Go to the next region or image" },
        autoAdvance,
        " advance after a decision",
      ),
    );
  }

  // Open the image of the state, or close.
  masksift.openLightbox = () => {
    if (state.values.image === null) return dialog.close();
    if (!dialog.open) {
      dialog.showModal();
      dialog.focus(); // not a button, which the space bar would press
    }
    if (selection.row?.number === state.values.image) show();
    else selection.goTo(masksift.list.find(state.values.image), state.values.image);
  };

  function show() {
    if (state.values.image === null || selection.row === null) return;
    if (selection.row.number !== row?.number) showImage();
    if (parts.shownRegions !== selection.regions) {
      parts.shownRegions = selection.regions;
      overlay.setRegions(selection.regions, selection.selectRegion);
      listRegions();
    }
    showDecisions();
    if (selection.selectedRegion && zoom.by > 1) center(selection.selectedRegion);
  }

  function showImage() {
    row = selection.row;
    overlay = masksift.imageOverlay(row);
    parts.shownRegions = null;
    parts.title.replaceChildren(name(row.image_id));
    const position = masksift.list.find(row.number);
    parts.place.textContent =
      position === -1 ? "not in the list" : `${count(position + 1)} of ${count(masksift.list.length)}`;
    overlay.node.append(parts.tag);
    parts.stage.replaceChildren(overlay.node);
    parts.regions = el("ol", { class: "regions" });
    parts.side.replaceChildren(
      details(),
      el("h3", {}, "Regions"),
      parts.regions,
      el("h3", {}, "Scores"),
      scores(),
      ...legend(),
    );
    parts.side.scrollTop = 0;
    fit();
    preloadNext();
  }

  function preloadNext() {
    const next = selection.position + 1;
    if (next >= masksift.list.length || !masksift.data.has(masksift.list.at(next))) return;
    const row = masksift.data.row(masksift.list.at(next));
    if (row.picture) new Image().src = masksift.data.file(row, "jpg");
    if (row.planes !== "") new Image().src = masksift.data.file(row, "png");
  }

  function details() {
    const run = masksift.data.run;
    const [height, width] = row.size;
    const lines = [
      ["rank", row.rank === null ? masksift.statusName(row.status) : `${count(row.rank)} of ${count(run.scored)}`],
      ["source", [name(run.sources[row.source]), ` · ${count(row.index)}`]],
      ...run.columns.map((column) => [name(column), row.columns[column] === null ? "–" : name(row.columns[column])]),
      ["size", `${count(width)} × ${count(height)}`],
    ];
    if (row.flagged !== null)
      lines.push(["flagged", `${count(row.flagged)} px, ${share(row.flagged, width * height)} of the image`]);
    if (row.pair !== null) {
      lines.push([
        "mostly",
        [
          `given `,
          name(masksift.data.className(row.pair[0])),
          ", suggested ",
          name(masksift.data.className(row.pair[1])),
        ],
      ]);
    }
    if (row.misplaced) lines.push(["position", row.misplaced]);
    if (row.agrees_less !== null) {
      const [number, much] = row.agrees_less;
      const less = ` agrees ${much ? "much " : ""}less than in the other images`;
      lines.push(["agreement", [name(masksift.data.className(number)), less]]);
    }
    if (row.reason !== null) lines.push(["reason", row.reason]);
    row.warnings.forEach((warning) => lines.push(["not shown", warning]));
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
          const { color, name: className } = masksift.data.run.classes[number];
          return el("li", {}, masksift.swatch(color), name(className));
        }),
      ),
    ];
  }

  function listRegions() {
    const { regions } = selection;
    parts.buttons = regions.map((region, position) => {
      const buttons = masksift.decisionButtons(`region ${position + 1}`, (word) => {
        selection.selectRegion(position);
        selection.decide(word);
      });
      const confidence =
        region.kind === "omission" || region.self === null
          ? `predicted ${score(region.predicted, 2)}`
          : `given class ${score(region.self, 2)}, predicted ${score(region.predicted, 2)}`;
      const line = el(
        "button",
        {
          type: "button",
          class: "region",
          onclick: () => selection.selectRegion(selection.region === position ? -1 : position),
        },
        el("span", { class: "mark", "aria-hidden": "true" }),
        ...masksift.data.regionNodes(region.given, region.suggested, region.area),
      );
      const more = el(
        "div",
        { class: "more" },
        el(
          "span",
          { class: "faint" },
          `rank ${count(region.rank)}, priority ${score(region.priority, 1)}, evidence ${score(region.evidence, 1)}, ` +
            confidence,
        ),
        buttons.node,
      );
      return { node: el("li", {}, line, more), line, buttons, region };
    });
    parts.regions.replaceChildren(...parts.buttons.map(({ node }) => node));
    if (regions.length === 0) {
      parts.regions.append(el("li", { class: "faint" }, row.regions > 0 ? "…" : "no region is listed"));
    } else if (row.listed_regions > regions.length) {
      const others = pluralize(row.listed_regions - regions.length, "more region");
      parts.regions.append(el("li", { class: "faint" }, `${others} not shown: decide on them with the whole image`));
    }
  }

  function showDecisions() {
    parts.decision.show(decisions.ofWholeImage(row));
    const progress = decisions.progressText(row);
    parts.progress.textContent = progress === "" ? "" : `partly reviewed: ${progress}`;
    overlay.markSelected(selection.region, selection.regions);
    parts.buttons.forEach(({ node, line, buttons, region }, position) => {
      const word = decisions.ofRegion(row, region);
      buttons.show(word);
      for (const other of decisions.WORDS) node.classList.toggle(other, other === word);
      line.querySelector(".mark").textContent = word === null ? "" : decisions.MARKS[word];
      line.setAttribute("aria-current", String(position === selection.region));
      line.setAttribute("aria-label", `${line.textContent}${word === null ? "" : `: ${word}`}`);
      node.classList.toggle("selected", position === selection.region);
      if (position === selection.region) node.scrollIntoView({ block: "nearest" });
    });
    const region = selection.selectedRegion;
    parts.tag.hidden = region === null;
    if (region === null) return;
    parts.tag.replaceChildren(...masksift.data.regionNodes(region.given, region.suggested, region.area));
    parts.tag.classList.toggle("below", region.y0 < 0.12 * row.size[0]);
    parts.tag.classList.toggle("left", region.x0 > 0.5 * row.size[1]);
    const [top, left] = [region.y0 / row.size[0], region.x0 / row.size[1]];
    const [bottom, right] = [region.y1 / row.size[0], region.x1 / row.size[1]];
    for (const [key, value] of Object.entries({ top, left, bottom, right }))
      parts.tag.style.setProperty(`--${key}`, `${100 * value}%`);
  }

  // The size at which the whole image fits.
  function fittingSize() {
    const [height, width] = row.view_size;
    const by = Math.min(parts.stage.clientWidth / width, parts.stage.clientHeight / height);
    return { width: width * by, height: height * by, by };
  }

  function applyZoom() {
    if (row === null || parts.stage.clientWidth === 0) return;
    const size = fittingSize();
    const bound = (offset, inside, outside) =>
      inside <= outside ? (outside - inside) / 2 : Math.min(0, Math.max(outside - inside, offset));
    zoom.x = bound(zoom.x, size.width * zoom.by, parts.stage.clientWidth);
    zoom.y = bound(zoom.y, size.height * zoom.by, parts.stage.clientHeight);
    const position = { left: zoom.x, top: zoom.y, width: size.width * zoom.by, height: size.height * zoom.by };
    for (const [key, value] of Object.entries(position)) overlay.node.style.setProperty(key, `${value}px`);
    parts.stage.classList.toggle("zoomed", zoom.by > 1);
  }

  function fit() {
    zoom = { by: 1, x: 0, y: 0 };
    applyZoom();
  }

  // Zoom by a factor around a point of the stage, its center by default: the pixel under the point stays there.
  function zoomBy(factor, x = parts.stage.clientWidth / 2, y = parts.stage.clientHeight / 2) {
    if (row === null) return;
    const largest = Math.max(1, MAX_PIXEL_SIZE / fittingSize().by);
    const by = Math.min(largest, Math.max(1, zoom.by * factor));
    zoom = { by, x: x - ((x - zoom.x) * by) / zoom.by, y: y - ((y - zoom.y) * by) / zoom.by };
    applyZoom();
  }
  masksift.zoomBy = zoomBy;
  masksift.zoomFit = () => {
    if (row !== null) fit();
  };

  function center(region) {
    const size = fittingSize();
    const middle = [(region.x0 + region.x1) / 2 / row.size[1], (region.y0 + region.y1) / 2 / row.size[0]];
    zoom.x = parts.stage.clientWidth / 2 - middle[0] * size.width * zoom.by;
    zoom.y = parts.stage.clientHeight / 2 - middle[1] * size.height * zoom.by;
    applyZoom();
  }

  // Zoom so that the selected region, or else the first one, fills half of the stage.
  function zoomToRegion() {
    if (row === null || selection.regions.length === 0) return;
    if (selection.region === -1) selection.selectRegion(0);
    const { x0, y0, x1, y1 } = selection.selectedRegion;
    const size = fittingSize();
    const half =
      Math.min(
        (parts.stage.clientWidth * row.size[1]) / ((x1 - x0) * size.width),
        (parts.stage.clientHeight * row.size[0]) / ((y1 - y0) * size.height),
      ) / 2;
    zoom.by = Math.min(Math.max(1, MAX_PIXEL_SIZE / size.by), Math.max(1, half));
    center(selection.selectedRegion);
  }
  masksift.zoomRegion = zoomToRegion;

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
    let start = null;
    let dragged = false;
    stage.addEventListener("pointerdown", (event) => {
      dragged = false;
      if (event.button === 0 && zoom.by > 1) start = { x: event.clientX, y: event.clientY, zoom };
    });
    stage.addEventListener("pointermove", (event) => {
      if (start === null) return;
      const [x, y] = [event.clientX - start.x, event.clientY - start.y];
      if (!dragged && Math.hypot(x, y) < 4) return;
      dragged = true;
      stage.setPointerCapture(event.pointerId);
      zoom = { by: start.zoom.by, x: start.zoom.x + x, y: start.zoom.y + y };
      applyZoom();
    });
    for (const end of ["pointerup", "pointercancel"])
      stage.addEventListener(end, () => {
        start = null;
      });
    // Dragging a box does not select it.
    stage.addEventListener(
      "click",
      (event) => {
        if (dragged) event.stopPropagation();
      },
      true,
    );
  }
})();
