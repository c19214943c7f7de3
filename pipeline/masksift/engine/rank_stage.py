"""Rank the images and regions of a run: in this process if the table of images has one part, else on the workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from masksift.core.status import SCORED
from masksift.core.task_result import TaskResult
from masksift.engine.combine_task import (
    CombineResult,
    PlaceResult,
    combine_part,
    find_places,
    join_knots,
    make_combine_tasks,
    make_place_tasks,
    place_name,
)
from masksift.engine.compact_task import (
    COMPACT,
    PLACES,
    CompactContext,
    CompactResult,
    ImageParts,
    compact_part,
    load_part,
    write_images,
)
from masksift.engine.rank_task import (
    SplitResult,
    SplitTask,
    choose_splitters,
    make_rank_tasks,
    rank_part,
    split_name,
    split_part,
    write_part,
)
from masksift.engine.result_tables import combine_in_memory, split_parts
from masksift.engine.work_items import PairCounts
from masksift.runtime.executors import Executor
from masksift.runtime.progress import StageProgress
from masksift.runtime.telemetry import InstrumentedTask
from masksift.scoring.range_partition import KeySample
from masksift.scoring.ranking import PlaceKnots
from masksift.scoring.region_priority import PairTotals
from masksift.storage.tables.sort import sort_rows


@dataclass(frozen=True)
class RankResult:
    """Sums over the tables of a run.

    Attributes:
        pairs: Flagged pixels, images and evidence by class pair.
        knots: Knots of the rankings that are combined; None without the combined score.
    """

    pairs: PairCounts
    knots: tuple[PlaceKnots, ...] | None


MapTasks = Callable[[Callable[[Any], Any], Sequence[Any], str], Iterator[Any]]


def rank_one_part(context: CompactContext, totals: PairTotals, parts: ImageParts) -> RankResult:
    """Write the tables of a run whose table of images has one part."""
    manifest = context.manifest
    rows = load_part(context, totals, manifest, parts[0])
    images, knots = rows.images, context.knots
    if context.ranks_to_combine:
        images, knots = combine_in_memory(images, context.images)
    write_images(context, manifest, 0, images)
    for number, (ranked, table) in enumerate(zip(context.ranked, (images, rows.regions), strict=True)):
        ordered = sort_rows(table.select(ranked.schema.names), ranked.by, highest_first=ranked.highest_first)[1]
        for part in split_parts(ranked.name, len(ordered), ranked.part_rows):
            write_part(context, manifest.directory, number, part, ordered.slice(part.start), len(ordered))
    return RankResult(rows.pairs, knots)


def rank_on_workers(
    context: CompactContext,
    totals: PairTotals,
    parts: ImageParts,
    executor: Executor,
    stage: StageProgress,
    count: Callable[[TaskResult], None],
) -> RankResult:
    """Write the tables of a run on the workers.

    Args:
        context: Settings of the tasks.
        totals: Totals of the data set, with which regions are compared.
        parts: Parts of the table of images.
        executor: Executor of the tasks.
        stage: Progress of the stage.
        count: Receives the counters of each task.

    Returns:
        The sums over the tables.
    """

    def map_tasks(function: Callable[[Any], Any], tasks: Sequence[Any], name: str) -> Iterator[Any]:
        for answer in stage.map_tasks(executor, InstrumentedTask(function, context.run.fingerprint, name), tasks, name):
            count(getattr(answer, "task_result", answer))
            yield answer

    pairs, compacted = PairCounts.zeros(len(context.class_names)), dict[int, CompactResult]()
    for result in map_tasks(partial(compact_part, context, totals), parts, COMPACT):
        pairs = pairs.merge(PairCounts.unpack(result.pairs))
        compacted[result.task_result.number] = result
    samples = [compacted[number].samples for number in range(len(parts))]
    knots = context.knots
    if context.ranks_to_combine:
        scored = sum(result.task_result.counts.get(SCORED, 0) for result in compacted.values())
        samples, knots = _combine_scores(context, samples, scored, map_tasks)
    splits = dict[int, SplitResult]()
    split = partial(split_part, context, choose_splitters(context, samples))
    for cut in map_tasks(split, [SplitTask(number) for number in range(len(parts))], "split"):
        splits[cut.task_result.number] = cut
    ranges = list(make_rank_tasks(context, samples, [splits[number] for number in range(len(parts))]))
    for _ in map_tasks(partial(rank_part, context, len(parts)), ranges, "rank"):
        pass
    context.manifest.directory.remove_all([split_name(context.run, number) for number in range(len(parts))])
    return RankResult(pairs, knots)


def _combine_scores(
    context: CompactContext, samples: Sequence[tuple[KeySample, ...]], scored: int, map_tasks: MapTasks
) -> tuple[list[tuple[KeySample, ...]], tuple[PlaceKnots, ...]]:
    """Write the table of images with the combined score.

    Args:
        context: Settings of the tasks.
        samples: Samples of the values of each score, for each part.
        scored: Scored images.
        map_tasks: Runs a function on tasks as a named step, and yields the answers in any order.

    Returns:
        Samples of the sort keys of each ranked table, for each part; and the knots of the rankings.
    """
    found, combined = dict[int, PlaceResult](), dict[int, CombineResult]()
    tasks = list(make_place_tasks(samples, scored))
    for places in map_tasks(partial(find_places, context, len(samples)), tasks, PLACES):
        found[places.task_result.number] = places
    ranges = [found[number] for number in range(len(tasks))]
    parts = list(make_combine_tasks(ranges, len(samples)))
    for one in map_tasks(partial(combine_part, context), parts, "combine"):
        combined[one.task_result.number] = one
    context.manifest.directory.remove_all([place_name(context.run, task.score, task.number) for task in tasks])
    return [combined[number].samples for number in range(len(samples))], join_knots(ranges)
