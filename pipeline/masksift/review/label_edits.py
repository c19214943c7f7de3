"""Write the labels of sources with edits of some images, block by block, on workers.

Two commands make edits: `masksift export corrections` of decisions, and `masksift import` of files of annotation tools.
A run over the same sources takes its labels from the output (`labels_from`), the labels of other sources from where the
edited run had them, and the evidence of other sources from that run (`base`).

The output directory holds `<source>.zarr` (labels, stored like those of the source) and, written last,
`corrections.json`.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from masksift.config.sections import ExecutorSection
from masksift.core.errors import DataError
from masksift.core.specs import SourceSpec
from masksift.core.status import SCORED
from masksift.core.task_result import TaskResult
from masksift.engine.completed_run import CompletedRun
from masksift.engine.label_io import BASE_MEMORY_BYTES, NO_VALUE, label_blocks, label_values, read_stored_labels
from masksift.engine.planning.plan import estimate_seconds
from masksift.engine.resumable_job import ResumableJob, for_each_source, make_plan_record
from masksift.runtime.progress import ProgressReporter
from masksift.scoring.kernels.condense import class_plane
from masksift.storage.manifest import Manifest
from masksift.storage.objects import ObjectDirectory
from masksift.storage.sources.corrected_labels import RECORD
from masksift.storage.sources.open import labels_url
from masksift.storage.sources.overrides import copied_label_name
from masksift.storage.urls import local_path
from masksift.storage.zarr.label_copy import LabelCopy
from masksift.storage.zarr.reader import ArrayReader

STAGE = "correct"
BYTES_PER_PIXEL = 48
"""Memory for an edit of a whole image: positions and values of its pixels."""

Plane = NDArray[np.unsignedinteger[Any]]
"""Class numbers of an image, (H, W) without padding; from the number of classes on, a pixel has no class."""
ClassPair = tuple[int | None, int | None]
"""Class before and after an edit, None for no label."""


class Pixels(NamedTuple):
    """Changed pixels: rows, columns and new class numbers, (A,) each; the greatest of the dtype means no label."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    classes: NDArray[np.integer[Any]]


class LabelEdit(Protocol):
    """Change of the labels of one image.

    Attributes:
        index: Index of the image in its source.
        size: Rows and columns of the image, without padding.
    """

    @property
    def index(self) -> int: ...  # noqa: D102

    @property
    def size(self) -> tuple[int, int]: ...  # noqa: D102

    def changes(self, plane: Plane, spec: SourceSpec, counts: Counter[str]) -> Pixels:
        """Return the pixels that change.

        Args:
            plane: Labels of the image before this edit, and after earlier edits of the same image.
            spec: The source.
            counts: Counter for the record, to which the edit may add.

        Returns:
            The pixels. Labels that the edit does not fit raise DataError.
        """
        ...


@dataclass(frozen=True)
class EditContext:
    """Settings shared by all tasks; ``array`` is the name of the labels array."""

    out: str
    fingerprint: str
    array: str
    options: Mapping[str, Any] = field(repr=False)

    def copy(self, spec: SourceSpec) -> LabelCopy:
        """Return the edited labels of a source."""
        return LabelCopy(labels_url(self.out, spec.name), spec, self.array, self.options)


@dataclass(frozen=True)
class EditTask:
    """Images [start, stop) of a source, whole storage units, with their edits."""

    number: int
    spec: SourceSpec
    start: int
    stop: int
    edits: tuple[LabelEdit, ...]


@dataclass
class EditResult:
    """Result of a task.

    Attributes:
        task_result: Result for the progress.
        source: Number of the source.
        images: Number of images with a changed pixel.
        pairs: Number of edits and of changed pixels by class pair.
        counts: Counters of the edits.
    """

    task_result: TaskResult
    source: int
    images: int
    pairs: dict[ClassPair, tuple[int, int]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "task_result": asdict(self.task_result),
            "source": self.source,
            "images": self.images,
            "pairs": [[*pair, *counts] for pair, counts in self.pairs.items()],
            "counts": dict(self.counts),
        }

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> EditResult:
        """Read the output of `as_json`, marked as reused."""
        pairs = {(before, after): (edits, pixels) for before, after, edits, pixels in tree["pairs"]}
        task_result = TaskResult(**{**tree["task_result"], "reused": True})
        return cls(task_result, tree["source"], tree["images"], pairs, Counter(tree["counts"]))


def write_edited_labels(
    run: CompletedRun,
    edits: Mapping[int, Sequence[LabelEdit]],
    identity: Mapping[str, Any],
    out: str,
    executor: ExecutorSection,
    progress: ProgressReporter,
    command: str,
    make_record: Callable[[Sequence[EditResult], str], dict[str, Any]],
) -> dict[str, Any]:
    """Write the labels of all sources with edits; the same call resumes.

    Args:
        run: The run whose labels are edited.
        edits: Edits by number of the source, ordered by image.
        identity: Everything that decides the labels, as plain values.
        out: URL of the output directory.
        executor: Configuration of the workers.
        progress: Progress of the job.
        command: Name of the command, for progress and errors.
        make_record: Function that returns the record of the command from the results and the name of the labels array.

    Returns:
        The record, which is equal for equal edits of the same labels.
    """
    sources = [run.tasks.sources[number] for number in edits]
    plan = make_plan_record({"corrections": {"run": run.record["fingerprint"]}, **identity})
    out = local_path(out) or out.rstrip("/")
    array = copied_label_name(run.record["configuration"]["arrays"]["labels"])
    context = EditContext(out, plan["fingerprint"], array, run.context.options)
    job = ResumableJob(ObjectDirectory(out, context.options), plan, RECORD, command, out, progress)
    record = job.finished_record()
    if record is None:
        tasks = _make_tasks(context, sources, edits)
        executor = executor if tasks else ExecutorSection(kind="serial")  # no worker without a task
        images, pixels = sum(s.images for s in sources), sum(s.images * s.pixels for s in sources)
        memory, seconds = worker_memory(context, sources), estimate_seconds(images, pixels, pixels)
        with job.open_executor(executor, len(tasks), memory, seconds, "correcting these labels") as opened:
            for_each_source(lambda spec: context.copy(spec).create(), sources)
            results = job.run_tasks(opened, partial(edit_block, context), tasks, "correct", images)
            record = make_record(results, array)
            job.write_record(record)
    return record


def _make_tasks(
    context: EditContext, sources: Sequence[SourceSpec], edits: Mapping[int, Sequence[LabelEdit]]
) -> list[EditTask]:
    """Make the tasks of all sources, in order."""
    tasks: list[EditTask] = []
    total = sum(spec.images for spec in sources)
    for spec in sources:
        for start, stop in label_blocks(spec, context.copy(spec).images_per_object, total):
            tasks.append(EditTask(len(tasks), spec, start, stop, edits_between(edits[spec.index], start, stop)))
    return tasks


def edits_between(edits: Sequence[LabelEdit], start: int, stop: int) -> tuple[LabelEdit, ...]:
    """Return the edits of images [start, stop), from edits ordered by image."""
    first, last = np.searchsorted([edit.index for edit in edits], [start, stop])
    return tuple(edits[first:last])


def worker_memory(context: EditContext, sources: Iterable[SourceSpec]) -> int:
    """Peak memory of a worker in bytes: one storage unit read, copied and encoded, and the pixels of one edit."""
    per_source = (
        context.copy(spec).images_per_object * spec.pixels * 3 * spec.labels.itemsize + BYTES_PER_PIXEL * spec.pixels
        for spec in sources
    )
    return BASE_MEMORY_BYTES + max(per_source, default=0)


def edit_block(context: EditContext, task: EditTask) -> EditResult | DataError:
    """Write the labels of a block, or return the result of an earlier attempt.

    The task output is written last. A data error is returned instead of raised, because a retry cannot fix it.

    Args:
        context: Settings of the job.
        task: The block.

    Returns:
        Counts of the block, or the error.
    """
    manifest = Manifest(ObjectDirectory(context.out, context.options), context.fingerprint)
    if (output := manifest.load(STAGE, task.number)) is not None:
        return EditResult.from_json(json.loads(output["done"]))
    try:
        result = _write_block(context, task)
    except DataError as e:
        return e
    manifest.save(STAGE, task.number, {"done": json.dumps(result.as_json()).encode()})
    return result


def _write_block(context: EditContext, task: EditTask) -> EditResult:
    started, spec, copy = time.perf_counter(), task.spec, context.copy(task.spec)
    reader = ArrayReader(spec.labels, context.options, absent_is_missing=spec.absent_labels_are_missing)
    edits: dict[int, list[LabelEdit]] = {}
    for edit in task.edits:
        edits.setdefault(edit.index, []).append(edit)
    result, values = EditResult(TaskResult(task.number, 0, 0, {}), spec.index, 0), label_values(spec)
    for start in range(task.start, task.stop, copy.images_per_object):
        stop = min(task.stop, start + copy.images_per_object)
        labels, missing = read_stored_labels(spec, reader, start, stop)
        for index in range(start, stop):
            if index not in edits:
                continue
            if index in missing:
                raise DataError(
                    f"The labels of image {index} of {spec.url} in {spec.labels.url} have changed since the run "
                    f"({missing[index].reason})",
                    "Run again over the current labels and review that run",
                )
            _edit_image(spec, values, edits[index], labels[index - start], result)
        copy.write(start, labels, [index - start for index in missing])
    images = task.stop - task.start
    io_counts: dict[str, Any] = dict(reader.io_counters + copy.io_counters)
    seconds = time.perf_counter() - started
    counts = {SCORED: images}
    result.task_result = TaskResult(task.number, images, images * spec.pixels, counts, **io_counts, seconds=seconds)
    return result


def _edit_image(
    spec: SourceSpec,
    values: NDArray[np.int64],
    edits: Sequence[LabelEdit],
    labels: NDArray[np.integer[Any]],
    result: EditResult,
) -> None:
    """Apply the edits of one image to its stored labels (H, W), padding included, in place."""
    (height, width), changed = edits[0].size, False
    labels = labels[:height, :width]
    plane, _ = class_plane(labels, spec.classes, spec.ignore, spec.remap, spec.label_offset)
    for edit in edits:
        rows, columns, classes = edit.changes(plane, spec, result.counts)
        if not len(rows):
            continue
        changed = True
        before = plane[rows, columns]
        for (old, new), pixels in _count_pairs(before, classes, spec.classes).items():
            if new is None and values[-1] == NO_VALUE:
                raise DataError(
                    f"Image {edit.index} of {spec.url} has pixels that lose their label, but no label value of it is "
                    "ignored",
                    "Give these pixels a class, or run with --ignore VALUE",
                )
            if new is not None and values[new] == NO_VALUE:
                raise DataError(
                    f"No label value of {spec.url} ({spec.labels.dtype}) stands for class {spec.class_names[new]!r}, "
                    f"which pixels of image {edit.index} get",
                    "Use another class, or run with a --remap that includes a value for the class",
                )
            count, total = result.pairs.get((old, new), (0, 0))
            result.pairs[old, new] = count + 1, total + pixels
        labels[rows, columns] = values[classes]
        plane[rows, columns] = classes
    result.images += changed


def _count_pairs(
    before: NDArray[np.integer[Any]], after: NDArray[np.integer[Any]], classes: int
) -> dict[ClassPair, int]:
    """Count pixels by class pair."""
    old, new = (np.minimum(numbers, classes).astype(np.int64) for numbers in (before, after))
    codes, pixels = np.unique(old * (classes + 1) + new, return_counts=True)
    pairs = (divmod(code, classes + 1) for code in codes.tolist())
    return {
        (None if a == classes else a, None if b == classes else b): count
        for (a, b), count in zip(pairs, pixels.tolist(), strict=True)
    }


def summarize_source(spec: SourceSpec, results: Sequence[EditResult], edit_name: str) -> dict[str, Any]:
    """Summarize the changes of a source for the record, by class pair, most pixels first.

    Args:
        spec: The source.
        results: Results of all tasks.
        edit_name: What the edits are, in the plural.

    Returns:
        Plain values.
    """
    own = [result for result in results if result.source == spec.index]
    pairs: dict[ClassPair, tuple[int, int]] = {}
    for result in own:
        for pair, (edits, pixels) in result.pairs.items():
            total = pairs.get(pair, (0, 0))
            pairs[pair] = total[0] + edits, total[1] + pixels

    def number(k: int | None) -> int:
        return -1 if k is None else k

    order = sorted(pairs.items(), key=lambda item: (-item[1][1], *map(number, item[0])))
    return {
        "name": spec.name,
        "url": spec.url,
        "images": spec.images,
        "changed_images": sum(result.images for result in own),
        "pairs": [
            {
                "given": None if old is None else spec.class_names[old],
                "suggested": None if new is None else spec.class_names[new],
                edit_name: edits,
                "pixels": pixels,
            }
            for (old, new), (edits, pixels) in order
        ],
        "evidence_alone": bool(spec.stored_evidence),
    }


def labels_left(run: CompletedRun, edited: Iterable[int], array: str) -> dict[str, str | None]:
    """Return the directory that the run read the labels of each source without edits from, None for the source."""
    numbers = set(edited)
    return {spec.name: _labels_from(spec, array) for spec in run.tasks.sources if spec.index not in numbers}


def _labels_from(spec: SourceSpec, array: str) -> str | None:
    source_prefix = f"{(local_path(spec.url) or spec.url).rstrip('/')}/"
    suffix = f"/{spec.name}.zarr/{array.strip('/')}"
    return None if f"{spec.labels.url}/".startswith(source_prefix) else spec.labels.url.removesuffix(suffix)


def decode_rle(rle: NDArray[np.int32], height: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Decode COCO run lengths of an image of ``height`` rows into rows and columns (A,) of the A pixels inside."""
    lengths = rle[1::2].astype(np.int64)
    starts = np.cumsum(rle, dtype=np.int64)[::2][: len(lengths)]
    before = np.cumsum(lengths) - lengths
    positions = np.arange(int(lengths.sum())) + np.repeat(starts - before, lengths)
    columns, rows = np.divmod(positions, height)
    return rows, columns
