"""Simulated errors measured by simulation and by original labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation.evaluate.helpers import evaluate, read_metrics
from support.cli import run_cli
from support.sources import make_data, write_source


@pytest.mark.parametrize("error_type", ["drop", "swap"])
def test_simulation_and_original_labels_give_the_same_metrics(error_type: str, tmp_path: Path) -> None:
    source = write_source(tmp_path / "scenes.zarr", make_data(images=24, height=24, width=32))
    truth, out = tmp_path / "truth", tmp_path / "out"
    assert run_cli("simulate", error_type, "--source", source, "--out", truth, "--share", 0.25) == 0
    assert run_cli("run", "--source", source, "--labels_from", truth / "labels", "--out", out) == 0
    assert evaluate(out, truth, tmp_path / "a") == 0
    assert evaluate(out, source, tmp_path / "b") == 0
    assert read_metrics(tmp_path / "a") == read_metrics(tmp_path / "b")
