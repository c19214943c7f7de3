"""Metrics of a review order: AUROC, average precision, precision, recall, lift and effort.

Images are reviewed in ascending order of a score, because a lower score means that an image is more likely mislabeled.
Equal scores form one step, as in scikit-learn. A review that ends inside a step has found the share of its errors that
equals the share of its images: the mean over all orders of the tied images. Every metric is therefore a function of two
columns, the images reviewed and the errors found after each step. This also holds for bootstrap resamples, in which an
image counts several times or not at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class CumulativeCounts:
    """Images reviewed and errors found before the review and after each of its G steps, (G + 1,) float64."""

    reviewed: Floats
    found: Floats

    @property
    def images(self) -> float:
        """Number of images."""
        return float(self.reviewed[-1])

    @property
    def errors(self) -> float:
        """Number of errors."""
        return float(self.found[-1])


@dataclass(frozen=True)
class ReviewOrder:
    """Review order of N images by one score.

    Attributes:
        order: (N,), image indices, lowest score first.
        tie_ends: Images up to the end of each run of equal scores.
        step_ends: (G,), images up to the end of each step.
        wrong_ends: (G,), wrong images up to the end of each step.
        wrong: Indices of the wrong images in review order.
    """

    order: Indices
    tie_ends: Indices
    step_ends: Indices
    wrong_ends: Indices
    wrong: Indices


def sort_by_score(scores: Floats, wrong: NDArray[np.bool_]) -> ReviewOrder:
    """Order images by finite scores (N,), N > 0, and count the wrong ones (N,) step by step."""
    order = np.argsort(scores, kind="stable")
    ranked, hits = scores[order], wrong[order]
    tie_ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) + 1
    wrong_ends = np.append(0, np.cumsum(hits))[tie_ends]
    # without an error the order of adjacent ties has no effect: at most two steps per error remain
    has_error = np.diff(wrong_ends, prepend=0) > 0
    ends_step = has_error | np.append(has_error[1:], True)
    return ReviewOrder(order, tie_ends, tie_ends[ends_step], wrong_ends[ends_step], order[hits])


def cumulate(review: ReviewOrder, weights: NDArray[np.integer] | None = None) -> CumulativeCounts:
    """Count images and errors step by step; ``weights`` (N,) is the multiplicity of each image in a resample."""
    if weights is None:
        reviewed, found = review.step_ends, review.wrong_ends
    else:
        reviewed = np.cumsum(weights[review.order])[review.step_ends - 1]
        found = np.append(0, np.cumsum(weights[review.wrong]))[review.wrong_ends]
    return CumulativeCounts(np.append(0.0, reviewed), np.append(0.0, found))


def count_steps(keys: Floats, right: NDArray[np.int64], wrong: NDArray[np.int64]) -> CumulativeCounts:
    """Make a review from the counts of right and wrong items per key, (U,) each, lowest key first; exact below 2^53."""
    distinct, inverse = np.unique(keys, return_inverse=True)
    items, errors = (np.bincount(inverse, counts, len(distinct)) for counts in (right + wrong, wrong))
    nonempty = items > 0
    return CumulativeCounts(np.append(0.0, np.cumsum(items[nonempty])), np.append(0.0, np.cumsum(errors[nonempty])))


def area_under_roc(steps: CumulativeCounts) -> float:
    """AUROC: share of (wrong, right) pairs in which the wrong image comes first, ties count half; NaN without pairs."""
    # Mann-Whitney U over the number of pairs, equal to scikit-learn's roc_auc_score
    errors = np.diff(steps.found)
    right = np.diff(steps.reviewed) - errors
    after = right.sum() - np.cumsum(right)
    return ratio(float((errors * (after + right / 2)).sum()), steps.errors * (steps.images - steps.errors))


def average_precision(steps: CumulativeCounts) -> float:
    """AUPRC: sum over the steps of (gain of recall) x (precision after the step); NaN without errors."""
    # no interpolation, equal to scikit-learn's average_precision_score
    precision = steps.found[1:] / np.maximum(steps.reviewed[1:], 1)
    return ratio(float((np.diff(steps.found) * precision).sum()), steps.errors)


def found_at(steps: CumulativeCounts, images: float) -> float:
    """Errors among the first images."""
    return float(np.interp(images, steps.reviewed, steps.found))


def precision_at(steps: CumulativeCounts, images: float) -> float:
    """Share of errors among the first images."""
    return ratio(found_at(steps, images), images)


def lift_at(steps: CumulativeCounts, images: float) -> float:
    """Precision over the share of errors among all images (Lad & Mueller 2023); 1 for a random order."""
    return ratio(precision_at(steps, images) * steps.images, steps.errors)


def recall_at(steps: CumulativeCounts, images: float) -> float:
    """Share of all errors that are among the first images."""
    return ratio(found_at(steps, images), steps.errors)


def effort(steps: CumulativeCounts, recall: float) -> float:
    """Least number of images whose review finds this share of the errors; NaN without errors."""
    if steps.errors == 0:
        return math.nan
    wanted = recall * steps.errors
    last = int(np.searchsorted(steps.found, wanted * (1 - 1e-12)))
    reviewed, found = steps.reviewed[last - 1 : last + 1], steps.found[last - 1 : last + 1]
    inside_step = (wanted - found[0]) / (found[1] - found[0]) * (reviewed[1] - reviewed[0])
    return float(math.ceil(reviewed[0] + inside_step - 1e-9))


def ratio(numerator: float, denominator: float) -> float:
    """Quotient; NaN for a denominator of 0."""
    return numerator / denominator if denominator else math.nan
