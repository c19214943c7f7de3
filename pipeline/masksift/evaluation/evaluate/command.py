"""Entry point of `masksift evaluate`.

The client holds the images of the run: 8 bytes per score and image plus the ids, about 100 bytes per image in all (164
if pixels are compared), so that 10^7 images take one to two gigabytes. If pixels are compared, it also holds the listed
regions with their run lengths, some hundred bytes per region.
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
from masksift.evaluation.evaluate.listed_regions import ListedRegions, RegionMasks, read_listed_regions
from masksift.evaluation.evaluate.region_orders import RegionEvaluation, evaluate_order
from masksift.evaluation.evaluate.result_rows import Totals, curve_rows, order_name, pixel_rows, region_rows, score_rows
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

PLOTS = ("precision_recall.png", "recall_over_effort.png", "region_precision.png")
OUTPUTS = ("measures.parquet", "curves.parquet", "report.md", *PLOTS)
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
    regions = None if truth.arrays is None else read_listed_regions(run)
    counts = None if regions is None else _count_pixels(config, run, truth, regions.masks, progress)
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
        orders = {} if regions is None or counts is None else _evaluate_orders(config, regions, counts, ranked)
        region_reviews = {name: one.review for name, one in orders.items() if one.review is not None}
        resamples = config.bootstrap if len(wrong) else 0
        samples = resample(reviews, config.at, scores, wrong, shares, columns, region_reviews, resamples, config.seed)
    rows = [row for name, one in evaluations.items() for row in score_rows(name, one, samples, totals)]
    if counts is not None:
        rows += pixel_rows(counts, ranked, samples, totals, run.keeps_evidence)
    rows += [row for name, order in orders.items() for row in region_rows(name, order, samples, totals)]
    notes = _make_notes(images, image_truth, truth, counts, regions)
    summary = EvaluationSummary(config, truth.description, totals, tuple(notes), tuple(rows))
    _write_results(directory, summary, rows, evaluations, orders, run.tasks.sources[0].class_names)
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
    config: EvaluateConfig, run: CompletedRun, truth: GroundTruth, regions: RegionMasks, progress: ProgressReporter
) -> PixelCounts:
    """Count pixels and regions."""
    assert truth.arrays is not None, "regions are read for them only"
    plan = run.tasks.plan
    seconds = estimate_seconds(plan.images, plan.pixels, plan.pixels)
    with config.executor.open(len(run.tasks), seconds, progress.message) as executor:
        context = PixelContext(run.context, truth.arrays, run.keeps_evidence)
        return count_pixels(context, run.tasks, regions, executor, progress)


def _evaluate_orders(
    config: EvaluateConfig, regions: ListedRegions, counts: PixelCounts, ranked: NDArray[np.bool_]
) -> dict[str, RegionEvaluation]:
    """Evaluate the orders of the regions whose truth is known, of ``ranked`` images (N,)."""
    known, wrong = counts.regions.T
    used = ranked[regions.masks.image] & (known > 0)
    images = (np.cumsum(ranked) - 1)[regions.masks.image[used]]
    is_hit = (2 * wrong >= known)[used]
    return {
        name: evaluate_order(places[used], images, is_hit, config.per_image) for name, places in regions.places.items()
    }


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
    images: ImageTable,
    image_truth: _ImageTruth,
    truth: GroundTruth,
    counts: PixelCounts | None,
    regions: ListedRegions | None,
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
    if regions is not None and regions.absent:
        names = " and ".join(regions.absent)
        notes.append(f"The table of regions has no {names}, as in older runs: these orders are not measured.")
    if counts is not None and (unmeasured := int((counts.regions[:, 0] == 0).sum())):
        notes.append(f"{unmeasured:,} listed regions are not measured: no corrected label is known in them.")
    return notes


def _write_results(
    directory: ObjectDirectory,
    summary: EvaluationSummary,
    rows: list[dict[str, Any]],
    evaluations: Mapping[str, ScoreEvaluation],
    orders: Mapping[str, RegionEvaluation],
    class_names: tuple[str, ...],
) -> None:
    """Write tables and plots, and the report page last."""
    from masksift.evaluation.evaluate import plots

    curves = {name: one.curve for name, one in evaluations.items() if one.curve is not None}
    region_curves = {order_name(name): one.curve for name, one in orders.items() if one.curve is not None}
    write_table(directory, "measures.parquet", table_from_rows(rows, MEASURES), class_names)
    write_table(directory, "curves.parquet", table_from_rows(curve_rows(curves | region_curves), CURVES), class_names)
    areas = {name: evaluations[name].values["average_precision", ""] for name in curves}
    share = summary.totals.errors / max(1, summary.totals.images)
    pictures = {}
    if curves:
        pictures["precision_recall.png"] = plots.plot_precision_recall(curves, areas, share)
        pictures["recall_over_effort.png"] = plots.plot_recall_effort(curves, areas, share)
    if region_curves:
        pictures["region_precision.png"] = plots.plot_region_precision(
            region_curves, {order_name(name): one.regions for name, one in orders.items()}
        )
    for name in PLOTS:
        if name in pictures:
            directory.write(name, pictures[name])
        else:
            directory.remove(name)  # of an earlier evaluation
    directory.write("report.md", report_text(summary, list(pictures)).encode())
