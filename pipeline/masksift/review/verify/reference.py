"""Evidence, flags and scores of one image in plain NumPy, formula by formula, to check what a run has stored.

Nothing here is shared with the kernels that computed the run. docs/reference/scores.md has the formulas. Letters: l
given label, s probability of that label, a predicted class, m its probability, V valid pixels.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

IGNORED = -1
"""Class number of an ignored pixel."""
NEIGHBORS = np.ones((3, 3), bool)
"""A pixel and its eight neighbors."""
CONFIDENT_SLACK = 1e-6
"""Distance below its threshold at which m still counts as confident."""
OMISSION_SELF_CONFIDENCE = 0.2
"""S of an omission, whose pixels have no label."""
FLOAT32_STEP = 2.0**-32
"""Step in which float32 confidences are summed over pixels."""

Plane = NDArray[Any]


@dataclass(frozen=True)
class Settings:
    """Options of a run that its results depend on.

    Attributes:
        temperature: T of softmin.
        rule: Rule of clc, "rank" or "confident".
        tau: Option of tccp, "balanced", "confident" or a number.
        lattice: Step of the pixels that "balanced" counts.
        coco_sources: Planes whose components coco scores, "both", "labels" or "predictions".
        coco_aggregate: "mean" or "min".
        coco_min_area: Smallest component, as a fraction of V.
        region_min_area: Smallest region, pixels.
        finds_omissions: The run lists regions of ignored pixels.
    """

    temperature: float
    rule: str
    tau: str | float
    lattice: int
    coco_sources: str
    coco_aggregate: str
    coco_min_area: float
    region_min_area: int
    finds_omissions: bool


@dataclass(frozen=True)
class Thresholds:
    """Thresholds of a data set.

    Attributes:
        confident: t_k, (K,) float64; inf for a class without labels.
        decision: tau_k, (K,) float64.
        cut: Largest s that is flagged; None flags nothing.
        ignored_share: r_k, (K,) float64.
        center: Usual log-odds by side (predictions, labels) and class, (2, K) float64; NaN for a class without.
        spread: Their spread; likewise.
    """

    confident: NDArray[np.float64]
    decision: NDArray[np.float64]
    cut: float | None
    ignored_share: NDArray[np.float64]
    center: NDArray[np.float64]
    spread: NDArray[np.float64]


@dataclass(frozen=True)
class PairTotals:
    """Totals of a data set, from which the usual evidence of a class pair follows.

    Attributes:
        evidence: T, sum of m - s over flagged pixels by given and predicted class, (K, K) float64.
        labeled: Valid pixels by given class, (K,) int64.
        predicted: Valid pixels by predicted class, (K,) int64.
    """

    evidence: NDArray[np.float64]
    labeled: NDArray[np.int64]
    predicted: NDArray[np.int64]


@dataclass(frozen=True)
class Precision:
    """Precision of stored confidences.

    Attributes:
        dtype: uint8, uint16, float16 or float32.
        scale: Probability of one step of integers.
    """

    dtype: str
    scale: float

    def store(self, p: Plane) -> Plane:
        """Return probabilities as they are stored: integers as they are, floats rounded; at most 1."""
        if np.dtype(self.dtype).kind == "u":
            one = math.floor(1 / self.scale + 1e-9)
            return p if one >= np.iinfo(p.dtype).max else np.minimum(p, p.dtype.type(one))
        return np.clip(p, 0, 1).astype(self.dtype)

    def value(self, stored: Plane) -> NDArray[np.float64]:
        """Return the probabilities that stored numbers mean."""
        values = stored.astype(np.float64)
        return np.minimum(values * self.scale, 1.0) if np.dtype(self.dtype).kind == "u" else values


@dataclass(frozen=True)
class Image:
    """Evidence of one image (H, W) without padding.

    Attributes:
        classes: K.
        labels: l, int64; `IGNORED` on ignored pixels.
        predicted: a, int64.
        own: s as it is stored; 0 on ignored pixels.
        best: m as it is stored.
        precision: Precision of ``own`` and ``best``.
    """

    classes: int
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    own: Plane
    best: Plane
    precision: Precision

    @classmethod
    def from_predictions(cls, p: Plane, labels: NDArray[np.int64], precision: Precision) -> Image:
        """Condense predictions (K, H, W): of equal largest ones the lowest class is predicted."""
        predicted = p.argmax(axis=0)
        own = np.take_along_axis(p, np.maximum(labels, 0)[np.newaxis], axis=0)[0]
        own = np.where(labels == IGNORED, own.dtype.type(0), own)
        best = np.take_along_axis(p, predicted[np.newaxis], axis=0)[0]
        return cls(len(p), labels, predicted, precision.store(own), precision.store(best), precision)

    @cached_property
    def s(self) -> NDArray[np.float64]:
        """Probability of the given label."""
        return self.precision.value(self.own)

    @cached_property
    def m(self) -> NDArray[np.float64]:
        """Probability of the predicted class."""
        return self.precision.value(self.best)

    @cached_property
    def m_in_8_bits(self) -> NDArray[np.int64]:
        """Stored number of uint8 evidence, else min(floor(256 m), 255)."""
        if self.precision.dtype == "uint8":
            return self.best.astype(np.int64)
        return np.minimum(np.floor(256 * self.m), 255).astype(np.int64)

    @cached_property
    def valid(self) -> NDArray[np.bool_]:
        """V: pixels that are not ignored."""
        return np.asarray(self.labels != IGNORED)

    @cached_property
    def differs(self) -> NDArray[np.bool_]:
        """Valid pixels with another predicted class than the label."""
        return np.asarray(self.valid & (self.labels != self.predicted))

    @cached_property
    def hidden(self) -> NDArray[np.bool_]:
        """Ignored pixels, all of whose neighbors in the image are ignored too."""
        return np.asarray(ndimage.binary_erosion(~self.valid, NEIGHBORS, border_value=1))

    def in_steps(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Round confidences to the step in which they are summed; only small float32 ones change."""
        if self.precision.dtype == "float32":
            return np.rint(values / FLOAT32_STEP) * FLOAT32_STEP
        return values


# ------------------------------------------------------------------------------------------------ flagged pixels


def confidently_other(image: Image, confident: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return the pixels that are predicted confidently as another class: a != l and m >= t_a."""
    return image.differs & (image.m >= (confident - CONFIDENT_SLACK)[image.predicted])


def flagged_pixels(image: Image, thresholds: Thresholds, rule: str) -> NDArray[np.bool_]:
    """Return the mask of flagged pixels: a != l and s <= cut, or with the rule "confident" a != l and m >= t_a."""
    if rule == "confident":
        return confidently_other(image, thresholds.confident)
    if thresholds.cut is None:
        return np.zeros_like(image.valid)
    return image.differs & (image.s <= thresholds.cut)


def flagged_pairs(image: Image, flagged: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the flagged pixels by given and predicted class, (K, K)."""
    pairs = image.labels[flagged] * image.classes + image.predicted[flagged]
    return np.bincount(pairs, minlength=image.classes**2).reshape(image.classes, image.classes)


def pair_evidence(image: Image, flagged: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the sums of m - s over flagged pixels by given and predicted class, (K, K), in steps of 2^-16."""
    pairs = image.labels[flagged] * image.classes + image.predicted[flagged]
    excess = image.in_steps(image.m[flagged]) - image.in_steps(image.s[flagged])
    sums = np.bincount(pairs, excess, minlength=image.classes**2).reshape(image.classes, image.classes)
    return np.rint(sums * 2**16) / 2**16


# -------------------------------------------------------------------------------------------------------- scores


def ccp(image: Image) -> float:
    """Mean of [a = l]."""
    return 1 - np.count_nonzero(image.differs) / np.count_nonzero(image.valid)


def tccp(image: Image, tau: NDArray[np.float64]) -> float:
    """Mean of [s >= tau_l]."""
    s, labels = image.s[image.valid], image.labels[image.valid]
    return float(np.mean(s >= tau[labels]))


def cil(image: Image) -> float:
    """Mean of s."""
    return float(np.mean(image.s[image.valid]))


def softmin(image: Image, temperature: float) -> float:
    """Sum of s w over the sum of w, with w = exp((min s - s) / T)."""
    s = image.s[image.valid]
    with np.errstate(over="ignore", under="ignore"):  # a tiny T gives exp(-inf) = 0
        w = np.exp((s.min() - s) / temperature)
        return float(np.sum(s * w) / np.sum(w))


def clc(image: Image, flagged: NDArray[np.bool_]) -> float:
    """1 - the share of flagged pixels."""
    return 1 - np.count_nonzero(flagged) / np.count_nonzero(image.valid)


def iou(image: Image) -> float:
    """Mean over the classes in label or prediction of their intersection over union."""
    labels, predicted = image.labels[image.valid], image.predicted[image.valid]
    both = np.bincount(labels[labels == predicted], minlength=image.classes)
    either = np.bincount(labels, minlength=image.classes) + np.bincount(predicted, minlength=image.classes) - both
    return float(np.mean(both[either > 0] / either[either > 0]))


def coco(image: Image, sources: str, aggregate: str, min_area: float) -> float:
    """Mean (or least) of the mean s of connected components; small ones count only if all are small."""
    planes = {"labels": [image.labels], "predictions": [image.predicted]}
    planes["both"] = planes["labels"] + planes["predictions"]
    areas, means = [], []
    for plane in planes[sources]:
        for k in np.unique(plane[image.valid]):
            numbers, count = ndimage.label(image.valid & (plane == k), NEIGHBORS)
            inside = numbers[numbers > 0] - 1
            area = np.bincount(inside, minlength=count)
            areas.append(area)
            means.append(np.bincount(inside, image.s[numbers > 0], minlength=count) / area)
    area, mean = np.concatenate(areas), np.concatenate(means)
    # the fraction as it is written: 0.07 of 100 pixels is 7, while the floating-point product is above 7
    large = area >= math.ceil(Fraction(str(min_area)) * int(np.count_nonzero(image.valid)))
    counted = mean[large] if large.any() else mean
    return float(counted.min() if aggregate == "min" else counted.mean())


def confidence_by_class(image: Image) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return h_k and g_k: sums of m by predicted class over every fourth row, of hidden and of all pixels."""
    rows = slice(None, None, 4)
    m, predicted, hidden = image.in_steps(image.m)[rows], image.predicted[rows], image.hidden[rows]
    of_hidden = np.bincount(predicted[hidden], m[hidden], minlength=image.classes)
    of_all = np.bincount(predicted.reshape(-1), m.reshape(-1), minlength=image.classes)
    return of_hidden.astype(np.float64), of_all.astype(np.float64)


def omission(image: Image, confident: NDArray[np.float64], ignored_share: NDArray[np.float64]) -> float:
    """1 - sum of max(0, h_k - r_k g_k) / t_k over the sum of g_k / t_k, with t_k at least 1 / K."""
    hidden, every = confidence_by_class(image)
    weight = 1 / np.maximum(confident, 1 / image.classes)
    total = float(np.sum(weight * every))
    excess = float(np.sum(weight * np.maximum(0, hidden - ignored_share * every)))
    return max(0.0, 1 - excess / total) if total > 0 else 1.0


def log_odds(image: Image) -> NDArray[np.float64]:
    """Return x = ln(q / (1 - q)), q = (r + 2.5) / (w + 5), by side and class, (2, K).

    Side 0 are the pixels predicted as a class, weighted by m^2, side 1 those labeled as it. NaN for a class with less
    than 0.2 % of the valid pixels.
    """
    labels, predicted = image.labels[image.valid], image.predicted[image.valid]
    squares, same = image.m_in_8_bits[image.valid] ** 2 / 255**2, labels == predicted
    x = np.full((2, image.classes), np.nan)
    for side, (of, weights) in enumerate(((predicted, squares), (labels, np.ones(len(labels))))):
        agreeing = np.bincount(of[same], weights[same], minlength=image.classes)
        others = np.bincount(of[~same], weights[~same], minlength=image.classes)
        enough = 1000 * np.bincount(of, minlength=image.classes) >= 2 * max(1, len(labels))
        # q / (1 - q) without the cancellation in 1 - q
        x[side, enough] = np.log((agreeing + 2.5) / (others + 2.5))[enough]
    return x


def z_scores(x: NDArray[np.float64], center: NDArray[np.float64], spread: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return max(0, (center - x) / spread), and 0 where one of them is missing."""
    return np.nan_to_num(np.maximum(0, (center - x) / spread), nan=0.0)


def class_agreement(z: NDArray[np.float64]) -> float:
    """1 / (1 + sqrt(sum of z^2)), with z (K,) of the side of predictions."""
    return 1 / (1 + math.sqrt(float(np.sum(z**2))))


def scores(
    image: Image, flagged: NDArray[np.bool_], thresholds: Thresholds, settings: Settings
) -> dict[str, Callable[[], float]]:
    """Return the computation of each score of an image with valid pixels."""
    return {
        "ccp": lambda: ccp(image),
        "tccp": lambda: tccp(image, thresholds.decision),
        "cil": lambda: cil(image),
        "softmin": lambda: softmin(image, settings.temperature),
        "clc": lambda: clc(image, flagged),
        "iou": lambda: iou(image),
        "coco": lambda: coco(image, settings.coco_sources, settings.coco_aggregate, settings.coco_min_area),
        "omission": lambda: omission(image, thresholds.confident, thresholds.ignored_share),
        "class_agreement": lambda: class_agreement(z_scores(log_odds(image), thresholds.center, thresholds.spread)[0]),
    }


def places_of(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the place of each value: its rank over N + 1, lowest first; equal values share their mean rank."""
    ordered = np.sort(values)
    first = np.searchsorted(ordered, values, "left")
    last = np.searchsorted(ordered, values, "right")
    return (first + 1 + last) / 2 / (len(values) + 1)


def frozen_places(values: NDArray[np.float64], knots: Sequence[Mapping[str, float]]) -> NDArray[np.float64]:
    """Return the place of each value in the ranking of another run, linear between its knots, (0, 0) and (1, 1)."""
    points = {0.0: 0.0, 1.0: 1.0} | {knot["value"]: knot["place"] for knot in knots}
    known = sorted(points)
    found = []
    for value in values.tolist():
        above = bisect_left(known, value)
        if known[above] == value:
            found.append(points[value])
            continue
        low, high = known[above - 1], known[above]
        found.append(points[low] + (points[high] - points[low]) * (value - low) / (high - low))
    return np.array(found)


def combined(
    softmin_places: NDArray[np.float64], agreement_places: NDArray[np.float64], region_places: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Geometric mean of the places in three rankings with the weights 1/2, 1/4, 1/4."""
    return np.sqrt(softmin_places) * agreement_places**0.25 * region_places**0.25


# ------------------------------------------------------------------------------------------------------- regions


@dataclass(frozen=True)
class Region:
    """Connected pixels of one kind.

    Attributes:
        kind: "label" for flagged pixels, "omission" for hidden ones.
        given: Given class; None for an omission.
        suggested: Predicted class.
        box: y0, x0, y1, x1.
        pixels: Positions of the pixels column by column, ascending.
        values: Other columns of the table of regions.
    """

    kind: str
    given: int | None
    suggested: int
    box: tuple[int, int, int, int]
    pixels: NDArray[np.int64]
    values: dict[str, float | None]


def regions(image: Image, flagged: NDArray[np.bool_], thresholds: Thresholds, settings: Settings) -> list[Region]:
    """Return the regions of an image that are not too small."""
    found = []
    pairs = np.unique(np.stack([image.labels[flagged], image.predicted[flagged]], axis=1), axis=0)
    for given, suggested in pairs.tolist():
        mask = flagged & (image.labels == given) & (image.predicted == suggested)
        found += _connected(image, mask, "label", given, suggested, 0.0, settings.region_min_area)
    if settings.finds_omissions:
        confident = image.hidden & (image.m >= (thresholds.confident - CONFIDENT_SLACK)[image.predicted])
        for k in np.unique(image.predicted[confident]).tolist():
            mask, usual = confident & (image.predicted == k), float(thresholds.ignored_share[k])
            found += _connected(image, mask, "omission", None, k, usual, settings.region_min_area)
    return found


def _connected(
    image: Image, mask: NDArray[np.bool_], kind: str, given: int | None, suggested: int, usual: float, min_area: int
) -> list[Region]:
    """Return the 8-connected sets of a mask; ``usual`` is r_a of an omission."""
    numbers, _ = ndimage.label(mask, NEIGHBORS)
    found = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(numbers), 1):
        y, x = np.nonzero(numbers[rows, columns] == number)
        if len(y) < min_area:
            continue
        y, x = y + rows.start, x + columns.start
        s, m = image.in_steps(image.s[y, x]), image.in_steps(image.m[y, x])
        evidence = np.sum(np.maximum(0, m - usual)) if given is None else np.sum(m - s)
        values = {
            "area": len(y),
            "centroid_y": float(np.mean(y)),
            "centroid_x": float(np.mean(x)),
            "evidence": float(evidence),
            "mean_self_confidence": None if given is None else float(np.mean(s)),
            "mean_predicted_confidence": float(np.mean(m)),
        }
        pixels = np.sort(x * len(mask) + y)
        found.append(
            Region(kind, given, suggested, (rows.start, columns.start, rows.stop, columns.stop), pixels, values)
        )
    return found


def class_pixels(image: Image) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the valid pixels by predicted class and by given class, (K,) each."""
    predicted = np.bincount(image.predicted[image.valid], minlength=image.classes)
    return predicted, np.bincount(image.labels[image.valid], minlength=image.classes)


def usual_evidence(region: Region, pixels: Sequence[Plane], own: NDArray[np.float64], totals: PairTotals) -> float:
    """Return e: the evidence of the region's class pair in the other images, for as many pixels of either class.

    Args:
        region: A region of the image.
        pixels: `class_pixels` of the image.
        own: `pair_evidence` of the image.
        totals: Totals of the data set, this image included.

    Returns:
        0 for an omission.
    """
    if region.given is None:
        return 0.0
    predicted, labeled = (int(of[k]) for of, k in zip(pixels, (region.suggested, region.given), strict=True))
    others = float((totals.evidence - own)[region.given, region.suggested])
    by_predicted = predicted * others / (int(totals.predicted[region.suggested]) - predicted + 1)
    by_labeled = labeled * others / (int(totals.labeled[region.given]) - labeled + 1)
    return max(by_predicted, by_labeled)


def priority(region: Region, usual: float) -> float:
    """Return sqrt(evidence / (1 + e)) M ln((M + 0.01) / (S + 0.01))^2; an omission has the S 0.2."""
    s, m = region.values["mean_self_confidence"], region.values["mean_predicted_confidence"]
    evidence = region.values["evidence"]
    if m is None or evidence is None or usual <= -1:  # changed data may have less evidence than this image
        return math.nan
    ratio = (m + 0.01) / ((OMISSION_SELF_CONFIDENCE if s is None else s) + 0.01)
    return math.sqrt(evidence / (1 + usual)) * m * math.log(ratio) ** 2


def decode_run_lengths(counts: Sequence[int]) -> NDArray[np.int64]:
    """Return the positions of the pixels of COCO's uncompressed counts: pixels outside and inside in turn."""
    ends = np.cumsum(counts)
    spans = [np.arange(start, stop) for start, stop in zip(ends[0::2], ends[1::2], strict=False)]
    return np.concatenate(spans) if spans else np.empty(0, np.int64)
