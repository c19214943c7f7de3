"""Write the mask files of one block of images, on a worker."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from masksift.core.errors import DataError
from masksift.core.specs import ArraySpec, SourceSpec
from masksift.core.status import SCORED
from masksift.core.task_result import TaskResult
from masksift.engine.label_io import BASE_MEMORY_BYTES, read_stored_labels
from masksift.review.masks.files import IGNORED, change_file
from masksift.scoring.kernels.condense import class_plane
from masksift.storage.files import open_file
from masksift.storage.manifest import Manifest
from masksift.storage.objects import ObjectDirectory
from masksift.storage.zarr.label_files import LabelEncoding
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
class MasksTask:
    """Images [start, stop) of a source.

    Attributes:
        number: Number of the task.
        spec: The source with its own labels.
        labels: The new labels.
        names: Path of the file of each image below the output directory.
        urls: URL of the label file of each image; () for sources that were made of something else.
        encoding: Classes in the label files.
        start: First image.
        stop: Image after the last one.
    """

    number: int
    spec: SourceSpec
    labels: ArraySpec
    names: tuple[str, ...]
    urls: tuple[str, ...]
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
    for i in range(images):
        height, width = sizes[i].tolist()
        old, new = before[i, :height, :width], after[i, :height, :width]
        if (task.start + i) in missing or not (context.unchanged or (old != new).any()):
            continue
        if task.urls and task.encoding is not None:
            classes = [_classes(spec, plane) for plane in (old, new)]
            with open_file(task.urls[i], context.options) as file:
                data = change_file(file.read(), task.urls[i], task.encoding, classes[0], classes[1])
        else:
            data = _encode_png(new, spec)
        directory.write(task.names[i], data)
        result.files += 1
        result.pixels += int((old != new).sum())
        written += len(data)
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
