"""Rank images by score, and combine the rankings by two scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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


_FIRST_KNOTS, _KNOTS_PER_DOUBLING = 256, 32


def _knot_ranks(count: int) -> NDArray[np.int64]:
    """Return the ranks at which places are kept: the first 256, then 32 per doubling, and the last."""
    steps = np.arange(1, max(1, _KNOTS_PER_DOUBLING * int(count).bit_length()))
    later = np.floor(_FIRST_KNOTS * 2 ** (steps / _KNOTS_PER_DOUBLING)).astype(np.int64)
    ranks = np.concatenate([np.arange(1, _FIRST_KNOTS + 1), later, [count]])
    return np.unique(ranks[ranks <= count])


@dataclass(frozen=True)
class PlaceKnots:
    """Places in a ranking at some of its scores; a score between two of them has a place between theirs.

    Attributes:
        scores: Ascending scores, (n,) float64.
        places: Place of each, (n,) float64 in (0, 1).
    """

    scores: NDArray[np.float64]
    places: NDArray[np.float64]

    @classmethod
    def from_range(
        cls, scores: NDArray[np.float64], images: NDArray[np.integer], before: int, count: int
    ) -> PlaceKnots:
        """Choose the knots among the next distinct scores of a ranking; those of all its ranges make up the whole.

        Args:
            scores: Ascending distinct scores (n,).
            images: Images with each of them, (n,).
            before: Images with a score before these.
            count: All ranked images.

        Returns:
            The knots.
        """
        ranks, last = _knot_ranks(count), before + np.cumsum(images)
        held = np.searchsorted(ranks, last, side="right") > np.searchsorted(ranks, last - images, side="right")
        return cls(scores[held], tie_places(images, before, count)[held])

    @classmethod
    def concatenate(cls, ranges: Sequence[PlaceKnots]) -> PlaceKnots:
        """Join the knots of the ranges of a ranking, in their order."""
        return cls(np.concatenate([one.scores for one in ranges]), np.concatenate([one.places for one in ranges]))

    def find(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the places (n,) float64 of scores (n,) in [0, 1]; beyond the knots they approach 0 at 0 and 1 at 1."""
        low = [0.0] if not len(self.scores) or self.scores[0] > 0 else []
        high = [1.0] if not len(self.scores) or self.scores[-1] < 1 else []
        known, places = np.concatenate([low, self.scores, high]), np.concatenate([low, self.places, high])
        return np.asarray(np.interp(scores, known, places))


def combine_places(places: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the geometric mean of the places (n,) in the ranking by pixels and in two by comparison with other images.

    The ranking by pixels, the first one, has as much weight as the other two together.
    """
    pixels, classes, regions = places
    return np.asarray(np.sqrt(pixels * np.sqrt(classes * regions)))


def combined_scores(
    scores: Sequence[NDArray[np.float64]], knots: Sequence[PlaceKnots] | None = None
) -> tuple[NDArray[np.float64], tuple[PlaceKnots, ...]]:
    """Return the mean place of all images in the rankings by three scores, lowest first (`combine_places`).

    Args:
        scores: The scores (n,), NaN for an image that is not ranked.
        knots: Places in the rankings of another run by each; None to rank these images.

    Returns:
        (n,) float64 in [0, 1], NaN for an image that is not ranked; and the knots of the rankings.
    """
    ranked = np.isfinite(scores[0])
    if knots is not None:
        places = [one.find(values[ranked]) for one, values in zip(knots, scores, strict=True)]
    else:
        places, knots = [], []
        for values in scores:
            distinct, number, images = np.unique(values[ranked], return_inverse=True, return_counts=True)
            places.append(tie_places(images, 0, len(number))[number])
            knots.append(PlaceKnots.from_range(distinct, images, 0, len(number)))
    combined = np.full(len(ranked), np.nan)
    combined[ranked] = combine_places(places)
    return combined, tuple(knots)
