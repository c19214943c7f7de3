"""Corrections of CamVid labels with known errors, decided by the clean labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from review.helpers import export_corrections, read_labels, read_record, read_regions, region_decision, write_decisions
from support.camvid import CAMVID
from support.cli import run_cli
from support.datasets import Array

pytestmark = [
    pytest.mark.skipif(not CAMVID.exists(), reason="the CamVid sample is not next to this checkout"),
]

REVIEWED_REGIONS = 40


def suggestion_is_correct(row: dict[str, object], clean: Array) -> bool:
    """Return True if more than half of a region's pixels have the suggested class in the clean labels."""
    lengths = np.array(row["rle"])
    inside = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    truth = clean[row["index"], : row["height"], : row["width"]].T.reshape(-1)[: len(inside)]
    return bool((truth[inside] == row["suggested"]).mean() > 0.5)


def test_forty_regions_fix_most_of_the_swapped_classes(tmp_path: Path) -> None:
    """Check the numbers of docs/tutorials/review-loop.md."""
    source, name = CAMVID / "camvid.zarr", "labels_swap"
    assert run_cli("run", "--source", source, "--arrays.labels", name, "--out", tmp_path / "run") == 0
    clean, given = read_labels(source), read_labels(source, name)
    entries = [
        region_decision(row, "accept" if suggestion_is_correct(row, clean) else "reject")
        for row in read_regions(tmp_path / "run")[:REVIEWED_REGIONS]
    ]
    decisions = write_decisions(tmp_path / "verdicts.json", tmp_path / "run", *entries)
    fixed = read_labels(export_corrections(tmp_path / "run", decisions, tmp_path / "fixed") / "camvid.zarr", name)
    accepted = read_record(tmp_path / "fixed", "corrections.json")["verdicts"]["regions"]["accept"]
    assert accepted == pytest.approx(32, abs=2)
    assert (given != clean).sum() == 848_700
    assert (fixed != clean).sum() == pytest.approx(151_551, rel=0.05)
    assert ((fixed != clean) & (given == clean)).sum() < 0.05 * (fixed != given).sum(), "few correct pixels are changed"
