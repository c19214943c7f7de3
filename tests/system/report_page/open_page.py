"""Open fake reports in a browser."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.browser import record_page
from system.report_page.fake_reports import ReportSpec, image_id

__all__ = ["IDS", "LONG", "PLAIN", "first_page_ids", "open_report"]

PLAIN = ReportSpec(rows=60, quarantined=5, scored=1234)
LONG = ReportSpec(rows=2100, pictures=False)
IDS = ".card .id"


@contextmanager
def open_report(browser: Any, report: Path, address: str = "", script: str = "", **context: Any) -> Iterator[Any]:
    """Open a report from disk at an address (`#...`); no message and no request outside of the report may occur."""
    with record_page(browser, script, **context) as recorded:
        recorded.page.goto(f"{report.as_uri()}/index.html{address}")
        yield recorded.page
        assert recorded.messages == []
        assert [url for url in recorded.requests if not url.startswith((f"{report.as_uri()}/", "blob:"))] == []


def first_page_ids(numbers: Iterable[int], spec: ReportSpec = PLAIN) -> list[str]:
    """Image ids of the rows that fit on the first page."""
    return [image_id(spec, number) for number in list(numbers)[:24]]
