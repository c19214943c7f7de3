"""Runs to export, shared by all tests."""

from __future__ import annotations

import pytest

from review.export.helpers import ExportedRun, make_difficult_run, make_run_with_classes


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> ExportedRun:
    """A run with difficult regions."""
    return make_difficult_run(tmp_path_factory.mktemp("make_difficult_run"))


@pytest.fixture(scope="session")
def run_255_classes(tmp_path_factory: pytest.TempPathFactory) -> ExportedRun:
    """A run with 255 classes: with no label, as many values as a byte."""
    return make_run_with_classes(tmp_path_factory.mktemp("run_255_classes"), 255)


@pytest.fixture(scope="session")
def run_300_classes(tmp_path_factory: pytest.TempPathFactory) -> ExportedRun:
    """A run with more classes than values of a byte or colors of the palette."""
    return make_run_with_classes(tmp_path_factory.mktemp("run_300_classes"), 300)
