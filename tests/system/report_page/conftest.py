"""Shared by the tests of the page: one browser a module, and the reports that many of them look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.browser import chromium, without
from system.report_page.fake_reports import make_report
from system.report_page.open_page import LONG, PLAIN


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium; the tests that want one are skipped, with the reason, where there is none."""
    if why := without():
        pytest.skip(why)
    with chromium() as running:
        yield running


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of 60 images, 5 of which have no rank, of a run of 1,234."""
    return make_report(tmp_path_factory.mktemp("report") / "plain", PLAIN)


@pytest.fixture(scope="session")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of 2,100 images: three files of rows, eleven of regions."""
    return make_report(tmp_path_factory.mktemp("report") / "long", LONG)
