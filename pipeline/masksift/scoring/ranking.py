"""Rank images by score, and combine the rankings by two scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def percentiles(ranks: NDArray[np.integer], count: int) -> NDArray[np.float64]:
    """Return the percentage of all ``count`` ranked images reviewed after each rank, float64 in (0, 100]."""
    return ranks * 100 / max(count, 1)


def tie_places(images: NDArray[np.integer], before: int, count: int) -> NDArray[np.float64]:
    """Return the places of images in a ranking: their rank over ``count`` + 1; equal scores share the mean rank.

    Args:
        images: Images with each of the next distinct scores (n,), in the order of the ranking.
        before: Images with a score before these.
        count: All ranked images.

    Returns:
        (n,) float64 in (0, 1).
    """
    last = before + np.cumsum(images)
    return (last - (images - 1) / 2) / (count + 1)


def combine_places(places: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the geometric mean of the places (n,) in two rankings."""
    one, other = places
    return np.sqrt(one * other)


def combined_scores(scores: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the geometric mean of the places of all images in the rankings by two scores, lowest first.

    Args:
        scores: Both scores (n,), NaN for an image that is not ranked.

    Returns:
        (n,) float64 in (0, 1), NaN for an image that is not ranked.
    """
    ranked = np.isfinite(scores[0])
    places = []
    for values in scores:
        _, number, images = np.unique(values[ranked], return_inverse=True, return_counts=True)
        places.append(tie_places(images, 0, len(number))[number])
    combined = np.full(len(ranked), np.nan)
    combined[ranked] = combine_places(places)
    return combined
