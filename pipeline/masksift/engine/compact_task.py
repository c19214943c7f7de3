"""Collect the table rows of neighboring blocks: one part of the table of images, and the regions to be ranked."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, overload

import numpy as np

from masksift.core.limits import MAX_CONCURRENT_REQUESTS
from masksift.core.npz import pack_arrays, unpack_arrays
from masksift.core.specs import Block
from masksift.core.task_result import TaskResult
from masksift.engine.image_parts import image_part_name
from masksift.engine.label_transforms import REACH, add_transforms
from masksift.engine.planning.blocks import BlockSequence
from masksift.engine.region_table import add_worst_regions, compare_regions, worst_regions
from masksift.engine.result_tables import ImageRanking, RankedTable, RegionRanking, combine_in_memory, finish_images
from masksift.engine.work_items import (
    SCORE,
    PairCounts,
    RunContext,
    load_output,
    pack_result,
    reused_result,
    sum_io_counters,
)
from masksift.scoring.methods import COMBINED_SCORES
from masksift.scoring.range_partition import KeySample
from masksift.scoring.ranking import PlaceKnots
from masksift.scoring.region_priority import PairTotals
from masksift.storage.manifest import Manifest
from masksift.storage.tables.arrow import count_values
from masksift.storage.tables.parquet import LOOKUP_GROUP_ROWS, write_table
from masksift.storage.tables.segments import iter_packed_tables, join_tables, pack_table
from masksift.storage.tables.sort import sort_rows

COMPACT, PLACES = "compact", "places"


@dataclass(frozen=True)
class ImagePart:
    """Part of the table of images.

    Attributes:
        number: Number of the part.
        own_blocks: Numbers of the blocks whose first image is in the part: their regions and pair counts belong to it.
        blocks: Numbers of the blocks that hold its images and those up to `REACH` images before and after.
        skip: Images of these blocks before the part.
        images: Number of images.
    """

    number: int
    own_blocks: range
    blocks: range
    skip: int
    images: int

    @property
    def log_fields(self) -> dict[str, Any]:
        """Fields of log records and spans."""
        return {"part": self.number, "first_block": self.blocks.start, "last_block": self.blocks.stop - 1}


@dataclass(frozen=True)
class ImageParts(Sequence[ImagePart]):
    """Parts of the table of images of a run, created on access."""

    blocks: BlockSequence
    part_rows: int

    def __len__(self) -> int:
        return -(-self.blocks.images // self.part_rows)

    @overload
    def __getitem__(self, number: int) -> ImagePart: ...
    @overload
    def __getitem__(self, number: slice) -> list[ImagePart]: ...
    def __getitem__(self, number: int | slice) -> ImagePart | list[ImagePart]:
        if isinstance(number, slice):
            return [self[n] for n in range(*number.indices(len(self)))]
        if not 0 <= number < len(self):
            raise IndexError(f"there are {len(self)} parts, none has the number {number}")
        start = number * self.part_rows
        stop = min(start + self.part_rows, self.blocks.images)
        first, last = (self.blocks[self.blocks.block_at(position)] for position in (start, stop - 1))
        own = range(first.number + (self._position(first) < start), last.number + 1)
        before = self.blocks[self.blocks.block_at(max(0, start - REACH))]
        after = self.blocks.block_at(min(stop + REACH, self.blocks.images) - 1)
        return ImagePart(number, own, range(before.number, after + 1), start - self._position(before), stop - start)

    def _position(self, block: Block) -> int:
        return self.blocks.position(block.source, block.start)


@dataclass(frozen=True)
class CompactContext:
    """Settings shared by the tasks that make the ranked tables.

    Attributes:
        run: Settings of the run.
        images: The ranking.
        regions: The table of regions.
        class_names: Names of the K classes, which every table carries.
        knots: Places in the rankings of another run, by which scores are combined; None for those of this run.
    """

    run: RunContext
    images: ImageRanking
    regions: RegionRanking
    class_names: tuple[str, ...]
    knots: tuple[PlaceKnots, ...] | None = None

    @property
    def ranks_to_combine(self) -> bool:
        """The combined score needs the places of the images of this run."""
        return self.run.combines and self.knots is None

    @property
    def ranked(self) -> tuple[RankedTable, RankedTable]:
        """The ranked tables, in the order in which tasks refer to them by number."""
        return self.images, self.regions

    @property
    def manifest(self) -> Manifest:
        """Manifest of the run."""
        return self.run.score_manifest()


@dataclass(frozen=True)
class PartRows:
    """Rows of a part: its images, and best regions and pair counts of the blocks whose first image is in it."""

    images: Any
    regions: Any
    pairs: PairCounts


@dataclass(frozen=True)
class CompactResult:
    """Answer of a task.

    Attributes:
        pairs: Packed pair counts.
        samples: Samples of the sort keys of each ranked table; if scores are to be combined, of the values of each.
        task_result: Counters of the task.
    """

    pairs: bytes
    samples: tuple[KeySample, ...]
    task_result: TaskResult


def load_part(context: CompactContext, totals: PairTotals, manifest: Manifest, part: ImagePart) -> PartRows:
    """Load the rows of a part from the outputs of its blocks. Raises RunFailed if one was removed."""
    images, best, pairs = [], _BestRegions(context.regions), PairCounts.zeros(len(context.class_names))
    for number, output in _iter_outputs(manifest, part.blocks):
        is_own, worst = number in part.own_blocks, []
        for table in iter_packed_tables(output["regions"]):
            regions = compare_regions(table, totals, context.regions.path_columns)
            worst.append(worst_regions(regions, context.regions.by))
            if is_own:
                best.add(regions)
        images.append(add_worst_regions(join_tables(list(iter_packed_tables(output["images"]))), worst))
        if is_own:
            pairs = pairs.merge(PairCounts.unpack(output["pairs"]))
    rows = add_transforms(join_tables(images)).slice(part.skip, part.images)
    if context.knots is not None:
        rows, _ = combine_in_memory(rows, context.images, context.knots)
    elif not context.run.combines:
        rows = finish_images(rows, context.images)
    return PartRows(rows, best.table(), pairs)


class _BestRegions:
    """Regions of blocks in order, of which the highest are kept, plus at most a quarter more and one table."""

    def __init__(self, ranking: RegionRanking) -> None:
        self._ranking, self._tables, self._rows = ranking, [ranking.schema.empty_table()], 0

    def add(self, table: Any) -> None:
        self._tables.append(table)
        self._rows += len(table)
        if self._rows > self._ranking.limit + self._ranking.limit // 4:
            self._tables = [self.table()]
            self._rows = len(self._tables[0])

    def table(self) -> Any:
        """Return the highest regions in order; equal ones in the order in which they were added."""
        ranking = self._ranking
        return sort_rows(join_tables(self._tables), ranking.by, highest_first=True, limit=ranking.limit)[1]


def _iter_outputs(manifest: Manifest, blocks: range) -> Iterator[tuple[int, dict[str, bytes]]]:
    """Yield the outputs of scored blocks in order, with some of them read ahead."""
    with ThreadPoolExecutor(MAX_CONCURRENT_REQUESTS, thread_name_prefix="compact") as pool:
        numbers, pending = iter(blocks), deque[tuple[int, Future[dict[str, bytes]]]]()
        while True:
            for number in islice(numbers, MAX_CONCURRENT_REQUESTS - len(pending)):
                pending.append((number, pool.submit(load_output, manifest, SCORE, number)))
            if not pending:
                break
            number, output = pending.popleft()
            yield number, output.result()


def write_images(context: CompactContext, manifest: Manifest, number: int, images: Any) -> None:
    """Write a part of the table of images."""
    directory, name = manifest.directory, image_part_name(context.run, number)
    directory.io_counters["bytes_written"] += write_table(
        directory, name, images, context.class_names, LOOKUP_GROUP_ROWS
    )


def compact_part(context: CompactContext, totals: PairTotals, part: ImagePart) -> CompactResult:
    """Write a part of the table of images, and the best regions of its blocks as the output of the task."""
    manifest = context.manifest
    if (output := manifest.load(COMPACT, part.number)) is not None:
        return CompactResult(output["pairs"], _unpack_samples(output["samples"]), reused_result(output))
    started = time.perf_counter()
    rows = load_part(context, totals, manifest, part)
    output = {"pairs": rows.pairs.pack(), "regions": pack_table(rows.regions)}
    if context.ranks_to_combine:  # the table of images is written with the combined score
        samples = write_values(context, part.number, rows.images)
        output |= {"images": pack_table(rows.images)}
    else:
        write_images(context, manifest, part.number, rows.images)
        samples = sample_keys(context, rows.images, rows.regions)
    result = TaskResult(
        part.number,
        part.images,
        0,
        count_values(rows.images["status"]),
        **sum_io_counters(manifest, puts=1),
        seconds=time.perf_counter() - started,
    )
    manifest.save(COMPACT, part.number, {**output, "samples": _pack_samples(samples), "result": pack_result(result)})
    return CompactResult(output["pairs"], samples, result)


def sample_keys(context: CompactContext, images: Any, regions: Any) -> tuple[KeySample, ...]:
    """Sample the sort keys of the rows of a part for each ranked table."""
    keys = [
        sort_rows(table.select([ranked.by]), ranked.by, highest_first=ranked.highest_first)[0]
        for ranked, table in zip(context.ranked, (images, regions), strict=True)
    ]
    return tuple(map(KeySample.of, keys))


def values_name(context: RunContext, part: int) -> str:
    """Return the name of the values of the combined scores of a part, which are kept as long as its task's output."""
    return f"manifest/{PLACES}/{context.fingerprint[:12]}-{part:08d}.values"


def write_values(context: CompactContext, part: int, images: Any) -> tuple[KeySample, ...]:
    """Write the distinct values of each score to combine, ascending, with the images up to each, and sample them.

    The object holds pairs of float64, score after score.

    Args:
        context: Settings of the tasks.
        part: Number of the part.
        images: Its rows.

    Returns:
        A sample of the values of each score.
    """
    tables, samples = [], []
    for name in COMBINED_SCORES:
        scores = images[name].to_numpy()
        values, counts = np.unique(scores[np.isfinite(scores)], return_counts=True)
        tables.append(np.stack([values, np.cumsum(counts)], axis=1))
        samples.append(KeySample.of(values))
    directory, data = context.manifest.directory, np.concatenate(tables).astype("<f8").tobytes()
    directory.write(values_name(context.run, part), data)
    directory.io_counters["bytes_written"] += len(data)
    return tuple(samples)


def load_tables(manifest: Manifest, part: int, *names: str) -> list[Any]:
    """Load the named tables of a compacted part: images, regions."""
    output = load_output(manifest, COMPACT, part)
    return [table for name in names for table in iter_packed_tables(output[name])]


def _pack_samples(samples: Sequence[KeySample]) -> bytes:
    arrays = {f"keys{number}": sample.keys for number, sample in enumerate(samples)}
    return pack_arrays(sizes=np.array([(sample.rows, sample.step) for sample in samples]), **arrays)


def _unpack_samples(data: bytes) -> tuple[KeySample, ...]:
    arrays = unpack_arrays(data)
    sizes = arrays["sizes"].tolist()
    return tuple(KeySample(rows, step, arrays[f"keys{number}"]) for number, (rows, step) in enumerate(sizes))
