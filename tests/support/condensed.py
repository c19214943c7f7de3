"""Condensed images, thresholds and scoring inputs of test data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from masksift.scoring.image import CondensedImage, condense_image
from masksift.scoring.kernels.condense import CondenseConfig
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.methods.base import FlaggingRule, Method, ScoringInput
from masksift.scoring.statistics.class_statistics import ClassStatistics
from masksift.scoring.statistics.thresholds import Thresholds, compute_thresholds
from reference import audit as reference
from support.datasets import Array, Data

__all__ = [
    "BY_HAND",
    "a_few",
    "condense",
    "images_of",
    "make_config",
    "one_row",
    "same_as_the_reference",
    "scores",
    "thresholds",
]

a_few = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def make_config(
    classes: int,
    dtype: Any,
    *,
    kind: str = "probabilities",
    scale: float | None = None,
    evidence: str = "auto",
    sum_tolerance: float | None = None,
    lattice: int = 4,
) -> CondenseConfig:
    """Settings for predictions of a dtype, with the package's defaults."""
    return CondenseConfig.for_predictions(classes, np.dtype(dtype).name, kind, scale, sum_tolerance, evidence, lattice)


def condense(data: Data, config: CondenseConfig) -> list[CondensedImage]:
    """Condense every image of a data set, in one window each."""
    pairs = zip(data.predictions, data.labels, strict=True)
    return [condense_image(labels, [predictions], config, data.ignore) for predictions, labels in pairs]


@dataclass(frozen=True)
class NumpyEvidenceCounter:
    """Counts over evidence (`EvidenceCounter`) by numpy instead of the package's kernels."""

    images: Sequence[CondensedImage]
    classes: int

    def count_confident(self, limits: Mapping[Encoding, Array]) -> int:
        (codes,), found = limits.values(), 0
        for one in self.images:
            other = (one.labels < self.classes) & (one.labels != one.planes.predicted_class)
            reached = one.planes.predicted_confidence >= codes[one.planes.predicted_class]
            found += int((other & reached).sum()) if one.statistics else 0
        return found

    def count_low_bits(self, key: int) -> Array:
        counts = np.zeros(1 << 16, np.int64)
        for one in self.images:
            if one.statistics:
                codes = one.planes.self_confidence[one.labels < self.classes]
                counts += np.bincount(codes[codes >> 16 == key] & 65535, minlength=1 << 16)
        return counts


def thresholds(
    images: Sequence[CondensedImage], config: CondenseConfig, tau: str | float = "balanced"
) -> tuple[ClassStatistics, Thresholds]:
    """Merge the statistics of all images and compute the thresholds."""
    total = ClassStatistics.empty(config)
    for one in images:
        total = total if one.statistics is None else total.merge(one.statistics)
    return total, compute_thresholds(total, tau, NumpyEvidenceCounter(images, config.classes))


def images_of(
    data: Data,
    *,
    tau: str | float = "balanced",
    rule: FlaggingRule = "rank",
    config: CondenseConfig | None = None,
    **options: Any,
) -> list[ScoringInput | None]:
    """Scoring input of each image of a data set, None without scores. ``options`` are those of `make_config`."""
    config = config or make_config(data.predictions.shape[1], data.predictions.dtype, **options)
    images = condense(data, config)
    limits = thresholds(images, config, tau)[1].encode(config.evidence)
    return [
        ScoringInput(
            one.labels[np.newaxis],
            one.planes.predicted_class[np.newaxis],
            one.planes.self_confidence[np.newaxis],
            one.planes.predicted_confidence[np.newaxis],
            config.classes,
            config.evidence,
            limits,
            rule,
        )
        if one.statistics
        else None
        for one in images
    ]


def one_row(rows: Sequence[Sequence[float]], given: Sequence[int], dtype: str = "float32") -> Data:
    """Make an image of one row from K probabilities and a label per pixel; 255 is ignored."""
    predictions = np.array(rows, dtype=dtype).T[None, :, None, :]
    return Data(predictions, np.array([[given]]), (255,))


# given   p               s     a  m
#   0     .750 .125 .125  .750  0  .750
#   0     .125 .625 .250  .125  1  .625
#   1     .250 .500 .250  .500  1  .500
#   2     .375 .500 .125  .125  1  .500
#  none   .0   .250 .750   -    2  .750
BY_HAND = one_row(
    [[0.75, 0.125, 0.125], [0.125, 0.625, 0.25], [0.25, 0.5, 0.25], [0.375, 0.5, 0.125], [0.0, 0.25, 0.75]],
    [0, 0, 1, 2, 255],
)


def scores(method: Method, data: Data, **options: Any) -> list[float | None]:
    """Score every image; ``options`` are those of `images_of`."""
    return [None if image is None else float(method.scores(image)[0]) for image in images_of(data, **options)]


def same_as_the_reference(
    method: Method,
    data: Data,
    *,
    evidence: str = "auto",
    tau: str | float = "balanced",
    rule: FlaggingRule = "rank",
    lattice: int = 4,
    **options: Any,
) -> None:
    """Check that the score of every image is in [0, 1] and equals the reference; ``options`` are the reference's."""
    reference_audit = reference.audit(
        *data[:2], ignore=data.ignore, evidence_dtype=evidence, tau=tau, clc_rule=rule, lattice=lattice, **options
    )
    found = scores(method, data, evidence=evidence, tau=tau, rule=rule, lattice=lattice)
    assert all(0 <= score <= 1 for score in found if score is not None)
    expected = [image[method.name] for image in reference_audit.scores]
    assert found == [None if score is None else pytest.approx(score, abs=1e-12, rel=0) for score in expected]
