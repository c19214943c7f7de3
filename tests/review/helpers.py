"""Small runs with regions, decisions on them, and expected corrected labels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from support.cli import run_cli
from support.datasets import Array
from support.results import read_rows

__all__ = [
    "ACCEPT",
    "expected_labels",
    "export_corrections",
    "image_decision",
    "read_labels",
    "read_record",
    "read_regions",
    "region_decision",
    "run_sources",
    "write_decisions",
]

ACCEPT = "accept"


def run_sources(out: Path, *sources: object, args: tuple[object, ...] = ()) -> Path:
    """Complete a run over the sources that lists regions of any size."""
    source_args = [arg for source in sources for arg in ("--source", source)]
    assert run_cli("run", *source_args, "--out", out, "--regions.min_area", 1, "--max_quarantined", "100%", *args) == 0
    return out


def read_record(directory: Path, name: str = "run.json") -> dict[str, Any]:
    record: dict[str, Any] = json.loads((directory / name).read_text())
    return record


def read_regions(out: Path, **values: object) -> list[dict[str, Any]]:
    """Rows of a run's region table whose columns have the given values."""
    return [row for row in read_rows(out, "regions") if all(row[name] == value for name, value in values.items())]


def region_decision(row: Mapping[str, Any], decision: str = ACCEPT) -> dict[str, Any]:
    """Entry of a decisions file for a region."""
    return {**_entry(row, decision), "region": {"rank": row["rank"]}}


def image_decision(row: Mapping[str, Any], decision: str = ACCEPT) -> dict[str, Any]:
    """Entry of a decisions file for an image."""
    return {**_entry(row, decision), "region": None}


def _entry(row: Mapping[str, Any], decision: str) -> dict[str, Any]:
    return {"verdict": decision, "image_id": row["image_id"], "source": row["source"], "index": row["index"]}


def write_decisions(file: Path, out: Path, *decisions: Mapping[str, Any], fingerprint: str | None = None) -> Path:
    """Write a file with decisions on the run at `out`."""
    tree = {"format": 1, "run": fingerprint or read_record(out)["fingerprint"], "verdicts": list(decisions)}
    file.write_text(json.dumps(tree))
    return file


def export_corrections(out: Path, decisions: Path, directory: Path, *args: object) -> Path:
    """Write the labels of a run, corrected by the decisions, into a directory."""
    assert run_cli("export", "corrections", out, "--verdicts", decisions, "--out", directory, *args) == 0
    return directory


def read_labels(group: Path, name: str = "labels") -> Array:
    return np.asarray(zarr.open_array(group / name, mode="r")[...])


def expected_labels(labels: Array, accepted: list[dict[str, Any]], values: Mapping[int, int] | None = None) -> Array:
    """Set the pixels of each region to its suggested class, one by one.

    Args:
        labels: Given labels, (N, H, W).
        accepted: Rows of the accepted regions.
        values: Label value of each class; by default its number.

    Returns:
        Corrected labels, (N, H, W).
    """
    corrected = labels.copy()
    for row in accepted:
        position, inside = 0, False
        for length in row["rle"]:
            for pixel in range(position, position + length if inside else position):
                x, y = divmod(pixel, row["height"])
                corrected[row["index"], y, x] = row["suggested"] if values is None else values[row["suggested"]]
            position, inside = position + length, not inside
    return corrected
