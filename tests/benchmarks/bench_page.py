"""The page of a report in a real Chromium, from the disk: when it is there, and what it holds after many pages."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from benchmarks.section import MIB, Section, spread, table
from support.browser import launch_chromium, missing_browser_reason, record_page
from system.report_page.fake_reports import ReportSpec, make_report

ROWS = (100, 10_000)
REGIONS = 50
"""Of an image at most; half as many on average."""
ROUNDS = 3
PAGES = 50
WATCH = """
new MutationObserver(() => {
  if (document.querySelectorAll('.card').length === 24) window.cardsAt ??= performance.now();
}).observe(document, { childList: true, subtree: true });
"""


def opened(browser: Any, report: Path) -> tuple[float, float, float]:
    """Milliseconds from asking for the page to its first paint, to the images of its first page, and until all rows
    are read."""
    with record_page(browser, WATCH) as told:
        told.page.goto(f"{report.as_uri()}/index.html")
        told.page.wait_for_function("() => window.cardsAt && performance.getEntriesByName('first-contentful-paint')[0]")
        read = told.page.evaluate(
            "async () => { await masksift.data.readAll(); return Math.max(performance.now(), cardsAt); }"
        )
        paint = told.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        return paint, told.page.evaluate("cardsAt"), read


def held(page: Any) -> tuple[int, int]:
    """Bytes of the heap that are in use when all garbage is collected, and nodes of the document."""
    session = page.context.new_cdp_session(page)
    for _ in range(2):  # nodes that were let go hold each other until the first is through
        session.send("HeapProfiler.collectGarbage")
    used = session.send("Runtime.getHeapUsage")["usedSize"]
    return used, session.send("Memory.getDOMCounters")["nodes"]


def paged(browser: Any, report: Path) -> list[tuple[int, int]]:
    """What is held at first, after so many pages, and after as many in an order in which each image of a page has its
    regions in a file of its own."""
    with record_page(browser) as told:
        page = told.page
        page.goto(f"{report.as_uri()}/index.html")
        page.evaluate("masksift.data.readAll()")
        found = [held(page)]
        for order in ("rank", "clc"):
            page.locator("#sort").select_option(order)
            for number in range(1, PAGES + 1):
                page.evaluate("(number) => masksift.state.set({ page: number })", number)
                page.locator(f"#gallery[data-page='{number}'][data-complete]").wait_for()
            found.append(held(page))
        return found


def report(folder: Path) -> Section:
    title = "## The page of a report, from the disk in Chromium\n\n"
    if why := missing_browser_reason():
        return Section(f"{title}Not measured: {why}.\n")
    rows, figures = [], {}
    with launch_chromium() as browser:
        for count in ROWS:
            made = make_report(folder / f"page-{count}", ReportSpec(rows=count, regions=REGIONS))
            data = sum(file.stat().st_size for file in (made / "data").iterdir())
            times = [spread(values) for values in zip(*(opened(browser, made) for _ in range(ROUNDS)), strict=True)]
            rows.append([f"{count:,}", f"{data / MIB:.1f}", *(f"{m:,.0f} ({a:,.0f} to {z:,.0f})" for m, a, z in times)])
            figures |= {
                f"page: {count} images: {name}": value[0]
                for name, value in zip(("paint", "images", "rows"), times, strict=True)
            }
        memory = paged(browser, made)
    shutil.rmtree(folder / "page-100")
    shutil.rmtree(made)
    times_table = table(
        ["images ranked", "MiB of data", "first paint, ms", "first images there, ms", "all rows read, ms"], rows
    )
    names = ("at first", f"after {PAGES} pages", f"after {PAGES} more in another order")
    rows = [[name, f"{used / MIB:.1f}", f"{nodes:,}"] for name, (used, nodes) in zip(names, memory, strict=True)]
    held_table = table(["", "heap, MiB", "nodes"], rows)
    figures |= {f"page: {name}: heap MiB": used / MIB for name, (used, _) in zip(names, memory, strict=True)}
    return Section(
        f"{title}24 images a page, up to {REGIONS} regions an image; median of {ROUNDS} rounds (least to most).\n"
        f"Pictures are of 96 x 128.\n\n{times_table}\n"
        f"Held of the {ROWS[-1]:,} images, garbage collected:\n\n{held_table}",
        figures,
    )
