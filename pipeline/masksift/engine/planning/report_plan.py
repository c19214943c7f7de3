"""What it takes to show images on the report's page: arithmetic over integers, for the plan and for whoever draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from masksift.core.specs import ArraySpec, SourceSpec
from masksift.scoring.kernels.condense import class_dtype

REPORT = "report"
"""The name of the stage, and of its folder below a run's results."""
PAGE = f"{REPORT}/index.html"
MAX_SIDE_PIXELS = 640
"""Pixels of the longer side of what is shown, at most."""
IMAGES_PER_FILE, REGION_IMAGES_PER_FILE = 1000, 200
"""Images whose rows, and whose regions, lie in one file of the page."""
MAX_TASK_IMAGES, MAX_TASK_PIXELS = 16, 1 << 24
"""Images of a task, and their pixels, at most: a second or so."""
STRIP_PIXELS = 1 << 22
"""Pixels of a picture, or of a plane, that are reduced at a time."""
MAX_READ_PIXELS = 1 << 24
"""Pixels of labels that are read at once, at most, unless a chunk has more."""
MAX_CACHED_PIXELS = 1 << 23
"""Pixels of the images of one chunk that are kept for those that follow, at most."""
CONCURRENT_CHUNKS = 10
"""Chunks that zarr decodes at a time."""
DRAWING_BYTES = 16 << 20
"""Bytes of what is drawn of one image, and of what draws it: Pillow and its encoders (measured, rounded up)."""
FIXED_FILES = 17
"""The page itself, its style and its program, and the facts of the run (a test counts them)."""
FIXED_READS = 20
"""Reads of the run's own tables and of the report's folder."""
READS_PER_TASK, IMAGE_READS_PER_TASK = 14, 3
"""Reads of metadata of a task, and more of them where there are pictures (measured: a test compares the plan with what
a server was asked)."""


@dataclass(frozen=True)
class ReportPlan:
    """What showing so many ``images`` of a data set takes. ``objects`` are put, ``reads`` made, ``memory`` is the peak
    of what a task holds, in bytes: all 0 where none is shown."""

    images: int = 0
    objects: int = 0
    reads: int = 0
    memory: int = 0

    @classmethod
    def from_sources(
        cls,
        sources: Sequence[SourceSpec],
        evidence: Sequence[tuple[int, int, int]],
        blocks: int,
        top: int,
        pictures: Sequence[ArraySpec | None],
    ) -> ReportPlan:
        """Of the first ``top`` of a ranking of all ``sources``, whose evidence has these chunks, and whose pictures are
        these, None where a source has none. From which source the images come is not known before they are ranked: of
        each as many as its share is."""
        pictures = pictures or [None] * len(sources)
        total = sum(source.images for source in sources)
        shown = min(top, total)
        if not shown:
            return cls()
        objects = FIXED_FILES + -(-shown // IMAGES_PER_FILE) + -(-shown // REGION_IMAGES_PER_FILE) + shown
        reads = float(FIXED_READS + min(shown, blocks))
        for source, chunks, array in zip(sources, evidence, pictures, strict=True):
            share = shown * source.images / total
            batches = max(share / MAX_TASK_IMAGES, share * source.pixels / MAX_TASK_PIXELS, min(1.0, share))
            objects += round(share) if array else 0
            reads += batches * (READS_PER_TASK + (IMAGE_READS_PER_TASK if array else 0))
            reads += _read(share, batches, source, source.labels.chunks[0]) * _reads(source.labels)
            reads += _read(share, batches, source, chunks[0]) * 2 * _chunks(source, chunks)
            if array:
                reads += _read(share, batches, source, _pictures_together(source, array)) * _reads(array)
        needed = (drawing_memory(*one) for one in zip(sources, evidence, pictures, strict=True))
        return cls(shown, objects, round(reads), max(needed))


def images_per_read(chunk: int, pixels: int) -> int:
    """Images of so many pixels that are read at once, of an array whose chunks hold ``chunk`` of them."""
    return chunk if chunk * pixels <= MAX_CACHED_PIXELS else 1


def _pictures_together(source: SourceSpec, pictures: ArraySpec) -> int:
    """The same of pictures, which are read whole only where a chunk holds whole ones."""
    return pictures.chunks[0] if pictures.chunks[1:3] == (source.height, source.width) else 1


def _read(share: float, batches: float, source: SourceSpec, chunk: int) -> float:
    """How often images are read where ``share`` of a source's are drawn, anywhere in it: once for all of a chunk, and
    again where a batch begins in the middle of one."""
    group = images_per_read(chunk, source.pixels)
    if group == 1:
        return share
    left_out: float = (1 - share / source.images) ** group
    return min(share, -(-source.images // group) * (1 - left_out) + batches)


def drawing_memory(source: SourceSpec, evidence: tuple[int, int, int], pictures: ArraySpec | None) -> int:
    """Bytes that drawing one image of a source holds at most: its labels, and one after the other its picture, reduced
    band by band, and its planes, whole. ``evidence``: chunks of the planes (image, y, x)."""
    number = class_dtype(source.classes).itemsize
    read = max(min(source.pixels, MAX_READ_PIXELS), math.prod(source.labels.chunks))
    own = images_per_read(source.labels.chunks[0], source.pixels) * source.pixels * number
    labels = own + read * (2 * source.labels.itemsize + number)
    held = (images_per_read(evidence[0], source.pixels) - 1) * source.pixels * (number + 1)
    plane = (
        source.pixels * (number + 1)
        + 2 * min(CONCURRENT_CHUNKS, _chunks(source, evidence)) * math.prod(evidence) * number
    )
    picture = 0
    if pictures is not None:
        images, rows, columns, channels = pictures.chunks
        strip = min(STRIP_PIXELS, source.pixels)
        band = max(strip, min(rows, source.height) * source.width)
        across = min(CONCURRENT_CHUNKS, -(-source.width // columns))
        held += (images_per_read(_pictures_together(source, pictures), source.pixels) - 1) * source.pixels * 3
        picture = 3 * band + 4 * 4 * strip + 2 * across * images * rows * columns * channels
    return labels + held + max(plane, picture) + DRAWING_BYTES


def _chunks(source: SourceSpec, chunks: tuple[int, int, int]) -> int:
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
