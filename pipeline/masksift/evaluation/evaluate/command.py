"""The line of an evaluation: open the run and the truth, compare the pixels where the truth has any, measure every
score, resample, tell.

The images of a run are held by the client: 8 bytes a score and image, and the text of the ids, some 100 bytes an image
in all (64 more where pixels are compared), so that 10^7 images take a gigabyte or two.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import UsageError
from masksift.engine.completed_run import CompletedRun, open_completed_run
from masksift.evaluation.evaluate.bootstrap import Samples, resample
from masksift.evaluation.evaluate.config import EvaluateConfig
from masksift.evaluation.evaluate.ground_truth import Truth, open_truth
from masksift.evaluation.evaluate.pixel_tasks import COLUMNS, Counts, PixelTask, count_pixels
from masksift.evaluation.evaluate.result_rows import Facts, curve_rows, pixel_rows, score_rows
from masksift.evaluation.evaluate.score_evaluation import ScoreEvaluation, evaluate_score
from masksift.evaluation.evaluate.summary import EvaluationSummary, console_text, report_text
from masksift.runtime.progress import ProgressReporter
from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.arrow import table_from_rows
from masksift.storage.tables.image_lists import ImageTable, image_rows
from masksift.storage.tables.parquet import write_table
from masksift.storage.tables.schemas import CURVES, MEASURES

OUTPUTS = ("measures.parquet", "curves.parquet", "report.md", "precision_recall.png", "recall_over_effort.png")
SHOWN = 5
"""Names of images that are not in the run which are told."""


@dataclass(frozen=True)
class EvaluateResult:
    """How an evaluation ended. ``text``: what to print; ``strangers``: images of the truth that the run does not have,
    the first of them in ``names``."""

    text: str
    strangers: int
    names: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """3 where the truth names images that the run does not have, else 0."""
        return 3 if self.strangers else 0


@dataclass(frozen=True)
class _GroundTruth:
    """What is known of the run's images, (N,) each: which are wrong, the share of their wrong pixels, and of which it
    is known at all. ``strangers``: what the truth has besides."""

    wrong: NDArray[np.bool_]
    shares: NDArray[np.float64] | None
    reviewed: NDArray[np.bool_]
    strangers: list[str]


def evaluate(config: EvaluateConfig, report: ProgressReporter) -> EvaluateResult:
    """Measure every score of the run against the truth and write the results. Raises MasksiftError."""
    require_extra()
    run = open_completed_run(config.run, config.storage, [*config.truth, config.out])
    out = _results(config, run.context.options)
    rows = image_rows(run.directory, run.image_part_names, run.methods)
    truth = open_truth(config, run.tasks.sources, rows.sources(), run.context.options, run.context.fingerprint)
    counts = _count(config, run, truth, report)
    known = _known(rows, truth, counts)
    ranked = rows.scored & known.reviewed
    scores = {name: values[ranked] for name, values in rows.scores.items()}
    wrong, shares = known.wrong[ranked], None if known.shares is None else known.shares[ranked]
    with report.stage("measure"):
        reviews = {name: evaluate_score(values, wrong, shares, config.at) for name, values in scores.items()}
        columns = np.zeros((int(ranked.sum()), len(COLUMNS)), np.int64) if counts is None else counts.images[ranked]
        samples = _resampled(config, reviews, scores, wrong, shares, columns)
    facts = Facts(int(ranked.sum()), int(wrong.sum()), config.bootstrap)
    table = [row for name, one in reviews.items() for row in score_rows(name, one, samples, facts)]
    if counts is not None:
        table += pixel_rows(counts, ranked, samples, facts, run.keeps_evidence)
    told = EvaluationSummary(config, truth.form, facts, tuple(_notes(rows, known, truth, counts)), tuple(table))
    _write(out, told, table, reviews, run.tasks.sources[0].class_names)
    return EvaluateResult(console_text(told), len(known.strangers), tuple(known.strangers[:SHOWN]))


def require_extra() -> None:
    """Raises UsageError where a package is missing that measures or draws."""
    for name in ("scipy.stats", "sklearn.metrics", "matplotlib.figure"):
        try:
            importlib.import_module(name)
        except ImportError as e:
            raise UsageError(
                f"the package {name.split('.')[0]} is not there",
                "nothing was measured",
                "Install it: pip install 'masksift[evaluate]'",
            ) from e


def _results(config: EvaluateConfig, options: Mapping[str, Any]) -> ObjectDirectory:
    """Where the results go. Raises UsageError where anything but an earlier evaluation lies there."""
    folder = ObjectDirectory(config.out, options)
    strangers = [name for name in folder.names() if name not in OUTPUTS]
    if strangers:
        raise UsageError(
            f"{config.out} holds what is no evaluation ({', '.join(strangers[:3])})",
            "the results would be mixed with it",
            "Give an empty or a new folder as --out",
        )
    return folder


def _count(config: EvaluateConfig, run: CompletedRun, truth: Truth, report: ProgressReporter) -> Counts | None:
    """The pixels and regions, where the truth has any."""
    if truth.masks is None:
        return None
    with config.executor.open(len(run.tasks), report.message) as executor:
        return count_pixels(PixelTask(run.context, truth.masks, run.keeps_evidence), run.tasks, executor, report)


def _known(rows: ImageTable, truth: Truth, counts: Counts | None) -> _GroundTruth:
    """What the truth says of the images of the run."""
    every = np.ones(len(rows), bool)
    if truth.images is not None:
        entries, strangers = rows.find(truth.images)
        wrong = entries >= 0
        shares = truth.images.shares
        if shares is not None:
            shares = np.where(wrong, np.append(shares, 0.0)[entries], 0.0)
        if truth.reviewed is not None:
            reviewed, strangers = rows.find(truth.reviewed)
            every = reviewed >= 0
        return _GroundTruth(wrong, shares, every, strangers)
    assert counts is not None, "corrected labels are compared pixel by pixel"
    valid, pixels = counts.images[:, COLUMNS.index("valid")], counts.images[:, COLUMNS.index("wrong")]
    return _GroundTruth(pixels > 0, pixels / np.maximum(valid, 1), every, [])


def _resampled(
    config: EvaluateConfig,
    reviews: Mapping[str, ScoreEvaluation],
    scores: Mapping[str, NDArray[np.float64]],
    wrong: NDArray[np.bool_],
    shares: NDArray[np.float64] | None,
    counts: NDArray[np.int64],
) -> Samples:
    orders = {name: one.order for name, one in reviews.items() if one.order is not None}
    resamples = config.bootstrap if len(wrong) else 0
    return resample(orders, config.at, scores, wrong, shares, counts, resamples, config.seed)


def _notes(rows: ImageTable, known: _GroundTruth, truth: Truth, counts: Counts | None) -> list[str]:
    """What the reader of the figures must know besides, a sentence each."""
    notes, left_out = list(truth.notes), ~rows.scored
    if not known.reviewed.all():
        notes.insert(0, f"{int(known.reviewed.sum()):,} of {len(rows):,} images were accepted or rejected.")
    if left_out.any():
        among = (
            "whether any of them is wrong was not compared"
            if truth.images is None
            else f"{int((known.wrong & left_out).sum()):,} of the wrong images are among them, and count nowhere"
        )
        notes.append(f"{int(left_out.sum()):,} of {len(rows):,} images are not ranked (quarantined): {among}.")
    if known.strangers:
        more = ", ..." if len(known.strangers) > SHOWN else ""
        names = ", ".join(known.strangers[:SHOWN])
        notes.append(f"Not in the run are {len(known.strangers):,} images of the truth: {names}{more}.")
    if counts is None:
        notes.append("The truth says which images are wrong and not which pixels: masks and regions are not measured.")
    else:
        pixels = counts.images[:, COLUMNS.index("wrong")]
        if empty := int((known.wrong & rows.scored & (pixels == 0)).sum()):
            notes.append(f"In {empty:,} of the wrong images no pixel that counts is wrong by the masks.")
    return notes


def _write(
    out: ObjectDirectory,
    told: EvaluationSummary,
    table: list[dict[str, Any]],
    reviews: Mapping[str, ScoreEvaluation],
    classes: tuple[str, ...],
) -> None:
    """All outputs, the page last."""
    from masksift.evaluation.evaluate.plots import precision_recall, recall_over_effort

    write_table(out, "measures.parquet", table_from_rows(table, MEASURES), classes)
    write_table(out, "curves.parquet", table_from_rows(curve_rows(reviews), CURVES), classes)
    curves = {name: one.curve for name, one in reviews.items() if one.curve is not None}
    areas = {name: one.values["average_precision", ""] for name, one in reviews.items()}
    for name, draw in (("precision_recall.png", precision_recall), ("recall_over_effort.png", recall_over_effort)):
        if curves:
            out.write(name, draw(curves, areas, told.facts.errors / told.facts.images))
        else:
            out.remove(name)  # of an earlier evaluation
    out.write("report.md", report_text(told, plots=bool(curves)).encode())
