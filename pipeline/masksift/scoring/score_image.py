"""Scores and regions of one image from its evidence planes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from masksift.scoring.kernels.regions import OmissionRule, Regions, find_regions
from masksift.scoring.methods import Method, ScoringInput
from masksift.scoring.statistics.thresholds import (
    ThresholdCodes,
)


def score_image(image: ScoringInput, methods: Sequence[Method]) -> dict[str, Any]:
    """One row of the results: the scores, the flagged pixels, and the class pair with most of them."""
    row: dict[str, Any] = {"valid_pixels": image.counts.valid}
    row |= {method.name: method.score(image) for method in methods}
    pairs = image.flagged_pairs
    flagged = int(pairs.sum())
    row["flagged_pixels"] = flagged
    if flagged:
        given, suggested = divmod(int(pairs.argmax()), image.classes)
        row |= {"worst_given": given, "worst_suggested": suggested, "worst_pixels": int(pairs[given, suggested])}
    return row


def make_omission_rule(limits: ThresholdCodes, methods: Sequence[Method]) -> OmissionRule | None:
    """What makes ignored pixels suspicious; None where the methods do not look at them."""
    if all(method.name != "omission" for method in methods):
        return None
    return OmissionRule.from_thresholds(limits.encoding, limits.confident, limits.ignored_share)


def find_image_regions(
    image: ScoringInput, size: tuple[int, int], least_area: int, omissions: OmissionRule | None
) -> Regions:
    """The regions of an image; ``size``: the rows and columns that are its own."""
    return find_regions(
        image.labels,
        image.predicted_class,
        image.self_confidence_codes,
        image.predicted_confidence_codes,
        image.issue_mask,
        image.encoding,
        image.classes,
        least_area=least_area,
        omissions=omissions,
        size=size,
    )
