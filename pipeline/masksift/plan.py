"""The plan: shapes, chunks and bytes -> blocks, memory and objects. Arithmetic over integers; nothing is opened.

A plan is a value: printable, comparable, refusable. Its fingerprint keys every product of the run.
"""

from __future__ import annotations

import hashlib
import json
import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate, pairwise
from typing import Any, overload

from masksift.errors import PlanRefused
from masksift.kernels.components import STRIP
from masksift.kernels.condense import class_dtype
from masksift.schema import Block, DataSpec

__all__ = ["Blocks", "Layout", "Numbers", "Plan", "Settings", "Window", "format_bytes", "make_plan"]

MIB = 1 << 20
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
MOST_IMAGES = 1 << 13
"""Images of a task: of tiny ones more would fit, and take minutes."""
LARGE_IMAGE = 1 << 24
"""Pixels from which an image's evidence is stored in tiles."""


@dataclass(frozen=True)
class Settings:
    """What of the configuration decides the amount of work: precision of the evidence, lattice, methods."""

    evidence_dtype: str = "auto"
    lattice: int = 4
    methods: tuple[str, ...] = ()
    rule: str = "rank"


@dataclass(frozen=True)
class Window:
    """What is read at once: all classes of rows [y0, y1) and columns [x0, x1) of images [start, stop)."""

    start: int
    stop: int
    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(images, rows, columns)."""
        return self.stop - self.start, self.y1 - self.y0, self.x1 - self.x0


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

    def windows(self, start: int, stop: int, height: int, width: int) -> Iterator[Window]:
        """The slabs of images [start, stop), image by image, in row-major order."""
        images, rows, columns = self.slab
        for first in range(start, stop, images):
            for y in range(0, height, rows):
                for x in range(0, width, columns):
                    last = min(stop, first + images)
                    yield Window(first, last, y, min(height, y + rows), x, min(width, x + columns))


@dataclass(frozen=True)
class Numbers(Sequence[int]):
    """Whole numbers in ranges, one range after the other: a million of them in no memory."""

    ranges: tuple[range, ...]

    def __len__(self) -> int:
        return sum(map(len, self.ranges))

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> list[int]: ...
    def __getitem__(self, place: int | slice) -> int | list[int]:
        if isinstance(place, slice):
            return [self[n] for n in range(*place.indices(len(self)))]
        for part in self.ranges:
            if place < len(part):
                return part[place]
            place -= len(part)
        raise IndexError(f"there are {len(self)} numbers")


@dataclass(frozen=True)
class Blocks(Sequence[Block]):
    """The blocks of a run, in order, each made when it is asked for: a hundred million images are a million blocks.
    ``sizes``: (images, images of a block) of each source."""

    sizes: tuple[tuple[int, int], ...]
    _ends: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ends = accumulate(-(-images // block) for images, block in self.sizes)
        object.__setattr__(self, "_ends", tuple(ends))

    @property
    def ranges(self) -> tuple[range, ...]:
        """The numbers of each source's blocks."""
        return tuple(range(start, end) for start, end in pairwise((0, *self._ends)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, number: int) -> Block: ...
    @overload
    def __getitem__(self, number: slice) -> list[Block]: ...
    def __getitem__(self, number: int | slice) -> Block | list[Block]:
        if isinstance(number, slice):
            return [self[n] for n in range(*number.indices(len(self)))]
        if not -len(self) <= number < len(self):
            raise IndexError(f"there are {len(self)} blocks, none has the number {number}")
        number %= len(self)
        source = bisect_right(self._ends, number)
        images, block = self.sizes[source]
        start = (number - (self._ends[source - 1] if source else 0)) * block
        return Block(number, source, start, min(images, start + block))


@dataclass(frozen=True)
class Plan:
    """What a run will do and need. Bytes are decoded bytes; memory is the projected peak of one worker."""

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
    memory_condense: int
    memory_score: int

    @property
    def memory(self) -> int:
        """Projected peak memory of a worker, bytes."""
        return max(self.memory_condense, self.memory_score)

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
            stage = "condensing" if self.memory_condense >= self.memory_score else "scoring"
            raise PlanRefused(
                f"the run needs {format_bytes(self.memory)} a worker ({stage}), {worker} has {format_bytes(limit)}",
                "it would be killed in the middle",
                f"Give workers of {format_bytes(self.memory)} (--executor.memory), fewer workers a machine"
                + (", or leave out the method coco" if stage == "scoring" else ", or smaller prediction chunks"),
            )


def make_plan(
    sources: Sequence[DataSpec], settings: Settings, identity: Mapping[str, Any], kept: Sequence[Layout | None] = ()
) -> Plan:
    """Plan a run over sources of shapes (N, K, H, W). ``identity``: all that decides the results, as plain values;
    ``kept``: the layouts of the sources whose evidence is there already, None for all others."""
    kept = kept or [None] * len(sources)
    new = [source for source, layout in zip(sources, kept, strict=True) if layout is None]
    total = sum(source.predictions.bytes for source in new)
    layouts = tuple(layout or _layout(source, settings, total) for source, layout in zip(sources, kept, strict=True))
    blocks = Blocks(tuple((source.images, layout.block) for source, layout in zip(sources, layouts, strict=True)))
    pairs = list(zip(sources, layouts, strict=True))
    own = [pair for pair, layout in zip(pairs, kept, strict=True) if layout is None]
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
        objects_to_read=sum(_objects(s.predictions) + _objects(s.labels) for s in new)
        + sum(_objects(s.labels) + 3 * _evidence_objects(s, x) for s, x in pairs),
        objects_to_write=sum(3 * _evidence_objects(s, x) for s, x in own)
        + sum(_evidence_objects(s, x) for s, x in pairs)
        + 3 * len(blocks)
        + 7,
        memory_condense=max((BASE_MEMORY + _condense_memory(s, x) for s, x in own), default=BASE_MEMORY),
        memory_score=max(BASE_MEMORY + _score_memory(s, x, settings) for s, x in pairs),
    )


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
    a_image = source.classes * pixels * source.predictions.itemsize
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


def _plane_bytes(source: DataSpec, layout: Layout) -> int:
    """Bytes a pixel of the three planes."""
    return 2 * _itemsize(layout.evidence) + class_dtype(source.classes).itemsize


def _condense_memory(source: DataSpec, layout: Layout) -> int:
    images, rows, columns = layout.slab
    area = images * rows * columns
    slab = area * source.classes * source.predictions.itemsize
    copies = 3 if source.predictions.axes == (0, 1, 2, 3) else 4  # walked, read ahead, its encoded bytes; transposed
    copies += any(source.extent)  # a padded image's own part
    class_bytes = class_dtype(source.classes).itemsize
    planes = layout.group * source.pixels * (_plane_bytes(source, layout) + class_bytes)
    walked = rows * columns * (2 * 4 + class_bytes)
    labels = 2 * _label_read(source, layout) * (source.labels.itemsize + class_bytes)
    statistics = 4 * (source.classes * (source.classes + 3 * 256) + 65536) * 8
    written = _write_buffers(source, layout) * _itemsize(layout.evidence)
    return round(FRAGMENTS * (copies * slab + planes + walked + labels + statistics + written))


def _label_read(source: DataSpec, layout: Layout) -> int:
    """Pixels of labels that are decoded at once."""
    images, rows, columns = source.labels.chunks
    whole = layout.group * source.pixels
    return min(whole, max(images * rows * columns, LARGE_IMAGE))


def _score_memory(source: DataSpec, layout: Layout, settings: Settings) -> int:
    class_bytes = class_dtype(source.classes).itemsize
    confidence = _itemsize(layout.evidence) * (2 if settings.rule == "confident" else 1)
    planes = layout.group * source.pixels * (confidence + 2 * class_bytes + 1)
    labels = 2 * _label_read(source, layout) * (source.labels.itemsize + class_bytes)
    # Components of a strip: class numbers shifted by one, 4 bytes a pixel of component numbers, at worst 8 for the
    # equivalences, and 24 a component.
    components = min(source.pixels, STRIP) * (class_bytes + 4 + 8 + 24) if "coco" in settings.methods else 0
    written = _write_buffers(source, layout) * max(class_bytes, _itemsize(layout.evidence))
    return round(FRAGMENTS * (planes + labels + components + written))


def _write_buffers(source: DataSpec, layout: Layout) -> int:
    """Values in the chunks that are copied and encoded at a time: zarr does ten at once."""
    shape = (layout.group, source.height, source.width)
    count = math.prod(-(-extent // size) for extent, size in zip(shape, layout.chunks, strict=True))
    return 2 * min(10, count) * math.prod(layout.chunks)


def _objects(array: Any) -> int:
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
