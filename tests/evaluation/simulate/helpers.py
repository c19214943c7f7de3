"""Simulations of known errors in small sources, and their outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from masksift.evaluation.simulate.error_types import ERROR_TYPES
from support.cli import run_cli
from support.datasets import Array, Data
from support.results import read_files
from support.sources import Source, make_data

TYPE_ARGS: dict[str, tuple[str, ...]] = dict.fromkeys(ERROR_TYPES, ()) | {"missing_region": ("--background", "class 0")}


def make_images(images: int = 10, **changes: Any) -> Data:
    """Make images of 24 x 32, one of them fully ignored."""
    return make_data(**({"images": images, "height": 24, "width": 32, "ignored_image": 3} | changes))


def simulate(error_type: str, source: object, out: Path, *args: object) -> Path:
    assert run_cli("simulate", error_type, "--source", source, "--out", out, *TYPE_ARGS[error_type], *args) == 0
    return out


def read_planes(out: Path, source: str = "a") -> tuple[Array, Array]:
    """Labels and error mask of a source, (N, H, W) each."""
    group = zarr.open_group(out / "labels" / f"{source}.zarr", mode="r")
    return np.asarray(group["labels"]), np.asarray(group["truth"])


def source_labels(source: Source) -> Array:
    return np.asarray(zarr.open_array(source.labels, mode="r")[...])


def read_record(out: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((out / "simulate.json").read_text())
    return record


def read_outputs(out: Path) -> dict[str, bytes]:
    """Output files that do not contain paths."""
    return {name: data for name, data in read_files(out).items() if name.startswith(("labels", "truth"))}
