"""Render images of one source for the page, on a worker.

A sheet of images has a JPEG with their RGB images and a PNG with their planes, both stacked vertically. The planes of
an image follow each other: given (`g`) and predicted (`p`) classes as palette indices, class number + 1, and flagged
pixels (`i`) as index 255. Index 0 is transparent: no label, not flagged, or no plane. With more than 254 classes the
PNG holds RGBA colors instead of indices.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from zlib import Z_RLE

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from masksift.core.specs import Color
from masksift.core.status import SCORED
from masksift.core.task_result import TaskResult
from masksift.engine.image_views import ImageView, ImageViewReader
from masksift.engine.planning.report_plan import MAX_SIDE_PIXELS, READ_AHEAD_PIXELS, REPORT
from masksift.engine.work_items import BlockTask, RunContext, sum_io_counters
from masksift.review.rendering.palette import MAX_COLORS, class_colors
from masksift.review.report.sheets import Sheet, place
from masksift.scoring.kernels.condense import class_dtype
from masksift.storage.objects import ObjectDirectory
from masksift.storage.urls import local_path

JPEG_QUALITY = 85
"""Compared on street scenes: 75 smears thin poles and lettering; 95 nearly doubles the bytes."""
FLAGGED_COLOR = (255, 0, 200)
"""No generated class color is like this one."""
FLAGGED_INDEX = 255
PICTURES = "pictures"
"""Directory of the files of the sheets."""
MAX_CONCURRENT_WRITES = 8


@dataclass(frozen=True)
class RenderTask:
    """Images of one source, with any block task of that source."""

    block_task: BlockTask
    sheets: tuple[Sheet, ...]

    @property
    def log_fields(self) -> dict[str, Any]:
        """Fields of log lines and traces."""
        indices = [image.index for sheet in self.sheets for image in sheet.images]
        return {"source": self.block_task.spec.name, "first_image": min(indices), "last_image": max(indices)}


@dataclass(frozen=True)
class RenderContext:
    """Settings shared by all tasks: run, name or URL of the RGB images, whether predictions are shown, class colors."""

    run: RunContext
    images_array: str
    predicted: bool
    class_colors: tuple[Color, ...] = ()


@dataclass(frozen=True)
class RenderedImage:
    """Facts of a rendered image for the page.

    Attributes:
        number: Row on the page.
        size: Rows and columns of the image.
        view_size: Rows and columns in the rendered files.
        picture: The JPEG of the sheet shows the image.
        planes: Letters of the planes that the PNG of the sheet shows.
        classes: Classes that occur in the planes.
        warnings: Data that cannot be shown, with the reasons.
    """

    number: int
    size: tuple[int, int]
    view_size: tuple[int, int]
    picture: bool
    planes: str
    classes: tuple[int, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class RenderResult:
    """Result of a task; ``images_warning`` says why the source has no RGB images, if so."""

    images: tuple[RenderedImage, ...]
    images_warning: str
    task_result: TaskResult


def render(context: RenderContext, task: RenderTask) -> RenderResult:
    """Render the images of a task and write their files."""
    started, spec = time.perf_counter(), task.block_task.spec
    directory = ObjectDirectory(context.run.out, context.run.options)
    reader = ImageViewReader(context.run, task.block_task, context.images_array, predicted=context.predicted)
    images: list[RenderedImage] = []
    ahead = 0
    with _background_writes(directory) as write:
        for number, sheet in enumerate(task.sheets):
            if number == ahead:
                ahead += max(1, READ_AHEAD_PIXELS // (spec.pixels * len(sheet.images)))
                announced = [image for sheet in task.sheets[number:ahead] for image in sheet.images]
                reader.prefetch([(image.index, image.size, image.scored) for image in announced], MAX_SIDE_PIXELS)
            views = [
                reader.view(image.index, MAX_SIDE_PIXELS, scored=image.scored, size=image.size)
                for image in sheet.images
            ]
            indices = _sheet_indices(sheet, views, spec.classes, plane_order(context.predicted))
            for extension, data in _encode_sheet(sheet, views, indices, spec.classes, context.class_colors).items():
                write(f"{REPORT}/{PICTURES}/{sheet.file(extension)}", data)
                directory.io_counters["bytes_written"] += len(data)
            for image, view, cells in zip(sheet.images, views, indices, strict=True):
                present = _present_classes(cells[:-1], spec.classes)  # the last plane holds flagged pixels
                images.append(_describe(image.number, view, present, reader.images_warning))
    result = TaskResult(
        images[0].number,
        len(images),
        sum(math.prod(image.size) for image in images),
        {SCORED: len(images)},
        **sum_io_counters(directory, reader),
        seconds=time.perf_counter() - started,
    )
    return RenderResult(tuple(images), reader.images_warning, result)


@contextmanager
def _background_writes(directory: ObjectDirectory) -> Iterator[Callable[[str, bytes], Any]]:
    """Return a function that writes a file: at once on a local disk, several at a time on a network."""
    if local_path(directory.url) is not None:
        yield directory.write
        return
    with ThreadPoolExecutor(MAX_CONCURRENT_WRITES, thread_name_prefix="background-write") as pool:
        writes: list[Future[None]] = []
        yield lambda name, data: writes.append(pool.submit(directory.write, name, data))
        for finished in writes:
            finished.result()


def plane_order(predicted: bool) -> str:
    """Return the letters of the planes of an image in a PNG, in order."""
    return "gpi" if predicted else "gi"


def _planes(view: ImageView) -> dict[str, NDArray[Any]]:
    """Return the planes of an image that exist, by letter."""
    planes = {"g": view.given, "p": view.predicted, "i": view.flagged}
    return {letter: plane for letter, plane in planes.items() if plane is not None}


def _sheet_indices(sheet: Sheet, views: Sequence[ImageView], classes: int, order: str) -> NDArray[np.unsignedinteger]:
    """Return the palette indices of a sheet, (images, planes, rows, columns), the planes in order."""
    indices = np.zeros((len(views), len(order), *sheet.cell), class_dtype(classes))
    for cells, view in zip(indices, views, strict=True):
        for letter, plane in _planes(view).items():
            place(cells[order.index(letter)], palette_indices(plane, classes))
    return indices


def _encode_sheet(
    sheet: Sheet,
    views: Sequence[ImageView],
    indices: NDArray[np.unsignedinteger],
    classes: int,
    colors: Sequence[Color],
) -> dict[str, bytes]:
    """Encode the files of a sheet by extension: the RGB images, and the planes."""
    files, (rows, columns) = {}, sheet.cell
    if any(view.rgb is not None for view in views):
        rgb = np.zeros((len(views), rows, columns, 3), np.uint8)
        for cell, view in zip(rgb, views, strict=True):
            if view.rgb is not None:
                place(cell, view.rgb)
        files["jpg"] = encode_jpeg(rgb.reshape(-1, columns, 3))
    if any(map(_planes, views)):
        files["png"] = encode_planes(indices.reshape(-1, columns), classes, colors)
    return files


def _describe(number: int, view: ImageView, present: tuple[int, ...], images_warning: str) -> RenderedImage:
    """Describe a rendered image. The warning about the source's RGB images is reported once, not per image."""
    height, width = (-(-side // view.factor) for side in view.size)
    return RenderedImage(
        number,
        view.size,
        (height, width),
        view.rgb is not None,
        "".join(_planes(view)),
        present,
        tuple(warning for warning in view.warnings if warning != images_warning),
    )


def _present_classes(indices: NDArray[np.unsignedinteger], classes: int) -> tuple[int, ...]:
    """Return the classes that occur among palette indices (planes, rows, columns), C-contiguous."""
    # Pillow counts bytes without a copy as 64-bit numbers
    flat = indices.reshape(-1, indices.shape[-1])
    counts = Image.fromarray(flat).histogram() if flat.dtype == np.uint8 else np.bincount(flat.ravel())
    return tuple(np.flatnonzero(counts[1 : classes + 1]).tolist())


def encode_jpeg(rgb: NDArray[np.uint8]) -> bytes:
    """Encode an RGB image (h, w, 3) as JPEG; equal images give equal bytes."""
    buffer = io.BytesIO()
    # optimal Huffman tables take three times as long and save a thirtieth (measured)
    Image.fromarray(rgb).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def encode_planes(indices: NDArray[np.unsignedinteger], classes: int, colors: Sequence[Color] = ()) -> bytes:
    """Encode palette indices (h, w) as PNG; equal planes give equal bytes.

    Only runs of equal bytes are compressed: planes are made of runs. The search for longer matches takes five times as
    long and saves a seventh (measured).

    Args:
        indices: Indices of `palette_indices`.
        classes: Number of classes.
        colors: Their colors; default: generated ones.

    Returns:
        A palette image, or RGBA beyond 254 classes.
    """
    buffer = io.BytesIO()
    if classes <= MAX_COLORS:
        image = Image.fromarray(indices)
        image.putpalette(_palette(classes, colors)[:, :3].tobytes())
        image.save(buffer, "PNG", transparency=0, compress_type=Z_RLE)
    else:
        Image.fromarray(_palette(classes, colors)[indices]).save(buffer, "PNG", compress_type=Z_RLE)
    return buffer.getvalue()


def palette_indices(plane: NDArray[Any], classes: int) -> NDArray[np.unsignedinteger]:
    """Convert a plane to palette indices; values that are not a class become transparent."""
    index = class_dtype(classes).type
    if plane.dtype == bool:
        return np.asarray(np.multiply(plane, index(_flagged_index(classes)), dtype=index))
    indices = np.asarray(np.add(plane, index(1), dtype=index))  # the largest number, of ignored pixels, becomes 0
    indices *= indices <= classes
    return indices


def _flagged_index(classes: int) -> int:
    return max(FLAGGED_INDEX, classes + 1)


def _palette(classes: int, colors: Sequence[Color]) -> NDArray[np.uint8]:
    """Return the RGBA colors (n, 4) by index."""
    table = np.zeros((_flagged_index(classes) + 1, 4), np.uint8)
    table[1:, 3] = 255
    table[1 : classes + 1, :3] = class_colors(classes, colors)
    table[_flagged_index(classes), :3] = FLAGGED_COLOR
    return table
