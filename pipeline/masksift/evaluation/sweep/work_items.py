"""Inputs and outputs of the sweep's tasks.

An image has several label variants: its labels as they are (`CLEAN`) and its labels with an error of each type. Each
variant is condensed once, whatever the number of settings: a setting, an error type with a share of images, uses the
clean or the erroneous variant of an image. All variants share the predicted class and its confidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masksift.core.npz import unpack_arrays
from masksift.core.specs import SourceSpec
from masksift.engine.work_items import SCORE, BlockTask, load_output
from masksift.evaluation.simulate.error_types import ErrorParams
from masksift.evaluation.sweep.config import ScoreColumn
from masksift.scoring.kernels.condense import class_dtype
from masksift.scoring.methods.base import FlaggingRule, Method
from masksift.storage.credentials import StorageOptions
from masksift.storage.manifest import Manifest
from masksift.storage.objects import ObjectDirectory
from masksift.storage.zarr.evidence import EVIDENCE_PLANES, PREDICTED_CLASS

CLEAN = "clean"
"""Name of the variant with the labels as they are."""
Bucket = tuple[str, int]
"""Error type and number of a share: the images that get the error with this share and no smaller one."""
Setting = tuple[int, int]
"""Numbers of an error type and of a share."""


@dataclass(frozen=True)
class SweepContext:
    """Settings shared by all tasks of a sweep.

    Attributes:
        out: URL of the sweep.
        condense_fingerprint: Fingerprint of everything that determines the evidence.
        score_fingerprint: Fingerprint of everything that determines the scores.
        seed: Random seed of the errors.
        error_types: Error types.
        shares: Number of shares.
        lattice: Row and column step of the pixel grid on which class probabilities are counted.
        image_methods: Methods that use no thresholds, by column of the result table.
        threshold_methods: Methods that use thresholds, by column of the result table.
        rule: Rule that flags a pixel as mislabeled.
        options: Options of the stores, by URL.
    """

    out: str
    condense_fingerprint: str
    score_fingerprint: str
    seed: int
    error_types: tuple[str, ...]
    shares: int
    lattice: int
    image_methods: Mapping[ScoreColumn, Method]
    threshold_methods: Mapping[ScoreColumn, Method]
    rule: FlaggingRule
    options: StorageOptions

    @property
    def variants(self) -> tuple[str, ...]:
        """Names of all label variants."""
        return CLEAN, *self.error_types

    @property
    def condense_manifest(self) -> Manifest:
        """Manifest of the first pass."""
        return Manifest(ObjectDirectory(self.out, self.options), self.condense_fingerprint)

    @property
    def score_manifest(self) -> Manifest:
        """Manifest of the second pass."""
        return Manifest(ObjectDirectory(self.out, self.options), self.score_fingerprint)


@dataclass(frozen=True)
class SweepTask:
    """One block with its errors.

    Attributes:
        block_task: The block.
        params: Parameters of each error type.
        first_shares: Number of the smallest share with which each image gets an error, int16 of shape (error types,
            n); the number of shares if it never does.
    """

    block_task: BlockTask
    params: tuple[ErrorParams, ...]
    first_shares: NDArray[np.int16]


@dataclass(frozen=True)
class Scores:
    """Scores of the n images of a block.

    Attributes:
        scored: Images that are not quarantined, shape (n,).
        changed: Share of the valid pixels whose label an error changes, shape (error types, n); 0 without an error.
        by_variant: Scores without thresholds, shape (variants, n, columns); NaN without a score.
        by_setting: Scores with thresholds, shape (error types, shares, n, columns); NaN without a score.
    """

    scored: NDArray[np.bool_]
    changed: NDArray[np.float64]
    by_variant: NDArray[np.float64]
    by_setting: NDArray[np.float64]

    @classmethod
    def load(cls, context: SweepContext, number: int) -> Scores:
        """Load the scores of a block."""
        return cls(**unpack_arrays(load_output(context.score_manifest, SCORE, number)["scores"]))


def plane_dtypes(context: SweepContext, spec: SourceSpec, evidence_dtype: str) -> dict[str, str]:
    """Return the dtypes of the stored planes of a source by name; confidences have ``evidence_dtype``."""
    classes = str(class_dtype(spec.classes))
    dtypes = {PREDICTED_CLASS: classes, EVIDENCE_PLANES[2]: evidence_dtype}
    for variant in context.variants:
        labels, confidence = variant_planes(variant)
        dtypes |= {labels: classes, confidence: evidence_dtype}
    return dtypes


def variant_planes(variant: str) -> tuple[str, str]:
    """Return the names of the planes of one variant: its labels and their self-confidence."""
    return f"{variant}_labels", f"{variant}_{EVIDENCE_PLANES[0]}"
