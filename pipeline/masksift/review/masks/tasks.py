"""Write the mask files of one block of images, on a worker."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from masksift.core.errors import DataError
from masksift.core.specs import ArraySpec, SourceSpec
from masksift.core.status import SCORED
from masksift.core.task_result import TaskResult
from masksift.engine.label_io import BASE_MEMORY_BYTES, read_stored_labels
from masksift.review.masks.files import IGNORED, Window, change_file, changed_raster
from masksift.scoring.kernels.condense import class_plane
from masksift.storage.files import open_file
from masksift.storage.manifest import Manifest
from masksift.storage.objects import ObjectDirectory
from masksift.storage.zarr.origin import LabelEncoding
from masksift.storage.zarr.per_image import image_sizes
from masksift.storage.zarr.reader import ArrayReader

STAGE = "masks"
BYTES_PER_PIXEL = 96
"""Memory for one file: its values, codes and classes before and after."""


@dataclass(frozen=True)
class MasksContext:
    """Settings shared by all tasks."""

    out: str
    fingerprint: str
    unchanged: bool
    options: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class ImagePart:
    """File of an image.

    Attributes:
        name: Path below the output directory.
        url: URL of the label file; "" for sources that were made of something else.
        place: First row and column, rows and columns of the image in the file; None for the whole file.
    """

    name: str
    url: str = ""
    place: tuple[int, ...] | None = None


@dataclass(frozen=True)
class MasksTask:
    """Images [start, stop) of a source.

    Attributes:
        number: Number of the task.
        spec: The source with its own labels.
        labels: The new labels.
        parts: File of each image. The task holds all images of each file.
        encoding: Classes in the label files; None for sources that were made of something else.
        start: First image.
        stop: Image after the last one.
    """

    number: int
    spec: SourceSpec
    labels: ArraySpec
    parts: tuple[ImagePart, ...]
    encoding: LabelEncoding | None
    start: int
    stop: int


@dataclass
class MasksResult:
    """Result of a task: written files, and changed pixels in them."""

    task_result: TaskResult
    files: int = 0
    pixels: int = 0


def worker_memory(specs: list[SourceSpec], block_images: int) -> int:
    """Peak memory of a worker in bytes: both labels of a block, and one file."""
    per_source = (spec.pixels * (2 * block_images * spec.labels.itemsize + BYTES_PER_PIXEL) for spec in specs)
    return BASE_MEMORY_BYTES + max(per_source, default=0)


def write_block(context: MasksContext, task: MasksTask) -> MasksResult | DataError:
    """Write the files of a block; a data error is returned, because a retry cannot fix it.

    Args:
        context: Settings of the job.
        task: The block.

    Returns:
        Counts of the block, or the error.
    """
    directory = ObjectDirectory(context.out, context.options)
    manifest = Manifest(directory, context.fingerprint)
    if (output := manifest.load(STAGE, task.number)) is not None:
        tree = json.loads(output["done"])
        return MasksResult(**{**tree, "task_result": TaskResult(**{**tree["task_result"], "reused": True})})
    try:
        result = _write(context, task, directory)
    except DataError as e:
        return e
    manifest.save(STAGE, task.number, {"done": json.dumps(asdict(result)).encode()})
    return result


def _write(context: MasksContext, task: MasksTask, directory: ObjectDirectory) -> MasksResult:
    started, spec, images = time.perf_counter(), task.spec, task.stop - task.start
    absent = spec.absent_labels_are_missing
    readers = [ArrayReader(array, context.options, absent_is_missing=absent) for array in (spec.labels, task.labels)]
    stored = [read_stored_labels(spec, reader, task.start, task.stop) for reader in readers]
    (before, missing), (after, _) = stored
    sizes = image_sizes(spec, task.start, task.stop, context.options)
    result, written = MasksResult(TaskResult(task.number, images, images * spec.pixels, {SCORED: images})), 0
    windows: dict[ImagePart, list[Window]] = {}
    for i, part in enumerate(task.parts):
        height, width = sizes[i].tolist()
        old, new = before[i, :height, :width], after[i, :height, :width]
        if task.start + i in missing or not (context.unchanged or (old != new).any()):
            continue
        result.pixels += int((old != new).sum())
        if task.encoding is None:
            data = _encode_png(new, spec)
        elif part.place is not None:
            window = Window(part.place, _classes(spec, old), _classes(spec, new))
            windows.setdefault(replace(part, place=None), []).append(window)
            continue
        else:
            with open_file(part.url, context.options) as file:
                data = change_file(file.read(), part.url, task.encoding, _classes(spec, old), _classes(spec, new))
        directory.write(part.name, data)
        result.files += 1
        written += len(data)
    for part, changes in windows.items():
        assert task.encoding is not None
        with changed_raster(part.url, task.encoding, changes, context.options) as path:
            directory.put(part.name, path)
            written += os.path.getsize(path)
        result.files += 1
    io_counts: dict[str, Any] = dict(sum((reader.io_counters for reader in readers), start=directory.io_counters))
    io_counts["bytes_written"] = written
    result.task_result = TaskResult(
        task.number, images, images * spec.pixels, {SCORED: images}, **io_counts, seconds=time.perf_counter() - started
    )
    return result


def _classes(spec: SourceSpec, labels: NDArray[Any]) -> NDArray[np.int64]:
    """Return class numbers (H, W), -1 without a class."""
    plane, _ = class_plane(labels, spec.classes, spec.ignore, spec.remap, spec.label_offset)
    return np.where(plane < spec.classes, plane.astype(np.int64), IGNORED)


def _encode_png(labels: NDArray[Any], spec: SourceSpec) -> bytes:
    """Encode label values as PNG. Raises DataError for values that PNG cannot hold."""
    values = labels.astype(np.uint8) if labels.dtype == bool else labels
    if values.size and not 0 <= int(values.min()) <= int(values.max()) <= 0xFFFF:
        raise DataError(
            f"Labels of {spec.url} range from {values.min()} to {values.max()}, but PNG holds 0 to 65535",
            "Use the labels as arrays",
        )
    dtype = np.uint8 if values.dtype.itemsize == 1 else np.uint16
    buffer = io.BytesIO()
    Image.fromarray(values.astype(dtype)).save(buffer, "PNG")
    return buffer.getvalue()
