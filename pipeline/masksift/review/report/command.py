"""The line of a report: choose the images, find their regions, let the workers draw them, measure all, write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby

from masksift.config.sections import ReportSection
from masksift.core import signals as interruption
from masksift.core.status import SCORED
from masksift.engine.completed_run import Complete, open_complete
from masksift.engine.planning.memory import BASE_MEMORY, FRAGMENTS, refuse_small_workers
from masksift.engine.planning.report_plan import BATCH, BATCH_PIXELS, PAGE, REPORT, drawing_memory
from masksift.engine.stages import Account, Totals
from masksift.review.report import writer as files
from masksift.review.report.config import ReportConfig
from masksift.review.report.regions import find_regions
from masksift.review.report.run_summary import measure, run_facts
from masksift.review.report.selection import Chosen, choose
from masksift.review.report.tasks import Batch, Drawing, Drawn, Pick, draw
from masksift.runtime.executors import Executor
from masksift.runtime.progress import Reporter
from masksift.runtime.telemetry import Watched
from masksift.storage.lock import Lease
from masksift.storage.sources.images_array import pictures_of
from masksift.storage.urls import join

__all__ = ["make_report", "report_again"]


def make_report(
    run: Complete, top: int, pictures: str, executor: Executor, report: Reporter, account: Account
) -> None:  # fmt: skip
    """Write the page of a ranked run into `report/` in its results, with the first ``top`` images; none where that is
    0. ``pictures``: name or URL of their array. The client holds what it shows, some kilobytes an image, and one part
    of a table."""
    if not top:
        return
    scored = run.record["counts"].get(SCORED, 0)
    expected = min(top, scored) + min(top, run.record["images"] - scored)
    totals, folder = Totals(), run.folder
    with report.stage(REPORT, expected) as stage:
        files.begin(folder)
        chosen = choose(run, top)
        drawn: dict[int, Drawn] = {}
        without: dict[str, None] = {}
        drawing = partial(draw, Drawing(run.job, pictures, run.keeps_evidence))
        task = Watched(drawing, run.job.fingerprint, REPORT)
        for answer in executor.map(task, list(_batches(run, chosen)), REPORT):
            drawn.update({one.number: one for one in answer.drawn})
            without.update({answer.without: None} if answer.without else {})
            totals.add(answer.receipt)
            stage.advance(answer.receipt)
            interruption.check()
        _write(run, chosen, [drawn[one.number] for one in chosen])
        totals.told.update(folder.used)
    account.add(stage.facts(), totals)
    if without:
        more = f" (and so of {len(without) - 1} more sources)" if len(without) > 1 else ""
        report.say(f"{next(iter(without))}: the report shows the planes alone{more}")


def _batches(run: Complete, chosen: Sequence[Chosen]) -> Iterator[Batch]:
    """The images in tasks of about a second, those of a source together."""
    ranges = run.parts.plan.blocks.ranges
    ordered = sorted(chosen, key=lambda one: (run.places[one.source], one.index))
    for source, some in groupby(ordered, key=lambda one: run.places[one.source]):
        part = run.parts[ranges[source].start]
        picks = [
            Pick(one.number, one.index, part.block.number + one.index // part.layout.block, one.rank is not None)
            for one in some
        ]
        size = max(1, min(BATCH, BATCH_PIXELS // part.spec.pixels))
        yield from (Batch(part, tuple(picks[first : first + size])) for first in range(0, len(picks), size))


def _write(run: Complete, chosen: Sequence[Chosen], drawn: Sequence[Drawn]) -> None:
    """All that is not drawn."""
    sources = sorted({one.source for one in chosen}, key=run.places.__getitem__)
    facts = run_facts(run, measure(run), len(chosen), sources, run.keeps_evidence)
    files.finish(run.folder, facts, chosen, drawn, find_regions(run, chosen), run.methods)


def report_again(config: ReportConfig, report: Reporter) -> str:
    """Make the report of a complete run once more; answers what to print. Raises MasksiftError."""
    run = open_complete(config.run, config.storage, [config.arrays.images or ""])
    told = run.record["configuration"]
    top = config.top or told.get(REPORT, {}).get("top") or ReportSection().top
    pictures = config.arrays.images or run.pictures
    with config.executor.open(-(-2 * top // BATCH), report.say) as executor:
        workers = [(worker.name, worker.memory) for worker in executor.workers()]
        refuse_small_workers(_memory(run, pictures), workers, "drawing the report")
        with Lease(run.folder, report.say):
            make_report(run, top, pictures, executor, report, Account())
    return f"report: {join(config.run, PAGE)}"


def _memory(run: Complete, pictures: str) -> int:
    """Bytes that a worker needs at most."""
    arrays = pictures_of(run.parts.sources, pictures, run.job.options)
    chunks = [layout.chunks for layout in run.parts.plan.layouts]
    needed = map(drawing_memory, run.parts.sources, chunks, arrays)
    return BASE_MEMORY + round(FRAGMENTS * max(needed))
