"""Sources of the studies of scores and of region orders: CamVid and the demo, in halves, with simulated errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from benchmarks.candidates import Evidence
from masksift.demo import make_demo
from masksift.demo.predictions import assign_folds
from masksift.demo.scenes.scene import draw_scene
from masksift.demo.scenes.street import CLASS_NAMES
from masksift.evaluation.simulate.error_types import ERROR_TYPES, ErrorParams, apply_error
from masksift.evaluation.simulate.sampling import image_rng, sample_images
from masksift.prepare.predict.trainers.pixel_classifier import fit_classifier, sample_pixels

__all__ = ["BLIND", "CAMVID", "GIVEN", "KEYS", "MODELS", "SHARE", "Half", "cross_validate", "load", "prepare"]

CAMVID = Path(__file__).resolve().parents[3] / "shared" / "camvid" / "camvid.zarr"
IMAGES, HEIGHT, WIDTH, DEMO_SEED = 80, 256, 512, 3
SHARE = 0.25
BACKGROUND = "building"
GIVEN = "given"
MODELS: Mapping[str, int] = {"weak": 20, "strong": 1500}
"""Cross-validated pixel classifiers: training pixels per image. `GIVEN` is the model of the source's predictions."""
KEYS: Mapping[str, tuple[str, str, str]] = {
    "drop": ("drop", "whole", "nearest"),
    "drop, background": ("drop", "whole", "background"),
    "drop, ignore": ("drop", "whole", "ignore"),
    "drop, one object": ("drop", "one", "nearest"),
    "swap": ("swap", "whole", "nearest"),
    "swap, one object": ("swap", "one", "nearest"),
    "shift": ("shift", "whole", "nearest"),
    "shift, one object": ("shift", "one", "nearest"),
    "boundary": ("boundary", "whole", "nearest"),
    "boundary, one object": ("boundary", "one", "nearest"),
    "coarse": ("coarse", "whole", "nearest"),
    "coarse, one object": ("coarse", "one", "nearest"),
    "missing_region": ("missing_region", "whole", "background"),
}
"""Names of the errors in the tables: error type, objects and fill."""
BLIND = "drop, ignore"
"""Error that no score over valid pixels can detect; shown, but not part of any mean."""
Planes = NDArray[np.uint8]


@dataclass(frozen=True)
class Half:
    """Half of a source: probabilities (n, K, H, W) in 1/255, right labels (n, H, W), 255 ignored."""

    name: str
    predictions: Planes
    labels: Planes
    background: int

    @property
    def classes(self) -> int:
        return self.predictions.shape[1]

    @cached_property
    def right(self) -> Evidence:
        """Evidence of the right labels."""
        winner = self.predictions.argmax(axis=1).astype(np.uint8), self.predictions.max(axis=1)
        return Evidence(self.labels, self.predictions, winner)

    def corrupt(self, key: str, seed: int, share: float = SHARE) -> tuple[Planes, NDArray[np.bool_]]:
        """Labels with simulated errors in a share of the images, at least one, and the images that have one (n,).

        With several keys, joined by " + ", the images get their errors in turn.
        """
        errors = [self._error(name) for name in key.split(" + ")]
        labels, first = self.labels.copy(), errors[0].error_type
        images = sample_images(seed, first, self.name, len(labels), max(share, len(errors) / len(labels)))
        for i, params in zip(images, cycle(errors), strict=False):
            corrupted = apply_error(labels[i], image_rng(seed, params.error_type, self.name, i), params)
            labels[i] = labels[i] if corrupted is None else corrupted.plane
        return labels, (labels != self.labels).any(axis=(1, 2))

    def _error(self, key: str) -> ErrorParams:
        error_type, objects, fill = KEYS[key]
        background = self.background if fill == "background" else None
        size = ERROR_TYPES[error_type].default_size
        return ErrorParams(error_type, size, tuple(range(self.classes)), objects, fill, background)


@cache
def load(source: str, second: bool, folder: Path, camvid: Path = CAMVID, model: str = GIVEN) -> Half:
    """Half of a source, with the predictions of a model."""
    group, labels, names = _open(source, folder, camvid)
    middle = len(labels) // 2
    part = slice(middle, None) if second else slice(middle)
    if model == GIVEN:
        predictions = np.asarray(group["predictions"][part])
    else:
        predictions = np.load(_predictions_file(folder, source, model), mmap_mode="r")[part]
    return Half(f"{source} {second:d}", np.asarray(predictions), labels[part], names.index(BACKGROUND))


def _open(source: str, folder: Path, camvid: Path) -> tuple[Any, Planes, list[str]]:
    """Group of a source, its right labels (n, H, W), 255 ignored, and its class names."""
    if source == "CamVid":
        group: Any = zarr.open_group(camvid, mode="r")
        labels, names = np.asarray(group["labels"][:]), list(group.attrs["class_names"])
        return group, np.where(labels >= len(names), 255, labels).astype(np.uint8), names
    return zarr.open_group(folder / "source.zarr", mode="r"), np.load(folder / "right.npy"), list(CLASS_NAMES)


def _predictions_file(folder: Path, source: str, model: str) -> Path:
    return folder / f"{source}-{model}.npy"


def prepare(folder: Path, camvid: Path = CAMVID) -> tuple[str, ...]:
    """Write the demo's source and its labels without the demo's errors; return the available sources."""
    make_demo(folder, images=IMAGES, seed=DEMO_SEED, height=HEIGHT, width=WIDTH)
    if not (folder / "right.npy").exists():
        np.save(folder / "right.npy", np.stack([draw_scene(DEMO_SEED, i, HEIGHT, WIDTH)[1] for i in range(IMAGES)]))
    return ("CamVid", "demo") if camvid.exists() else ("demo",)


def cross_validate(source: str, model: str, folder: Path, camvid: Path = CAMVID) -> None:
    """Write the predictions of a pixel classifier, trained on the right labels of the other folds.

    The folds of CamVid are three stretches of its drive, those of the demo are random.
    """
    file = _predictions_file(folder, source, model)
    if file.exists():
        return
    group, labels, names = _open(source, folder, camvid)
    images, count = np.asarray(group["images"][:]), len(labels)
    fold = np.arange(count) * 3 // count if source == "CamVid" else assign_folds(count, 3, 0)
    rngs = [np.random.default_rng([7, index]) for index in range(count)]
    samples = [
        sample_pixels(image, label, len(names), rng, MODELS[model])
        for image, label, rng in zip(images, labels, rngs, strict=True)
    ]
    predictions = np.empty((count, len(names), *labels.shape[1:]), np.uint8)
    for number in range(3):
        trained = fit_classifier([s for s, of in zip(samples, fold, strict=True) if of != number], (7, number))
        for index in np.flatnonzero(fold == number):
            predictions[index] = trained.predict(images[index])
    np.save(file, predictions)
