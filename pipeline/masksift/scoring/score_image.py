"""Compute the scores and regions of one image from its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from masksift.scoring.kernels.regions import OmissionRule, Regions, find_regions
from masksift.scoring.methods.base import Method, ScoringInput
from masksift.scoring.statistics.thresholds import ThresholdCodes


def score_image(image: ScoringInput, methods: Sequence[Method]) -> dict[str, Any]:
    """Return the image's row of results: its scores, flagged pixels and the class pair with most of them."""
    known = {} if image.summary is None else image.summary.scores
    row: dict[str, Any] = {"valid_pixels": image.valid_pixels}
    row |= {method.name: known[method.name] if method.name in known else method.score(image) for method in methods}
    pairs = image.flagged_pairs
    flagged = int(pairs.sum())
    row["flagged_pixels"] = flagged
    if flagged:
        given, suggested = divmod(int(pairs.argmax()), image.classes)
        row |= {"worst_given": given, "worst_suggested": suggested, "worst_pixels": int(pairs[given, suggested])}
    return row


def make_omission_rule(codes: ThresholdCodes, methods: Sequence[Method]) -> OmissionRule | None:
    """Return the rule for regions of ignored pixels, None if no method looks at ignored pixels."""
    if all(method.name != "omission" for method in methods):
        return None
    return OmissionRule.from_thresholds(codes.encoding, codes.confident, codes.ignored_share)


def find_image_regions(
    image: ScoringInput, size: tuple[int, int], least_area: int, omissions: OmissionRule | None
) -> Regions:
    """Find the regions of an image within its own rows and columns, ``size``."""
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
