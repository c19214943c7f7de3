"""What travels to the tasks of a sweep, and what they leave.

An image has *variants*: its labels as they are (`CLEAN`), and a kind's error in them. Which variant a setting sees
follows from its share alone, so that every variant is condensed once, whatever the number of settings. Of all variants
the predicted class and its confidence are the same; labels and self-confidence are kept of each.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.specs import DataSpec
from masksift.core.task_result import Receipt
from masksift.engine.work_items import Part
from masksift.evaluation.simulate.error_types import Setting
from masksift.evaluation.sweep.config import Column
from masksift.scoring.kernels.condense import class_dtype
from masksift.scoring.methods import Method, Rule
from masksift.storage.credentials import Options
from masksift.storage.manifest import Manifest
from masksift.storage.objects import Folder
from masksift.storage.zarr.evidence import CLASSES, EVIDENCE

__all__ = [
    "CLEAN", "CONDENSE", "SCORE", "Bucket", "Job", "Piece", "Scores", "Stack", "own_planes", "packed", "planes_of",
    "product_of", "reused", "unpacked",
]  # fmt: skip

CONDENSE, SCORE = "condense", "score"
CLEAN = "clean"
"""The variant of an image whose labels are as they were given."""
Stack = NDArray[np.unsignedinteger]
"""(n, H, W) of a group of images."""
Bucket = tuple[str, int]
"""A kind of error and the number of a share: the images that get the error with this share and no smaller one."""


@dataclass(frozen=True)
class Job:
    """What every task of a sweep knows. ``condensed``, ``scored``: fingerprints of all that decides what is kept and
    what comes of it; ``shares``: how many there are; ``steady``, ``thresholded``: methods by column of the table."""

    out: str
    condensed: str
    scored: str
    seed: int
    kinds: tuple[str, ...]
    shares: int
    lattice: int
    steady: Mapping[Column, Method]
    thresholded: Mapping[Column, Method]
    rule: Rule
    options: Options

    @property
    def variants(self) -> tuple[str, ...]:
        return CLEAN, *self.kinds

    def manifest(self, fingerprint: str) -> Manifest:
        """Where the products of a stage lie."""
        return Manifest(Folder(self.out, self.options), fingerprint)


@dataclass(frozen=True)
class Piece:
    """A block, how errors are drawn in it, by kind, and with which share each of its images joins, (kinds, n)."""

    part: Part
    settings: tuple[Setting, ...]
    joined: NDArray[np.int16]


@dataclass(frozen=True)
class Scores:
    """The scores of the n images of a block. ``scored`` (n,); ``changed`` (kinds, n): share of the valid pixels whose
    labels the error of a kind changes, 0 where there is none; ``steady`` (variants, n, columns), ``thresholded``
    (kinds, shares, n, columns): NaN where there is no score."""

    scored: NDArray[np.bool_]
    changed: NDArray[np.float64]
    steady: NDArray[np.float64]
    thresholded: NDArray[np.float64]

    @classmethod
    def load(cls, job: Job, number: int) -> Scores:
        """Those that `score_block` kept of the block of that number."""
        product = product_of(job.manifest(job.scored), SCORE, number)
        return cls(**unpacked(product["scores"]))


def planes_of(job: Job, spec: DataSpec, evidence: str) -> dict[str, str]:
    """The arrays that are kept of a source, by name: their dtypes. ``evidence``: that of confidences."""
    classes = str(class_dtype(spec.classes))
    kept = {CLASSES: classes, EVIDENCE[2]: evidence}
    return kept | {
        name: dtype for v in job.variants for name, dtype in zip(own_planes(v), (classes, evidence), strict=True)
    }


def own_planes(variant: str) -> tuple[str, str]:
    """What is kept of one variant: its labels, and their self-confidence."""
    return f"{variant}_labels", f"{variant}_{EVIDENCE[0]}"


def packed(**arrays: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def unpacked(data: bytes) -> dict[str, NDArray[Any]]:
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def product_of(manifest: Manifest, stage: str, number: int) -> dict[str, bytes]:
    product = manifest.load(stage, number)
    if product is None:
        raise FileNotFoundError(f"block {number} of stage {stage!r} has no product in {manifest.url}: it was removed")
    return product


def reused(product: Mapping[str, bytes]) -> Receipt:
    return replace(Receipt(**json.loads(product["receipt"])), reused=True)
