"""How well an order of review finds what is wrong: pure functions of numbers.

A score is lower where an image is more likely mislabeled, so images are reviewed in ascending order. Equal scores are
one step of that order, as in scikit-learn: within a step nobody is first, and a review that ends inside one has found
the share of its errors that it has seen (the mean over all orders of the tied images). With that every measure is a
function of two columns, how many images one has seen and how many errors one has found after each step; so are those
of a resample, whose images count several times or not at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Places = NDArray[np.intp]


@dataclass(frozen=True)
class CumulativeCounts:
    """A review, step by step: ``seen`` and ``found`` (G + 1,) float64, images seen and errors found after each of the
    G steps and, first, before all of them: 0."""

    seen: Floats
    found: Floats

    @property
    def images(self) -> float:
        return float(self.seen[-1])

    @property
    def errors(self) -> float:
        return float(self.found[-1])


@dataclass(frozen=True)
class ReviewOrder:
    """The order of review of N images by one score. ``places`` (N,): rows, the lowest score first; ``ties``: how many
    images stand up to the end of each run of equal scores; ``ends`` (G,): the same of each step, ``wrong_ends`` (G,):
    how many of them are wrong; ``wrong``: the rows of the wrong ones in order."""

    places: Places
    ties: Places
    ends: Places
    wrong_ends: Places
    wrong: Places


def order_of(scores: Floats, wrong: NDArray[np.bool_]) -> ReviewOrder:
    """The order by ``scores`` (N,) float64, finite, N > 0, of images of which some are ``wrong`` (N,). Runs of equal
    scores without an error make one step where they follow each other: nothing is found in them, whatever their order,
    so that there are at most two steps an error."""
    places = np.argsort(scores, kind="stable")
    ranked, hits = scores[places], wrong[places]
    ties = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) + 1
    wrong_ends = np.append(0, np.cumsum(hits))[ties]
    gains = np.diff(wrong_ends, prepend=0) > 0
    kept = gains | np.append(gains[1:], True)
    return ReviewOrder(places, ties, ties[kept], wrong_ends[kept], places[hits])


def steps_of(order: ReviewOrder, weights: NDArray[np.integer] | None = None) -> CumulativeCounts:
    """The review in that order; ``weights`` (N,): how often each image stands in a resample, by row."""
    if weights is None:
        seen, found = order.ends, order.wrong_ends
    else:
        seen = np.cumsum(weights[order.places])[order.ends - 1]
        found = np.append(0, np.cumsum(weights[order.wrong]))[order.wrong_ends]
    return CumulativeCounts(np.append(0.0, seen), np.append(0.0, found))


def steps_of_counts(keys: Floats, right: NDArray[np.int64], wrong: NDArray[np.int64]) -> CumulativeCounts:
    """The review of what was counted: so many right and wrong ones of each key, (U,) each, the lowest key first; keys
    may occur several times. Whole numbers below 2^53 in float64: exact."""
    distinct, place = np.unique(keys, return_inverse=True)
    seen, found = (np.bincount(place, counts, len(distinct)) for counts in (right + wrong, wrong))
    some = seen > 0
    return CumulativeCounts(np.append(0.0, np.cumsum(seen[some])), np.append(0.0, np.cumsum(found[some])))


def area_under_roc(steps: CumulativeCounts) -> float:
    """AUROC: the share of pairs (wrong, right image) in which the wrong one comes first, ties counting half (Mann and
    Whitney's U over the number of pairs); what scikit-learn's `roc_auc_score` gives. NaN without both kinds."""
    errors = np.diff(steps.found)
    right = np.diff(steps.seen) - errors
    after = right.sum() - np.cumsum(right)
    return ratio(float((errors * (after + right / 2)).sum()), steps.errors * (steps.images - steps.errors))


def average_precision(steps: CumulativeCounts) -> float:
    """AUPRC as average precision: sum over steps of (recall gained) x (precision after the step), without
    interpolation; what scikit-learn's `average_precision_score` gives. NaN without an error."""
    precision = steps.found[1:] / np.maximum(steps.seen[1:], 1)
    return ratio(float((np.diff(steps.found) * precision).sum()), steps.errors)


def found_at(steps: CumulativeCounts, images: float) -> float:
    """Errors among the first so many images."""
    return float(np.interp(images, steps.seen, steps.found))


def precision_at(steps: CumulativeCounts, images: float) -> float:
    """Errors among the first so many images, over these images."""
    return ratio(found_at(steps, images), images)


def lift_at(steps: CumulativeCounts, images: float) -> float:
    """Precision at so many images over the share of errors in all (Lad & Mueller 2023): 1 is what chance finds."""
    return ratio(precision_at(steps, images) * steps.images, steps.errors)


def recall_at(steps: CumulativeCounts, images: float) -> float:
    """Errors among the first so many images, over all errors."""
    return ratio(found_at(steps, images), steps.errors)


def effort(steps: CumulativeCounts, recall: float) -> float:
    """The least number of images after which that share of the errors is found. NaN without an error."""
    if steps.errors == 0:
        return math.nan
    wanted = recall * steps.errors
    last = int(np.searchsorted(steps.found, wanted * (1 - 1e-12)))
    seen, found = steps.seen[last - 1 : last + 1], steps.found[last - 1 : last + 1]
    inside = (wanted - found[0]) / (found[1] - found[0]) * (seen[1] - seen[0])
    return float(math.ceil(seen[0] + inside - 1e-9))


def ratio(part: float, whole: float) -> float:
    """Their ratio, NaN of nothing."""
    return part / whole if whole else math.nan
