"""Make the report of a run: select images, render them on the workers, write the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby

from masksift.config.sections import ReportSection
from masksift.core.specs import SourceSpec
from masksift.engine.completed_run import CompletedRun, open_completed_run
from masksift.engine.planning.memory import ALLOCATOR_OVERHEAD, BASE_MEMORY_BYTES, check_worker_memory
from masksift.engine.planning.plan import estimate_seconds
from masksift.engine.planning.report_plan import MAX_TASK_IMAGES, MAX_TASK_PIXELS, PAGE, REPORT, drawing_memory
from masksift.engine.stages import RunStats, StageTotals
from masksift.review.report.config import ReportConfig
from masksift.review.report.regions import find_regions
from masksift.review.report.run_summary import count_scores, run_summary
from masksift.review.report.selection import SelectedImage, select_images
from masksift.review.report.sheets import ImageRef, Sheet, make_sheets
from masksift.review.report.tasks import RenderContext, RenderedImage, RenderTask, render
from masksift.review.report.writer import remove_page, write_page
from masksift.runtime.executors import Executor
from masksift.runtime.progress import ProgressReporter
from masksift.runtime.telemetry import InstrumentedTask
from masksift.storage.lock import RunLock
from masksift.storage.sources.images_array import find_images_arrays
from masksift.storage.urls import join


def make_report(
    run: CompletedRun, top: int, images_array: str, executor: Executor, progress: ProgressReporter, stats: RunStats
) -> None:
    """Write the page of a ranked run into its results.

    The client holds some kilobytes per image on the page, and one table file at a time.

    Args:
        run: The run.
        top: Number of ranked images on the page, and of quarantined images after them; no page for 0.
        images_array: Name or URL of the RGB images.
        executor: Runs the rendering tasks.
        progress: Reporter for the stage and for messages.
        stats: Receives duration and I/O of the stage.
    """
    if not top:
        return
    expected = min(top, run.scored_images) + min(top, run.record["images"] - run.scored_images)
    totals = StageTotals()
    with progress.stage(REPORT, expected) as stage:
        remove_page(run.directory)
        selected = select_images(run, top)
        tasks = list(_make_tasks(run, selected))
        rendered: dict[int, RenderedImage] = {}
        missing: dict[str, None] = {}
        function = partial(render, RenderContext(run.context, images_array, run.keeps_evidence, run.class_colors))
        instrumented = InstrumentedTask(function, run.context.fingerprint, REPORT)
        for result in stage.map_tasks(executor, instrumented, tasks):
            rendered.update({image.number: image for image in result.images})
            missing.update({result.images_warning: None} if result.images_warning else {})
            totals.add(result.task_result)
        images = [rendered[image.number] for image in selected]
        sources = sorted({image.source for image in selected}, key=run.source_index.__getitem__)
        summary = run_summary(run, count_scores(run), len(selected), sources)
        sheets = [sheet for task in tasks for sheet in task.sheets]
        write_page(run.directory, summary, sheets, selected, images, find_regions(run, selected))
        totals.io_counts.update(run.directory.io_counters)
    stats.add(stage.fields(), totals)
    if missing:
        more = f" ({len(missing) - 1} more sources have none either)" if len(missing) > 1 else ""
        progress.message(f"{next(iter(missing))}: the report shows the planes without images{more}")


def max_tasks(top: int) -> int:
    """Return the largest number of full tasks of a report with ``top`` images and as many quarantined ones."""
    return -(-2 * top // MAX_TASK_IMAGES)


def _make_tasks(run: CompletedRun, selected: Sequence[SelectedImage]) -> Iterator[RenderTask]:
    """Yield tasks of about half a second each, with the images of one source in order."""
    ordered = sorted(selected, key=lambda image: (run.source_index[image.source], image.index))
    for source, images in groupby(ordered, key=lambda image: run.source_index[image.source]):
        block_task = run.tasks[run.tasks.plan.blocks.source_blocks(source).start]
        spec = block_task.spec
        most = max(1, min(MAX_TASK_IMAGES, MAX_TASK_PIXELS // spec.pixels))
        refs = (
            ImageRef(image.number, image.index, _fitting_size(image.size, spec), image.rank is not None)
            for image in images
        )
        sheets: list[Sheet] = []
        for sheet in make_sheets(refs):
            if sheets and sum(len(one.images) for one in (*sheets, sheet)) > most:
                yield RenderTask(block_task, tuple(sheets))
                sheets = []
            sheets.append(sheet)
        yield RenderTask(block_task, tuple(sheets))


def _fitting_size(size: tuple[int, int], spec: SourceSpec) -> tuple[int, int]:
    """Return the rows and columns of an image, corrected if they do not fit into its source."""
    return min(max(size[0], 1), spec.height), min(max(size[1], 1), spec.width)


def report(config: ReportConfig, progress: ProgressReporter) -> str:
    """Make the report of a completed run again and return the text to print; raises MasksiftError."""
    run = open_completed_run(config.run, config.storage, [config.arrays.images or ""])
    top = config.top or run.record["configuration"].get(REPORT, {}).get("top") or ReportSection().top
    images_array = config.arrays.images or run.images_array
    pixels = max(spec.pixels for spec in run.tasks.sources)
    seconds = estimate_seconds(top, top * pixels, 0)
    with config.executor.open(max_tasks(top), seconds, progress.message) as executor:
        workers = [(worker.name, worker.memory) for worker in executor.workers()]
        check_worker_memory(_worker_memory(run, images_array), workers, "drawing the report")
        with RunLock(run.directory, progress.message):
            make_report(run, top, images_array, executor, progress, RunStats())
    return f"report: {join(config.run, PAGE)}"


def _worker_memory(run: CompletedRun, images_array: str) -> int:
    """Peak memory of a worker, bytes."""
    arrays = find_images_arrays(run.tasks.sources, images_array, run.context.options)
    chunks = [layout.chunks for layout in run.tasks.plan.layouts]
    needed = map(drawing_memory, run.tasks.sources, chunks, arrays)
    return BASE_MEMORY_BYTES + round(ALLOCATOR_OVERHEAD * max(needed))
