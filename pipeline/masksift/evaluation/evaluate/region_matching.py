"""Regions: the 8-connected components of the flagged pixels of an image, matched with those of its wrong pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masksift.evaluation.evaluate.metrics import CumulativeCounts, steps_of_counts

IOUS = (0.5, 0.1)
"""Least intersection over union of a region with the wrong one that it finds: in its place, or roughly there."""

Mask = NDArray[np.bool_]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Regions:
    """Of one image, or of some: how many regions are ``wrong``; of each of F flagged ones the pixels, ``areas`` (F,),
    and whether it is ``matched`` (I, F) at each of `IOUS`."""

    wrong: int
    areas: Integers
    matched: Mask


@dataclass(frozen=True)
class Sizes:
    """Flagged regions by their size: ``areas`` (U,), ascending, and how many of each are not matched and matched,
    ``counts`` (I, 2, U), at each of `IOUS`."""

    areas: Integers
    counts: Integers


def match_regions(flagged: Mask, wrong: Mask) -> Regions:
    """Match the regions of two masks (H, W).

    At each least IoU, pairs are taken in descending IoU (ties: in the order of the regions), each region once: the
    greedy matching of COCO, by IoU in place of confidence, so that it depends on the masks alone.
    """
    theirs, count = _components(flagged)
    own, true_count = _components(wrong)
    areas = np.bincount(theirs.reshape(-1), minlength=count + 1)[1:]
    return Regions(true_count, areas, _matched(theirs, own, count, true_count))


def sizes_of(regions: Sequence[Regions]) -> Sizes:
    """The flagged regions of several images by their size."""
    areas = np.concatenate([np.empty(0, np.int64), *(one.areas for one in regions)])
    matched = np.concatenate([np.empty((len(IOUS), 0), bool), *(one.matched for one in regions)], axis=1)
    sizes, place = np.unique(areas, return_inverse=True)
    counts = [[np.bincount(place[row == hit], minlength=len(sizes)) for hit in (False, True)] for row in matched]
    return Sizes(sizes, np.array(counts, np.int64))


def steps_of_regions(sizes: Sequence[Sizes], level: int) -> CumulativeCounts:
    """The review of all flagged regions, the largest first, at one of `IOUS`; regions of one size are one step."""
    areas = np.concatenate([np.empty(0, np.int64), *(one.areas for one in sizes)])
    missed, matched = np.concatenate([np.empty((2, 0), np.int64), *(one.counts[level] for one in sizes)], axis=1)
    return steps_of_counts(-areas.astype(np.float64), missed, matched)


def _components(mask: Mask) -> tuple[NDArray[np.int32], int]:
    """Number the 8-connected components of a mask (H, W) from 1 on, 0 outside, and count them."""
    from scipy import ndimage  # in the extra "evaluate"

    numbers, count = ndimage.label(mask, np.ones((3, 3)))
    return numbers, int(count)


def _matched(theirs: NDArray[np.int32], own: NDArray[np.int32], count: int, true_count: int) -> Mask:
    """(I, count): which of the flagged regions are matched at each of `IOUS`."""
    matched = np.zeros((len(IOUS), count), bool)
    both = (theirs > 0) & (own > 0)
    if not both.any():
        return matched
    codes, common = np.unique(theirs[both].astype(np.int64) * (true_count + 1) + own[both], return_counts=True)
    first, second = np.divmod(codes, true_count + 1)
    sizes, true_sizes = np.bincount(theirs.reshape(-1)), np.bincount(own.reshape(-1))
    iou = common / (sizes[first] + true_sizes[second] - common)
    order = np.argsort(-iou, kind="stable")
    for level, least in enumerate(IOUS):
        taken = np.zeros(true_count + 1, bool)
        for pair in order[iou[order] >= least]:
            if not (matched[level, first[pair] - 1] or taken[second[pair]]):
                matched[level, first[pair] - 1] = taken[second[pair]] = True
    return matched
