"""Small sources of pictures and labels, with nothing predicted yet, and trainers that say what they have seen."""

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
    "MEMORISER",
    "NAMES",
    "arrays_of",
    "drawn_pictures",
    "folds_of",
    "predict",
    "record",
    "result",
    "write_pictures",
]

NAMES = ("sky", "road", "tree")

MEMORISER = '''
"""A trainer that is certain of what it was fitted to, and has no opinion of anything else."""

import numpy as np


class Memoriser:
    def __init__(self, classes, ignored, seed):
        self.classes, self.ignored, self.seed = classes, ignored, seed
        self.seen = set()

    def fit(self, images, labels):
        assert len(images) == len(labels)
        for picture, plane in zip(images, labels):
            assert picture.shape == (*plane.shape, 3) and picture.dtype == np.uint8
            assert ((plane < self.classes) | (plane == self.ignored)).all()
            self.seen.add(picture.tobytes())

    def predict_proba(self, images):
        shape = (len(images), self.classes, *images.shape[1:3])
        flat = np.full(shape, 1 / self.classes, np.float32)
        for answer, picture in zip(flat, images):
            if picture.tobytes() in self.seen:
                answer[:] = 0
                answer[0] = 1
        return flat
'''


def drawn_pictures(images: int = 9, height: int = 16, width: int = 20, seed: int = 1) -> tuple[Array, Array]:
    """Pictures (N, H, W, 3) whose colours tell the class, and their labels (N, H, W), a corner of each ignored."""
    rng = np.random.default_rng(seed)
    labels = np.stack([blobs(rng, len(NAMES), height, width) for _ in range(images)]).astype(np.uint8)
    colours = np.array([[90, 130, 220], [100, 90, 90], [40, 160, 60]])
    noise = rng.normal(0, 12, (*labels.shape, 3))
    pictures = np.clip(colours[labels] + noise, 0, 255).astype(np.uint8)
    labels[:, :3, :4] = 255
    return pictures, labels


def write_pictures(
    path: Path,
    pictures: Array,
    labels: Array,
    *,
    ids: Sequence[str] | None = None,
    chunk: int = 2,
    attributes: dict[str, Any] | None = None,
    **columns: Array,
) -> Path:
    """A source of these, `chunk` images a chunk; ``columns``: of one value an image."""
    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.attrs.update({"class_names": list(NAMES), "ignore": [255]} if attributes is None else attributes)
    for name, values in {"images": pictures, "labels": labels, **columns}.items():
        array = group.create_array(
            name,
            shape=values.shape,
            dtype=values.dtype,
            chunks=(min(chunk, len(values)), *values.shape[1:]),
            config={"write_empty_chunks": True},
        )
        array[...] = values
    if ids is not None:
        named = group.create_array("image_id", shape=(len(ids),), dtype=str, chunks=(len(ids),))
        named[:] = np.array(ids, dtype=object)
    return path


def predict(source: Path, out: Path, *words: object) -> Path:
    assert run_cli("predict", "--source", source, "--out", out, *words) == 0
    return out


def result(out: Path, name: str) -> Array:
    """An array of the new source."""
    return np.asarray(zarr.open_array(out / name, mode="r")[...])


def folds_of(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(out / "predict/folds.parquet").to_pylist()
    return found


def record(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "predict/predict.json").read_text())
    return found


def arrays_of(out: Path) -> dict[str, bytes]:
    """Everything that a run reads."""
    return {name: data for name, data in read_files(out).items() if not name.startswith("predict/")}
