"""Benchmark of one core: condenser and scoring relative to numpy maximum (the reading limit) and cleanlab."""

from __future__ import annotations

import logging
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from cleanlab.segmentation.filter import find_label_issues
from numpy.typing import NDArray

from benchmarks import first_block
from benchmarks.scenes import labels_of, probabilities
from benchmarks.section import Section, table
from masksift.scoring.image import EvidencePlanes, ImageCondenser, count_confident_pixels
from masksift.scoring.kernels.condense import CondenseConfig, class_plane
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.methods import make_methods
from masksift.scoring.methods.base import ScoringInput
from masksift.scoring.score_image import score_images
from masksift.scoring.statistics.class_statistics import ClassStatistics
from masksift.scoring.statistics.thresholds import compute_thresholds

SCORES = ("ccp", "tccp", "cil", "softmin", "clc", "iou", "coco")
"""Scores of the paper."""
IMAGES, CLASSES, HEIGHT, WIDTH = 16, 19, 512, 1024
PIXELS = HEIGHT * WIDTH
ROUNDS = 5


def seconds(function: Callable[[int], Any]) -> float:
    """Median seconds per image over the rounds; a round walks over all images, so that no cache holds them."""
    function(0)
    rounds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for i in range(IMAGES):
            function(i)
        rounds.append((time.perf_counter() - started) / IMAGES)
    return statistics.median(rounds)


@cache
def drawn() -> NDArray[np.float32]:
    """Predictions of all cases before rounding, (N, K, H, W)."""
    return probabilities(0, IMAGES, CLASSES, HEIGHT, WIDTH)


class Case:
    """One prediction format: predictions, labels and the results of masksift."""

    def __init__(self, dtype: str, kind: str = "probabilities") -> None:
        exact = drawn()
        scale = 1 / np.iinfo(dtype).max if dtype.startswith("u") else 1.0
        self.predictions = (np.rint(exact / scale) if scale < 1 else exact).astype(dtype)
        if kind == "logits":
            self.predictions = np.log(exact + 1e-9).astype(dtype)
        self.labels = labels_of(exact, 1)
        evidence = Encoding(dtype if dtype != "float32" else "float16", scale)
        self.config = CondenseConfig(CLASSES, dtype, scale, kind, evidence, 0.1, 4)
        self.given = class_plane(self.labels, CLASSES, (255,))[0]
        self.condensed = [self.condense(i) for i in range(IMAGES)]
        self.planes, self.mask = (
            EvidencePlanes.empty((HEIGHT, WIDTH), self.config),
            np.empty((1, HEIGHT, WIDTH), np.uint8),
        )
        total = ClassStatistics.empty(self.config)
        for _, image in self.condensed:
            total = total.merge(image)
        self.limits = compute_thresholds(total, "balanced", self).encode(evidence)

    def count_confident(self, limits: Any) -> int:
        """Number of confident pixels in 16-bit evidence, M of clc."""
        (codes,) = limits.values()
        return sum(count_confident_pixels(self.given[i], planes, codes) for i, (planes, _) in enumerate(self.condensed))

    def count_low_bits(self, key: int) -> NDArray[np.int64]:
        raise AssertionError("the evidence of no case is float32")

    def condense_again(self, i: int) -> tuple[EvidencePlanes, ClassStatistics]:
        """Condense into reused planes, as a task does."""
        return self.condense(i, self.planes)

    def condense(self, i: int, planes: EvidencePlanes | None = None) -> tuple[EvidencePlanes, ClassStatistics]:
        planes = planes or EvidencePlanes.empty((HEIGHT, WIDTH), self.config)
        condenser = ImageCondenser(class_plane(self.labels[i], CLASSES, (255,))[0], planes, self.config)
        condenser.add_window(self.predictions[i])
        status, statistics = condenser.finish()
        assert statistics is not None, status
        return planes, statistics

    def score(self, i: int, names: tuple[str, ...]) -> dict[str, Any]:
        planes = self.condensed[i][0]
        image = ScoringInput(
            self.given[i][np.newaxis],
            planes.predicted_class[np.newaxis],
            planes.self_confidence[np.newaxis],
            planes.predicted_confidence[np.newaxis],
            CLASSES,
            self.limits.encoding,
            self.limits,
            mask=self.mask,
        )
        return score_images(image, make_methods(names, {}))

    def reading_limit(self, i: int) -> Any:
        view = self.predictions[i].view(np.uint16) if self.predictions.dtype == np.float16 else self.predictions[i]
        return view.max(axis=0)


def cleanlab_seconds(case: Case) -> float:
    """Seconds per image of cleanlab; integers are divided by their maximum, logits replaced by probabilities."""
    logging.disable(logging.INFO)
    given = np.where(case.labels == 255, 0, case.labels)
    predictions: NDArray[Any] = drawn() if case.config.prediction_kind == "logits" else case.predictions
    if predictions.dtype.kind == "u":
        predictions = predictions / np.iinfo(predictions.dtype).max
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        find_label_issues(given, predictions, n_jobs=1, verbose=False)
    return (time.perf_counter() - started) / IMAGES


CASES = (
    ("uint8", "probabilities"),
    ("uint16", "probabilities"),
    ("float16", "probabilities"),
    ("float32", "probabilities"),
    ("float32", "logits"),
)


def report(folder: Path, cases: Sequence[tuple[str, str]] = CASES) -> Section:
    every = SCORES
    plain = tuple(name for name in SCORES if name != "coco")
    rows: list[list[object]] = []
    figures: dict[str, float] = {}
    for dtype, kind in cases:
        case = Case(dtype, kind)
        peer = cleanlab_seconds(case)
        limit = seconds(case.reading_limit)
        condense = seconds(case.condense_again)
        light = seconds(lambda i, case=case: case.score(i, plain))
        full = seconds(lambda i, case=case: case.score(i, every))
        name = dtype if kind == "probabilities" else f"{dtype} {kind}"
        rows.append(
            [
                name,
                f"{PIXELS / condense / 1e6:.0f}",
                f"{limit / condense:.2f}",
                f"{peer / condense:.0f}",
                f"{peer / (condense + light):.0f}",
                f"{peer / (condense + full):.0f}",
                f"{condense / light:.1f}",
                f"{first_block.seconds(dtype, kind):.1f}",
            ]
        )
        figures |= {
            f"kernels: {name}: speed over numpy.max": limit / condense,
            f"kernels: {name}: condenser over cleanlab": peer / condense,
            f"kernels: {name}: condenser and seven scores over cleanlab": peer / (condense + full),
        }
    columns = [
        "predictions",
        "condensing, Mpixel/s",
        "its speed over numpy.max(axis=class)",
        "condenser over cleanlab's find_label_issues",
        "condenser + six scores (without coco) over the same",
        "condenser + seven scores over the same",
        "time of condenser / time of six scores",
        "condenser the first pixels with an empty numba cache, s",
    ]
    return Section(
        f"## Kernels, one core ({IMAGES} images of {HEIGHT} x {WIDTH}, {CLASSES} classes; median of {ROUNDS} "
        "rounds)\n\nBoth get the same arrays; cleanlab gets integers as `predictions / 255` and logits as "
        "probabilities, for it takes no others.\n\n" + table(columns, rows),
        figures,
    )
