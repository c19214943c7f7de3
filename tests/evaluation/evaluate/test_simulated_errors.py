"""Simulated errors: what is known of them is what the right labels tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation.evaluate.helpers import evaluate, read_metrics
from support.cli import run_cli
from support.sources import make_data, write_source


@pytest.mark.parametrize("kind", ["drop", "swap"])
def test_simulated_errors_are_those_that_the_right_labels_tell(kind: str, tmp_path: Path) -> None:
    source = write_source(tmp_path / "scenes.zarr", make_data(images=24, height=24, width=32))
    known, out = tmp_path / "known", tmp_path / "out"
    assert run_cli("simulate", kind, "--source", source, "--out", known, "--share", 0.25) == 0
    assert run_cli("run", "--source", source, "--labels_from", known / "labels", "--out", out) == 0
    assert evaluate(out, known, tmp_path / "a") == 0
    assert evaluate(out, source, tmp_path / "b") == 0
    assert read_metrics(tmp_path / "a") == read_metrics(tmp_path / "b")
