"""What one worker does with one block of images: copy their labels, put the known errors in, tell what was changed."""

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
from masksift.evaluation.simulate.error_types import CorruptedLabels, ErrorParams, Plane, apply_error, ignored_in
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
"""What became of an image that was chosen; or a status of `schema`, where its labels cannot be read."""


@dataclass(frozen=True)
class SimulationContext:
    """What every task of a simulation knows. ``array``: the labels' name; ``columns``: of the table, by the paths."""

    out: str
    fingerprint: str
    seed: int
    array: str
    columns: tuple[str, ...]
    options: StorageOptions

    def copy(self, spec: SourceSpec) -> LabelCopy:
        """The changed labels of a source."""
        return LabelCopy(labels_url(join(self.out, LABELS), spec.name), spec, self.array, self.options, truth=True)


@dataclass(frozen=True)
class SimulationTask:
    """Images [start, stop) of a source, whole units of what lies together; ``chosen``: those that get an error."""

    number: int
    spec: SourceSpec
    setting: ErrorParams
    start: int
    stop: int
    chosen: tuple[int, ...]


@dataclass
class SimulationResult:
    """What a task answers. ``outcomes``: of the chosen images, how many by what became of them."""

    task_result: TaskResult
    source: int
    outcomes: dict[str, int] = field(default_factory=dict)


def simulate_block(job: SimulationContext, piece: SimulationTask) -> SimulationResult:
    """Write the labels and the truth of a block that is not there yet. What says that it is there is put last."""
    manifest = Manifest(ObjectDirectory(job.out, job.options), job.fingerprint)
    if (done := manifest.load(STAGE, piece.number)) is not None:
        return _reused(done)
    begun, spec = time.perf_counter(), piece.spec
    copy = job.copy(spec)
    reader = ArrayReader(spec.labels, job.options, absent_is_missing=spec.absent_labels_are_missing)
    names = image_ids(spec, piece.start, piece.stop, job.options) if piece.chosen else []
    sizes = image_sizes(spec, piece.start, piece.stop, job.options)
    rows: list[dict[str, Any]] = []
    outcomes: Counter[str] = Counter()
    for start in range(piece.start, piece.stop, copy.unit):
        stop = min(piece.stop, start + copy.unit)
        labels, lost = read_stored_labels(spec, reader, start, stop)
        truth = np.zeros(labels.shape, np.uint8)
        for index in (number for number in piece.chosen if start <= number < stop):
            size = sizes[index - piece.start]
            row, fate = _changed(job, piece, index, labels[index - start], truth[index - start], size, lost.get(index))
            outcomes[fate] += 1
            rows += [] if row is None else [{"image_id": names[index - piece.start], **row}]
        copy.write(start, labels, [index - start for index in lost], truth)
    folder, name = ObjectDirectory(job.out, job.options), f"truth/part-{piece.number:08d}.parquet"
    written = write_table(folder, name, table_from_rows(rows, truth_schema(job.columns)), spec.class_names)
    images = piece.stop - piece.start
    used: dict[str, Any] = reader.io_counters + copy.io_counters + Counter(bytes_written=written, puts=2)
    result = TaskResult(
        piece.number, images, images * spec.pixels, {SCORED: images}, **used, seconds=time.perf_counter() - begun
    )
    done_now = SimulationResult(result, spec.index, dict(outcomes))
    manifest.save(STAGE, piece.number, {"done": json.dumps(asdict(done_now)).encode()})
    return done_now


def _reused(product: Mapping[str, bytes]) -> SimulationResult:
    tree = json.loads(product["done"])
    return SimulationResult(TaskResult(**{**tree["task_result"], "reused": True}), tree["source"], tree["outcomes"])


def _changed(
    job: SimulationContext,
    piece: SimulationTask,
    index: int,
    labels: NDArray[Any],
    truth: NDArray[np.uint8],
    size: NDArray[np.int64],
    lost: ImageStatus | None,
) -> tuple[dict[str, Any] | None, str]:
    """Put an error into the labels (H, W) of an image, where it can be, and mark it in ``truth``. Answers its row of
    the table, but for its name, and what became of it."""
    spec, setting = piece.spec, piece.setting
    if lost is not None:
        return None, lost.status
    if not all(0 < int(side) <= most for side, most in zip(size, labels.shape, strict=True)):
        return None, BAD_LABELS
    own = tuple(slice(0, int(side)) for side in size)
    check = LabelValidator(spec.classes, spec.ignore, spec.remap)
    plane = np.ascontiguousarray(check.to_class_indices(labels[own]))
    if check.verdict is not None:
        return None, check.verdict.status
    valid = plane != ignored_in(plane)
    if not valid.any():
        return None, ALL_IGNORED
    drawn = apply_error(plane, image_rng(job.seed, setting.kind, spec.name, index), setting)
    if drawn is None:
        several = (plane[valid] != plane[valid][0]).any()
        return None, TOO_SMALL if several else ONE_CLASS
    differs = drawn.plane != plane
    labels[own][differs] = label_values(spec)[drawn.plane[differs]]
    truth[own] = differs
    place = {"source": spec.name, "index": index, **spec.partitions}
    return place | {"kind": setting.kind, **_told(plane, drawn, differs, int(valid.sum()))}, CHANGED


def _told(plane: Plane, drawn: CorruptedLabels, differs: NDArray[np.bool_], valid: int) -> dict[str, Any]:
    """What the table says of a change."""
    pixels = int(differs.sum())
    rows, columns = (np.flatnonzero(differs.any(axis=axis)) for axis in (1, 0))
    return {
        "classes": list(drawn.classes),
        "given": _commonest(drawn.plane[differs]),
        "true": _only(plane[differs]),
        "changed_pixels": pixels,
        "changed_share": pixels / valid,
        "y0": int(rows[0]),
        "x0": int(columns[0]),
        "y1": int(rows[-1]) + 1,
        "x1": int(columns[-1]) + 1,
    }


def _commonest(pixels: Plane) -> int | None:
    """The class that most of them have, the lowest on ties; None where they have no label."""
    numbers, counts = np.unique(pixels, return_counts=True)
    most = int(numbers[counts.argmax()])
    return None if most == ignored_in(pixels) else most


def _only(pixels: Plane) -> int | None:
    """The class of all of them; None where they are of several."""
    return int(pixels[0]) if (pixels == pixels[0]).all() else None
