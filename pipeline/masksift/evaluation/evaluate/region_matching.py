"""Match the 8-connected components of flagged pixels with those of wrong pixels, image by image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masksift.evaluation.evaluate.metrics import CumulativeCounts, count_steps

IOU_THRESHOLDS = (0.5, 0.1)
"""Least intersection over union of a match: correct position, and rough position."""

Mask = NDArray[np.bool_]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class MatchedRegions:
    """Number of wrong regions; pixels (F,) of each flagged region, and whether it matches (I, F) by IoU threshold."""

    wrong: int
    areas: Integers
    matched: Mask


@dataclass(frozen=True)
class RegionSizes:
    """Ascending areas (U,) of flagged regions, and numbers of unmatched and matched ones (I, 2, U) by IoU threshold."""

    areas: Integers
    counts: Integers


def match_regions(flagged: Mask, wrong: Mask) -> MatchedRegions:
    """Match the components of two masks (H, W), greedily by IoU, for each IoU threshold."""
    from scipy import ndimage

    flagged_numbers, flagged_count = ndimage.label(flagged, np.ones((3, 3)))
    wrong_numbers, wrong_count = ndimage.label(wrong, np.ones((3, 3)))
    flagged_areas, wrong_areas = np.bincount(flagged_numbers.reshape(-1)), np.bincount(wrong_numbers.reshape(-1))
    matched = np.zeros((len(IOU_THRESHOLDS), flagged_count), bool)
    both = flagged & wrong
    pairs, common = np.unique(
        flagged_numbers[both].astype(np.int64) * (wrong_count + 1) + wrong_numbers[both], return_counts=True
    )
    first, second = np.divmod(pairs, wrong_count + 1)
    iou = common / (flagged_areas[first] + wrong_areas[second] - common)
    # greedy as in COCO, but ordered by IoU instead of confidence, so that the result depends on the masks only
    order = np.argsort(-iou, kind="stable")
    for level, threshold in enumerate(IOU_THRESHOLDS):
        taken = np.zeros(wrong_count + 1, bool)
        for pair in order[iou[order] >= threshold]:
            if not (matched[level, first[pair] - 1] or taken[second[pair]]):
                matched[level, first[pair] - 1] = taken[second[pair]] = True
    return MatchedRegions(wrong_count, flagged_areas[1:], matched)


def group_by_size(regions: Sequence[MatchedRegions]) -> RegionSizes:
    """Group the flagged regions of several images by area."""
    areas = np.concatenate([np.empty(0, np.int64), *(image.areas for image in regions)])
    matched = np.concatenate([np.empty((len(IOU_THRESHOLDS), 0), bool), *(image.matched for image in regions)], axis=1)
    sizes, inverse = np.unique(areas, return_inverse=True)
    counts = [[np.bincount(inverse[row == hit], minlength=len(sizes)) for hit in (False, True)] for row in matched]
    return RegionSizes(sizes, np.array(counts, np.int64))


def region_steps(sizes: Sequence[RegionSizes], level: int) -> CumulativeCounts:
    """Review all flagged regions, largest first, for one IoU threshold; regions of equal area are one step."""
    areas = np.concatenate([np.empty(0, np.int64), *(block.areas for block in sizes)])
    missed, matched = np.concatenate([np.empty((2, 0), np.int64), *(block.counts[level] for block in sizes)], axis=1)
    return count_steps(-areas.astype(np.float64), missed, matched)
