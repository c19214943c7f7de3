"""Checks of the sources of a run: arrays, chunks, memory, and the values of a few images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.config.run import RunConfig
from masksift.core.advice import chunk_advice
from masksift.core.errors import MasksiftError
from masksift.core.specs import ArraySpec
from masksift.core.status import ALL_IGNORED, MISSING_CHUNK, SCORED, UNREADABLE, ImageStatus
from masksift.core.text import pluralize
from masksift.core.units import format_bytes
from masksift.doctor.findings import FAILED, OK, WARNING, Finding
from masksift.engine.summary import describe_source
from masksift.engine.work_items import BlockTask, BlockTasks
from masksift.review.verify.inputs import decode
from masksift.scoring.image import LabelValidator, condense_image
from masksift.scoring.kernels.condense import class_dtype
from masksift.storage.credentials import StorageOptions
from masksift.storage.urls import local_path
from masksift.storage.zarr.per_image import image_ids, image_sizes
from masksift.storage.zarr.reader import ArrayReader
from masksift.storage.zarr.validation import ChunkDecodeError, MissingChunkError

MAX_SAMPLED_BYTES = 1 << 30
"""Largest decoded size of the predictions of an image that is read."""
SMALL_OBJECT_BYTES = 1 << 20
"""Decoded objects below this size cost more in requests than in bytes."""


def check_sources(config: RunConfig, tasks: BlockTasks) -> Iterator[Finding]:
    """Check the sources of a run: the first one of each chunking, and images of the first and the last source."""
    count = len(tasks.sources)
    yield Finding(OK, describe_source(tasks.sources[0]) + (f" ({count - 1:,} other sources)" if count > 1 else ""))
    seen: set[tuple[Any, ...]] = set()
    for source in tasks.sources:
        for array in source.prediction_arrays:
            if not source.stored_evidence and (key := (array.chunks, array.shards)) not in seen:
                seen.add(key)
                yield check_chunks(array.stored)
    yield _check_memory(config, tasks)
    options = config.options()
    for number in sorted({0, count - 1}):
        if not tasks.sources[number].stored_evidence:
            yield check_values(tasks[tasks.plan.blocks.source_blocks(number).start], options)


def check_chunks(array: ArraySpec) -> Finding:
    """Compare the chunks of stored predictions with whole images, which a run reads."""
    per_image = [math.ceil(size / chunk) for size, chunk in zip(array.shape[1:], array.chunks[1:], strict=True)]
    reads, objects = math.prod(per_image), array.shards or array.chunks
    object_bytes = math.prod(objects) * array.itemsize
    text = f"predictions in chunks of {_shape(array.chunks)}, {format_bytes(math.prod(array.chunks) * array.itemsize)}"
    text += f", in shards of {_shape(array.shards)}" if array.shards else ""
    images = max(1, min(array.shape[0], SMALL_OBJECT_BYTES * 16 // max(1, math.prod(array.shape[1:]) * array.itemsize)))
    whole = (1, *array.shape[1:])
    advice = _rewrite(array, whole, images)
    has_class_axis = len(array.shape) == 4
    if has_class_axis and per_image[0] > 1:
        text = f"{text}: they split the class axis, so that an image takes {reads:,} reads"
        return Finding(WARNING, text, advice)
    if not local_path(array.url) and object_bytes < SMALL_OBJECT_BYTES and reads * array.shape[0] > 1_000:
        each = f"an image takes {pluralize(reads, 'request')} for small objects"
        return Finding(WARNING, f"{text}: {each}", advice)
    return Finding(OK, text)


def _rewrite(array: ArraySpec, chunks: tuple[int, ...], images: int) -> str:
    """Return Python that writes the array with chunks of whole images, in the stored order of its axes."""
    if len(array.axes) != len(array.shape) or sorted(array.axes) != list(range(len(array.shape))):
        return f"Write them again with chunks of whole images, {_shape(chunks)}"
    stored = [0] * len(chunks)
    for position, size in zip(array.axes, chunks, strict=True):
        stored[position] = size
    stored[array.axes[0]] = images
    new = array.url.rstrip("/") + "-rechunked"
    return (
        "Write them again with whole images in a chunk: "
        f"import dask.array as da; da.from_zarr({array.url!r}).rechunk({tuple(stored)}).to_zarr({new!r})"
    )


def _shape(sizes: Sequence[int] | None) -> str:
    return " x ".join(map(str, sizes or ()))


def _check_memory(config: RunConfig, tasks: BlockTasks) -> Finding:
    """Compare the plan with the memory of a worker, where that is known."""
    executor = config.executor.choose(tasks.plan.seconds)
    try:
        tasks.plan.check_memory(executor.memory_limit)
    except MasksiftError as e:
        return Finding.from_error(e)
    limit = executor.memory_limit
    having = f", which has {format_bytes(limit)}" if limit else ""
    return Finding(
        OK,
        f"the run needs {format_bytes(tasks.plan.memory)} in a worker{having}, {tasks.plan.reads:,} reads and "
        f"{tasks.plan.writes:,} writes (executor {executor.kind})",
    )


def check_values(task: BlockTask, options: StorageOptions) -> Finding:
    """Validate the first, the middle and the last image of a source as a run does."""
    spec = task.spec
    size = sum(array.stored.nbytes for array in spec.prediction_arrays) // spec.images
    if size > MAX_SAMPLED_BYTES:
        return Finding(OK, f"no image of {spec.name} is read: the predictions of one are {format_bytes(size)}")
    chosen = sorted({0, spec.images // 2, spec.images - 1})
    for index in chosen:
        status = read_status(task, index, options)
        if status.status == SCORED:
            continue
        name = image_ids(spec, index, index + 1, options)[0]
        return Finding(
            WARNING if status.status == ALL_IGNORED else FAILED,
            f"image {name} would be quarantined as {status.status}: {status.reason}",
            status.advice or "",
        )
    return Finding(OK, f"labels and predictions of {pluralize(len(chosen), 'image')} of {spec.name} are valid")


def read_status(task: BlockTask, index: int, options: StorageOptions) -> ImageStatus:
    """Read and condense one image in memory, and return its status."""
    spec = task.spec
    height, width = image_sizes(spec, index, index + 1, options)[0].tolist()
    height, width = min(max(height, 0), spec.height), min(max(width, 0), spec.width)
    members = spec.members or (spec,)
    predictions: list[NDArray[Any]] = []
    for member in members:
        stored = _read(member.predictions.stored, index, options, labels=False)
        if isinstance(stored, ImageStatus):
            return stored
        planes = decode(stored, member.predictions, member.prediction_kind, member.scale)
        predictions.append(np.ascontiguousarray(planes[:, :height, :width]))
    labels = _read(spec.labels, index, options, labels=True, absent=spec.absent_labels_are_missing)
    if isinstance(labels, ImageStatus):
        return labels
    validator = LabelValidator(spec.classes, spec.ignore, spec.remap, spec.label_offset)
    plane = validator.to_class_indices(np.ascontiguousarray(labels[:height, :width]))
    if validator.status is not None:
        return validator.status
    ignored = int(np.iinfo(class_dtype(spec.classes)).max)
    return condense_image(plane, predictions, task.condense_config(0), (ignored,), task.member_configs).status


def _read(
    array: ArraySpec, index: int, options: StorageOptions, *, labels: bool, absent: bool = True
) -> NDArray[Any] | ImageStatus:
    reader = ArrayReader(array, options, absent_is_missing=absent)
    try:
        image: NDArray[Any] = reader.read(slice(index, index + 1), *(slice(0, size) for size in array.shape[1:]))[0]
    except (MissingChunkError, ChunkDecodeError) as e:
        status = MISSING_CHUNK if isinstance(e, MissingChunkError) else UNREADABLE
        return ImageStatus(status, str(e), chunk_advice(status, labels=labels))
    return image
