// The images of one page. Those of the page before are let go, with their pictures and their regions.
"use strict";

(() => {
  const { el, count, many } = masksift;
  const { state, cursor, list, verdicts } = masksift;
  let cards = [];
  let turn = 0;
  let listedAt = 0;
  const parts = {};

  masksift.gallery = () => {
    const section = document.getElementById("images");
    parts.said = el("p", { id: "listed", role: "status" });
    parts.list = el("ol", { class: "gallery", id: "gallery" });
    parts.pagers = [pager("Pages"), pager("Pages, below")];
    section.replaceChildren(
      el("h2", {}, "Images to review"),
      masksift.filters(),
      el("div", { class: "toolbar" }, masksift.layers(), parts.pagers[0].node),
      parts.said,
      parts.list,
      parts.pagers[1].node,
    );
    cursor.heard(follow);
    verdicts.heard(() => {
      cards.forEach((card) => card.say());
      said();
    });
  };

  const pages = () => Math.max(1, Math.ceil(list.length / masksift.PAGE));

  function pager(label) {
    const go = (page) => {
      const wanted = Math.min(Math.max(1, page), pages());
      if (wanted !== state.values.page) state.set({ page: wanted }, true);
      document.getElementById("listed").scrollIntoView({ block: "nearest" });
    };
    const button = (text, title, page) =>
      el("button", { type: "button", title, "aria-label": title, onclick: () => go(page()) }, text);
    const first = button("«", "First page", () => 1);
    const back = button("‹", "Page before", () => state.values.page - 1);
    const next = button("›", "Next page", () => state.values.page + 1);
    const last = button("»", "Last page", () => pages());
    const number = el("input", {
      type: "number",
      min: 1,
      "aria-label": "Page",
      onchange: () => {
        if (Number.isInteger(Number(number.value)) && Number(number.value) >= 1) go(Number(number.value));
        show();
      },
    });
    const of = el("span", {});
    const show = () => {
      number.value = state.values.page;
      number.max = pages();
      of.textContent = `of ${count(pages())}`;
      first.disabled = back.disabled = state.values.page <= 1;
      next.disabled = last.disabled = state.values.page >= pages();
    };
    return { node: el("nav", { class: "pager", "aria-label": label }, first, back, number, of, next, last), show };
  }

  function said() {
    const since = verdicts.changes - listedAt;
    const again =
      state.values.verdict !== null && since > 0
        ? [
            `; ${many(since, "verdict")} since `,
            el("button", { type: "button", class: "link", onclick: masksift.relist }, "list again"),
          ]
        : [];
    parts.said.replaceChildren(masksift.listText(), ...again);
  }

  // The filters or the order have changed: another list. Answers false where yet another one is being made.
  let making = 0;
  masksift.makeList = async () => {
    const mine = ++making;
    const numbers = await list.make((read) => {
      if (mine === making)
        parts.said.textContent = `Looking through ${count(read)} of ${count(masksift.data.run.rows)} images …`;
    });
    if (mine !== making) return false;
    list.numbers = numbers;
    listedAt = verdicts.changes;
    return true;
  };

  // The cards of the page that is looked at.
  masksift.showPage = async () => {
    const mine = ++turn;
    const { data, PAGE } = masksift;
    delete parts.list.dataset.whole;
    if (state.values.page > pages()) state.set({ page: pages() });
    const first = (state.values.page - 1) * PAGE;
    const places = Array.from({ length: Math.max(0, Math.min(PAGE, list.length - first)) }, (_, at) => first + at);
    const numbers = places.map(list.at);
    for (const file of new Set(numbers.map((number) => Math.floor(number / data.run.rows_per_file))))
      await data.readRows(file);
    if (mine !== turn) return;
    const rows = numbers.map((number) => data.row(number));
    parts.list.style.setProperty("--frame", frame(rows));
    cards = rows.map((row, at) => masksift.card(row, places[at]));
    parts.list.replaceChildren(...cards.map((one) => one.node));
    masksift.mark();
    parts.pagers.forEach((one) => one.show());
    said();
    follow();
    if (wanted) masksift.focusCard();
    // Regions come file by file: in another order than that of ranks each row may lie in a file of its own.
    const waiting = [...cards].sort((one, other) => one.row.number - other.row.number);
    for (const one of waiting) {
      const regions = await data.regionsOf(one.row);
      if (mine !== turn) return;
      one.show(regions);
    }
    // All of it is there: for those who wait for a page, as tests do.
    Object.assign(parts.list.dataset, { page: state.values.page, whole: "" });
  };

  // One shape for all frames of a page, that of the image in the middle.
  function frame(rows) {
    const ratios = rows.map((row) => row.shown[1] / row.shown[0]).sort((one, other) => one - other);
    return rows.length === 0 ? 1 : Math.min(2.2, Math.max(0.7, ratios[Math.floor(rows.length / 2)]));
  }

  // Whether the image is the last of the list that the budget reaches.
  function endsAfter({ row, at }, budget) {
    if (row.rank === null || row.rank >= budget) return row.rank === budget;
    const next = at + 1 < list.length ? list.at(at + 1) : null;
    return next !== null && masksift.data.has(next) && masksift.data.row(next).rank > budget;
  }

  // Which cards the budget reaches, and where it ends among them.
  masksift.mark = () => {
    const budget = state.budget();
    parts.list.querySelectorAll(".end").forEach((end) => end.remove());
    for (const one of cards) {
      one.node.classList.toggle("inside", one.row.rank !== null && one.row.rank <= budget);
      if (state.values.sort === "rank" && endsAfter(one, budget)) {
        const { ranked_by: by } = masksift.data.run;
        const told = `The budget of ${many(budget, "image")} ends here: ${by} ${masksift.reachedText(budget)}`;
        one.node.after(el("li", { class: "end" }, told));
      }
    }
  };

  // The card that the cursor is on; the one that it was on before is as all others.
  let before = null;
  function follow() {
    const current = cards.find((one) => one.row.number === cursor.row?.number) ?? null;
    if (before !== current) before?.current(false);
    current?.current(true, cursor.region);
    before = current;
  }

  // Where a key has led: seen, and spoken by what reads the page aloud; as soon as its page is there.
  let wanted = false;
  masksift.focusCard = () => {
    const current = cards.find((one) => one.row.number === cursor.row?.number);
    wanted = current === undefined;
    current?.open.focus({ preventScroll: true });
    current?.node.scrollIntoView({ block: "nearest" });
  };
})();
