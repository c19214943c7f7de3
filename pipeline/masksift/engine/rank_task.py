"""Rank the rows of all parts on the workers: cut each part at common splitters, then merge one range of ranks per task.

The ranks of the splitters are counted over all parts before they are used, so ranks, ties and the size of the parts do
not depend on how well the splitters were chosen.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.task_result import TaskResult
from masksift.engine.compact_task import CompactContext, load_tables
from masksift.engine.image_parts import image_part_name
from masksift.engine.result_tables import RankedTable, TablePart, split_parts
from masksift.engine.work_items import RunContext, sum_io_counters
from masksift.scoring.range_partition import KeySample, Splitters
from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.parquet import read_table, write_table
from masksift.storage.tables.segments import join_tables, pack_table, read_segments
from masksift.storage.tables.sort import sort_rows


@dataclass(frozen=True)
class SplitTask:
    """Part of the table of images whose rows, and whose regions, are sorted and cut."""

    part: int

    @property
    def log_fields(self) -> dict[str, Any]:
        """Fields of log records and spans."""
        return {"part": self.part}


@dataclass(frozen=True)
class SplitResult:
    """Rows of a part before each splitter, and where they end in its object.

    Attributes:
        rows: Offsets (S + 2,) of each ranked table: 0, the rows before each splitter, and all rows that were written.
        ends: Bytes of the object before each of these rows, (S + 2,) for each ranked table.
        task_result: Counters of the task.
    """

    rows: tuple[NDArray[np.int32], ...]
    ends: tuple[NDArray[np.int32], ...]
    task_result: TaskResult


@dataclass(frozen=True)
class RankTask:
    """Part of a ranked table.

    Attributes:
        table: Number of the table in `CompactContext.ranked`.
        part: The part.
        ranges: Byte range (P, 2) of each of the P split objects that may hold its rows.
        skip: Rows in these ranges that precede the part.
        count: Rows of the whole table.
    """

    table: int
    part: TablePart
    ranges: NDArray[np.int32]
    skip: int
    count: int

    @property
    def log_fields(self) -> dict[str, Any]:
        """Fields of log records and spans."""
        return {"part": self.part.name}


def split_name(context: RunContext, part: int) -> str:
    """Return the name of the sorted and cut rows of a part, which are removed when all rows are ranked."""
    return f"manifest/split/{context.fingerprint[:12]}-{part:08d}.arrows"


def split_part(context: CompactContext, splitters: Sequence[Splitters], task: SplitTask) -> SplitResult:
    """Sort the rows of a part by each ranked table, cut them at its splitters, and write all pieces as one object."""
    started, manifest = time.perf_counter(), context.manifest
    directory, name = manifest.directory, image_part_name(context.run, task.part)
    tables = [
        read_table(directory, name, context.images.schema.names),
        *load_tables(manifest, task.part, "regions"),
    ]
    pieces: list[bytes] = []
    rows, ends = [], []
    for ranked, table, chosen in zip(context.ranked, tables, splitters, strict=True):
        keys, ordered = sort_rows(table, ranked.by, highest_first=ranked.highest_first)
        offsets = chosen.offsets(task.part, keys)
        written = sum(map(len, pieces))
        first = len(pieces)
        pieces += [
            pack_table(ordered.slice(start, end - start)) if start < end else b""
            for start, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
        ]
        rows.append(offsets.astype(np.int32))
        ends.append(np.cumsum([written, *map(len, pieces[first:])]).astype(np.int32))
    data = b"".join(pieces)
    directory.write(split_name(context.run, task.part), data)
    directory.io_counters["bytes_written"] += len(data)
    result = TaskResult(task.part, 0, 0, {}, **sum_io_counters(directory), seconds=time.perf_counter() - started)
    return SplitResult(tuple(rows), tuple(ends), result)


def choose_splitters(context: CompactContext, samples: Sequence[Sequence[KeySample]]) -> tuple[Splitters, ...]:
    """Choose the splitters of each ranked table from the samples of all parts."""
    chosen = []
    for ranked, own in zip(context.ranked, zip(*samples, strict=True), strict=True):
        listed = _listed_rows(ranked, sum(sample.rows for sample in own))
        ranks = [part.stop for part in split_parts(ranked.name, listed, ranked.part_rows)]
        chosen.append(Splitters.near(own, ranks, listed))
    return tuple(chosen)


def _listed_rows(ranked: RankedTable, rows: int) -> int:
    return rows if ranked.limit is None else min(rows, ranked.limit)


def make_rank_tasks(
    context: CompactContext, samples: Sequence[Sequence[KeySample]], splits: Sequence[SplitResult]
) -> Iterator[RankTask]:
    """Yield a task for each part of each ranked table, with the results of all splits in the order of the parts."""
    for table, ranked in enumerate(context.ranked):
        count = _listed_rows(ranked, sum(sample[table].rows for sample in samples))
        bounds = np.stack([split.rows[table] for split in splits]).sum(axis=0, dtype=np.int64)
        ends = np.stack([split.ends[table] for split in splits])
        for part in split_parts(ranked.name, count, ranked.part_rows):
            first = int(np.searchsorted(bounds, part.start, side="right")) - 1
            last = max(first, int(np.searchsorted(bounds, part.stop)))
            yield RankTask(table, part, ends[:, [first, last]], part.start - int(bounds[first]), count)


def rank_part(context: CompactContext, parts: int, task: RankTask) -> TaskResult:
    """Merge the pieces of all parts that hold a range of ranks, and write these rows with their ranks."""
    started, ranked = time.perf_counter(), context.ranked[task.table]
    directory = ObjectDirectory(context.run.out, context.run.options)
    names = [split_name(context.run, part) for part in range(parts)]
    pieces = read_segments(directory, names, [(int(start), int(stop)) for start, stop in task.ranges])
    rows = join_tables([ranked.schema.empty_table(), *pieces])
    ordered = sort_rows(rows, ranked.by, highest_first=ranked.highest_first)[1]
    write_part(context, directory, task.table, task.part, ordered.slice(task.skip), task.count)
    return TaskResult(0, 0, 0, {}, **sum_io_counters(directory), seconds=time.perf_counter() - started)


def write_part(
    context: CompactContext, directory: ObjectDirectory, table: int, part: TablePart, rows: Any, count: int
) -> None:
    """Write a part of a ranked table from sorted rows that begin with it."""
    ranked = context.ranked[table]
    ranks = ranked.add_ranks(rows.slice(0, part.stop - part.start), part.start, count)
    directory.io_counters["bytes_written"] += write_table(directory, part.name, ranks, context.class_names)
