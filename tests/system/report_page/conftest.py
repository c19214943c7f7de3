"""Fixtures of the page tests: one browser per module and the reports that several tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.browser import launch_chromium, missing_browser_reason
from system.report_page.fake_reports import make_report
from system.report_page.open_page import LONG, PLAIN


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if reason := missing_browser_reason():
        pytest.skip(reason)
    with launch_chromium() as running:
        yield running


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of 60 images, 5 of them quarantined, from a run with 1,234 scored images."""
    return make_report(tmp_path_factory.mktemp("report") / "plain", PLAIN)


@pytest.fixture(scope="session")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of 2,100 images: 3 files of rows, 11 of regions."""
    return make_report(tmp_path_factory.mktemp("report") / "long", LONG)
