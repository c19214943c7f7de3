"""Blocks, chunks and read windows of a source."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from masksift.core.limits import MIB
from masksift.core.specs import ReadWindow, SourceSpec
from masksift.scoring.kernels.condense import class_dtype, evidence_dtype

WINDOW_BYTES = 16 * MIB
"""Small chunks are read together up to this size, which spreads the cost of a read."""

CHUNK_BYTES = 4 * MIB
"""Size of an evidence chunk before compression: several images share a chunk, to avoid many small objects."""

TILE_PIXELS = 2048
"""Rows and columns of an evidence chunk of a large image."""

MIN_BLOCK_BYTES, MAX_BLOCK_BYTES, TARGET_BLOCKS = 8 * MIB, 1024 * MIB, 16
"""A block is a sixteenth of the data set within these bounds of decoded predictions: tasks of seconds for large data
sets, several tasks for small ones. It depends on the data alone, so that a run resumes on another cluster."""

MAX_BLOCKS, MAX_LARGE_BLOCK_PIXELS, MAX_LARGE_BLOCK_BYTES = 1024, 1 << 27, 16 * 1024 * MIB
"""A data set with more blocks has larger blocks instead, up to these bounds of pixels and decoded predictions:
hundreds of workers need tasks of seconds in the second pass too, whose time is proportional to the pixels."""

MAX_BLOCK_IMAGES = 1 << 13
"""Images of a block. More tiny images would fit, but take minutes."""

LARGE_IMAGE_PIXELS = 1 << 24
"""Images with more pixels store their evidence in tiles."""

EVIDENCE_PLANES = 3
"""Self-confidence, predicted class and predicted confidence."""


@dataclass(frozen=True)
class Settings:
    """Options of the configuration that decide the amount of work.

    Attributes:
        evidence_dtype: Option ``evidence.dtype``.
        lattice: Option ``tccp.lattice``.
        remote: Sources or results are on a network.
        min_area: Smallest area of a listed region, pixels.
        max_regions: Largest number of listed regions.
        report_images: Images in the report.
        keeps_evidence: The run keeps its evidence.
        scores_at_once: Frozen thresholds: the first pass scores the images.
    """

    evidence_dtype: str = "auto"
    lattice: int = 4
    remote: bool = False
    min_area: int = 1
    max_regions: int = 0
    report_images: int = 0
    keeps_evidence: bool = True
    scores_at_once: bool = False


@dataclass(frozen=True)
class Layout:
    """Division of a source into units of work.

    Attributes:
        window_shape: Images, rows and columns of predictions that are read at once: whole chunks.
        chunk_images: Images whose planes are held together and written as one chunk.
        block_images: Images of a block.
        evidence_dtype: Dtype of the stored confidences.
        chunks: Chunk shape of the evidence arrays: image, y, x.
    """

    window_shape: tuple[int, int, int]
    chunk_images: int
    block_images: int
    evidence_dtype: str
    chunks: tuple[int, int, int]

    def chunk_ranges(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield the images [first, last) of each chunk of images [start, stop)."""
        for first in range(start, stop, self.chunk_images):
            yield first, min(stop, first + self.chunk_images)

    def writes_in_background(self, source: SourceSpec, *, local: bool) -> bool:
        """Return whether one chunk is written while the next is computed: over a network, if memory allows two."""
        return not local and self.chunk_images * source.pixels <= LARGE_IMAGE_PIXELS

    def has_score_inputs(self, source: SourceSpec) -> bool:
        """Return whether images are scored from the pixels whose label and prediction differ, held chunk by chunk.

        Codes of more than 8 bits, and large images, need the evidence planes a second time.
        """
        return self.evidence_dtype == "uint8" and self.chunk_images * source.pixels <= LARGE_IMAGE_PIXELS

    def windows(self, start: int, stop: int, height: int, width: int) -> Iterator[ReadWindow]:
        """Yield the windows of images [start, stop) of ``height`` x ``width`` pixels in row-major order."""
        images, rows, columns = self.window_shape
        for first in range(start, stop, images):
            for y in range(0, height, rows):
                for x in range(0, width, columns):
                    last = min(stop, first + images)
                    yield ReadWindow(first, last, y, min(height, y + rows), x, min(width, x + columns))


def choose_evidence_dtype(source: SourceSpec, requested: str) -> str:
    """Return the dtype of stored confidences: that of 8- and 16-bit probabilities, else as requested or float16."""
    return evidence_dtype(source.predictions.dtype, source.prediction_kind, requested)


def make_layout(source: SourceSpec, settings: Settings, total_bytes: int) -> Layout:
    """Divide a source into blocks, chunks and windows, as part of a data set of ``total_bytes`` of predictions."""
    pixels, source_chunk = source.pixels, source.predictions.chunks[0]
    # A small data set has some 16 chunks too, so that several workers share it.
    wanted = max(1, min(CHUNK_BYTES // pixels, -(-source.images // 16)))
    chunk_images = min(source.images, -(-wanted // source_chunk) * source_chunk)
    image_bytes = sum(array.nbytes for array in source.prediction_arrays) // source.images
    most = min(MAX_LARGE_BLOCK_PIXELS // pixels * image_bytes, MAX_LARGE_BLOCK_BYTES)
    small = min(max(total_bytes // TARGET_BLOCKS, MIN_BLOCK_BYTES), MAX_BLOCK_BYTES)
    target = max(small, min(total_bytes // MAX_BLOCKS, most))
    shard = source.predictions.shards[0] if source.predictions.shards else 1
    unit = math.lcm(chunk_images, shard)
    if unit * image_bytes > 2 * target:
        unit = chunk_images
    block_images = max(1, min(round(target / (unit * image_bytes)), MAX_BLOCK_IMAGES // unit)) * unit
    tile = (TILE_PIXELS, TILE_PIXELS) if pixels > LARGE_IMAGE_PIXELS else (source.height, source.width)
    return Layout(
        _window_shape(source, chunk_images),
        chunk_images,
        min(block_images, source.images),
        choose_evidence_dtype(source, settings.evidence_dtype),
        (chunk_images, *tile),
    )


def _window_shape(source: SourceSpec, chunk_images: int) -> tuple[int, int, int]:
    """Grow a chunk of predictions to `WINDOW_BYTES`: first in columns, then rows, then images."""
    images, _, rows, columns = source.predictions.chunks
    rows, columns = min(rows, source.height), min(columns, source.width)
    pixel_bytes = source.classes * source.predictions.itemsize

    def grow(size: int, others: int, limit: int) -> int:
        return min(limit, size * max(1, WINDOW_BYTES // (size * others * pixel_bytes)))

    columns = grow(columns, images * rows, source.width)
    if columns == source.width:
        rows = grow(rows, images * columns, source.height)
        if rows == source.height:
            images = grow(images, rows * columns, chunk_images)
    return min(images, source.images), rows, columns


def plane_bytes_per_pixel(source: SourceSpec, layout: Layout) -> int:
    """Return the bytes per pixel of all evidence planes."""
    return 2 * np.dtype(layout.evidence_dtype).itemsize + class_dtype(source.classes).itemsize


def writes_planes(source: SourceSpec, layout: Layout, settings: Settings) -> bool:
    """Return whether the first pass writes evidence planes: to keep them, or to read them again."""
    return settings.keeps_evidence or not layout.has_score_inputs(source)


def writes_score_inputs(source: SourceSpec, layout: Layout, settings: Settings) -> bool:
    """Return whether the first pass keeps the input of scoring, which replaces planes in the second pass."""
    return layout.has_score_inputs(source) and not (settings.scores_at_once and settings.keeps_evidence)


def score_input_bytes(source: SourceSpec, layout: Layout) -> int:
    """Return the bytes of the input of scoring of one chunk if label and prediction differ at every pixel.

    Eight bytes count the pixels of a class and a code.
    """
    pixels = source.pixels * (2 * class_dtype(source.classes).itemsize + 2) + source.pixels // 8
    return layout.chunk_images * (pixels + 8 * min(source.pixels, 256 * source.classes))


def evidence_passes(layout: Layout) -> int:
    """Return the passes over the evidence between the two main passes: histograms of 8-bit codes need none."""
    return {"uint8": 0, "float32": 2}.get(layout.evidence_dtype, 1)
