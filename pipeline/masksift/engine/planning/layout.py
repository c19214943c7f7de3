"""Blocks, chunks and read windows of a source."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from masksift.core.limits import MIB
from masksift.core.specs import ReadWindow, SourceSpec
from masksift.scoring.kernels.condense import class_dtype

WINDOW_BYTES = 16 * MIB
"""Small chunks are read together up to this size, so that the cost of a read is shared."""

CHUNK_BYTES = 4 * MIB
"""Size of a chunk of evidence before compression: some images together, so that objects are not many and small."""

EVIDENCE_PLANES = 3
"""Self-confidence, predicted class and its confidence."""

TILE_PIXELS = 2048
"""Rows and columns of a chunk of evidence of a large image."""

MIN_BLOCK_BYTES, MAX_BLOCK_BYTES, TARGET_BLOCKS = 8 * MIB, 1024 * MIB, 16
"""A block is a sixteenth of the data set within these bounds of decoded prediction: tasks of seconds for large
ones, more than one task for small ones. It depends on the data alone, so that a run resumes on another cluster."""

MAX_BLOCKS, MAX_LARGE_BLOCK_PIXELS, MAX_LARGE_BLOCK_BYTES = 1024, 1 << 27, 16 * 1024 * MIB
"""A data set that has so many blocks has larger ones instead, up to these bounds of pixels and of decoded prediction:
hundreds of workers want tasks of seconds in the second pass too, which takes its time by the pixel."""

MAX_BLOCK_IMAGES = 1 << 13
"""Images of a task: of tiny ones more would fit, and take minutes."""

LARGE_IMAGE_PIXELS = 1 << 24
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
    max_regions: int = 0
    report_images: int = 0


@dataclass(frozen=True)
class Layout:
    """How one source is walked. ``slab``: (images, rows, columns) of prediction that are read at once, whole chunks;
    ``group``: images whose planes are held together and written as one chunk; ``block``: images of a task;
    ``evidence``: dtype of the confidences kept; ``chunks``: of the evidence arrays (image, y, x)."""

    window_shape: tuple[int, int, int]
    chunk_images: int
    block_images: int
    evidence_dtype: str
    chunks: tuple[int, int, int]

    def chunk_ranges(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """The groups of images [start, stop), in order."""
        for first in range(start, stop, self.chunk_images):
            yield first, min(stop, first + self.chunk_images)

    def writes_in_background(self, source: SourceSpec, *, local: bool) -> bool:
        """Whether the planes of one group are written while those of the next are made: to a store on a network, where
        there is memory for both."""
        return not local and self.chunk_images * source.pixels <= LARGE_IMAGE_PIXELS

    def windows(self, start: int, stop: int, height: int, width: int) -> Iterator[ReadWindow]:
        """The slabs of images [start, stop), image by image, in row-major order."""
        images, rows, columns = self.window_shape
        for first in range(start, stop, images):
            for y in range(0, height, rows):
                for x in range(0, width, columns):
                    last = min(stop, first + images)
                    yield ReadWindow(first, last, y, min(height, y + rows), x, min(width, x + columns))


def choose_evidence_dtype(source: SourceSpec, asked: str) -> str:
    """The dtype that confidences are kept in: that of 8- and 16-bit predictions; of wider ones and of logits float16,
    or float32 where asked."""
    if source.prediction_kind == "probabilities" and source.predictions.itemsize <= 2:
        return source.predictions.dtype
    return "float16" if asked == "auto" else asked


def make_layout(source: SourceSpec, settings: Settings, total: int) -> Layout:
    chunk = source.predictions.chunks[0]
    evidence = choose_evidence_dtype(source, settings.evidence_dtype)
    pixels = source.pixels
    # A small data set is cut into some 16 groups all the same: there is more than one worker.
    wanted = max(1, min(CHUNK_BYTES // pixels, -(-source.images // 16)))
    group = min(source.images, -(-wanted // chunk) * chunk)
    a_image = sum(array.nbytes for array in source.prediction_arrays) // source.images
    most = min(MAX_LARGE_BLOCK_PIXELS // pixels * a_image, MAX_LARGE_BLOCK_BYTES)
    target = max(min(max(total // TARGET_BLOCKS, MIN_BLOCK_BYTES), MAX_BLOCK_BYTES), min(total // MAX_BLOCKS, most))
    shard = source.predictions.shards[0] if source.predictions.shards else 1
    unit = math.lcm(group, shard)
    if unit * a_image > 2 * target:
        unit = group
    block = max(1, min(round(target / (unit * a_image)), MAX_BLOCK_IMAGES // unit)) * unit
    tiled = pixels > LARGE_IMAGE_PIXELS
    chunks = (group, TILE_PIXELS, TILE_PIXELS) if tiled else (group, source.height, source.width)
    return Layout(_slab(source, group), group, min(block, source.images), evidence, chunks)


def _slab(source: SourceSpec, group: int) -> tuple[int, int, int]:
    """Whole chunks that are read at once: wider first, then higher, then more images, up to `WINDOW_BYTES`."""
    images, _, rows, columns = source.predictions.chunks
    rows, columns = min(rows, source.height), min(columns, source.width)
    a_pixel = source.classes * source.predictions.itemsize

    def grown(size: int, others: int, most: int) -> int:
        fits = WINDOW_BYTES // (size * others * a_pixel)
        return min(most, size * max(1, fits))

    columns = grown(columns, images * rows, source.width)
    if columns == source.width:
        rows = grown(rows, images * columns, source.height)
        if rows == source.height:
            images = grown(images, rows * columns, group)
    return min(images, source.images), rows, columns


def itemsize(dtype: str) -> int:
    return {"uint8": 1, "uint16": 2, "float16": 2, "float32": 4}[dtype]


def plane_bytes_per_pixel(source: SourceSpec, layout: Layout) -> int:
    """Bytes a pixel of all planes."""
    return 2 * itemsize(layout.evidence_dtype) + class_dtype(source.classes).itemsize


def evidence_passes(layout: Layout) -> int:
    """Looks at a block's evidence between the passes: at all of more than 8 bits one, at float32 a second."""
    return {"uint8": 0, "float32": 2}.get(layout.evidence_dtype, 1)
