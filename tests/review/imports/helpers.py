"""Imports of edited exports, and the labels that they should write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from review.export.helpers import DATED, ExportedRun
from review.helpers import read_labels, read_record
from support.cli import run_cli
from support.datasets import Array

__all__ = ["changed_pixels", "import_file", "paint"]


def import_file(form: str, file: Path, run: ExportedRun, out: Path, *args: object) -> dict[str, Any]:
    """Import a file and return the record."""
    assert run_cli("import", form, file, "--run", run.out, "--out", out, *args) == 0
    return read_record(out, "corrections.json")


def changed_pixels(run: ExportedRun, out: Path) -> dict[tuple[str, int], dict[tuple[int, int], int]]:
    """New label value of each changed pixel (row, column), by source and index of its image."""
    changes = {}
    for source in ("s", DATED):
        if not (out / f"{source}.zarr").exists():
            continue
        labels, before = read_labels(out / f"{source}.zarr"), run.labels[source]
        assert labels.dtype == before.dtype
        for index in range(len(labels)):
            rows, columns = np.nonzero(labels[index] != before[index])
            if len(rows):
                places = zip(rows.tolist(), columns.tolist(), strict=True)
                changes[source, index] = {place: int(labels[index][place]) for place in places}
    return changes


def paint(run: ExportedRun, *edits: tuple[tuple[str, int], Array, int]) -> dict[tuple[str, int], Mapping[Any, int]]:
    """Pixels that change if masks of images get label values in turn: source and index, mask (h, w), value."""
    after = {source: labels.copy() for source, labels in run.labels.items()}
    for (source, index), mask, value in edits:
        height, width = mask.shape
        after[source][index][:height, :width][mask] = value
    changes: dict[tuple[str, int], Mapping[Any, int]] = {}
    for (source, index), *_ in edits:
        rows, columns = np.nonzero(after[source][index] != run.labels[source][index])
        if len(rows):
            places = zip(rows.tolist(), columns.tolist(), strict=True)
            changes[source, index] = {place: int(after[source][index][place]) for place in places}
    return changes
