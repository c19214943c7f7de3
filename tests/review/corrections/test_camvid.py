"""Real labels with known errors, and a reviewer who knows the right ones: how much of the errors is mended."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from review.helpers import correct, labels_at, of_region, record, regions_of, review
from support.camvid import CAMVID
from support.cli import run_cli
from support.datasets import Array

pytestmark = [
    pytest.mark.skipif(not CAMVID.exists(), reason="the CamVid sample is not next to this checkout"),
]

REVIEWED = 40


def mostly_right(row: dict[str, object], right: Array) -> bool:
    """Whether more than half of a region's pixels are of the suggested class."""
    runs = np.array(row["rle"])
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    truth = right[row["index"], : row["height"], : row["width"]].T.reshape(-1)[: len(inside)]
    return bool((truth[inside] == row["suggested"]).mean() > 0.5)


def test_forty_regions_fix_most_of_the_swapped_classes(tmp_path: Path) -> None:
    """The figures of docs/tutorials/review-loop.md."""
    source, name = CAMVID / "camvid.zarr", "labels_swap"
    assert run_cli("run", "--source", source, "--arrays.labels", name, "--out", tmp_path / "run") == 0
    right, given = labels_at(source), labels_at(source, name)
    entries = [
        of_region(row, "accept" if mostly_right(row, right) else "reject")
        for row in regions_of(tmp_path / "run")[:REVIEWED]
    ]
    file = review(tmp_path / "verdicts.json", tmp_path / "run", *entries)
    fixed = labels_at(correct(tmp_path / "run", file, tmp_path / "fixed") / "camvid.zarr", name)
    accepted = record(tmp_path / "fixed", "corrections.json")["verdicts"]["regions"]["accept"]
    assert accepted == pytest.approx(36, abs=2)
    assert (given != right).sum() == 848_700
    assert (fixed != right).sum() == pytest.approx(114_411, rel=0.05)
    assert ((fixed != right) & (given == right)).sum() < 0.05 * (fixed != given).sum(), "little that was right"
