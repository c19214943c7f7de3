// One image as it is looked at: the picture, the planes of classes and of flagged pixels over it, and its regions as
// boxes. Which of them show is said by attributes of the root, so that one key switches all images of the page at once.
"use strict";

(() => {
  const { el, svg } = masksift;
  const BANDS = { g: "given", p: "predicted", i: "issues" };

  masksift.shot = (row) => {
    const [height, width] = row.shown;
    const letters = [...row.planes];
    const alone = row.picture ? null : (["g", "p"].find((letter) => letters.includes(letter)) ?? null);
    const node = el("div", { class: "shot", style: { "--ratio": width / height } });
    const lost = (what) => () => node.classList.add(`lost-${what}`);
    if (row.picture) {
      node.append(
        el("img", {
          class: "picture",
          src: masksift.data.file(row, "jpg"),
          alt: "",
          draggable: "false",
          decoding: "async",
          onerror: lost("picture"),
        }),
      );
    }
    letters.forEach((letter, at) =>
      node.append(
        el(
          "span",
          {
            class: `band ${BANDS[letter]}${letter === alone ? " alone" : ""}`,
            style: { "--at": at, "--bands": letters.length },
          },
          el("img", {
            src: masksift.data.file(row, "png"),
            alt: "",
            draggable: "false",
            decoding: "async",
            onerror: lost("planes"),
          }),
        ),
      ),
    );
    if (!row.picture && letters.length === 0) node.append(el("span", { class: "nothing" }, "nothing can be shown"));
    const boxes = svg("svg", {
      class: "boxes",
      viewBox: `0 0 ${row.size[1]} ${row.size[0]}`,
      preserveAspectRatio: "none",
      "aria-hidden": "true",
    });
    node.append(boxes);

    // The large ones below, so that each can be pointed at. `chosen`: what hears of clicks on a box, by its place.
    let groups = [];
    function regions(list, chosen = null) {
      const size = (at) => (list[at].y1 - list[at].y0) * (list[at].x1 - list[at].x0);
      groups = list.map((region, at) => {
        const place = { x: region.x0, y: region.y0, width: region.x1 - region.x0, height: region.y1 - region.y0 };
        return svg(
          "g",
          { class: `box ${region.kind === "omission" ? "omission" : ""}`, onclick: chosen && (() => chosen(at)) },
          svg("title", {}, masksift.data.told(region.given, region.suggested, region.area)),
          svg("rect", { class: "under", ...place }),
          svg("rect", { class: "line", ...place }),
        );
      });
      groups.forEach((box, at) => box.classList.toggle("minor", at >= 10));
      boxes.replaceChildren(
        ...groups
          .map((_, at) => at)
          .sort((one, other) => size(other) - size(one))
          .map((at) => groups[at]),
      );
    }
    function choose(region, list, row) {
      groups.forEach((box, at) => {
        box.classList.toggle("chosen", at === region);
        const said = masksift.verdicts.ofRegion(row, list[at]);
        for (const word of masksift.verdicts.WORDS) box.classList.toggle(word, said === word);
      });
    }
    return { node, regions, choose };
  };

  // The three buttons of a verdict. `said`: what is said now; `say`: what is told of a click, null where it takes back.
  masksift.verdictButtons = (about, say) => {
    const { WORDS, MARKS, MEANINGS } = masksift.verdicts;
    const buttons = WORDS.map((word) =>
      el(
        "button",
        {
          type: "button",
          class: `verdict ${word}`,
          title: `${word}: ${MEANINGS[word]} (${word[0]})`,
          "aria-label": `${word} ${about}`,
          onclick: (event) => {
            event.stopPropagation();
            say(event.currentTarget.getAttribute("aria-pressed") === "true" ? null : word);
          },
        },
        el("span", { "aria-hidden": "true" }, MARKS[word]),
        el("span", { class: "word" }, ` ${word}`),
      ),
    );
    const node = el("div", { class: "verdicts", role: "group", "aria-label": `Verdict on ${about}` }, ...buttons);
    const show = (said) =>
      buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(WORDS[at] === said)));
    return { node, show };
  };
})();
