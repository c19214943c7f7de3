"""Runs shared by the tests of `masksift evaluate`."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation.evaluate.helpers import PlantedErrors, plant_errors, run_planted

IGNORED = 3
"""Index of a fully ignored image, which is not ranked."""


@pytest.fixture(scope="session")
def planted() -> PlantedErrors:
    return plant_errors(ignored_image=IGNORED)


@pytest.fixture(scope="session")
def run(planted: PlantedErrors, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Completed run on labels with errors; no test changes it."""
    return run_planted(planted, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def right(run: Path) -> Path:
    """Corrected labels of the run."""
    return run.parent / "right.zarr"
