"""Runs with difficult regions, expected content of exports, and access to the readers of the tools.

Readers use the libraries of the tools, which need other versions of masksift's dependencies. They are installed in a
separate environment (`make readers`), and a test that needs a reader is skipped without it.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from masksift.config.sections import StorageSection
from masksift.engine.completed_run import open_completed_run
from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.arrow import table_from_rows
from masksift.storage.tables.parquet import write_table
from masksift.storage.tables.schemas import regions_schema
from support.cli import exit_code, run_cli
from support.datasets import Array
from support.results import read_rows
from support.sources import make_data, write_array, write_source

__all__ = [
    "CLASSES",
    "DATED",
    "IDS",
    "SCRIPTS",
    "ExpectedRegion",
    "ExportedRun",
    "decode_mask",
    "expected_attributes",
    "export",
    "make_difficult_run",
    "make_run_with_classes",
    "read_with_tool",
    "replace_regions",
    "run_tool",
]

CLASSES = ("<img src=x onerror=alert(1)>", 'ground & "地面"', "a:b", "background")
IDS = ("../up/down", "ä ß.JPG", "A", "a", "con", ".hid", "x/y", "plain")
HEIGHT, WIDTH = 8, 10
PADDED = (6, 9)
"""Size of the last image of the first source, which is padded."""
DATED = "dt=2026-11-26/t"
"""Name of the second source; `dt=...` in its path becomes a column of the tables."""
SCRIPTS = Path(__file__).parent / "readers"
"""Scripts that run with the libraries of the tools."""
READERS = Path(os.environ.get("MASKSIFT_READERS") or Path(__file__).parents[3] / ".venv-readers")


@dataclass(frozen=True)
class ExpectedRegion:
    """Row of the region table with its mask (H, W) in the whole image."""

    mask: Array
    row: Mapping[str, Any]

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes that every export writes."""
        names = (
            "suggested_name",
            "given_name",
            "kind",
            "priority",
            "evidence",
            "rank",
            "mean_self_confidence",
            "mean_predicted_confidence",
        )
        keys = ("suggested", "given", "reason", *names[3:])
        return {name: self.row[key] for name, key in zip(keys, names, strict=True)}


@dataclass(frozen=True)
class ExportedRun:
    """A completed run: regions by rank, labels and RGB images (or None) by source."""

    out: Path
    regions: dict[int, ExpectedRegion]
    labels: dict[str, Array]
    rgb_images: dict[str, Array | None]
    classes: tuple[str, ...]

    def ranks(self, source: str, index: int) -> list[int]:
        """Ranks of the regions of an image."""
        return [
            rank
            for rank, region in self.regions.items()
            if (region.row["source"], region.row["index"]) == (source, index)
        ]

    def ordered_images(self) -> list[tuple[str, int]]:
        """Images in the order of their worst regions."""
        return list(dict.fromkeys((region.row["source"], region.row["index"]) for region in self.regions.values()))


def make_difficult_run(directory: Path) -> ExportedRun:
    """Run over two sources with equal ids, one without RGB images, one with a padded image.

    Regions have holes, a single pixel or cover the whole image, and together touch every edge. One is an omission.
    """
    data = make_data(dtype="uint8")
    rgb_images = np.random.default_rng(5).integers(0, 256, (*data.labels.shape, 3), np.uint8)
    (directory / DATED).parent.mkdir()
    for name, ids in (("s", IDS), (DATED, IDS[::-1])):
        write_source(
            directory / f"{name}.zarr", data, ids=ids, attributes={"ignore": [255], "class_names": list(CLASSES)}
        )
    group = zarr.open_group(directory / "s.zarr", mode="a")
    write_array(group, "images", rgb_images, "nyxc", "nyxc", (2, HEIGHT, WIDTH, 3), None)
    for axis, name in enumerate(("height", "width")):
        sizes = np.full(8, (HEIGHT, WIDTH)[axis])
        sizes[7] = PADDED[axis]
        group.create_array(name, shape=(8,), dtype="int32", chunks=(8,))[:] = sizes
    args = ("--source", directory / "s.zarr", "--source", directory / f"{DATED}.zarr", "--max_quarantined", "100%")
    assert run_cli("run", *args, "--out", directory / "out") == 0
    regions = replace_regions(directory / "out", _difficult_shapes(), CLASSES)
    return ExportedRun(
        directory / "out", regions, dict.fromkeys(("s", DATED), data.labels), {"s": rgb_images, DATED: None}, CLASSES
    )


def _difficult_shapes() -> list[tuple[str, int, Array, int | None, int]]:
    """Source, index, mask, given and suggested class of each region, by decreasing evidence."""

    def mask(*slices: tuple[Any, Any], size: tuple[int, int] = (HEIGHT, WIDTH)) -> Array:
        plane = np.zeros(size, bool)
        for selection in slices:
            plane[selection] = True
        return plane

    ring = mask((slice(1, 6), slice(2, 7)))
    ring[3, 4] = ring[2, 3] = False
    everything = slice(None)
    return [
        ("s", 2, ring, 1, 0),
        (DATED, 2, mask((0, 0)), 2, 3),
        ("s", 0, mask((7, 9)), 0, 1),
        ("s", 2, mask((everything, slice(0, 2))), 3, 2),
        ("s", 7, mask((slice(4, 6), everything), size=PADDED), 0, 3),
        ("s", 3, mask((everything, everything)), 1, 2),
        ("s", 1, mask((everything, 9)), None, 1),
        (DATED, 0, mask((0, everything), (1, 3)), 2, 0),
        ("s", 4, mask((0, 1), (1, 2), (2, 1), (3, 0)), 0, 2),
        ("s", 5, mask((slice(2, 4), 0)), 3, 0),
        ("s", 6, mask((7, slice(2, 9))), 2, 1),
    ]


def replace_regions(
    out: Path, shapes: Sequence[tuple[str, int, Array, int | None, int]], classes: Sequence[str]
) -> dict[int, ExpectedRegion]:
    """Replace the region table of a run."""
    completed_run = open_completed_run(str(out), StorageSection())
    regions = {}
    for rank, (source, index, mask, given, suggested) in enumerate(shapes, 1):
        ids = {row["index"]: row["image_id"] for row in read_rows(out) if row["source"] == source}
        y, x = np.nonzero(mask)
        row = {
            "rank": rank,
            "image_id": ids[index],
            "source": source,
            "index": index,
            "dt": "2026-11-26" if source == DATED else None,
            "kind": "omission" if given is None else "label",
            "given": given,
            "suggested": suggested,
            "given_name": None if given is None else classes[given],
            "suggested_name": classes[suggested],
            "area": int(mask.sum()),
            "y0": int(y.min()),
            "x0": int(x.min()),
            "y1": int(y.max()) + 1,
            "x1": int(x.max()) + 1,
            "centroid_y": float(y.mean()),
            "centroid_x": float(x.mean()),
            "priority": 50 / (rank + 2),
            "class_priority": 50 / (rank + 2),
            "evidence": 100 / (rank + 2),
            "usual_evidence": 3.0,
            "mean_self_confidence": None if given is None else 1 / (rank + 6),
            "mean_predicted_confidence": 1 - 1 / (rank + 6),
            "given_z": None if given is None else 0.5,
            "suggested_z": 0.0,
            "given_pixels": None if given is None else 9,
            "suggested_pixels": 9,
            "height": mask.shape[0],
            "width": mask.shape[1],
            "rle": coco_run_lengths(mask),
        }
        regions[rank] = ExpectedRegion(mask, row)
    table = table_from_rows(
        [dict(region.row) for region in regions.values()], regions_schema(completed_run.context.path_columns)
    )
    write_table(ObjectDirectory(str(out)), "regions/part-000000.parquet", table, classes)
    return regions


def coco_run_lengths(mask: Array) -> list[int]:
    """COCO run lengths by definition: alternating pixels outside and inside, column by column."""
    flat = mask.ravel(order="F").tolist()
    lengths = [len(list(group)) for _, group in groupby(flat)]
    return [0, *lengths] if flat[0] else lengths


def make_run_with_classes(directory: Path, classes: int) -> ExportedRun:
    """Run over two images with many classes, each given to one pixel of the first."""
    side = 18
    labels = np.zeros((2, side, side), np.uint16)
    labels[0].reshape(-1)[:classes] = np.arange(classes)
    labels[:, -1, -1] = 65535
    predictions = np.zeros((2, classes, side, side), np.uint8)
    predictions[:, 0] = 255
    data = make_data()._replace(predictions=predictions, labels=labels, ignore=(65535,))
    write_source(directory / "s.zarr", data, chunks=(2, classes, side, side))
    group = zarr.open_group(directory / "s.zarr", mode="a")
    rgb_images = np.random.default_rng(1).integers(0, 256, (2, side, side, 3), np.uint8)
    write_array(group, "images", rgb_images, "nyxc", "nyxc", (2, side, side, 3), None)
    assert run_cli("run", "--source", directory / "s.zarr", "--out", directory / "out", "--methods", "softmin,clc") == 0
    names = tuple(f"class {k}" for k in range(classes))
    mask = np.zeros((side, side), bool)
    mask[3:5, 4:9] = True
    shapes: list[tuple[str, int, Array, int | None, int]] = [
        ("s", 0, mask, k - 1, k) for k in (classes - 1, 1, classes // 2)
    ]
    return ExportedRun(
        directory / "out", replace_regions(directory / "out", shapes, names), {"s": labels}, {"s": rgb_images}, names
    )


def export(form: str, run: Path, out: object, *args: object) -> int:
    """Run an export in this process; returns the exit code."""
    return exit_code("export", form, run, "--out", out, "--log-format", "quiet", *args)


def read_with_tool(tool: str, *args: object, stdin: str = "") -> Any:
    """Read an export with the library of a tool; skips the test if it is not installed."""
    output = run_tool(SCRIPTS / f"read_{tool}.py", *args, stdin=stdin)
    return json.loads(output.splitlines()[-1])


def run_tool(script: Path, *args: object, stdin: str = "") -> str:
    """Run a script with the libraries of the tools and return its output; skips the test without these."""
    python = READERS / "bin" / "python"
    if not python.exists():
        pytest.skip(f"readers are not installed in {READERS}: run `make readers`")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    process = subprocess.run(
        [python, "-W", "ignore", script, *map(str, args)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    return process.stdout


def decode_mask(encoded: Mapping[str, Any]) -> Array:
    """Decode a mask in the output of a reader."""
    bits = np.unpackbits(np.frombuffer(base64.b64decode(encoded["bits"]), np.uint8))
    height, width = encoded["size"]
    return bits[: height * width].reshape(height, width).astype(bool)


def expected_attributes(run: ExportedRun, names: Sequence[str]) -> dict[int, dict[str, Any]]:
    """Attributes of all regions by rank, with the class names of a tool."""
    attributes = {}
    for rank, region in run.regions.items():
        given = region.row["given"]
        attributes[rank] = {
            **region.attributes,
            "suggested": names[region.row["suggested"]],
            "given": None if given is None else names[given],
        }
    return attributes
