"""Copy the labels of one block of images and put errors into the chosen images."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.specs import SourceSpec
from masksift.core.status import ALL_IGNORED, BAD_LABELS, SCORED, ImageStatus
from masksift.core.task_result import TaskResult
from masksift.engine.label_io import label_values, read_stored_labels
from masksift.evaluation.simulate.error_types import CorruptedLabels, ErrorParams, Plane, apply_error, ignored_value
from masksift.evaluation.simulate.sampling import image_rng
from masksift.scoring.image import LabelValidator
from masksift.storage.credentials import StorageOptions
from masksift.storage.manifest import Manifest
from masksift.storage.objects import ObjectDirectory
from masksift.storage.sources.open import labels_url
from masksift.storage.tables.arrow import table_from_rows
from masksift.storage.tables.parquet import write_table
from masksift.storage.tables.schemas import truth_schema
from masksift.storage.urls import join
from masksift.storage.zarr.label_copy import LabelCopy
from masksift.storage.zarr.per_image import image_ids, image_sizes
from masksift.storage.zarr.reader import ArrayReader

LABELS, STAGE = "labels", "simulate"
CHANGED, ONE_CLASS, TOO_SMALL = "changed", "one_class", "too_small"
"""Outcomes for a chosen image. An image with invalid labels has its status as outcome."""


@dataclass(frozen=True)
class SimulationContext:
    """Settings shared by all tasks: ``array`` names the label array, ``columns`` the partition columns of the table."""

    out: str
    fingerprint: str
    seed: int
    array: str
    columns: tuple[str, ...]
    options: StorageOptions

    @property
    def directory(self) -> ObjectDirectory:
        """Output directory."""
        return ObjectDirectory(self.out, self.options)

    def label_copy(self, spec: SourceSpec) -> LabelCopy:
        """Changed labels of a source."""
        return LabelCopy(labels_url(join(self.out, LABELS), spec.name), spec, self.array, self.options, truth=True)


@dataclass(frozen=True)
class SimulationTask:
    """Images [start, stop) of a source, in whole storage units; ``chosen`` images get an error."""

    number: int
    spec: SourceSpec
    params: ErrorParams
    start: int
    stop: int
    chosen: tuple[int, ...]


@dataclass
class SimulationResult:
    """Counters of a task, the index of its source, and the number of chosen images by outcome."""

    task_result: TaskResult
    source: int
    outcomes: dict[str, int] = field(default_factory=dict)


def simulate_block(context: SimulationContext, task: SimulationTask) -> SimulationResult:
    """Write labels, error mask and table of a block, unless its output exists; the task output is written last."""
    manifest = Manifest(context.directory, context.fingerprint)
    if (output := manifest.load(STAGE, task.number)) is not None:
        return _reuse(output)
    started, spec = time.perf_counter(), task.spec
    copy = context.label_copy(spec)
    reader = ArrayReader(spec.labels, context.options, absent_is_missing=spec.absent_labels_are_missing)
    names = image_ids(spec, task.start, task.stop, context.options) if task.chosen else []
    sizes = image_sizes(spec, task.start, task.stop, context.options)
    rows: list[dict[str, Any]] = []
    outcomes: Counter[str] = Counter()
    for start in range(task.start, task.stop, copy.images_per_object):
        stop = min(task.stop, start + copy.images_per_object)
        labels, lost = read_stored_labels(spec, reader, start, stop)
        truth = np.zeros(labels.shape, np.uint8)
        for index in (index for index in task.chosen if start <= index < stop):
            row, outcome = _corrupt_image(
                context.seed,
                task,
                index,
                labels[index - start],
                truth[index - start],
                sizes[index - task.start],
                lost.get(index),
            )
            outcomes[outcome] += 1
            if row is not None:
                rows.append({"image_id": names[index - task.start], **row})
        copy.write(start, labels, [index - start for index in lost], truth)
    table = table_from_rows(rows, truth_schema(context.columns))
    written = write_table(context.directory, f"truth/part-{task.number:08d}.parquet", table, spec.class_names)
    images = task.stop - task.start
    io_counters: dict[str, Any] = reader.io_counters + copy.io_counters + Counter(bytes_written=written, puts=2)
    task_result = TaskResult(
        task.number,
        images,
        images * spec.pixels,
        {SCORED: images},
        **io_counters,
        seconds=time.perf_counter() - started,
    )
    result = SimulationResult(task_result, spec.index, dict(outcomes))
    manifest.save(STAGE, task.number, {"result": json.dumps(asdict(result)).encode()})
    return result


def _reuse(output: Mapping[str, bytes]) -> SimulationResult:
    tree = json.loads(output["result"])
    return SimulationResult(TaskResult(**{**tree["task_result"], "reused": True}), tree["source"], tree["outcomes"])


def _corrupt_image(
    seed: int,
    task: SimulationTask,
    index: int,
    labels: NDArray[Any],
    truth: NDArray[np.uint8],
    size: NDArray[np.int64],
    lost: ImageStatus | None,
) -> tuple[dict[str, Any] | None, str]:
    """Put an error into ``labels`` and ``truth`` (H, W), in place; return a table row, if any, and the outcome."""
    spec, params = task.spec, task.params
    if lost is not None:
        return None, lost.status
    if not all(0 < int(side) <= limit for side, limit in zip(size, labels.shape, strict=True)):
        return None, BAD_LABELS
    unpadded = tuple(slice(0, int(side)) for side in size)
    validator = LabelValidator(spec.classes, spec.ignore, spec.remap, spec.label_offset)
    plane = np.ascontiguousarray(validator.to_class_indices(labels[unpadded]))
    if validator.status is not None:
        return None, validator.status.status
    valid = plane != ignored_value(plane)
    if not valid.any():
        return None, ALL_IGNORED
    corrupted = apply_error(plane, image_rng(seed, params.error_type, spec.name, index), params)
    if corrupted is None:
        several_classes = (plane[valid] != plane[valid][0]).any()
        return None, TOO_SMALL if several_classes else ONE_CLASS
    differs = corrupted.plane != plane
    labels[unpadded][differs] = label_values(spec)[corrupted.plane[differs]]
    truth[unpadded] = differs
    row = {"source": spec.name, "index": index, **spec.partitions, "kind": params.error_type}
    return row | _describe_change(plane, corrupted, differs, int(valid.sum())), CHANGED


def _describe_change(
    plane: Plane, corrupted: CorruptedLabels, differs: NDArray[np.bool_], valid_pixels: int
) -> dict[str, Any]:
    """Columns of the table: classes, changed pixels and their bounding box."""
    pixels = int(differs.sum())
    rows, columns = (np.flatnonzero(differs.any(axis=axis)) for axis in (1, 0))
    true, given = plane[differs], corrupted.plane[differs]
    most_common = int(np.bincount(given).argmax())
    return {
        "classes": list(corrupted.classes),
        "given": None if most_common == ignored_value(plane) else most_common,
        "true": int(true[0]) if (true == true[0]).all() else None,
        "changed_pixels": pixels,
        "changed_share": pixels / valid_pixels,
        "y0": int(rows[0]),
        "x0": int(columns[0]),
        "y1": int(rows[-1]) + 1,
        "x1": int(columns[-1]) + 1,
    }
