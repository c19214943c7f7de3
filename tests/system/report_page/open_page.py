"""Reports in a browser, for the tests of the page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.browser import watched
from system.report_page.fake_reports import Made, name_of

__all__ = ["IDS", "LONG", "PLAIN", "names", "opened"]

PLAIN = Made(rows=60, quarantined=5, scored=1234)
LONG = Made(rows=2100, pictures=False)
IDS = ".card .id"


@contextmanager
def opened(browser: Any, report: Path, address: str = "", script: str = "", **context: Any) -> Iterator[Any]:
    """A page of a report from the disk that must not complain, nor ask for anything elsewhere. ``address``: what
    stands behind its name."""
    with watched(browser, script, **context) as told:
        told.page.goto(f"{report.as_uri()}/index.html{address}")
        yield told.page
        assert told.complaints == []
        assert [url for url in told.asked if not url.startswith((f"{report.as_uri()}/", "blob:"))] == []


def names(numbers: Iterable[int], made: Made = PLAIN) -> list[str]:
    """The ids of rows, as far as a page has them."""
    return [name_of(made, number) for number in list(numbers)[:24]]
