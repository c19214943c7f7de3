"""Candidate scores: evidence of a pixel and its aggregation over an image; 1 is most suspicious.

Only for the study of scores: plain numpy, 8-bit probabilities, many images in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["Evidence", "aggregates"]

Planes = NDArray[np.uint8]
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Evidence:
    """Labels (n, H, W), 255 ignored, predictions (n, K, H, W) in 1/255, predicted class and probability (n, H, W)."""

    labels: Planes
    predictions: Planes
    winner: tuple[Planes, Planes]

    @cached_property
    def planes(self) -> tuple[Planes, Planes, Planes, NDArray[np.bool_]]:
        """Planes (n, H, W) of s, m and the predicted class, and the valid pixels."""
        valid = self.labels < self.predictions.shape[1]
        labels = np.where(valid, self.labels, 0).astype(np.intp)
        s = np.take_along_axis(self.predictions, labels[:, None], axis=1)[:, 0]
        a, m = self.winner
        return s, m, a, valid

    @cached_property
    def statistics(self) -> tuple[Floats, Floats, Floats]:
        """t_k (K,), share of class pixels with a lower s (K, 256), rarity of a label given the prediction (K, K)."""
        k, (s, _, a, valid) = self.predictions.shape[1], self.planes
        given = self.labels[valid].astype(np.intp)
        joint = np.bincount(given * k + a[valid], minlength=k * k).reshape(k, k)
        histograms = np.bincount(given * 256 + s[valid], minlength=k * 256).reshape(k, 256)
        pixels = np.maximum(joint.sum(axis=1), 1)
        rarity = -np.log((joint + 0.5) / (joint.sum(axis=0) + 0.5 * k)) / np.log(1e4)
        percentile = (np.cumsum(histograms, axis=1) - histograms / 2) / pixels[:, None]
        t = histograms @ np.arange(256) / 255 / pixels
        return np.where(t > 2e-6, t, 1.0), percentile, np.minimum(1, rarity)

    def suspicions(self, basis: Evidence) -> Iterator[tuple[str, list[Floats]]]:
        """Yield the evidence of every candidate per image, in [0, 1], with the statistics of ``basis``."""
        codes, best, a, valid = self.planes
        t, percentile, rarity = basis.statistics
        given = np.where(valid, self.labels, 0)
        s, m = codes / np.float32(255), best / np.float32(255)
        mark = "" if basis is self else ", statistics of the right labels"
        planes = {
            f"1 - s / t_l{mark}": 1 - np.minimum(1, s / t[given]),
            f"1 - percentile of s in its class{mark}": 1 - percentile[given, codes],
            f"(1 - s) x rarity of l given a{mark}": (1 - s) * rarity[given, a],
        }
        if basis is self:
            planes |= {"1 - s": 1 - s, "m - s": m - s}
            for name in ("1 - s", "1 - s / t_l"):
                planes |= {
                    f"{name}, box of {share:.1%} of the diagonal": boxes(planes[name], valid, share)
                    for share in (0.005, 0.02)
                }
            pairs = np.where(valid & (given != a), given.astype(np.uint16) * self.predictions.shape[1] + a + 1, 0)
            yield "m - s of the largest region", [largest(*each) for each in zip(pairs, m - s, strict=True)]
        for name, plane in planes.items():
            yield name, [values[here] for values, here in zip(plane, valid, strict=True)]


def boxes(planes: Floats, valid: NDArray[np.bool_], share: float) -> Floats:
    """Mean over the valid pixels of a square around each pixel."""
    size = 2 * max(1, round(share * float(np.hypot(*valid.shape[1:])))) + 1
    over = [ndimage.uniform_filter(here.astype(np.float32), size) for here in valid]
    sums = [ndimage.uniform_filter(plane * here, size) for plane, here in zip(planes, valid, strict=True)]
    return np.clip(np.stack(sums) / np.maximum(np.stack(over), 0.25), 0, 1)


def largest(pairs: NDArray[np.uint16], gap: Floats) -> Floats:
    """Largest sum of ``gap`` over an 8-connected region of equal ``pairs`` > 0, per pixel, (1,)."""
    regions = (ndimage.label(pairs == value, np.ones((3, 3)))[0] for value in np.unique(pairs[pairs > 0]))
    sums = [np.bincount(numbers.reshape(-1), gap.reshape(-1))[1:].max() for numbers in regions]
    return np.array([max(sums, default=0) / pairs.size])


def aggregates(values: Floats) -> dict[str, float]:
    """Aggregate the pixels of an image in every way, by histograms of 4,096 bins."""
    if values.size == 1:
        return {"": float(values[0])}
    counts = np.bincount(np.rint(values * 4095).astype(np.int64), minlength=4096)[::-1]
    levels, found = np.arange(4096)[::-1] / 4095, {}
    cumulative = np.append(0, np.cumsum(counts))
    for share in (0.005, 0.01, 0.02, 0.05, 1.0):
        taken = np.diff(np.minimum(cumulative, np.ceil(share * values.size)))
        found["mean" if share == 1 else f"worst {share:.1%}"] = float(taken @ levels / taken.sum())
    for temperature in (0.05, 0.1):
        weights = counts * np.exp((levels - levels[counts > 0][0]) / temperature)
        found[f"softmin {temperature}"] = float(weights @ levels / weights.sum())
    return found
