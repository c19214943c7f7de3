"""Thresholds of a whole data set, recomputed in plain NumPy while its images pass one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.review.verify.reference import (
    IGNORED,
    Image,
    PairTotals,
    Settings,
    Thresholds,
    class_pixels,
    confidence_by_class,
    confidently_other,
    flagged_pairs,
    log_odds,
    pair_evidence,
)

_LEAST_CONFIDENT = 2e-6
"""Floor of the confident thresholds."""
_MIN_IMAGES = 5
"""Images that a class needs for its usual agreement."""
_AGREEMENT_COLUMNS = (
    ("agreement_center", "agreement_spread"),
    ("label_agreement_center", "label_agreement_spread"),
)


def read_thresholds(rows: Sequence[Mapping[str, Any]], cut: float | None) -> Thresholds:
    """Return the thresholds that a run has stored in its table of thresholds and its record."""

    def column(name: str, missing: float) -> NDArray[np.float64]:
        return np.array([missing if row[name] is None else row[name] for row in rows], np.float64)

    return Thresholds(
        column("confident_threshold", np.inf),
        column("decision_threshold", np.inf),
        cut,
        column("ignored_share", np.nan),
        np.array([column(center, np.nan) for center, _ in _AGREEMENT_COLUMNS]),
        np.array([column(spread, np.nan) for _, spread in _AGREEMENT_COLUMNS]),
    )


def read_pair_totals(rows: Sequence[Mapping[str, Any]], pairs: Sequence[Mapping[str, Any]]) -> PairTotals:
    """Return the totals that a run has stored in its tables of thresholds and class pairs."""
    evidence = np.zeros((len(rows), len(rows)))
    for pair in pairs:
        evidence[pair["given"], pair["suggested"]] = pair["evidence"]
    labeled, predicted = (np.array([row[name] for row in rows]) for name in ("pixels", "predicted_pixels"))
    return PairTotals(evidence, labeled, predicted)


@dataclass
class Totals:
    """Sums over all scored images, from which the thresholds of the data set follow.

    The cut needs the M-th smallest s of all pixels. Instead of keeping all of them, pixels below the stored cut and
    up to it are counted: the stored cut is right if M is above the first number and at most the second. M is counted
    with the stored thresholds t_k, which are compared themselves.

    Attributes:
        stored: Thresholds of the run.
        settings: Options of the run.
        classes: K.
    """

    stored: Thresholds
    settings: Settings
    classes: int
    issues: int = 0
    below_cut: int = 0
    up_to_cut: int = 0
    pixels: NDArray[np.int64] = field(init=False)
    predicted: NDArray[np.int64] = field(init=False)
    evidence: NDArray[np.float64] = field(init=False)
    sums: NDArray[np.float64] = field(init=False)
    lattice_labeled: NDArray[np.int64] = field(init=False)
    lattice_all: NDArray[np.int64] = field(init=False)
    hidden: NDArray[np.float64] = field(init=False)
    seen: NDArray[np.float64] = field(init=False)
    agreement: NDArray[np.int64] = field(init=False)
    pairs: NDArray[np.int64] = field(init=False)
    pair_images: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        k = self.classes
        self.pixels, self.predicted = np.zeros((2, k), np.int64)
        self.evidence = np.zeros((k, k))
        self.sums, self.hidden, self.seen = np.zeros((3, k))
        self.lattice_labeled, self.lattice_all = np.zeros((2, k, 256), np.int64)
        self.agreement = np.zeros((2, k, 576), np.int64)
        self.pairs, self.pair_images = np.zeros((2, k, k), np.int64)

    def add(self, image: Image, lattice: NDArray[np.float64], flagged: NDArray[np.bool_]) -> None:
        """Add a scored image.

        Args:
            image: The image.
            lattice: Probabilities (K, h, w) of the pixels in rows and columns 0, g, 2g, ...
            flagged: Mask of its flagged pixels.
        """
        labels, s = image.labels[image.valid], image.s[image.valid]
        predicted, labeled = class_pixels(image)
        self.predicted, self.pixels = self.predicted + predicted, self.pixels + labeled
        self.evidence += pair_evidence(image, flagged)
        self.sums += np.bincount(labels, image.in_steps(s), minlength=self.classes)
        self.issues += int(np.count_nonzero(confidently_other(image, self.stored.confident)))
        if self.stored.cut is not None:
            self.below_cut += int(np.count_nonzero(s < self.stored.cut))
            self.up_to_cut += int(np.count_nonzero(s <= self.stored.cut))
        self._add_lattice(image.labels[:: self.settings.lattice, :: self.settings.lattice], lattice)
        hidden, seen = confidence_by_class(image)
        self.hidden, self.seen = self.hidden + hidden, self.seen + seen
        x = log_odds(image)
        side, k = np.nonzero(~np.isnan(x))
        self.agreement[side, k, np.clip(np.floor((x[side, k] + 18) * 16), 0, 575).astype(np.int64)] += 1
        pairs = flagged_pairs(image, flagged)
        self.pairs += pairs
        self.pair_images += pairs > 0

    def _add_lattice(self, labels: NDArray[np.int64], p: NDArray[np.float64]) -> None:
        """Count min(floor(256 p), 255) of each class, on its own pixels and on all valid ones."""
        bins = np.clip(np.floor(256 * p), 0, 255).astype(np.int64)
        for k in range(self.classes):
            self.lattice_labeled[k] += np.bincount(bins[k][labels == k], minlength=256)
            self.lattice_all[k] += np.bincount(bins[k][labels != IGNORED], minlength=256)

    @property
    def confident(self) -> NDArray[np.float64]:
        """t_k: mean of s over the pixels labeled k; inf without pixels."""
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.maximum(self.sums / self.pixels, _LEAST_CONFIDENT)
        return np.where(self.pixels > 0, means, np.inf)

    @property
    def decision(self) -> NDArray[np.float64]:
        """tau_k: the b / 256 that maximizes TPR - FPR of p_k >= b / 256 on the lattice, the smallest on ties."""
        if not isinstance(self.settings.tau, str):
            return np.full(self.classes, float(self.settings.tau))
        tau = self.confident
        if self.settings.tau == "confident":
            return tau
        for k in range(self.classes):
            labeled = self.lattice_labeled[k]
            others = self.lattice_all[k] - labeled
            positives, negatives = int(labeled.sum()), int(others.sum())
            if positives and negatives:
                hits, alarms = (counts[::-1].cumsum()[::-1].tolist() for counts in (labeled, others))
                gains = [hits[b] * negatives - alarms[b] * positives for b in range(1, 256)]  # integers: exact on ties
                tau[k] = (1 + gains.index(max(gains))) / 256
        return tau

    @property
    def ignored_share(self) -> NDArray[np.float64]:
        """r_k: share of the confidence in class k on hidden pixels; 0 for a class that is never predicted."""
        return np.divide(self.hidden, self.seen, out=np.zeros(self.classes), where=self.seen > 0)

    def usual_agreement(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return center and spread (2, K) of x: median, and 1.4826 times the median absolute deviation plus 0.3."""
        center, spread = np.full((2, 2, self.classes), np.nan)
        values = -18 + (np.arange(576) + 0.5) / 16
        for side, k in np.argwhere(self.agreement.sum(axis=2) >= _MIN_IMAGES).tolist():
            x = np.repeat(values, self.agreement[side, k])
            center[side, k] = np.median(x)
            spread[side, k] = 1.4826 * np.median(np.abs(x - center[side, k])) + 0.3
        return center, spread

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return the columns of the table of thresholds, NaN or inf for null."""
        center, spread = self.usual_agreement()
        columns: dict[str, NDArray[Any]] = {
            "confident_threshold": self.confident,
            "decision_threshold": self.decision,
            "ignored_share": self.ignored_share,
        }
        for side, (of_center, of_spread) in enumerate(_AGREEMENT_COLUMNS):
            columns |= {of_center: center[side], of_spread: spread[side]}
        return columns
