"""Runs shared by the tests of exports."""

from __future__ import annotations

import pytest

from review.export.helpers import ExportedRun, make_difficult_run, make_run_with_classes


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> ExportedRun:
    """Run with difficult regions."""
    return make_difficult_run(tmp_path_factory.mktemp("difficult_run"))


@pytest.fixture(scope="session")
def run_255_classes(tmp_path_factory: pytest.TempPathFactory) -> ExportedRun:
    """Run with 255 classes, which fill a byte together with the value for no label."""
    return make_run_with_classes(tmp_path_factory.mktemp("run_255_classes"), 255)


@pytest.fixture(scope="session")
def run_300_classes(tmp_path_factory: pytest.TempPathFactory) -> ExportedRun:
    """Run with more classes than a byte has values or the palette has colors."""
    return make_run_with_classes(tmp_path_factory.mktemp("run_300_classes"), 300)
