"""Counting over the three planes of one image (numba): what thresholds and scores are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from masksift.kernels.encoding import Encoding

__all__ = [
    "Tally",
    "count_at_least",
    "flag_confident",
    "flag_rank",
    "pair_counts",
    "refine",
    "softmin_sums",
    "sum_mode",
    "tally",
]

CODE, HALF, SINGLE = range(3)
"""How codes are summed."""


@dataclass(frozen=True)
class Tally:
    """Counts over the valid pixels of one image (or of several, added up).

    ``joint`` (K, K) int64: pixels by given and predicted class. ``sums`` (K,) int: self-confidence summed by
    given class, in units of ``Encoding.unit``. ``self_counts`` (bins,) int64: histogram of self-confidence.
    ``confident_counts`` (K, 256) int64, 8-bit evidence only: predicted confidence of the pixels whose
    predicted class differs from the given one, by predicted class. ``above``: pixels whose self-confidence
    reaches the limit of their given class.
    """

    joint: NDArray[np.int64]
    sums: list[int]
    self_counts: NDArray[np.int64]
    confident_counts: NDArray[np.int64]
    above: int

    @property
    def valid(self) -> int:
        return int(self.joint.sum())


@njit(cache=True, nogil=True)
def half_to_fixed(bits):
    # float16 bits -> steps of 2^-24, exactly, without a branch
    exponent = np.int64(bits) >> 10
    normal = np.int64(exponent > 0)
    return ((np.int64(bits) & 1023) | (normal << 10)) << (exponent - normal)


# Neighbours count into tables of their own in turn: equal ones, the rule in a segmentation, would otherwise wait for
# each other's increment.


@njit(cache=True, nogil=True)
def _tally_bytes(labels, predicted, self_codes, confident_codes, joint, by_class, pairs):
    """joint (4, K, K), by_class (2, K, 256): self-confidence by given class, of which all else is made."""
    classes = joint.shape[1]
    for j in range(labels.size):
        given = np.int64(labels[j])
        if given < classes:
            winner = np.int64(predicted[j])
            joint[j & 3, given, winner] += np.uint32(1)
            by_class[j & 1, given, self_codes[j]] += np.uint32(1)
            if pairs.size > 0 and winner != given:
                pairs[winner, confident_codes[j]] += np.uint32(1)


@njit(cache=True, nogil=True)
def _tally_wide(labels, predicted, self_codes, mode, singles, shift, limits, joint, sums, counts):
    """joint (4, K, K), sums (4, K), counts (bins,); `limits` (K,), or none to count nothing `above` them."""
    classes = joint.shape[1]
    above = 0
    for j in range(labels.size):
        given = np.int64(labels[j])
        if given < classes:
            side = j & 3
            code = self_codes[j]
            joint[side, given, np.int64(predicted[j])] += np.uint32(1)
            counts[code >> shift] += np.uint32(1)
            if mode == CODE:
                sums[side, given] += np.int64(code)
            elif mode == HALF:
                sums[side, given] += half_to_fixed(code)
            else:
                sums[side, given] += np.int64(np.rint(np.float64(singles[j]) * 4294967296.0))
            if limits.size > 0:
                above += np.int64(code) >= limits[given]
    return above


def sum_mode(encoding: Encoding) -> int:
    """How codes of an encoding are summed."""
    return {"float16": HALF, "float32": SINGLE}.get(encoding.dtype, CODE)


def tally(
    labels: NDArray[np.unsignedinteger],
    predicted_class: NDArray[np.unsignedinteger],
    self_confidence: NDArray[np.unsignedinteger],
    predicted_confidence: NDArray[np.unsignedinteger] | None,
    encoding: Encoding,
    classes: int,
    limits: NDArray[np.int64] | None = None,
) -> Tally:
    """Count one image: class plane (H, W) whose ignored pixels hold the dtype's maximum, predicted class
    (H, W), codes of self-confidence and, for the 8-bit `confident_counts`, of predicted confidence (H, W).

    An image has at most 2^31 - 1 pixels. ``limits`` (K,): the code at which a pixel counts as `above`; without them
    none does.
    """
    planes = (labels, predicted_class, self_confidence)
    given, winner, own = (np.ascontiguousarray(plane).reshape(-1) for plane in planes)
    bounds = np.empty(0, np.int64) if limits is None else limits
    joint = np.zeros((4, classes, classes), np.uint32)
    if encoding.dtype == "uint8":
        with_pairs = predicted_confidence is not None
        confident = np.ascontiguousarray(predicted_confidence).reshape(-1) if with_pairs else own[:0]
        by_class = np.zeros((2, classes, 256), np.uint32)
        pairs = np.zeros((classes if with_pairs else 0, 256), np.uint32)
        _tally_bytes(given, winner, own, confident, joint, by_class, pairs)
        histograms = by_class.sum(axis=0, dtype=np.int64)
        codes = np.arange(256)
        return Tally(
            joint.sum(axis=0, dtype=np.int64), (histograms @ codes).tolist(), histograms.sum(axis=0),
            pairs.astype(np.int64), 0 if limits is None else int(histograms[codes >= limits[:, np.newaxis]].sum()),
        )  # fmt: skip
    singles = own.view(np.float32) if encoding.dtype == "float32" else np.empty(0, np.float32)
    sums = np.zeros((4, classes), np.int64)
    counts = np.zeros(encoding.bins, np.uint32)
    above = _tally_wide(
        given, winner, own, sum_mode(encoding), singles, encoding.key_shift, bounds, joint, sums, counts
    )
    return Tally(
        joint.sum(axis=0, dtype=np.int64), sums.sum(axis=0).tolist(), counts.astype(np.int64),
        np.zeros((0, 256), np.int64), int(above),
    )  # fmt: skip


@njit(cache=True, nogil=True)
def flag_rank(labels, predicted, self_codes, cut, classes, mask):
    """mask (P,) uint8 = 1 where the label is valid, differs from the predicted class and s <= cut."""
    for j in range(labels.size):
        mask[j] = (labels[j] < classes) & (labels[j] != predicted[j]) & (np.int64(self_codes[j]) <= cut)


@njit(cache=True, nogil=True)
def flag_confident(labels, predicted, confident_codes, limits, mask):
    """mask (P,) uint8 = 1 where the label is valid, differs and m >= limits[predicted]."""
    for j in range(labels.size):
        mask[j] = (
            (labels[j] < limits.size)
            & (labels[j] != predicted[j])
            & (np.int64(confident_codes[j]) >= limits[predicted[j]])
        )


@njit(cache=True, nogil=True)
def pair_counts(labels, predicted, mask, pairs):
    """Add the flagged pixels to pairs (K, K) int64 by given and predicted class."""
    for j in range(labels.size):
        if mask[j]:
            pairs[labels[j], predicted[j]] += 1


@njit(cache=True, nogil=True)
def count_at_least(labels, predicted, confident_codes, limits):
    """How many valid pixels are predicted as another class with m >= limits[predicted]."""
    found = 0
    for j in range(labels.size):
        if labels[j] < limits.size and labels[j] != predicted[j]:
            found += np.int64(confident_codes[j]) >= limits[predicted[j]]
    return found


@njit(cache=True, nogil=True)
def refine(labels, self_codes, classes, key, counts):
    """Histogram of the lower 16 bits of the valid codes whose upper 16 bits equal `key`: the second look
    that float32 evidence needs. counts (65536,) int64 is added to."""
    for j in range(labels.size):
        if labels[j] < classes and (self_codes[j] >> 16) == key:
            counts[self_codes[j] & 65535] += 1


@njit(cache=True, nogil=True)
def softmin_sums(labels, confidences, classes, least, temperature):
    """(sum s w, sum w) over the valid pixels with w = exp((least - s) / temperature), in pixel order."""
    weighted = 0.0
    weights = 0.0
    for j in range(labels.size):
        if labels[j] < classes:
            s = np.float64(confidences[j])
            w = np.exp((least - s) / temperature)
            weighted += s * w
            weights += w
    return weighted, weights
