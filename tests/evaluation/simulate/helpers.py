"""Simulations of known errors in small sources, and what they leave."""

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

__all__ = ["TYPE_ARGS", "make_images", "read_outputs", "read_planes", "read_record", "simulate", "source_labels"]

TYPE_ARGS: dict[str, tuple[str, ...]] = dict.fromkeys(ERROR_TYPES, ()) | {"missing_region": ("--background", "class 0")}


def make_images(images: int = 10, **changes: Any) -> Data:
    """Images of 24 x 32, one of them ignored as a whole."""
    return make_data(**({"images": images, "height": 24, "width": 32, "ignored_image": 3} | changes))


def simulate(kind: str, source: object, out: Path, *words: object) -> Path:
    assert run_cli("simulate", kind, "--source", source, "--out", out, *TYPE_ARGS[kind], *words) == 0
    return out


def read_planes(out: Path, source: str = "a") -> tuple[Array, Array]:
    """(labels, truth) of a source, (N, H, W) each."""
    group = zarr.open_group(out / "labels" / f"{source}.zarr", mode="r")
    return np.asarray(group["labels"]), np.asarray(group["truth"])


def source_labels(source: Source) -> Array:
    return np.asarray(zarr.open_array(source.labels, mode="r")[...])


def read_record(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "simulate.json").read_text())
    return found


def read_outputs(out: Path) -> dict[str, bytes]:
    """Everything that does not say where it lies."""
    return {name: data for name, data in read_files(out).items() if name.startswith(("labels", "truth"))}
