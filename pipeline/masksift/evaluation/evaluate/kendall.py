"""Kendall's tau-b between a score and the share of wrong pixels, of the images themselves and of their resamples.

With P pairs that both put in one order and Q that they put in opposite ones, n images, and n1, n2 pairs tied in the
score and in the share: tau-b = (P - Q) / sqrt((n(n-1)/2 - n1) (n(n-1)/2 - n2)) (Kendall 1945).

A resample counts images several times, which changes no order. Nearly all images have a share of 0, so that P - Q is
taken apart: pairs of a wrong and a right image give (2 AUROC - 1) x (wrong x right), and pairs of two wrong ones a
quadratic form in the E weights of the wrong images. So a thousand resamples of 10^5 images take no sorting.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from masksift.evaluation.evaluate.metrics import ReviewOrder

MOST_ERRORS = 2000
"""Wrong images from which resamples are not taken: their pairs are too many."""
_ROWS = 512

Floats = NDArray[np.float64]


def rank_correlation(scores: Floats, shares: Floats) -> float:
    """tau-b of `1 - score` and the share of wrong pixels, (N,) each, in [-1, 1]; NaN where either is constant."""
    from scipy.stats import kendalltau

    return float(kendalltau(-scores, shares, variant="b").statistic)


def pairs_of_wrong(scores: Floats, shares: Floats, weights: Floats) -> Floats:
    """(R,): P - Q over the pairs of E wrong images, each counted ``weights`` (R, E) times; scores and shares (E,)."""
    total = np.zeros(len(weights))
    for first in range(0, len(scores), _ROWS):
        rows = slice(first, first + _ROWS)
        agree = np.sign(shares[rows, None] - shares) * np.sign(scores - scores[rows, None])
        total += ((weights @ agree.T) * weights[:, rows]).sum(axis=1)
    return total / 2


def ties_in(sizes: Floats, images: float) -> float:
    """Pairs within groups of these sizes, all pairs of which are ``images`` together."""
    return (float((sizes * sizes).sum()) - images) / 2


def tied_scores(order: ReviewOrder, weights: NDArray[np.integer]) -> float:
    """Pairs of a resample that are tied in the score."""
    if len(order.ties) == len(weights):  # no two images are: only those that were drawn several times
        return ties_in(weights.astype(np.float64), float(weights.sum()))
    ends = np.cumsum(weights[order.places])[order.ties - 1].astype(np.float64)
    return ties_in(np.diff(ends, prepend=0.0), float(ends[-1]))


def tau_of_resamples(
    images: int, auroc: Floats, score_ties: Floats, scores: Floats, shares: Floats, weights: Floats
) -> Floats:
    """tau-b of R resamples of so many images, NaN where either column is constant. ``auroc``, ``score_ties`` (R,): of
    each, and its pairs tied in the score; ``scores``, ``shares`` (E,): of the wrong images; ``weights`` (R, E): how
    often each of them stands in each resample."""
    wrong = weights.sum(axis=1)
    right = images - wrong
    surplus = (2 * np.nan_to_num(auroc, nan=0.5) - 1) * wrong * right + pairs_of_wrong(scores, shares, weights)
    groups = [weights[:, shares == share].sum(axis=1) for share in np.unique(shares)]
    share_ties = np.array([ties_in(np.array(sizes), images) for sizes in zip(right, *groups, strict=True)])
    every = images * (images - 1) / 2
    both = (every - score_ties) * (every - share_ties)
    tau: Floats = np.divide(surplus, np.sqrt(both), out=np.full(len(weights), np.nan), where=both > 0)
    return tau
