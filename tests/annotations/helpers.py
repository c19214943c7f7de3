"""Ingests of annotations with images of 8 x 10 pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr

from prepare.ingest.helpers import read_source
from support.cli import exit_code
from support.datasets import Array

__all__ = ["H", "W", "class_names", "ingest", "planes_by_id", "square"]

H, W = 8, 10


def ingest(labels: Path, images: Path, *args: object, code: int = 0) -> dict[str, Array]:
    """Ingest labels without predictions, and return the planes by image id; 3 is the code if an image has no label."""
    out = labels.parent / "new.zarr"
    flags = ("--executor", "serial", "--log-format", "quiet")
    assert exit_code("ingest", "--labels", labels, "--images", images, "--out", out, *args, *flags) == code
    return planes_by_id(out)


def planes_by_id(out: Path) -> dict[str, Array]:
    arrays = read_source(out)
    return dict(zip(arrays["image_id"].tolist(), arrays["labels"], strict=True))


def square(value: int, other: int = 255) -> Array:
    plane = np.full((H, W), other, np.uint8)
    plane[1:4, 1:5] = value
    return plane


def class_names(labels: Path) -> list[str]:
    """Classes of the source that `ingest` made of labels."""
    names: Any = zarr.open_group(labels.parent / "new.zarr", mode="r").attrs["class_names"]
    return list(names)
