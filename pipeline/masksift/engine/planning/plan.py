"""The plan: shapes, chunks and bytes -> blocks, memory and objects. Arithmetic over integers; nothing is opened.

A plan is a value: printable, comparable, refusable. Its fingerprint keys every product of the run.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from masksift.core.errors import PlanRefused
from masksift.core.limits import AHEAD_BYTES, MIB, REQUESTS
from masksift.core.specs import ArraySpec, DataSpec, Window, prod
from masksift.engine.planning.blocks import Blocks
from masksift.engine.planning.report_plan import Gallery
from masksift.scoring.kernels import regions
from masksift.scoring.kernels.condense import class_dtype
from masksift.scoring.kernels.ensemble import STRIP_PIXELS

__all__ = ["Layout", "Plan", "Settings", "format_bytes", "make_plan", "refuse_small_workers"]

BASE_MEMORY = 330 * MIB
"""A worker that has imported everything and compiled its kernels, before its first block (measured, rounded up)."""
FRAGMENTS = 1.1
"""What an allocator holds for what is in use (measured: see `make bench`)."""
SLAB_BYTES = 16 * MIB
"""Small chunks are read together up to this size, so that the cost of a read is shared."""
CHUNK_BYTES = 4 * MIB
"""Size of a chunk of evidence before compression: some images together, so that objects are not many and small."""
TILE = 2048
"""Rows and columns of a chunk of evidence of a large image."""
LEAST_BLOCK, BLOCK, BLOCKS = 8 * MIB, 1024 * MIB, 16
"""A block is a sixteenth of the data set within these bounds of decoded prediction: tasks of seconds for large
ones, more than one task for small ones. It depends on the data alone, so that a run resumes on another cluster."""
MANY_BLOCKS, MOST_PIXELS, MOST_BLOCK = 1024, 1 << 27, 16 * 1024 * MIB
"""A data set that has so many blocks has larger ones instead, up to these bounds of pixels and of decoded prediction:
hundreds of workers want tasks of seconds in the second pass too, which takes its time by the pixel."""
LISTED = 1000
"""Objects that a store names in one answer."""
READS_A_RUN, READS_A_SOURCE, READS_A_BLOCK, READS_A_WALK = 16, 30, 21, 4
"""Requests besides those for chunks: metadata, and what is done already; a walk is a further look at a block's evidence
(measured: a test compares the plan with what a server was asked)."""
PART_ROWS = 1 << 18
"""Rows of a part of the ranking."""
REGION_BYTES = 600
"""Of a region that a block lists, while it is made a row of a table: a hundred, an object for its run-length code, some
twenty counts, and a quarter of the whole that is held until it is dropped; the code of a torn region is longer."""
MOST_IMAGES = 1 << 13
"""Images of a task: of tiny ones more would fit, and take minutes."""
LARGE_IMAGE = 1 << 24
"""Pixels from which an image's evidence is stored in tiles."""


@dataclass(frozen=True)
class Settings:
    """What of the configuration decides the amount of work: precision of the evidence, lattice; whether any of it
    lies on a network; of the regions that are listed the smallest area, and how many they are at most; images that are
    shown."""

    evidence_dtype: str = "auto"
    lattice: int = 4
    remote: bool = False
    min_area: int = 1
    top: int = 0
    shown: int = 0


@dataclass(frozen=True)
class Layout:
    """How one source is walked. ``slab``: (images, rows, columns) of prediction that are read at once, whole chunks;
    ``group``: images whose planes are held together and written as one chunk; ``block``: images of a task;
    ``evidence``: dtype of the confidences kept; ``chunks``: of the evidence arrays (image, y, x)."""

    slab: tuple[int, int, int]
    group: int
    block: int
    evidence: str
    chunks: tuple[int, int, int]

    def groups(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """The groups of images [start, stop), in order."""
        for first in range(start, stop, self.group):
            yield first, min(stop, first + self.group)

    def written_behind(self, source: DataSpec, *, local: bool) -> bool:
        """Whether the planes of one group are written while those of the next are made: to a store on a network, where
        there is memory for both."""
        return not local and self.group * source.pixels <= LARGE_IMAGE

    def windows(self, start: int, stop: int, height: int, width: int) -> Iterator[Window]:
        """The slabs of images [start, stop), image by image, in row-major order."""
        images, rows, columns = self.slab
        for first in range(start, stop, images):
            for y in range(0, height, rows):
                for x in range(0, width, columns):
                    last = min(stop, first + images)
                    yield Window(first, last, y, min(height, y + rows), x, min(width, x + columns))


@dataclass(frozen=True)
class Plan:
    """What a run will do and need. Bytes are decoded bytes; memory is the projected peak of one worker; ``reads`` and
    ``writes`` are requests to stores, of which a worker makes ``requests_at_once`` at most."""

    fingerprint: str
    identity: Mapping[str, Any]
    layouts: tuple[Layout, ...]
    blocks: Blocks
    images: int
    pixels: int
    bytes_to_read: int
    bytes_to_write: int
    objects_to_read: int
    objects_to_write: int
    reads: int
    writes: int
    memory_condense: int
    memory_score: int
    memory_report: int
    requests_at_once: int = REQUESTS

    @property
    def memory(self) -> int:
        """Projected peak memory of a worker, bytes."""
        return max(self.memory_condense, self.memory_score, self.memory_report)

    def as_json(self) -> dict[str, Any]:
        """The plan as plain values (`masksift plan --json`)."""
        tree = {name: getattr(self, name) for name in self.__dataclass_fields__}
        tree["layouts"] = [asdict(layout) for layout in self.layouts]
        tree["blocks"] = [asdict(block) for block in self.blocks]
        tree["memory"] = self.memory
        return tree

    def check(self, limit: int | None, worker: str = "a worker") -> None:
        """Refuse workers whose memory limit (bytes; None = none) the projection exceeds."""
        if limit is not None and self.memory > limit:
            report, scoring = ("report", ", or --report.top 0"), ("scoring", ", or a smaller --regions.top")
            condensing = "condensing", ", or smaller prediction chunks"
            needed = {self.memory_report: report, self.memory_score: scoring, self.memory_condense: condensing}
            stage, instead = needed[self.memory]
            raise PlanRefused(
                f"the run needs {format_bytes(self.memory)} a worker ({stage}), {worker} has {format_bytes(limit)}",
                "it would be killed in the middle",
                f"Give workers of {format_bytes(self.memory)} (--executor.memory), fewer workers a machine{instead}",
            )


def refuse_small_workers(needed: int, workers: Iterable[tuple[str, int | None]], what: str) -> None:
    """Refuse workers, (name, bytes or None) each, that have less than the bytes ``needed`` for ``what``."""
    for name, memory in workers:
        if memory is not None and memory < needed:
            raise PlanRefused(
                f"{what} needs {format_bytes(needed)} a worker, and {name} has {format_bytes(memory)}",
                "it would be killed on the way",
                f"Give workers of {format_bytes(needed)} (--executor.memory), or fewer workers a machine",
            )  # fmt: skip


def make_plan(
    sources: Sequence[DataSpec], settings: Settings, identity: Mapping[str, Any], kept: Sequence[Layout | None] = (),
    pictures: Sequence[ArraySpec | None] = (),
) -> Plan:  # fmt: skip
    """Plan a run over sources of shapes (N, K, H, W). ``identity``: all that decides the results, as plain values;
    ``kept``: the layouts of the sources whose evidence is there already, None for all others; ``pictures``: those of
    each source that the report shows, None where there are none."""
    kept = kept or [None] * len(sources)
    new = [source for source, layout in zip(sources, kept, strict=True) if layout is None]
    total = sum(array.bytes for source in new for array in source.stored)
    layouts = tuple(layout or _layout(source, settings, total) for source, layout in zip(sources, kept, strict=True))
    blocks = Blocks(tuple((source.images, layout.block) for source, layout in zip(sources, layouts, strict=True)))
    pairs = list(zip(sources, layouts, strict=True))
    own = [pair for pair, layout in zip(pairs, kept, strict=True) if layout is None]
    gallery = Gallery.of(sources, [x.chunks for x in layouts], len(blocks), settings.shown, pictures)
    planes, written = (sum(s.images * s.pixels * _plane_bytes(s, x) for s, x in some) for some in (pairs, own))
    return Plan(
        fingerprint=hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest(),
        identity=identity,
        layouts=layouts,
        blocks=blocks,
        images=sum(source.images for source in sources),
        pixels=sum(source.images * source.pixels for source in sources),
        bytes_to_read=total + sum(s.labels.bytes for s in [*sources, *new]) + planes,
        bytes_to_write=written + sum(s.images * s.pixels for s in sources),
        objects_to_read=sum(_objects(array) for s in new for array in (*s.stored, s.labels))
        + sum(_objects(s.labels) + _planes(s) * _evidence_objects(s, x) for s, x in pairs),
        objects_to_write=(objects := _objects_to_write(pairs, own, len(blocks)) + gallery.objects),
        reads=sum(_reads_to_condense(s, x) for s, x in own)
        + sum(_reads_to_score(s, x) for s, x in pairs)
        + sum(-(-s.images // x.block) * (READS_A_BLOCK + READS_A_WALK * _walks(x)) for s, x in pairs)
        + READS_A_SOURCE * len(sources)
        + READS_A_RUN
        + gallery.reads,
        writes=objects + sum(-(-_objects(array) // LISTED) for s in new for array in (*s.stored, s.labels)),
        memory_condense=max((BASE_MEMORY + _condense_memory(s, x, settings) for s, x in own), default=BASE_MEMORY),
        memory_score=max(BASE_MEMORY + _score_memory(s, x, settings) for s, x in pairs),
        memory_report=BASE_MEMORY + round(FRAGMENTS * gallery.memory),
    )


def _objects_to_write(
    pairs: Sequence[tuple[DataSpec, Layout]], own: Sequence[tuple[DataSpec, Layout]], blocks: int
) -> int:
    """Evidence, masks, four objects a block (its products, its images, its regions), metadata, and the tables."""
    evidence = sum(_planes(s) * _evidence_objects(s, x) for s, x in own) + sum(
        _evidence_objects(s, x) for s, x in pairs
    )
    metadata = sum(1 + _planes(s) for s, _ in own) + 2 * len(pairs)
    return evidence + 4 * blocks + metadata + 10 + sum(s.images for s, _ in pairs) // PART_ROWS


def evidence_dtype(source: DataSpec, asked: str) -> str:
    """The dtype that confidences are kept in: that of 8- and 16-bit predictions; of wider ones and of logits float16,
    or float32 where asked."""
    if source.kind == "probabilities" and source.predictions.itemsize <= 2:
        return source.predictions.dtype
    return "float16" if asked == "auto" else asked


def _layout(source: DataSpec, settings: Settings, total: int) -> Layout:
    chunk = source.predictions.chunks[0]
    evidence = evidence_dtype(source, settings.evidence_dtype)
    pixels = source.pixels
    # A small data set is cut into some 16 groups all the same: there is more than one worker.
    wanted = max(1, min(CHUNK_BYTES // pixels, -(-source.images // 16)))
    group = min(source.images, -(-wanted // chunk) * chunk)
    a_image = sum(array.bytes for array in source.stored) // source.images
    most = min(MOST_PIXELS // pixels * a_image, MOST_BLOCK)
    target = max(min(max(total // BLOCKS, LEAST_BLOCK), BLOCK), min(total // MANY_BLOCKS, most))
    shard = source.predictions.shards[0] if source.predictions.shards else 1
    unit = math.lcm(group, shard)
    if unit * a_image > 2 * target:
        unit = group
    block = max(1, min(round(target / (unit * a_image)), MOST_IMAGES // unit)) * unit
    tiled = pixels > LARGE_IMAGE
    chunks = (group, TILE, TILE) if tiled else (group, source.height, source.width)
    return Layout(_slab(source, group), group, min(block, source.images), evidence, chunks)


def _slab(source: DataSpec, group: int) -> tuple[int, int, int]:
    """Whole chunks that are read at once: wider first, then higher, then more images, up to `SLAB_BYTES`."""
    images, _, rows, columns = source.predictions.chunks
    rows, columns = min(rows, source.height), min(columns, source.width)
    a_pixel = source.classes * source.predictions.itemsize

    def grown(size: int, others: int, most: int) -> int:
        fits = SLAB_BYTES // (size * others * a_pixel)
        return min(most, size * max(1, fits))

    columns = grown(columns, images * rows, source.width)
    if columns == source.width:
        rows = grown(rows, images * columns, source.height)
        if rows == source.height:
            images = grown(images, rows * columns, group)
    return min(images, source.images), rows, columns


def _itemsize(dtype: str) -> int:
    return {"uint8": 1, "uint16": 2, "float16": 2, "float32": 4}[dtype]


def _planes(source: DataSpec) -> int:
    """Planes of evidence: three, and the votes of an ensemble."""
    return 3 + bool(source.members)


def _plane_bytes(source: DataSpec, layout: Layout) -> int:
    """Bytes a pixel of all planes."""
    return 2 * _itemsize(layout.evidence) + class_dtype(source.classes).itemsize + bool(source.members)


def _reads_to_condense(source: DataSpec, layout: Layout) -> int:
    images, rows, columns = layout.slab
    labels = (layout.group, source.height, source.width)
    window = (images, source.classes, rows, columns)
    return sum(_reads(array, window) for array in source.stored) + _reads(source.labels, labels)


def _reads_to_score(source: DataSpec, layout: Layout) -> int:
    """Scoring, and before it the second look at evidence of more than 8 bits."""
    labels = _reads(source.labels, (layout.group, source.height, source.width))
    planes = 3 + (0, 3, 4)[_walks(layout)] + bool(source.members)
    return (1 + _walks(layout)) * labels + planes * _evidence_objects(source, layout)


def _walks(layout: Layout) -> int:
    """Looks at a block's evidence between the passes: at all of more than 8 bits one, at float32 a second."""
    return {"uint8": 0, "float32": 2}.get(layout.evidence, 1)


def _reads(array: ArraySpec, window: tuple[int, ...]) -> int:
    """Requests that an array takes, read window by window: one an object; of a shard its index, and one a window."""
    if not array.shards:
        return _objects(array)
    windows = math.prod(-(-size // part) for size, part in zip(array.shards, window, strict=True))
    return _objects(array) * (1 + windows)


def _condense_memory(source: DataSpec, layout: Layout, settings: Settings) -> int:
    images, rows, columns = layout.slab
    area = images * rows * columns
    slab = area * source.classes * max(array.itemsize for array in source.stored)
    in_order = all(array.axes == (0, 1, 2, 3) for array in source.stored)
    copies = 3 if in_order else 4  # walked, read ahead, its encoded bytes; transposed
    copies += any(source.extent)  # a padded image's own part
    mean = _mean_memory(source, layout) if source.members else 0
    class_bytes = class_dtype(source.classes).itemsize
    planes = layout.group * source.pixels * (_plane_bytes(source, layout) + class_bytes)
    planes *= 1 + layout.written_behind(source, local=not settings.remote)
    walked = rows * columns * (2 * 4 + class_bytes)
    labels = 2 * _label_read(source, layout) * (source.labels.itemsize + class_bytes)
    statistics = 4 * (source.classes * (source.classes + 3 * 256) + 65536) * 8
    written = _write_buffers(source, layout) * _itemsize(layout.evidence)
    # of predictions and labels, beside a chunk each
    under_way = AHEAD_BYTES + sum(AHEAD_BYTES + prod(array.chunks) * array.itemsize for array in source.stored)
    in_use = copies * slab + mean + planes + walked + labels + statistics + written
    return round(FRAGMENTS * (in_use + settings.remote * under_way))


def _mean_memory(source: DataSpec, layout: Layout) -> int:
    """Of an ensemble, beside the slabs of its members: the mean's, and a strip of a member as it is and as float32,
    before and after a softmax."""
    images, rows, columns = layout.slab
    strip = max(STRIP_PIXELS, columns) * (8 + 3 * 4)  # float64 at most
    return source.classes * (images * rows * columns * source.predictions.itemsize + strip)


def _label_read(source: DataSpec, layout: Layout) -> int:
    """Pixels of labels that are decoded at once."""
    images, rows, columns = source.labels.chunks
    whole = layout.group * source.pixels
    return min(whole, max(images * rows * columns, LARGE_IMAGE))


def _score_memory(source: DataSpec, layout: Layout, settings: Settings) -> int:
    class_bytes = class_dtype(source.classes).itemsize
    planes = layout.group * source.pixels * (_plane_bytes(source, layout) + class_bytes + 1)
    labels = 2 * _label_read(source, layout) * (source.labels.itemsize + class_bytes)
    # After the scores the regions: at worst each pixel is one of 96 bytes, in a run of 24. What the scores hold of
    # their own is less: two rows of components.
    regional = min(source.pixels, max(regions.ROOM, source.width)) * (96 + 24)
    listed = min(settings.top, layout.block * source.pixels // settings.min_area) * REGION_BYTES
    written = _write_buffers(source, layout) * max(class_bytes, _itemsize(layout.evidence))
    under_way = (4 + bool(source.members)) * AHEAD_BYTES  # of labels and three planes, and the votes
    return round(FRAGMENTS * (planes + labels + regional + listed + written + settings.remote * under_way))


def _write_buffers(source: DataSpec, layout: Layout) -> int:
    """Values in the chunks that are copied and encoded at a time: zarr does ten at once."""
    shape = (layout.group, source.height, source.width)
    count = math.prod(-(-extent // size) for extent, size in zip(shape, layout.chunks, strict=True))
    return 2 * min(10, count) * math.prod(layout.chunks)


def _objects(array: ArraySpec) -> int:
    sizes = array.shards or array.chunks
    return math.prod(-(-extent // size) for extent, size in zip(array.shape, sizes, strict=True))


def _evidence_objects(source: DataSpec, layout: Layout) -> int:
    shape = (source.images, source.height, source.width)
    return math.prod(-(-extent // size) for extent, size in zip(shape, layout.chunks, strict=True))


def format_bytes(count: int) -> str:
    """Bytes for people, in binary units.

    >>> format_bytes(6_549_825_126)
    '6.1 GiB'
    """
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")
