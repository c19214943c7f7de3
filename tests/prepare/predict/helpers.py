"""Small sources of images and labels without predictions, and a trainer that remembers what it was trained on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import zarr

from support.cli import run_cli
from support.datasets import Array, blobs
from support.results import read_files

__all__ = [
    "MEMORIZER",
    "NAMES",
    "make_images",
    "predict",
    "read_array",
    "read_folds",
    "read_record",
    "read_source_files",
    "write_images",
]

NAMES = ("sky", "road", "tree")

MEMORIZER = '''
"""Trainer that is certain of the images it was trained on and undecided about all others."""

import numpy as np


class Memorizer:
    def __init__(self, classes, ignored, seed):
        self.classes, self.ignored, self.seed = classes, ignored, seed
        self.known = set()

    def fit(self, images, labels):
        assert len(images) == len(labels)
        for image, plane in zip(images, labels):
            assert image.shape == (*plane.shape, 3) and image.dtype == np.uint8
            assert ((plane < self.classes) | (plane == self.ignored)).all()
            self.known.add(image.tobytes())

    def predict_proba(self, images):
        shape = (len(images), self.classes, *images.shape[1:3])
        output = np.full(shape, 1 / self.classes, np.float32)
        for planes, image in zip(output, images):
            if image.tobytes() in self.known:
                planes[:] = 0
                planes[0] = 1
        return output
'''


def make_images(images: int = 9, height: int = 16, width: int = 20, seed: int = 1) -> tuple[Array, Array]:
    """Draw images (N, H, W, 3) whose colors show the class, and their labels (N, H, W) with an ignored corner."""
    rng = np.random.default_rng(seed)
    labels = np.stack([blobs(rng, len(NAMES), height, width) for _ in range(images)]).astype(np.uint8)
    colors = np.array([[90, 130, 220], [100, 90, 90], [40, 160, 60]])
    noise = rng.normal(0, 12, (*labels.shape, 3))
    rgb = np.clip(colors[labels] + noise, 0, 255).astype(np.uint8)
    labels[:, :3, :4] = 255
    return rgb, labels


def write_images(
    path: Path,
    images: Array,
    labels: Array,
    *,
    ids: Sequence[str] | None = None,
    chunk: int = 2,
    attributes: dict[str, Any] | None = None,
    **columns: Array,
) -> Path:
    """Write a source of images and labels, ``chunk`` images per chunk; ``columns``: arrays with one value per image."""
    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.attrs.update({"class_names": list(NAMES), "ignore": [255]} if attributes is None else attributes)
    for name, values in {"images": images, "labels": labels, **columns}.items():
        array = group.create_array(
            name,
            shape=values.shape,
            dtype=values.dtype,
            chunks=(min(chunk, len(values)), *values.shape[1:]),
            config={"write_empty_chunks": True},
        )
        array[...] = values
    if ids is not None:
        id_array = group.create_array("image_id", shape=(len(ids),), dtype=str, chunks=(len(ids),))
        id_array[:] = np.array(ids, dtype=object)
    return path


def predict(source: Path, out: Path, *args: object) -> Path:
    """Run a prediction in this process and return its output directory."""
    assert run_cli("predict", "--source", source, "--out", out, *args) == 0
    return out


def read_array(out: Path, name: str) -> Array:
    return np.asarray(zarr.open_array(out / name, mode="r")[...])


def read_folds(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(out / "predict/folds.parquet").to_pylist()
    return rows


def read_record(out: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((out / "predict/predict.json").read_text())
    return record


def read_source_files(out: Path) -> dict[str, bytes]:
    """Read all files that a run reads."""
    return {name: data for name, data in read_files(out).items() if not name.startswith("predict/")}
