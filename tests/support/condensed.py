"""Recipes, class planes and images for the tests of the package's own parts: what `tasks` makes of a source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from masksift.core.status import ImageStatus
from masksift.scoring.image import EvidencePlanes, ImageCondenser
from masksift.scoring.kernels.condense import CondenseConfig, class_plane
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.methods import FlaggingRule, Method, ScoringInput
from masksift.scoring.statistics.class_statistics import ClassStatistics
from masksift.scoring.statistics.thresholds import Thresholds, compute_thresholds
from reference import audit as reference
from support.datasets import Array, Data

__all__ = [
    "BY_HAND",
    "Condensed",
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


@dataclass(frozen=True)
class Condensed:
    """One image after the first pass: its class plane, evidence, verdict and statistics."""

    labels: Array
    planes: EvidencePlanes
    verdict: ImageStatus
    statistics: ClassStatistics | None


def condense(data: Data, config: CondenseConfig) -> list[Condensed]:
    """Every image of a data set with good labels, in one slab each."""
    answer = []
    for predictions, given in zip(data.predictions, data.labels, strict=True):
        labels, bad = class_plane(given, config.classes, data.ignore)
        assert bad is None
        planes = EvidencePlanes.empty(*given.shape, config)
        condensing = ImageCondenser(labels, planes, config)
        condensing.add_window(predictions)
        answer.append(Condensed(labels, planes, *condensing.finish()))
    return answer


@dataclass(frozen=True)
class SecondLook:
    """What the statistics alone do not hold, from the evidence: with numpy, not with the package's kernels."""

    images: Sequence[Condensed]
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
    images: Sequence[Condensed], config: CondenseConfig, tau: str | float = "balanced"
) -> tuple[ClassStatistics, Thresholds]:
    """The statistics of all images, and the thresholds that come of them."""
    total = ClassStatistics.empty(config)
    for one in images:
        total = total if one.statistics is None else total.merge(one.statistics)
    return total, compute_thresholds(total, tau, SecondLook(images, config.classes))


def images_of(
    data: Data,
    *,
    tau: str | float = "balanced",
    rule: FlaggingRule = "rank",
    config: CondenseConfig | None = None,
    **options: Any,
) -> list[ScoringInput | None]:
    """What the scores of a data set see; None for an image that has none. `options` are those of `make_config`."""
    config = config or make_config(data.predictions.shape[1], data.predictions.dtype, **options)
    images = condense(data, config)
    limits = thresholds(images, config, tau)[1].encode(config.evidence)
    return [
        ScoringInput(
            one.labels,
            one.planes.predicted_class,
            one.planes.self_confidence,
            one.planes.predicted_confidence,
            config.classes,
            limits,
            rule,
        )
        if one.statistics
        else None
        for one in images
    ]


def one_row(rows: Sequence[Sequence[float]], given: Sequence[int], dtype: str = "float32") -> Data:
    """One image of one row of pixels: K probabilities a pixel, and its label; 255 is no label."""
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
    """A score of every image; `options` are those of `images_of`."""
    return [None if image is None else method.score(image) for image in images_of(data, **options)]


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
    """The score of every image lies in [0, 1] and is that of the plain loops; `options` are the reference's own."""
    wanted = reference.audit(
        *data[:2], ignore=data.ignore, evidence_dtype=evidence, tau=tau, clc_rule=rule, lattice=lattice, **options
    )
    found = scores(method, data, evidence=evidence, tau=tau, rule=rule, lattice=lattice)
    assert all(type(score) is float and 0 <= score <= 1 for score in found if score is not None)
    expected = [image[method.name] for image in wanted.scores]
    assert found == [None if score is None else pytest.approx(score, abs=1e-12, rel=0) for score in expected]
