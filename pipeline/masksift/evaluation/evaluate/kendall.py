"""Kendall's tau-b between a score and the share of wrong pixels, for a data set and for its bootstrap resamples.

With P concordant pairs, Q discordant pairs, n images, and n1 and n2 pairs tied in the score and in the share:
tau-b = (P - Q) / sqrt((n(n-1)/2 - n1) (n(n-1)/2 - n2)) (Kendall 1945).

A resample changes the multiplicity of images but no order. Nearly all images have a share of 0, so P - Q splits into
pairs of a wrong and a right image, (2 AUROC - 1) x wrong x right, and pairs of wrong images, a quadratic form in the
multiplicities of the E wrong images. A thousand resamples of 10^5 images therefore need no sorting.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from masksift.evaluation.evaluate.metrics import ReviewOrder

MAX_RESAMPLED_ERRORS = 2000
"""Most wrong images for which tau is resampled; the number of their pairs grows with the square."""
_ROWS_PER_STEP = 512

Floats = NDArray[np.float64]


def rank_correlation(scores: Floats, shares: Floats) -> float:
    """tau-b of `1 - score` and the share of wrong pixels, (N,) each, in [-1, 1]; NaN if either is constant."""
    from scipy.stats import kendalltau

    return float(kendalltau(-scores, shares, variant="b").statistic)


def signed_pairs(scores: Floats, shares: Floats, weights: Floats) -> Floats:
    """P - Q (R,) over the pairs of E wrong images with scores and shares (E,), counted ``weights`` (R, E) times."""
    total = np.zeros(len(weights))
    for first in range(0, len(scores), _ROWS_PER_STEP):
        rows = slice(first, first + _ROWS_PER_STEP)
        agreement = np.sign(shares[rows, None] - shares) * np.sign(scores - scores[rows, None])
        total += ((weights @ agreement.T) * weights[:, rows]).sum(axis=1)
    return total / 2


def count_tied_pairs(sizes: Floats, images: float) -> float:
    """Pairs inside groups of these sizes, which sum up to the number of images."""
    return (float((sizes * sizes).sum()) - images) / 2


def score_ties(review: ReviewOrder, weights: NDArray[np.integer]) -> float:
    """Pairs of a resample that are tied in the score."""
    if len(review.tie_ends) == len(weights):  # all scores differ: only copies of one image are tied
        return count_tied_pairs(weights.astype(np.float64), float(weights.sum()))
    ends = np.cumsum(weights[review.order])[review.tie_ends - 1].astype(np.float64)
    return count_tied_pairs(np.diff(ends, prepend=0.0), float(ends[-1]))


def resampled_tau(
    images: int, auroc: Floats, tied_in_score: Floats, scores: Floats, shares: Floats, weights: Floats
) -> Floats:
    """tau-b (R,) of resamples with ``weights`` (R, E) of the wrong images; NaN if score or share is constant."""
    wrong = weights.sum(axis=1)
    right = images - wrong
    surplus = (2 * np.nan_to_num(auroc, nan=0.5) - 1) * wrong * right + signed_pairs(scores, shares, weights)
    groups = [weights[:, shares == share].sum(axis=1) for share in np.unique(shares)]
    tied_in_share = np.array([count_tied_pairs(np.array(sizes), images) for sizes in zip(right, *groups, strict=True)])
    pairs = images * (images - 1) / 2
    product = (pairs - tied_in_score) * (pairs - tied_in_share)
    tau: Floats = np.divide(surplus, np.sqrt(product), out=np.full(len(weights), np.nan), where=product > 0)
    return tau
