"""Objects, reads and memory of the report, for the plan and for the tasks that draw it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from masksift.core.limits import PREFETCH_BYTES
from masksift.core.specs import ArraySpec, SourceSpec
from masksift.scoring.kernels.condense import class_dtype

REPORT = "report"
"""Name of the stage, and of its directory in the run."""
PAGE = f"{REPORT}/index.html"
MAX_SIDE_PIXELS = 640
"""Longer side of a displayed image."""
IMAGES_PER_FILE, REGION_IMAGES_PER_FILE = 1000, 200
"""Images per data file of the page: for rows of images, and for their regions."""
SHEET_PIXELS, MAX_SHEET_ROWS = 1 << 18, 1 << 13
"""Bounds of a sheet, a file with the pictures of several small images. The page loads a sheet for each image that it
shows: a sheet is as small as one large image. Browsers bound the rows of a file, and there are three planes."""
JPEG_BLOCK_PIXELS = 16
"""Rows of a JPEG block with chroma subsampling."""
MAX_TASK_IMAGES, MAX_TASK_PIXELS = 256, 1 << 24
"""Bounds of a task, which takes about half a second."""
READ_AHEAD_PIXELS = 1 << 21
"""Pixels of the images that are read ahead together from a network, unless one image has more."""
STRIP_PIXELS = 1 << 22
"""Pixels of an RGB image or a plane that are downscaled at a time."""
MAX_READ_PIXELS = 1 << 24
"""Pixels of labels that are read at once, unless a chunk has more."""
MAX_CACHED_PIXELS = 1 << 23
"""Pixels of the images of one chunk that are kept for the following images."""
CONCURRENT_CHUNKS = 10
"""Chunks that Zarr decodes at the same time."""
DRAWING_BYTES = 16 << 20
"""Memory for drawing one image: Pillow and its encoders (measured, rounded up)."""
FIXED_FILES = 17
"""The page, its style sheet and scripts, and the facts of the run (a test counts them)."""
FIXED_READS = 20
"""Reads of the tables of the run and of the report's directory."""
READS_PER_TASK, IMAGE_READS_PER_TASK = 14, 3
"""Metadata reads of a task, and additional ones with RGB images (measured: a test compares the plan with the requests
that a server received)."""


@dataclass(frozen=True)
class ReportPlan:
    """Work of a report; all values are 0 without images.

    Attributes:
        images: Images in the report.
        objects: Objects that are written.
        reads: Read requests.
        memory: Peak memory of a task, bytes.
    """

    images: int = 0
    objects: int = 0
    reads: int = 0
    memory: int = 0

    @classmethod
    def from_sources(
        cls,
        sources: Sequence[SourceSpec],
        chunks: Sequence[tuple[int, int, int]],
        blocks: int,
        top: int,
        image_arrays: Sequence[ArraySpec | None],
    ) -> ReportPlan:
        """Plan a report of the first images of a ranking, assuming that every source has its share of them."""
        image_arrays = image_arrays or [None] * len(sources)
        total = sum(source.images for source in sources)
        images = min(top, total)
        if not images:
            return cls()
        objects = FIXED_FILES + -(-images // IMAGES_PER_FILE) + -(-images // REGION_IMAGES_PER_FILE)
        reads = float(FIXED_READS + min(images, blocks))
        for source, chunk, array in zip(sources, chunks, image_arrays, strict=True):
            share = images * source.images / total
            tasks = max(share / MAX_TASK_IMAGES, share * source.pixels / MAX_TASK_PIXELS, min(1.0, share))
            shape = view_shape((source.height, source.width), MAX_SIDE_PIXELS)
            objects += math.ceil(share / images_per_sheet(shape)) * (2 if array else 1)
            reads += tasks * (READS_PER_TASK + (IMAGE_READS_PER_TASK if array else 0))
            reads += _read_count(share, tasks, source, source.labels.chunks[0]) * _requests_per_image(source.labels)
            reads += _read_count(share, tasks, source, chunk[0]) * 2 * _chunks_per_image(source, chunk)
            if array:
                together = _rgb_images_per_chunk(source, array)
                reads += _read_count(share, tasks, source, together) * _requests_per_image(array)
        memory = max(map(drawing_memory, sources, chunks, image_arrays))
        return cls(images, objects, round(reads), memory)


def reduction_factor(size: tuple[int, int], side: int | None) -> int:
    """Return the factor by which an image is downscaled so that no side exceeds ``side``; 1 without a limit."""
    return 1 if side is None else max(1, -(-max(size) // side))


def view_shape(size: tuple[int, int], side: int | None) -> tuple[int, int]:
    """Return the rows and columns of an image after downscaling."""
    factor = reduction_factor(size, side)
    return -(-size[0] // factor), -(-size[1] // factor)


def sheet_cell(shape: tuple[int, int], images: int) -> tuple[int, int]:
    """Return the rows and columns of the cells of a sheet whose largest images have these rows and columns."""
    if images == 1:
        return shape
    return (shape[0] // JPEG_BLOCK_PIXELS + 1) * JPEG_BLOCK_PIXELS, shape[1]


def images_per_sheet(shape: tuple[int, int]) -> int:
    """Return how many images of these rows and columns fit into a sheet."""
    rows, columns = sheet_cell(shape, 2)
    return max(1, min(SHEET_PIXELS // (rows * columns), MAX_SHEET_ROWS // rows))


def images_per_read(chunk_images: int, pixels: int) -> int:
    """Return how many images of ``pixels`` each are read and cached together from chunks of ``chunk_images``."""
    return chunk_images if chunk_images * pixels <= MAX_CACHED_PIXELS else 1


def _rgb_images_per_chunk(source: SourceSpec, array: ArraySpec) -> int:
    """Return the RGB images per chunk; 1 if a chunk holds parts of images, which are read in bands."""
    return array.chunks[0] if array.chunks[1:3] == (source.height, source.width) else 1


def _read_count(share: float, tasks: float, source: SourceSpec, chunk_images: int) -> float:
    """Return the expected reads for ``share`` random images of a source: one per chunk, and one per task within it."""
    together = images_per_read(chunk_images, source.pixels)
    if together == 1:
        return share
    chunk_unused: float = (1 - share / source.images) ** together
    return min(share, -(-source.images // together) * (1 - chunk_unused) + tasks)


def drawing_memory(source: SourceSpec, chunks: tuple[int, int, int], image_array: ArraySpec | None) -> int:
    """Return the peak bytes of drawing one image: its labels, then its RGB image in bands or its planes.

    The chunks of the following images are read ahead from a network.
    """
    class_bytes = class_dtype(source.classes).itemsize
    label_window = max(min(source.pixels, MAX_READ_PIXELS), math.prod(source.labels.chunks))
    classes = images_per_read(source.labels.chunks[0], source.pixels) * source.pixels * class_bytes
    labels = classes + label_window * (2 * source.labels.itemsize + class_bytes)
    cached = (images_per_read(chunks[0], source.pixels) - 1) * source.pixels * (class_bytes + 1)
    decoded = 2 * min(CONCURRENT_CHUNKS, _chunks_per_image(source, chunks)) * math.prod(chunks) * class_bytes
    planes = source.pixels * (class_bytes + 1) + decoded
    rgb, prefetched = 0, sum(_prefetched_bytes(source, n) for n in (source.labels.itemsize, class_bytes, 1))
    if image_array is not None:
        images, rows, columns, channels = image_array.chunks
        strip = min(STRIP_PIXELS, source.pixels)
        band = max(strip, min(rows, source.height) * source.width)
        across = min(CONCURRENT_CHUNKS, -(-source.width // columns))
        together = images_per_read(_rgb_images_per_chunk(source, image_array), source.pixels)
        cached += (together - 1) * source.pixels * 3
        # a band, the same band after the rows of an unfinished square, and a strip in Pillow
        prefetched += _prefetched_bytes(source, channels)
        rgb = 6 * band + 4 * strip + 2 * across * images * rows * columns * channels
    return labels + cached + prefetched + max(planes, rgb) + DRAWING_BYTES


def _prefetched_bytes(source: SourceSpec, pixel_bytes: int) -> int:
    """Return the bytes of an array that are read ahead from a network."""
    return min(PREFETCH_BYTES, max(READ_AHEAD_PIXELS, source.pixels) * pixel_bytes)


def _chunks_per_image(source: SourceSpec, chunks: tuple[int, int, int]) -> int:
    """Return the evidence chunks of one image."""
    return -(-source.height // chunks[1]) * -(-source.width // chunks[2])


def _requests_per_image(array: ArraySpec) -> int:
    """Return the requests for one image of labels or RGB images: its chunks, and the indexes of its shards."""
    _, height, width, *_ = array.shape
    _, rows, columns, *_ = array.chunks
    chunks = -(-height // rows) * -(-width // columns)
    if array.shards is None:
        return chunks
    return chunks + -(-height // array.shards[1]) * -(-width // array.shards[2])
