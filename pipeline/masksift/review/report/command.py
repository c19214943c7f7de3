"""The line of a report: choose the images, find their regions, let the workers draw them, measure all, write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby

from masksift.config.sections import ReportSection
from masksift.core import signals as interruption
from masksift.core.status import SCORED
from masksift.engine.completed_run import CompletedRun, open_completed_run
from masksift.engine.planning.memory import ALLOCATOR_OVERHEAD, BASE_MEMORY_BYTES, check_worker_memory
from masksift.engine.planning.report_plan import MAX_TASK_IMAGES, MAX_TASK_PIXELS, PAGE, REPORT, drawing_memory
from masksift.engine.stages import RunStats, StageTotals
from masksift.review.report import writer as files
from masksift.review.report.config import ReportConfig
from masksift.review.report.regions import find_regions
from masksift.review.report.run_summary import count_scores, run_summary
from masksift.review.report.selection import SelectedImage, select_images
from masksift.review.report.tasks import ImageRef, RenderContext, RenderedImage, RenderTask, render
from masksift.runtime.executors import Executor
from masksift.runtime.progress import ProgressReporter
from masksift.runtime.telemetry import InstrumentedTask
from masksift.storage.lock import RunLock
from masksift.storage.sources.images_array import find_images_arrays
from masksift.storage.urls import join


def make_report(
    run: CompletedRun, top: int, pictures: str, executor: Executor, report: ProgressReporter, account: RunStats
) -> None:
    """Write the page of a ranked run into `report/` in its results, with the first ``top`` images; none where that is
    0. ``pictures``: name or URL of their array. The client holds what it shows, some kilobytes an image, and one part
    of a table."""
    if not top:
        return
    scored = run.record["counts"].get(SCORED, 0)
    expected = min(top, scored) + min(top, run.record["images"] - scored)
    totals, folder = StageTotals(), run.directory
    with report.stage(REPORT, expected) as stage:
        files.remove_page(folder)
        chosen = select_images(run, top)
        drawn: dict[int, RenderedImage] = {}
        without: dict[str, None] = {}
        drawing = partial(render, RenderContext(run.context, pictures, run.keeps_evidence))
        task = InstrumentedTask(drawing, run.context.fingerprint, REPORT)
        for answer in executor.map(task, list(_batches(run, chosen)), REPORT):
            drawn.update({one.number: one for one in answer.drawn})
            without.update({answer.without: None} if answer.without else {})
            totals.add(answer.task_result)
            stage.advance(answer.task_result)
            interruption.raise_if_interrupted()
        _write(run, chosen, [drawn[one.number] for one in chosen])
        totals.io_counts.update(folder.io_counters)
    account.add(stage.fields(), totals)
    if without:
        more = f" (and so of {len(without) - 1} more sources)" if len(without) > 1 else ""
        report.message(f"{next(iter(without))}: the report shows the planes alone{more}")


def _batches(run: CompletedRun, chosen: Sequence[SelectedImage]) -> Iterator[RenderTask]:
    """The images in tasks of about a second, those of a source together."""
    ranges = run.tasks.plan.blocks.ranges
    ordered = sorted(chosen, key=lambda one: (run.source_index[one.source], one.index))
    for source, some in groupby(ordered, key=lambda one: run.source_index[one.source]):
        part = run.tasks[ranges[source].start]
        picks = [
            ImageRef(
                one.number, one.index, part.block.number + one.index // part.layout.block_images, one.rank is not None
            )
            for one in some
        ]
        size = max(1, min(MAX_TASK_IMAGES, MAX_TASK_PIXELS // part.spec.pixels))
        yield from (RenderTask(part, tuple(picks[first : first + size])) for first in range(0, len(picks), size))


def _write(run: CompletedRun, chosen: Sequence[SelectedImage], drawn: Sequence[RenderedImage]) -> None:
    """All that is not drawn."""
    sources = sorted({one.source for one in chosen}, key=run.source_index.__getitem__)
    facts = run_summary(run, count_scores(run), len(chosen), sources, run.keeps_evidence)
    files.write_page(run.directory, facts, chosen, drawn, find_regions(run, chosen), run.methods)


def report(config: ReportConfig, report: ProgressReporter) -> str:
    """Make the report of a complete run once more; answers what to print. Raises MasksiftError."""
    run = open_completed_run(config.run, config.storage, [config.arrays.images or ""])
    told = run.record["configuration"]
    top = config.top or told.get(REPORT, {}).get("top") or ReportSection().top
    pictures = config.arrays.images or run.images_array
    with config.executor.open(-(-2 * top // MAX_TASK_IMAGES), report.message) as executor:
        workers = [(worker.name, worker.memory) for worker in executor.workers()]
        check_worker_memory(_memory(run, pictures), workers, "drawing the report")
        with RunLock(run.directory, report.message):
            make_report(run, top, pictures, executor, report, RunStats())
    return f"report: {join(config.run, PAGE)}"


def _memory(run: CompletedRun, pictures: str) -> int:
    """Bytes that a worker needs at most."""
    arrays = find_images_arrays(run.tasks.sources, pictures, run.context.options)
    chunks = [layout.chunks for layout in run.tasks.plan.layouts]
    needed = map(drawing_memory, run.tasks.sources, chunks, arrays)
    return BASE_MEMORY_BYTES + round(ALLOCATOR_OVERHEAD * max(needed))
