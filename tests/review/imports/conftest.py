"""Runs shared by the tests of imports."""

from __future__ import annotations

import pytest

from review.export.helpers import ExportedRun, make_difficult_run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> ExportedRun:
    """Run over two sources with equal image ids and difficult regions."""
    return make_difficult_run(tmp_path_factory.mktemp("imported_run"))
