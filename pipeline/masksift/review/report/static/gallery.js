// The gallery: the cards of one page. Cards of other pages are released with their images and regions.
"use strict";

(() => {
  const { el, count, pluralize } = masksift;
  const { state, selection, list, decisions } = masksift;
  let cards = [];
  let turn = 0;
  let listedAt = 0;
  const parts = {};

  masksift.gallery = () => {
    const section = document.getElementById("images");
    parts.status = el("p", { id: "listed", role: "status" });
    parts.list = el("ol", { class: "gallery", id: "gallery" });
    parts.pagers = [pager("Pages"), pager("Pages, bottom")];
    section.replaceChildren(
      el("h2", {}, "Images to review"),
      masksift.filters(),
      el("div", { class: "toolbar" }, masksift.layers(), parts.pagers[0].node),
      parts.status,
      parts.list,
      parts.pagers[1].node,
    );
    selection.onChange(showSelection);
    decisions.onChange(() => {
      cards.forEach((card) => card.showDecisions());
      showStatus();
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
    const back = button("‹", "Previous page", () => state.values.page - 1);
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

  function showStatus() {
    const since = decisions.changes - listedAt;
    const refresh =
      state.values.verdict !== null && since > 0
        ? [
            `; ${pluralize(since, "decision")} since then, `,
            el("button", { type: "button", class: "link", onclick: masksift.rebuildList }, "refresh the list"),
          ]
        : [];
    parts.status.replaceChildren(masksift.listDescription(), ...refresh);
  }

  // Rebuild the list after a change of filters or sort order. Returns false if a later rebuild has started.
  let making = 0;
  masksift.makeList = async () => {
    const mine = ++making;
    const numbers = await list.make((read) => {
      if (mine === making)
        parts.status.textContent = `Searching ${count(read)} of ${count(masksift.data.run.rows)} images …`;
    });
    if (mine !== making) return false;
    list.numbers = numbers;
    listedAt = decisions.changes;
    return true;
  };

  // Show the cards of the current page.
  masksift.showPage = async () => {
    const mine = ++turn;
    const { data, PAGE } = masksift;
    delete parts.list.dataset.complete;
    if (state.values.page > pages()) state.set({ page: pages() });
    const first = (state.values.page - 1) * PAGE;
    const length = Math.max(0, Math.min(PAGE, list.length - first));
    const positions = Array.from({ length }, (_, offset) => first + offset);
    const numbers = positions.map(list.at);
    for (const file of new Set(numbers.map((number) => Math.floor(number / data.run.rows_per_file))))
      await data.readRows(file);
    if (mine !== turn) return;
    const rows = numbers.map((number) => data.row(number));
    parts.list.style.setProperty("--frame", frameRatio(rows));
    cards = rows.map((row, index) => masksift.card(row, positions[index]));
    parts.list.replaceChildren(...cards.map((card) => card.node));
    masksift.markBudget();
    parts.pagers.forEach((pager) => pager.show());
    showStatus();
    showSelection();
    if (focusPending) masksift.focusCard();
    // In order of rows, so that each regions file is read once whatever the sort order.
    const byFile = [...cards].sort((one, other) => one.row.number - other.row.number);
    for (const card of byFile) {
      const regions = await data.regionsOf(card.row);
      if (mine !== turn) return;
      card.setRegions(regions);
    }
    // Signals to scripts and tests that the page is complete.
    Object.assign(parts.list.dataset, { page: state.values.page, complete: "" });
  };

  // The aspect ratio of all frames of a page: the median of its images.
  function frameRatio(rows) {
    const ratios = rows.map((row) => row.view_size[1] / row.view_size[0]).sort((one, other) => one - other);
    return rows.length === 0 ? 1 : Math.min(2.2, Math.max(0.7, ratios[Math.floor(rows.length / 2)]));
  }

  // True for the last image of the list within the budget.
  function endsBudget({ row, position }, budget) {
    if (row.rank === null || row.rank >= budget) return row.rank === budget;
    const next = position + 1 < list.length ? list.at(position + 1) : null;
    return next !== null && masksift.data.has(next) && masksift.data.row(next).rank > budget;
  }

  // Mark the cards within the review budget, and its end.
  masksift.markBudget = () => {
    const budget = state.budget();
    parts.list.querySelectorAll(".end").forEach((end) => end.remove());
    for (const card of cards) {
      card.node.classList.toggle("inside", card.row.rank !== null && card.row.rank <= budget);
      if (state.values.sort === "rank" && endsBudget(card, budget)) {
        const { ranked_by: by } = masksift.data.run;
        const text = `The budget of ${pluralize(budget, "image")} ends here: ${by} ${masksift.reachedText(budget)}`;
        card.node.after(el("li", { class: "end" }, text));
      }
    }
  };

  let previous = null;
  function showSelection() {
    const current = cards.find((card) => card.row.number === selection.row?.number) ?? null;
    if (previous !== current) previous?.setCurrent(false);
    current?.setCurrent(true, selection.region);
    previous = current;
  }

  // Focus the selected card, for the eye and for screen readers, as soon as its page is shown.
  let focusPending = false;
  masksift.focusCard = () => {
    const current = cards.find((card) => card.row.number === selection.row?.number);
    focusPending = current === undefined;
    current?.open.focus({ preventScroll: true });
    current?.node.scrollIntoView({ block: "nearest" });
  };
})();
