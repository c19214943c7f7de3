"""Entry point of `masksift evaluate`.

The client holds the images of the run: 8 bytes per score and image plus the ids, about 100 bytes per image in all (164
if pixels are compared), so that 10^7 images take one to two gigabytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import UsageError
from masksift.engine.completed_run import CompletedRun, open_completed_run
from masksift.engine.planning.plan import estimate_seconds
from masksift.evaluation.evaluate.bootstrap import resample
from masksift.evaluation.evaluate.config import EvaluateConfig
from masksift.evaluation.evaluate.ground_truth import GroundTruth, open_truth
from masksift.evaluation.evaluate.result_rows import Totals, curve_rows, pixel_rows, score_rows
from masksift.evaluation.evaluate.score_evaluation import ScoreEvaluation, evaluate_score
from masksift.evaluation.evaluate.summary import EvaluationSummary, console_text, report_text
from masksift.evaluation.evaluate.tasks import COLUMNS, PixelContext, PixelCounts, count_pixels
from masksift.review.rendering.panels import require_matplotlib
from masksift.runtime.progress import ProgressReporter
from masksift.storage.locations import check_output, source_urls
from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.arrow import table_from_rows
from masksift.storage.tables.image_lists import ImageTable, read_image_table
from masksift.storage.tables.parquet import write_table
from masksift.storage.tables.schemas import CURVES, MEASURES

OUTPUTS = ("measures.parquet", "curves.parquet", "report.md", "precision_recall.png", "recall_over_effort.png")
MAX_LISTED_NAMES = 5


@dataclass(frozen=True)
class EvaluateResult:
    """Console text; number, and names of the first, images of the known errors that the run does not have."""

    text: str
    unknown_images: int
    unknown_names: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """3 if the known errors name images that the run does not have, else 0."""
        return 3 if self.unknown_images else 0


@dataclass(frozen=True)
class _ImageTruth:
    """Wrong images, shares of wrong pixels if known, and images with known truth, (N,) each; names not in the run."""

    wrong: NDArray[np.bool_]
    shares: NDArray[np.float64] | None
    reviewed: NDArray[np.bool_]
    unknown_names: list[str]


def evaluate(config: EvaluateConfig, progress: ProgressReporter) -> EvaluateResult:
    """Measure every score of a run against known errors and write the results.

    Args:
        config: Run, known errors and output.
        progress: Reporter for messages and stages.

    Returns:
        Console text, and the images that the run does not have.

    Raises:
        MasksiftError: The run, the known errors or the workers do not fit.
    """
    require_matplotlib()
    run = open_completed_run(config.run, config.storage, [*config.truth, config.out])
    images = read_image_table(run.directory, run.image_part_names, run.methods)
    truth = open_truth(config, run, images.sources())
    truth_arrays = () if truth.arrays is None else truth.arrays.arrays
    check_output(config.out, [*source_urls(run.tasks.sources), *config.truth, *(array.url for array in truth_arrays)])
    directory = _open_output(config, run.context.options)
    counts = _count_pixels(config, run, truth, progress)
    image_truth = _match_images(images, truth, counts)
    ranked = images.scored & image_truth.reviewed
    scores = {name: values[ranked] for name, values in images.scores.items()}
    wrong = image_truth.wrong[ranked]
    shares = None if image_truth.shares is None else image_truth.shares[ranked]
    totals = Totals(len(wrong), int(wrong.sum()), config.bootstrap)
    with progress.stage("measure"):
        evaluations = {name: evaluate_score(values, wrong, shares, config.at) for name, values in scores.items()}
        columns = np.zeros((len(wrong), len(COLUMNS)), np.int64) if counts is None else counts.images[ranked]
        reviews = {name: one.review for name, one in evaluations.items() if one.review is not None}
        resamples = config.bootstrap if len(wrong) else 0
        samples = resample(reviews, config.at, scores, wrong, shares, columns, resamples, config.seed)
    rows = [row for name, one in evaluations.items() for row in score_rows(name, one, samples, totals)]
    if counts is not None:
        rows += pixel_rows(counts, ranked, samples, totals, run.keeps_evidence)
    notes = _make_notes(images, image_truth, truth, counts)
    summary = EvaluationSummary(config, truth.description, totals, tuple(notes), tuple(rows))
    _write_results(directory, summary, rows, evaluations, run.tasks.sources[0].class_names)
    unknown = image_truth.unknown_names
    return EvaluateResult(console_text(summary), len(unknown), tuple(unknown[:MAX_LISTED_NAMES]))


def _open_output(config: EvaluateConfig, options: Mapping[str, Any]) -> ObjectDirectory:
    """Open the output directory. Raises UsageError if it contains anything but an earlier evaluation."""
    directory = ObjectDirectory(config.out, options)
    foreign = [name for name in directory.names() if name not in OUTPUTS]
    if foreign:
        raise UsageError(
            f"{config.out} contains files that are not an evaluation ({', '.join(foreign[:3])})",
            "Use an empty or new directory for --out",
        )
    return directory


def _count_pixels(
    config: EvaluateConfig, run: CompletedRun, truth: GroundTruth, progress: ProgressReporter
) -> PixelCounts | None:
    """Count pixels and regions, if the wrong pixels are known."""
    if truth.arrays is None:
        return None
    plan = run.tasks.plan
    seconds = estimate_seconds(plan.images, plan.pixels, plan.pixels)
    with config.executor.open(len(run.tasks), seconds, progress.message) as executor:
        context = PixelContext(run.context, truth.arrays, run.keeps_evidence)
        return count_pixels(context, run.tasks, executor, progress)


def _match_images(images: ImageTable, truth: GroundTruth, counts: PixelCounts | None) -> _ImageTruth:
    """Assign the known errors to the images of the run."""
    all_reviewed = np.ones(len(images), bool)
    if truth.images is None:
        assert counts is not None, "corrected labels are compared by pixel"
        valid, wrong = (counts.images[:, COLUMNS.index(name)] for name in ("valid", "wrong"))
        return _ImageTruth(wrong > 0, wrong / np.maximum(valid, 1), all_reviewed, [])
    entries, unknown = images.find(truth.images)
    is_wrong, shares = entries >= 0, truth.images.shares
    if shares is not None:
        shares = np.where(is_wrong, np.append(shares, 0.0)[entries], 0.0)
    if truth.reviewed is None:
        return _ImageTruth(is_wrong, shares, all_reviewed, unknown)
    reviewed_entries, unknown = images.find(truth.reviewed)
    return _ImageTruth(is_wrong, shares, reviewed_entries >= 0, unknown)


def _make_notes(
    images: ImageTable, image_truth: _ImageTruth, truth: GroundTruth, counts: PixelCounts | None
) -> list[str]:
    """Caveats for the reader, one sentence each."""
    notes, quarantined = list(truth.notes), ~images.scored
    if not image_truth.reviewed.all():
        notes.insert(0, f"{int(image_truth.reviewed.sum()):,} of {len(images):,} images were accepted or rejected.")
    if quarantined.any():
        wrong = int((image_truth.wrong & quarantined).sum())
        effect = (
            "they were not compared"
            if truth.images is None
            else f"they include {wrong:,} of the wrong images, which are not measured"
        )
        notes.append(f"{int(quarantined.sum()):,} of {len(images):,} images are not ranked (quarantined): {effect}.")
    if unknown := image_truth.unknown_names:
        names = ", ".join(unknown[:MAX_LISTED_NAMES]) + (", ..." if len(unknown) > MAX_LISTED_NAMES else "")
        notes.append(f"{len(unknown):,} images of the truth are not in the run: {names}.")
    if counts is None:
        notes.append("The truth lists wrong images, not wrong pixels: masks and regions are not measured.")
    else:
        pixels = counts.images[:, COLUMNS.index("wrong")]
        if unchanged := int((image_truth.wrong & images.scored & (pixels == 0)).sum()):
            notes.append(f"The masks show no wrong valid pixel in {unchanged:,} of the wrong images.")
    return notes


def _write_results(
    directory: ObjectDirectory,
    summary: EvaluationSummary,
    rows: list[dict[str, Any]],
    evaluations: Mapping[str, ScoreEvaluation],
    class_names: tuple[str, ...],
) -> None:
    """Write tables and plots, and the report page last."""
    from masksift.evaluation.evaluate.plots import plot_precision_recall, plot_recall_effort

    write_table(directory, "measures.parquet", table_from_rows(rows, MEASURES), class_names)
    write_table(directory, "curves.parquet", table_from_rows(curve_rows(evaluations), CURVES), class_names)
    curves = {name: one.curve for name, one in evaluations.items() if one.curve is not None}
    areas = {name: one.values["average_precision", ""] for name, one in evaluations.items()}
    plots = {"precision_recall.png": plot_precision_recall, "recall_over_effort.png": plot_recall_effort}
    for name, plot in plots.items():
        if curves:
            directory.write(name, plot(curves, areas, summary.totals.errors / summary.totals.images))
        else:
            directory.remove(name)  # of an earlier evaluation
    directory.write("report.md", report_text(summary, plots=bool(curves)).encode())
