"""Correct the labels of one block of images, on a worker."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError
from masksift.core.specs import SourceSpec
from masksift.core.status import SCORED, ImageStatus
from masksift.core.task_result import TaskResult
from masksift.engine.label_io import BASE_MEMORY_BYTES, label_values, read_stored_labels
from masksift.review.corrections.accepted_regions import AcceptedRegion
from masksift.scoring.kernels.condense import class_plane
from masksift.storage.manifest import Manifest
from masksift.storage.objects import ObjectDirectory
from masksift.storage.sources.open import labels_url
from masksift.storage.zarr.label_copy import LabelCopy
from masksift.storage.zarr.reader import ArrayReader

STAGE = "correct"
BYTES_PER_PIXEL = 48
"""Memory for a region that covers the whole image: positions and values of its pixels."""

ClassPair = tuple[int | None, int]
"""Given class (None for an omission) and suggested class."""


@dataclass(frozen=True)
class CorrectionsContext:
    """Settings shared by all tasks; ``array`` is the name of the labels array."""

    out: str
    fingerprint: str
    array: str
    options: Mapping[str, Any] = field(repr=False)

    def copy(self, spec: SourceSpec) -> LabelCopy:
        """Return the corrected labels of a source."""
        return LabelCopy(labels_url(self.out, spec.name), spec, self.array, self.options)


@dataclass(frozen=True)
class CorrectionTask:
    """Images [start, stop) of a source, whole storage units, with their accepted regions."""

    number: int
    spec: SourceSpec
    start: int
    stop: int
    regions: tuple[AcceptedRegion, ...]


@dataclass
class CorrectionResult:
    """Result of a task: number of changed images, and regions and pixels by class pair."""

    task_result: TaskResult
    source: int
    images: int
    pairs: dict[ClassPair, tuple[int, int]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"pairs": [[*pair, *counts] for pair, counts in self.pairs.items()]}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> CorrectionResult:
        """Read the output of `as_json`, marked as reused."""
        pairs = {(given, suggested): (regions, pixels) for given, suggested, regions, pixels in tree["pairs"]}
        return cls(TaskResult(**{**tree["task_result"], "reused": True}), tree["source"], tree["images"], pairs)


def worker_memory(context: CorrectionsContext, sources: Iterable[SourceSpec]) -> int:
    """Peak memory of a worker in bytes: one storage unit read, copied and encoded, and the pixels of one region."""
    per_source = (
        context.copy(spec).images_per_object * spec.pixels * 3 * spec.labels.itemsize + BYTES_PER_PIXEL * spec.pixels
        for spec in sources
    )
    return BASE_MEMORY_BYTES + max(per_source, default=0)


def correct_block(context: CorrectionsContext, task: CorrectionTask) -> CorrectionResult | DataError:
    """Write the labels of a block, or return the result of an earlier attempt.

    The task output is written last. A data error is returned instead of raised, because a retry cannot fix it.

    Args:
        context: Settings of the corrections.
        task: The block.

    Returns:
        Counts of the block, or the error.
    """
    manifest = Manifest(ObjectDirectory(context.out, context.options), context.fingerprint)
    if (output := manifest.load(STAGE, task.number)) is not None:
        return CorrectionResult.from_json(json.loads(output["done"]))
    try:
        result = _write_block(context, task)
    except DataError as e:
        return e
    manifest.save(STAGE, task.number, {"done": json.dumps(result.as_json()).encode()})
    return result


def _write_block(context: CorrectionsContext, task: CorrectionTask) -> CorrectionResult:
    started, spec, copy = time.perf_counter(), task.spec, context.copy(task.spec)
    reader = ArrayReader(spec.labels, context.options, absent_is_missing=spec.absent_labels_are_missing)
    values = label_values(spec)
    pairs: dict[ClassPair, tuple[int, int]] = {}
    for start in range(task.start, task.stop, copy.images_per_object):
        stop = min(task.stop, start + copy.images_per_object)
        labels, missing = read_stored_labels(spec, reader, start, stop)
        for region in (region for region in task.regions if start <= region.index < stop):
            image_labels = labels[region.index - start]
            pixels = _region_pixels(spec, region, image_labels, missing.get(region.index))
            image_labels[pixels] = values[region.suggested]
            pair = (region.given, region.suggested)
            regions, area = pairs.get(pair, (0, 0))
            pairs[pair] = regions + 1, area + len(pixels[0])
        copy.write(start, labels, [index - start for index in missing])
    images = task.stop - task.start
    io_counts: dict[str, Any] = dict(reader.io_counters + copy.io_counters)
    seconds = time.perf_counter() - started
    result = TaskResult(task.number, images, images * spec.pixels, {SCORED: images}, **io_counts, seconds=seconds)
    return CorrectionResult(result, spec.index, len({region.index for region in task.regions}), pairs)


def _region_pixels(
    spec: SourceSpec, region: AcceptedRegion, labels: NDArray[np.integer[Any]], missing: ImageStatus | None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns of a region; raises DataError if its labels (H, W) have changed since the run."""
    # the suggested class must not overwrite later work
    if missing is not None:
        raise DataError(*_labels_changed(spec, region, str(missing.reason)))
    pixels = decode_rle(region.rle, region.size[0])
    plane, _ = class_plane(labels[pixels], spec.classes, spec.ignore, spec.remap, spec.label_offset)
    given = np.iinfo(plane.dtype).max if region.given is None else region.given
    if (changed := plane != given).any():
        first = int(np.flatnonzero(changed)[0])
        y, x = (int(axis[first]) for axis in pixels)
        before = "no label" if region.given is None else repr(spec.class_names[region.given])
        details = f"(y={y}, x={x}) had {before}, now label {labels[y, x]}"
        raise DataError(*_labels_changed(spec, region, details))
    return pixels


def _labels_changed(spec: SourceSpec, region: AcceptedRegion, details: str) -> tuple[str, str]:
    return (
        f"The labels of image {region.index} of {spec.url} in {spec.labels.url} have changed since the run listed "
        f"region {region.rank:,} ({details})",
        "Run again over the current labels and review that run",
    )


def decode_rle(rle: NDArray[np.int32], height: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Decode COCO run lengths of an image of ``height`` rows into rows and columns (A,) of the A pixels inside."""
    lengths = rle[1::2].astype(np.int64)
    starts = np.cumsum(rle, dtype=np.int64)[::2][: len(lengths)]
    before = np.cumsum(lengths) - lengths
    positions = np.arange(int(lengths.sum())) + np.repeat(starts - before, lengths)
    columns, rows = np.divmod(positions, height)
    return rows, columns


def regions_between(regions: Sequence[AcceptedRegion], start: int, stop: int) -> tuple[AcceptedRegion, ...]:
    """Return the regions of images [start, stop), from regions ordered by image."""
    first, last = np.searchsorted([region.index for region in regions], [start, stop])
    return tuple(regions[first:last])
