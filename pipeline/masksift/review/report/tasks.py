"""Render images of one source for the page, on a worker.

Each image has a JPEG of its RGB image and a PNG with its planes stacked vertically: given (`g`) and predicted (`p`)
classes as palette indices, class number + 1, and flagged pixels (`i`) as index 255. Index 0 is transparent: no label,
not flagged. With more than 254 classes the PNG holds RGBA colors instead of indices.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from zlib import Z_RLE

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from masksift.core.status import SCORED
from masksift.core.task_result import TaskResult
from masksift.engine.image_views import ImageView, ImageViewReader
from masksift.engine.planning.report_plan import MAX_SIDE_PIXELS, REPORT
from masksift.engine.work_items import BlockTask, RunContext, sum_io_counters
from masksift.review.rendering.palette import MAX_COLORS, class_colors
from masksift.scoring.kernels.condense import class_dtype
from masksift.storage.objects import ObjectDirectory

JPEG_QUALITY = 85
"""Compared on street scenes: 75 smears thin poles and lettering; 95 nearly doubles the bytes."""
FLAGGED_COLOR = (255, 0, 200)
"""No class has this color."""
FLAGGED_INDEX = 255


@dataclass(frozen=True)
class ImageRef:
    """An image to render: row on the page, index in the source, rows and columns, and whether it is scored."""

    number: int
    index: int
    size: tuple[int, int]
    scored: bool


@dataclass(frozen=True)
class RenderTask:
    """Images of one source, with any block task of that source."""

    block_task: BlockTask
    images: tuple[ImageRef, ...]

    @property
    def log_fields(self) -> dict[str, Any]:
        """Fields of log lines and traces."""
        indices = [image.index for image in self.images]
        return {"source": self.block_task.spec.name, "first_image": min(indices), "last_image": max(indices)}


@dataclass(frozen=True)
class RenderContext:
    """Settings shared by all tasks: run, name or URL of the RGB images, and whether predictions can be shown."""

    run: RunContext
    images_array: str
    predicted: bool


@dataclass(frozen=True)
class RenderedImage:
    """Facts of a rendered image for the page.

    Attributes:
        number: Row on the page.
        size: Rows and columns of the image.
        view_size: Rows and columns of the rendered files.
        picture: A JPEG exists.
        planes: Letters of the planes in the PNG, empty without a PNG.
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


def image_file(number: int, extension: str) -> str:
    """Return the file of a row, relative to the report directory."""
    return f"pictures/{number:08d}.{extension}"


def render(context: RenderContext, task: RenderTask) -> RenderResult:
    """Render the images of a task and write their files."""
    started, spec = time.perf_counter(), task.block_task.spec
    directory = ObjectDirectory(context.run.out, context.run.options)
    reader = ImageViewReader(context.run, task.block_task, context.images_array, predicted=context.predicted)
    images = []
    for ref in task.images:
        view = reader.view(ref.index, MAX_SIDE_PIXELS, scored=ref.scored, size=ref.size)
        images.append(_write_image(directory, ref.number, view, spec.classes, reader.images_warning))
    result = TaskResult(
        task.images[0].number,
        len(images),
        sum(math.prod(image.size) for image in images),
        {SCORED: len(images)},
        **sum_io_counters(directory, reader),
        seconds=time.perf_counter() - started,
    )
    return RenderResult(tuple(images), reader.images_warning, result)


def _write_image(
    directory: ObjectDirectory, number: int, view: ImageView, classes: int, images_warning: str
) -> RenderedImage:
    """Write the files of an image. The warning about the source's RGB images is reported once, not per image."""
    planes = {"g": view.given, "p": view.predicted, "i": view.flagged}
    present = {letter: plane for letter, plane in planes.items() if plane is not None}
    files = {} if view.rgb is None else {"jpg": encode_jpeg(view.rgb)}
    files |= {"png": encode_planes(present, classes)} if present else {}
    for extension, data in files.items():
        directory.write(f"{REPORT}/{image_file(number, extension)}", data)
        directory.io_counters["bytes_written"] += len(data)
    height, width = (-(-side // view.factor) for side in view.size)
    return RenderedImage(
        number,
        view.size,
        (height, width),
        view.rgb is not None,
        "".join(present),
        _present_classes((view.given, view.predicted), classes),
        tuple(warning for warning in view.warnings if warning != images_warning),
    )


def _present_classes(planes: Iterable[NDArray[np.unsignedinteger] | None], classes: int) -> tuple[int, ...]:
    """Return the classes that occur in any of the planes."""
    present = np.zeros(classes, bool)
    for plane in planes:
        if plane is not None:
            # Pillow counts bytes without a copy as 64-bit numbers
            counts = Image.fromarray(plane).histogram() if plane.dtype == np.uint8 else np.bincount(plane.ravel())
            found = np.flatnonzero(counts)
            present[found[found < classes]] = True
    return tuple(np.flatnonzero(present).tolist())


def encode_jpeg(rgb: NDArray[np.uint8]) -> bytes:
    """Encode an RGB image (h, w, 3) as JPEG; equal images give equal bytes."""
    buffer = io.BytesIO()
    # optimal Huffman tables take three times as long and save a thirtieth (measured)
    Image.fromarray(rgb).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def encode_planes(planes: Mapping[str, NDArray[Any]], classes: int) -> bytes:
    """Encode planes as one PNG; equal planes give equal bytes.

    Only runs of equal bytes are compressed: planes are made of runs. The search for longer matches takes five times as
    long and saves a seventh (measured).

    Args:
        planes: Class numbers or flags (h, w) by letter, stacked in this order.
        classes: Number of classes.

    Returns:
        A palette image, or RGBA beyond 254 classes.
    """
    indices = np.concatenate([_palette_indices(plane, classes) for plane in planes.values()])
    buffer = io.BytesIO()
    if classes <= MAX_COLORS:
        image = Image.fromarray(indices)
        image.putpalette(_palette(classes)[:, :3].tobytes())
        image.save(buffer, "PNG", transparency=0, compress_type=Z_RLE)
    else:
        Image.fromarray(_palette(classes)[indices]).save(buffer, "PNG", compress_type=Z_RLE)
    return buffer.getvalue()


def _palette_indices(plane: NDArray[Any], classes: int) -> NDArray[np.unsignedinteger]:
    """Convert a plane to palette indices; values that are not a class become transparent."""
    index = class_dtype(classes).type
    if plane.dtype == bool:
        return np.where(plane, index(_flagged_index(classes)), index(0))
    return np.where(plane < classes, plane + index(1), index(0))


def _flagged_index(classes: int) -> int:
    return max(FLAGGED_INDEX, classes + 1)


def _palette(classes: int) -> NDArray[np.uint8]:
    """Return the RGBA colors (n, 4) by index."""
    table = np.zeros((_flagged_index(classes) + 1, 4), np.uint8)
    table[1:, 3] = 255
    table[1 : classes + 1, :3] = class_colors(classes)
    table[_flagged_index(classes), :3] = FLAGGED_COLOR
    return table
