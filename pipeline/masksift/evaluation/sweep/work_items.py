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

from masksift.core.specs import SourceSpec
from masksift.core.task_result import TaskResult
from masksift.engine.work_items import BlockTask
from masksift.evaluation.simulate.error_types import ErrorParams
from masksift.evaluation.sweep.config import Column
from masksift.scoring.kernels.condense import class_dtype
from masksift.scoring.methods import FlaggingRule, Method
from masksift.storage.credentials import StorageOptions
from masksift.storage.manifest import Manifest
from masksift.storage.objects import ObjectDirectory
from masksift.storage.zarr.evidence import CLASSES, EVIDENCE

CONDENSE, SCORE = "condense", "score"
CLEAN = "clean"
"""The variant of an image whose labels are as they were given."""
Stack = NDArray[np.unsignedinteger]
"""(n, H, W) of a group of images."""
Bucket = tuple[str, int]
"""A kind of error and the number of a share: the images that get the error with this share and no smaller one."""


@dataclass(frozen=True)
class SweepContext:
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
    rule: FlaggingRule
    options: StorageOptions

    @property
    def variants(self) -> tuple[str, ...]:
        return CLEAN, *self.kinds

    def manifest(self, fingerprint: str) -> Manifest:
        """Where the products of a stage lie."""
        return Manifest(ObjectDirectory(self.out, self.options), fingerprint)


@dataclass(frozen=True)
class SweepTask:
    """A block, how errors are drawn in it, by kind, and with which share each of its images joins, (kinds, n)."""

    part: BlockTask
    settings: tuple[ErrorParams, ...]
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
    def load(cls, job: SweepContext, number: int) -> Scores:
        """Those that `score_block` kept of the block of that number."""
        product = product_of(job.manifest(job.scored), SCORE, number)
        return cls(**unpacked(product["scores"]))


def planes_of(job: SweepContext, spec: SourceSpec, evidence: str) -> dict[str, str]:
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


def reused(product: Mapping[str, bytes]) -> TaskResult:
    return replace(TaskResult(**json.loads(product["result"])), reused=True)
