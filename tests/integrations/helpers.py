"""Images with labels for the tests of the frameworks, and the evidence that their logits must give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr

import masksift
from support.datasets import Array

__all__ = ["IMAGES", "NAMES", "PLANES", "SIZE", "check_evidence", "make_labels", "make_pictures", "open_writer"]

NAMES = ("sky", "road", "tree")
IMAGES, SIZE = 5, (16, 20)
PLANES = ("self_confidence", "predicted_class", "predicted_confidence")


def make_pictures() -> Array:
    return np.random.default_rng(1).integers(0, 256, (IMAGES, *SIZE, 3)).astype(np.uint8)


def make_labels() -> Array:
    labels = np.random.default_rng(2).integers(0, 3, (IMAGES, *SIZE))
    labels[:, :2] = 255
    return labels


def open_writer(url: Path, **args: Any) -> masksift.EvidenceWriter:
    defaults = {"images": IMAGES, "height": SIZE[0], "width": SIZE[1], "class_names": NAMES}
    return masksift.EvidenceWriter(str(url), **{**defaults, "ignore": 255, "kind": "logits", **args})


def check_evidence(url: Path, logits: Array, labels: Array, ids: list[str] | None = None) -> None:
    """Compare a written source with the evidence of full-size logits."""
    group = zarr.open_group(url, mode="r")
    for i, (predicted, given) in enumerate(zip(logits, labels, strict=True)):
        rows, columns = given.shape
        expected = masksift.condense(predicted, given, kind="logits", ignore=255)
        for name in PLANES:
            np.testing.assert_array_equal(np.asarray(group[name][i])[:rows, :columns], getattr(expected, name))
        np.testing.assert_array_equal(np.asarray(group["labels"][i])[:rows, :columns], given)
    if ids is not None:
        assert np.asarray(group["image_id"]).tolist() == ids
