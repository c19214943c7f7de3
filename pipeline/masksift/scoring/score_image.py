"""Compute the scores and regions of images from their evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels.regions import OmissionRule, Regions, find_regions
from masksift.scoring.methods.base import Method, ScoringInput
from masksift.scoring.statistics.thresholds import ThresholdCodes


def score_images(images: ScoringInput, methods: Sequence[Method]) -> dict[str, NDArray[Any]]:
    """Return the results of images by column, masked arrays (n,).

    They are scores, flagged pixels, the pair with most of them, and the class with the agreement furthest below usual.

    An image without valid pixels has no results.
    """
    n, unscored = len(images.labels), images.valid_pixels == 0
    known = {} if images.summary is None else images.summary.scores
    columns: dict[str, NDArray[Any]] = {"valid_pixels": images.valid_pixels}
    for method in methods:
        columns[method.name] = known[method.name] if method.name in known else method.scores(images)
    flat = images.flagged.pixels.reshape(n, -1)
    flagged, worst = flat.sum(axis=1), flat.argmax(axis=1)
    given, suggested = np.divmod(worst, images.classes)
    pairs = {"worst_given": given, "worst_suggested": suggested, "worst_pixels": flat[np.arange(n), worst]}
    columns |= {"flagged_pixels": flagged}
    z = images.z_scores[:, 0]
    classes = {"worst_class": z.argmax(axis=1), "worst_class_z": z.max(axis=1)}
    found = {name: np.ma.MaskedArray(column, unscored) for name, column in columns.items()}
    found |= {name: np.ma.MaskedArray(column, classes["worst_class_z"] == 0) for name, column in classes.items()}
    return found | {name: np.ma.MaskedArray(column, flagged == 0) for name, column in pairs.items()}


def make_omission_rule(codes: ThresholdCodes, methods: Sequence[Method]) -> OmissionRule | None:
    """Return the rule for regions of ignored pixels, None if no method looks at ignored pixels."""
    if all(method.name != "omission" for method in methods):
        return None
    return OmissionRule.from_thresholds(codes.encoding, codes.confident, codes.ignored_share)


def find_image_regions(
    images: ScoringInput, sizes: NDArray[np.int64], least_area: int, omissions: OmissionRule | None
) -> Regions:
    """Find the regions of images, none of an image without valid pixels, within their rows and columns (n, 2)."""
    return find_regions(
        images.labels,
        images.predicted_class,
        images.self_confidence_codes,
        images.predicted_confidence_codes,
        images.flagged.mask,
        images.encoding,
        images.classes,
        least_area=least_area,
        omissions=omissions,
        sizes=sizes * (images.valid_pixels > 0)[:, np.newaxis],
    )
