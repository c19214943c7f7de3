"""What it takes to show images on the report's page: arithmetic over integers, for the plan and for whoever draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from masksift.kernels.condense import class_dtype
from masksift.schema import ArraySpec, DataSpec

__all__ = [
    "BATCH",
    "BATCH_PIXELS",
    "PAGE",
    "REGIONS_A_FILE",
    "REPORT",
    "ROWS_A_FILE",
    "SIDE",
    "STRIP",
    "Gallery",
    "drawing_memory",
]

REPORT = "report"
"""The name of the stage, and of its folder below a run's results."""
PAGE = f"{REPORT}/index.html"
SIDE = 640
"""Pixels of the longer side of what is shown, at most."""
ROWS_A_FILE, REGIONS_A_FILE = 1000, 200
"""Images whose rows, and whose regions, lie in one file of the page."""
BATCH, BATCH_PIXELS = 16, 1 << 24
"""Images of a task, and their pixels, at most: a second or so."""
STRIP = 1 << 22
"""Pixels of a picture, or of a plane, that are reduced at a time."""
LARGE_IMAGE = 1 << 24
"""Pixels of labels that are read at once, at most, unless a chunk has more."""
AT_ONCE = 10
"""Chunks that zarr decodes at a time."""
DRAWN = 16 << 20
"""Bytes of what is drawn of one image, and of what draws it: Pillow and its encoders (measured, rounded up)."""
FILES = 4
"""The page itself, its style and its program, and the facts of the run."""
READS = 20
"""Reads of the run's own tables and of the report's folder."""
READS_A_BATCH, READS_OF_PICTURES = 14, 3
"""Reads of metadata of a task, and more of them where there are pictures (measured: a test compares the plan with what
a server was asked)."""


@dataclass(frozen=True)
class Gallery:
    """What showing so many ``images`` of a data set takes. ``objects`` are put, ``reads`` made, ``memory`` is the peak
    of what a task holds, in bytes: all 0 where none is shown."""

    images: int = 0
    objects: int = 0
    reads: int = 0
    memory: int = 0

    @classmethod
    def of(
        cls, sources: Sequence[DataSpec], evidence: Sequence[tuple[int, int, int]], blocks: int, top: int,
        pictures: Sequence[ArraySpec | None],
    ) -> Gallery:  # fmt: skip
        """Of the first ``top`` of a ranking of all ``sources``, whose evidence has these chunks, and whose pictures are
        these, None where a source has none. From which source the images come is not known before they are ranked: of
        each as many as its share is."""
        pictures = pictures or [None] * len(sources)
        total = sum(source.images for source in sources)
        shown = min(top, total)
        if not shown:
            return cls()
        objects = FILES + -(-shown // ROWS_A_FILE) + -(-shown // REGIONS_A_FILE) + shown
        reads = float(READS + min(shown, blocks))
        for source, chunks, array in zip(sources, evidence, pictures, strict=True):
            share = shown * source.images / total
            batches = max(share / BATCH, share * source.pixels / BATCH_PIXELS, min(1.0, share))
            objects += round(share) if array else 0
            reads += batches * (READS_A_BATCH + (READS_OF_PICTURES if array else 0))
            reads += share * (_reads(source.labels) + 2 * _chunks(source, chunks) + (_reads(array) if array else 0))
        needed = (drawing_memory(*one) for one in zip(sources, evidence, pictures, strict=True))
        return cls(shown, objects, round(reads), max(needed))


def drawing_memory(source: DataSpec, evidence: tuple[int, int, int], pictures: ArraySpec | None) -> int:
    """Bytes that drawing one image of a source holds at most: its labels, and one after the other its picture, reduced
    band by band, and its planes, whole. ``evidence``: chunks of the planes (image, y, x)."""
    number = class_dtype(source.classes).itemsize
    read = max(min(source.pixels, LARGE_IMAGE), math.prod(source.labels.chunks))
    labels = source.pixels * number + read * (2 * source.labels.itemsize + number)
    plane = source.pixels * (number + 1) + 2 * min(AT_ONCE, _chunks(source, evidence)) * math.prod(evidence) * number
    picture = 0
    if pictures is not None:
        images, rows, columns, channels = pictures.chunks
        strip = min(STRIP, source.pixels)
        band = max(strip, min(rows, source.height) * source.width)
        across = min(AT_ONCE, -(-source.width // columns))
        picture = 3 * band + 4 * 4 * strip + 2 * across * images * rows * columns * channels
    return labels + max(plane, picture) + DRAWN


def _chunks(source: DataSpec, chunks: tuple[int, int, int]) -> int:
    """Chunks of evidence in which an image lies."""
    return -(-source.height // chunks[1]) * -(-source.width // chunks[2])


def _reads(array: ArraySpec) -> int:
    """Requests that one image of an array of labels or pictures takes: its chunks; of a shard its index too."""
    _, height, width, *_ = array.shape
    _, rows, columns, *_ = array.chunks
    chunks = -(-height // rows) * -(-width // columns)
    if array.shards is None:
        return chunks
    return chunks + -(-height // array.shards[1]) * -(-width // array.shards[2])
