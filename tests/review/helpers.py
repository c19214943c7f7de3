"""Small runs with regions, what reviewers say of them, and what labels should become of it: in plain loops."""

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

__all__ = ["ACCEPT", "correct", "labels_at", "of_image", "of_region", "record", "regions_of", "review", "run", "wanted"]

ACCEPT = "accept"


def run(out: Path, *sources: object, words: tuple[object, ...] = ()) -> Path:
    """A complete run over those sources that lists every region, however small."""
    told = [word for source in sources for word in ("--source", source)]
    assert run_cli("run", *told, "--out", out, "--regions.min_area", 1, "--max_quarantined", "100%", *words) == 0
    return out


def record(folder: Path, name: str = "run.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / name).read_text())
    return found


def regions_of(out: Path, **wanted: object) -> list[dict[str, Any]]:
    """The rows of a run's table of regions, those alone that have the ``wanted`` values."""
    return [row for row in read_rows(out, "regions") if all(row[name] == value for name, value in wanted.items())]


def of_region(row: Mapping[str, Any], verdict: str = ACCEPT) -> dict[str, Any]:
    """What a file of verdicts says of a region."""
    return {**_named(row, verdict), "region": {"rank": row["rank"]}}


def of_image(row: Mapping[str, Any], verdict: str = ACCEPT) -> dict[str, Any]:
    """What it says of an image."""
    return {**_named(row, verdict), "region": None}


def _named(row: Mapping[str, Any], verdict: str) -> dict[str, Any]:
    return {"verdict": verdict, "image_id": row["image_id"], "source": row["source"], "index": row["index"]}


def review(file: Path, out: Path, *verdicts: Mapping[str, Any], fingerprint: str | None = None) -> Path:
    """A file of verdicts on the run at ``out``."""
    told = {"format": 1, "run": fingerprint or record(out)["fingerprint"], "verdicts": list(verdicts)}
    file.write_text(json.dumps(told))
    return file


def correct(out: Path, verdicts: Path, folder: Path, *words: object) -> Path:
    """The labels that the verdicts on a run ask for."""
    assert run_cli("export", "corrections", out, "--verdicts", verdicts, "--out", folder, *words) == 0
    return folder


def labels_at(group: Path, name: str = "labels") -> Array:
    """The labels in a group."""
    return np.asarray(zarr.open_array(group / name, mode="r")[...])


def wanted(labels: Array, accepted: list[dict[str, Any]], values: Mapping[int, int] | None = None) -> Array:
    """The labels (N, H, W) with the suggested class of each region, pixel by pixel; ``values``: the label value of a
    class where that is not its number."""
    new = labels.copy()
    for row in accepted:
        place, inside = 0, False
        for length in row["rle"]:
            for pixel in range(place, place + length if inside else place):
                x, y = divmod(pixel, row["height"])
                new[row["index"], y, x] = row["suggested"] if values is None else values[row["suggested"]]
            place, inside = place + length, not inside
    return new
