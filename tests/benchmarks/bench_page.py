"""Benchmark of the report page in Chromium, from disk: load times, and memory after many pages."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from benchmarks.section import MIB, Section, spread, table
from support.browser import launch_chromium, missing_browser_reason, record_page
from system.report_page.fake_reports import ReportSpec, make_report

ROWS = (100, 10_000)
REGIONS = 50
"""Most regions of an image; half as many on average."""
ROUNDS = 3
PAGES = 50
WATCH = """
new MutationObserver(() => {
  if (document.querySelectorAll('.card').length === 24) window.cardsAt ??= performance.now();
}).observe(document, { childList: true, subtree: true });
"""


def load_times(browser: Any, report: Path) -> tuple[float, float, float]:
    """Milliseconds to the first paint, to the images of the first page, and until all rows are read."""
    with record_page(browser, WATCH) as recorded:
        recorded.page.goto(f"{report.as_uri()}/index.html")
        recorded.page.wait_for_function(
            "() => window.cardsAt && performance.getEntriesByName('first-contentful-paint')[0]"
        )
        read = recorded.page.evaluate(
            "async () => { await masksift.data.readAll(); return Math.max(performance.now(), cardsAt); }"
        )
        paint = recorded.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        return paint, recorded.page.evaluate("cardsAt"), read


def heap_usage(page: Any) -> tuple[int, int]:
    """Used heap bytes after garbage collection, and nodes of the document."""
    session = page.context.new_cdp_session(page)
    for _ in range(2):  # released nodes reference each other until the first collection
        session.send("HeapProfiler.collectGarbage")
    used = session.send("Runtime.getHeapUsage")["usedSize"]
    return used, session.send("Memory.getDOMCounters")["nodes"]


def memory_over_pages(browser: Any, report: Path) -> list[tuple[int, int]]:
    """Memory at first, after many pages, and after as many in an order in which images of a page use separate files."""
    with record_page(browser) as recorded:
        page = recorded.page
        page.goto(f"{report.as_uri()}/index.html")
        page.evaluate("masksift.data.readAll()")
        memory = [heap_usage(page)]
        for order in ("rank", "clc"):
            page.locator("#sort").select_option(order)
            for number in range(1, PAGES + 1):
                page.evaluate("(number) => masksift.state.set({ page: number })", number)
                page.locator(f"#gallery[data-page='{number}'][data-complete]").wait_for()
            memory.append(heap_usage(page))
        return memory


def report(folder: Path) -> Section:
    title = "## The page of a report, from the disk in Chromium\n\n"
    if reason := missing_browser_reason():
        return Section(f"{title}Not measured: {reason}.\n")
    rows, figures = [], {}
    with launch_chromium() as browser:
        for count in ROWS:
            made = make_report(folder / f"page-{count}", ReportSpec(rows=count, regions=REGIONS))
            data = sum(file.stat().st_size for file in (made / "data").iterdir())
            times = [spread(values) for values in zip(*(load_times(browser, made) for _ in range(ROUNDS)), strict=True)]
            rows.append([f"{count:,}", f"{data / MIB:.1f}", *(f"{m:,.0f} ({a:,.0f} to {z:,.0f})" for m, a, z in times)])
            figures |= {
                f"page: {count} images: {name}": value[0]
                for name, value in zip(("paint", "images", "rows"), times, strict=True)
            }
        memory = memory_over_pages(browser, made)
    shutil.rmtree(folder / "page-100")
    shutil.rmtree(made)
    times_table = table(
        ["images ranked", "MiB of data", "first paint, ms", "first images loaded, ms", "all rows read, ms"], rows
    )
    names = ("at first", f"after {PAGES} pages", f"after {PAGES} more in another order")
    rows = [[name, f"{used / MIB:.1f}", f"{nodes:,}"] for name, (used, nodes) in zip(names, memory, strict=True)]
    held_table = table(["", "heap, MiB", "nodes"], rows)
    figures |= {f"page: {name}: heap MiB": used / MIB for name, (used, _) in zip(names, memory, strict=True)}
    return Section(
        f"{title}24 images a page, up to {REGIONS} regions an image; median of {ROUNDS} rounds (least to most).\n"
        f"Images are of 96 x 128.\n\n{times_table}\n"
        f"Memory with the {ROWS[-1]:,} images, after garbage collection:\n\n{held_table}",
        figures,
    )
