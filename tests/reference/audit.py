"""Reference implementation of everything masksift computes, in plain loops over pixels.

Slow, obvious and independent: it imports nothing of the package and uses numpy for arrays and dtypes only.
If package and reference differ, one of them is wrong.

Letters: N images, K classes, H x W pixels; l given label, p predicted probability, a predicted class,
s = p at the given label (self-confidence), m = p at the predicted class. Every score: lower = review first.
[paper] = stated by Lad & Mueller 2023 or by cleanlab's code; [reading] = our reading of a sentence of theirs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reference.agreement import Usual, class_agreement, log_odds, usual_agreement, z_scores
from reference.evidence import (
    ALL_IGNORED,
    BAD_LABELS,
    BAD_PROBABILITIES,
    OK,
    Array,
    Image,
    Storage,
    condense,
    each,
    softmax,
    storage_of,
    tolerance_of,
)
from reference.misplaced import Found, find_misplaced
from reference.priority import RankedRegion, ranked_regions
from reference.scores import (
    Pixel,
    Plane,
    Region,
    ccp,
    check_temperature,
    cil,
    clc,
    coco,
    components,
    iou,
    mean,
    omission,
    regions,
    softmin,
    tccp,
)

__all__ = [
    "ALL_IGNORED",
    "BAD_LABELS",
    "BAD_PROBABILITIES",
    "OK",
    "SCORES",
    "Reference",
    "Region",
    "audit",
    "balanced_threshold",
    "ccp",
    "cil",
    "clc",
    "coco",
    "components",
    "confident_threshold",
    "iou",
    "mean",
    "omission",
    "rank_cut",
    "regions",
    "softmax",
    "softmin",
    "tccp",
]

SCORES = ("ccp", "tccp", "cil", "softmin", "clc", "iou", "coco", "omission", "class_agreement")
LOWEST_THRESHOLD = 2e-6  # cleanlab's floor under a confident threshold
MARGIN = 1e-6  # cleanlab's margin under a confident threshold


# --------------------------------------------------------------------------------------------- result


@dataclass(frozen=True)
class Reference:
    """Results of `audit`: per image in input order, per class in class order."""

    status: list[str]
    scores: list[dict[str, float | None]]
    self_confidence: Array  # (N, H, W) at the stored dtype; 0 on ignored pixels and in bad images
    predicted_class: Array  # (N, H, W); 0 in bad images
    predicted_confidence: Array  # (N, H, W) at the stored dtype; 0 in bad images
    n: list[int]
    S: list[int]  # whole units: 1 (unsigned integers, times scale), 2**-24 (float16), 2**-32 (float32)
    confident_threshold: list[float]
    decision_threshold: list[float]  # the tau that tccp used
    ignored_share: list[float]  # r_k
    usual: Usual  # center and spread of class agreement by side and class
    z: list[dict[str, list[float]]]  # of class agreement, by side and class
    joint: list[list[int]]  # [given][predicted]
    estimated_issues: int
    cut: float | None  # None if M = 0 and for clc_rule="confident"
    issue_mask: Array  # (N, H, W) bool
    class_pairs: dict[Pixel, tuple[int, int]]  # (given, suggested): (pixels, images)
    class_quality: list[float | None]  # None if no pixel has this label
    regions: list[RankedRegion]
    misplaced: list[Found]  # transform and gain of each image


# -------------------------------------------------------------------------------- class statistics


def confident_threshold(n: int, total: int, unit: float) -> float:
    """t_k = S_k / n_k, at least 2e-6, +inf if n_k = 0. [paper: confident learning]

    The exact quotient is rounded once: if all s of a class are equal, t equals them.
    """
    numerator, denominator = unit.as_integer_ratio()
    return max(total * numerator / (n * denominator), LOWEST_THRESHOLD) if n else math.inf


def class_statistics(
    images: Sequence[Image], classes: int, storage: Storage
) -> tuple[list[int], list[int], list[list[int]]]:
    """n_k, S_k in whole units, and the joint counts C[l][a], over all valid pixels of the data set."""
    n, total, joint = [0] * classes, [0] * classes, [[0] * classes for _ in range(classes)]
    for image in images:
        for y, x in image.pixels():
            given = image.label[y][x]
            n[given] += 1
            total[given] += storage.units(image.stored[0][y, x])
            joint[given][image.a[y][x]] += 1
    return n, total, joint


def confidence_by_class(image: Image, classes: int) -> tuple[list[float], list[float]]:
    """h_k and g_k: sums of m by predicted class over every fourth row, of ignored pixels surrounded by ignored pixels,
    and of all pixels."""
    hidden: list[list[float]] = [[] for _ in range(classes)]
    total: list[list[float]] = [[] for _ in range(classes)]
    for y, x, a in each(image.a):
        if y % 4:
            continue
        total[a].append(image.m[y][x])
        near = [row[max(0, x - 1) : x + 2] for row in image.valid[max(0, y - 1) : y + 2]]
        if not any(map(any, near)):
            hidden[a].append(image.m[y][x])
    return [math.fsum(values) for values in hidden], [math.fsum(values) for values in total]


def ignored_shares(images: Sequence[Image], classes: int) -> list[float]:
    """r_k: share of the confidence in class k on ignored pixels, over all images with a valid pixel."""
    sums = [confidence_by_class(image, classes) for image in images if image.status == OK]
    hidden, total = ([math.fsum(each_of[i][k] for each_of in sums) for k in range(classes)] for i in (0, 1))
    return [h / g if g else 0.0 for h, g in zip(hidden, total, strict=True)]


def lattice_bin(p: float) -> int:
    """min(floor(256 p), 255), and 0 for slightly negative p."""
    return min(max(math.floor(256 * p), 0), 255)


def balanced_threshold(labeled: Sequence[int], every: Sequence[int]) -> float | None:
    """b / 256, b = 1..255, that maximizes TPR - FPR of p >= b / 256 against l = k; the smallest on ties.

    From two 256-bin histograms of p_k: the pixels labeled k, and all valid ones. None without
    pixels labeled k or without others.
    """
    positives, negatives = sum(labeled), sum(every) - sum(labeled)
    if not positives or not negatives:
        return None

    def gain(b: int) -> int:  # (TPR - FPR) * positives * negatives: integers, so that ties are exact
        hits, alarms = sum(labeled[b:]), sum(every[b:]) - sum(labeled[b:])
        return hits * negatives - alarms * positives

    return max(range(1, 256), key=gain) / 256  # max returns the first of equal values


def balanced_thresholds(images: Sequence[Image], lattice: int, confident: Sequence[float]) -> list[float]:
    """tau of every class from the pixels on rows and columns 0, g, 2g, ...; t_k for a class without one."""
    labeled = [[0] * 256 for _ in confident]
    every = [[0] * 256 for _ in confident]
    for image in images:
        for y, x in image.pixels():
            if image.p is None or y % lattice or x % lattice:
                continue
            for k, value in enumerate(image.p[:, y, x].tolist()):
                every[k][lattice_bin(value)] += 1
                labeled[k][lattice_bin(value)] += image.label[y][x] == k
    taus = [balanced_threshold(own, all_valid) for own, all_valid in zip(labeled, every, strict=True)]
    return [t if tau is None else tau for tau, t in zip(taus, confident, strict=True)]


def rank_cut(s: Sequence[float], estimated_issues: int) -> float | None:
    """The M-th smallest s of the data set; None if M = 0. [paper]"""
    return sorted(s)[estimated_issues - 1] if estimated_issues else None


def confidently_other(image: Image, confident: Sequence[float]) -> Plane:
    """a != l and m >= t_a - 1e-6: the M estimated issues, and the flags of rule "confident". [paper]"""
    valid, given, a, m = image.valid, image.label, image.a, image.m
    return [
        [valid[y][x] and k != given[y][x] and m[y][x] >= confident[k] - MARGIN for x, k in enumerate(row)]
        for y, row in enumerate(a)
    ]


def below_cut(image: Image, cut: float | None) -> Plane:
    """a != l and s <= cut: the flags of rule "rank"; none without a cut. [paper]"""
    valid, given, a, s = image.valid, image.label, image.a, image.s
    return [
        [valid[y][x] and k != given[y][x] and cut is not None and s[y][x] <= cut for x, k in enumerate(row)]
        for y, row in enumerate(a)
    ]


def class_pairs(images: Sequence[Image], flags: Sequence[Plane]) -> dict[Pixel, tuple[int, int]]:
    """Numbers of flagged pixels and of their images by (given, suggested)."""
    pixels: Counter[Pixel] = Counter()
    image_counts: Counter[Pixel] = Counter()
    for image, flag in zip(images, flags, strict=True):
        pairs = [(image.label[y][x], image.a[y][x]) for y, x, flagged in each(flag) if flagged]
        pixels.update(pairs)
        image_counts.update(set(pairs))
    return {pair: (pixels[pair], image_counts[pair]) for pair in sorted(pixels)}


def class_quality(images: Sequence[Image], flags: Sequence[Plane], n: Sequence[int]) -> list[float | None]:
    """1 - flagged_k / n_k; None if n_k = 0."""
    flagged = Counter(
        image.label[y][x] for image, flag in zip(images, flags, strict=True) for y, x, hit in each(flag) if hit
    )
    return [1.0 - flagged[k] / n[k] if n[k] else None for k in range(len(n))]


# ------------------------------------------------------------------------------------------- audit


def given_labels(image: Image) -> Plane:
    """Labels, None on ignored pixels and everywhere in a bad image."""
    return [
        [image.label[y][x] if is_valid else None for x, is_valid in enumerate(row)] for y, row in enumerate(image.valid)
    ]


def check_options(**options: Any) -> None:
    """Refuse invalid options."""
    check_temperature(options["temperature"])
    tau = options["tau"]
    if tau not in ("balanced", "confident") and (isinstance(tau, str) or not 0 <= tau <= 1):
        raise ValueError(f'tau must be "balanced", "confident" or a number in [0, 1], not {tau!r}')
    if options["lattice"] < 1:
        raise ValueError(f"lattice must be at least 1, not {options['lattice']}")
    if not 0 <= options["coco_min_area"] <= 1:
        raise ValueError(f"coco_min_area must be in [0, 1], not {options['coco_min_area']}")
    choices = {
        "clc_rule": ("rank", "confident"),
        "coco_sources": ("both", "labels", "predictions"),
        "coco_aggregate": ("mean", "min"),
    }
    for name, allowed in choices.items():
        if options[name] not in allowed:
            raise ValueError(f"{name} must be one of {allowed}, not {options[name]!r}")


def image_scores(
    image: Image,
    flags: Plane,
    tau: Sequence[float],
    confident: Sequence[float],
    shares: Sequence[float],
    z: Sequence[float],
    **options: Any,
) -> dict[str, float | None]:
    """All scores of an image, None for a bad image and for one without valid pixels."""
    if image.status != OK:
        return dict.fromkeys(SCORES)
    labels, predicted, s = image.over(image.label), image.over(image.a), image.over(image.s)
    planes = {"both": [image.label, image.a], "labels": [image.label], "predictions": [image.a]}
    return {
        "ccp": ccp(labels, predicted),
        "tccp": tccp(labels, s, tau),
        "cil": cil(s),
        "softmin": softmin(s, options["temperature"]),
        "clc": clc(image.over(flags)),
        "iou": iou(labels, predicted),
        "coco": coco(
            planes[options["coco_sources"]],
            image.valid,
            image.s,
            aggregate=options["coco_aggregate"],
            min_area=options["coco_min_area"],
        ),
        "omission": omission(*confidence_by_class(image, len(tau)), confident, shares),
        "class_agreement": class_agreement(z),
    }


def audit(
    predictions: Array,
    labels: Array,
    *,
    ignore: Sequence[int] = (255,),
    scale: float | None = None,
    kind: str = "probabilities",
    temperature: float = 0.1,
    lattice: int = 4,
    tau: str | float = "balanced",
    clc_rule: str = "rank",
    coco_sources: str = "both",
    coco_aggregate: str = "mean",
    coco_min_area: float = 1e-4,
    evidence_dtype: str = "auto",
    sum_tolerance: float | None = None,
) -> Reference:
    """Audit a small data set: predictions (N, K, H, W), labels (N, H, W)."""
    score_options = {
        "temperature": temperature,
        "coco_sources": coco_sources,
        "coco_aggregate": coco_aggregate,
        "coco_min_area": coco_min_area,
    }
    check_options(tau=tau, lattice=lattice, clc_rule=clc_rule, **score_options)
    classes = predictions.shape[1]
    storage = storage_of(predictions.dtype, scale, kind, evidence_dtype)
    tolerance = tolerance_of(sum_tolerance, storage, classes)
    pairs = zip(predictions, labels, strict=True)
    images = [condense(p, given, ignore, kind, storage, tolerance) for p, given in pairs]
    n, total, joint = class_statistics(images, classes, storage)
    confident = [confident_threshold(n[k], total[k], storage.unit) for k in range(classes)]
    flags = [confidently_other(image, confident) for image in images]
    issues = sum(flagged for flag in flags for _, _, flagged in each(flag))
    shares = ignored_shares(images, classes)
    odds = [log_odds(image, classes, storage) for image in images]
    usual = usual_agreement(odds, classes)
    z = [{side: z_scores(x, usual[side]) for side, x in image.items()} for image in odds]
    cut = None
    if clc_rule == "rank":
        cut = rank_cut([s for image in images for s in image.over(image.s)], issues)
        flags = [below_cut(image, cut) for image in images]
    taus = [float(tau)] * classes if not isinstance(tau, str) else confident
    if tau == "balanced":
        taus = balanced_thresholds(images, lattice, confident)
    return Reference(
        status=[image.status for image in images],
        scores=[
            image_scores(image, f, taus, confident, shares, own["predicted"], **score_options)
            for image, f, own in zip(images, flags, z, strict=True)
        ],
        self_confidence=np.array([image.stored[0] for image in images]),
        predicted_class=np.array([image.stored[1] for image in images]),
        predicted_confidence=np.array([image.stored[2] for image in images]),
        n=n,
        S=total,
        confident_threshold=confident,
        decision_threshold=taus,
        ignored_share=shares,
        usual=usual,
        z=z,
        joint=joint,
        estimated_issues=issues,
        cut=cut,
        issue_mask=np.array(flags, dtype=bool).reshape(labels.shape),
        class_pairs=class_pairs(images, flags),
        class_quality=class_quality(images, flags, n),
        regions=ranked_regions(images, flags, z),
        misplaced=find_misplaced([given_labels(image) for image in images], [image.a for image in images]),
    )
