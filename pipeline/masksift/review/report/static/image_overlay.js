// One image with its overlays: class planes, flagged pixels and region boxes. Attributes of the document root decide
// which layers are visible, so that one key switches all images of the page at once.
"use strict";

(() => {
  const { el, svg } = masksift;
  const PLANES = { g: "given", p: "predicted", i: "issues" };
  const FAINT_FROM = 10; // boxes from this position on are drawn faintly

  // Returns {node, setRegions, markSelected}.
  masksift.imageOverlay = (row) => {
    const [height, width] = row.view_size;
    const letters = [...row.planes];
    const fallback = row.picture ? null : (["g", "p"].find((letter) => letters.includes(letter)) ?? null);
    const node = el("div", { class: "image-overlay", style: { "--ratio": width / height } });
    const markFailed = (what) => () => node.classList.add(`failed-${what}`);
    if (row.picture) {
      node.append(
        el(
          "span",
          { class: "crop" },
          el("img", {
            class: "picture",
            src: masksift.data.file(row, "jpg"),
            style: masksift.data.sheetStyle(row),
            alt: "",
            draggable: "false",
            decoding: "async",
            onerror: markFailed("picture"),
          }),
        ),
      );
    }
    const order = masksift.data.run.planes;
    letters.forEach((letter) =>
      node.append(
        el(
          "span",
          { class: `crop plane ${PLANES[letter]}${letter === fallback ? " fallback" : ""}` },
          el("img", {
            src: masksift.data.file(row, "png"),
            style: masksift.data.sheetStyle(row, order.indexOf(letter), order.length),
            alt: "",
            draggable: "false",
            decoding: "async",
            onerror: markFailed("planes"),
          }),
        ),
      ),
    );
    if (!row.picture && letters.length === 0) node.append(el("span", { class: "nothing" }, "nothing to show"));
    const boxes = svg("svg", {
      class: "boxes",
      viewBox: `0 0 ${row.size[1]} ${row.size[0]}`,
      preserveAspectRatio: "none",
      "aria-hidden": "true",
    });
    node.append(boxes);

    // Large boxes are drawn first, so that a small box inside one can be clicked. `onSelect(position)` handles clicks.
    let groups = [];
    function setRegions(regions, onSelect = null) {
      const area = (position) => {
        const { y0, x0, y1, x1 } = regions[position];
        return (y1 - y0) * (x1 - x0);
      };
      groups = regions.map((region, position) => {
        const rect = { x: region.x0, y: region.y0, width: region.x1 - region.x0, height: region.y1 - region.y0 };
        return svg(
          "g",
          {
            class: `box ${region.kind === "omission" ? "omission" : ""}`,
            onclick: onSelect && (() => onSelect(position)),
          },
          svg("title", {}, masksift.data.regionText(region.given, region.suggested, region.area)),
          svg("rect", { class: "under", ...rect }),
          svg("rect", { class: "line", ...rect }),
        );
      });
      groups.forEach((box, position) => box.classList.toggle("minor", position >= FAINT_FROM));
      boxes.replaceChildren(
        ...groups
          .map((_, position) => position)
          .sort((one, other) => area(other) - area(one))
          .map((position) => groups[position]),
      );
    }
    function markSelected(selected, regions) {
      groups.forEach((box, position) => {
        box.classList.toggle("selected", position === selected);
        const decision = masksift.decisions.ofRegion(row, regions[position]);
        for (const word of masksift.decisions.WORDS) box.classList.toggle(word, decision === word);
      });
    }
    return { node, setRegions, markSelected };
  };

  // The three decision buttons. `subject`: what they decide on; `onDecide(word)`: handler, null withdraws a decision.
  masksift.decisionButtons = (subject, onDecide) => {
    const { WORDS, MARKS, MEANINGS } = masksift.decisions;
    const buttons = WORDS.map((word) =>
      el(
        "button",
        {
          type: "button",
          class: `decision ${word}`,
          title: `${word}: ${MEANINGS[word]} (${word[0]})`,
          "aria-label": `${word} ${subject}`,
          onclick: (event) => {
            event.stopPropagation();
            onDecide(event.currentTarget.getAttribute("aria-pressed") === "true" ? null : word);
          },
        },
        el("span", { "aria-hidden": "true" }, MARKS[word]),
        el("span", { class: "word" }, ` ${word}`),
      ),
    );
    const node = el(
      "div",
      { class: "decisions", role: "group", "aria-label": `Decision on ${subject}` },
      ...buttons,
    );
    const show = (decision) =>
      buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(WORDS[index] === decision)));
    return { node, show };
  };
})();
