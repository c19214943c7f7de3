"""First pass: condense the predictions of one block into three evidence planes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from masksift.core.specs import ReadWindow
from masksift.core.status import SCORED, ImageStatus
from masksift.core.task_result import TaskResult
from masksift.engine.block_io import (
    BackgroundWriter,
    BufferPool,
    open_labels,
    read_labels,
)
from masksift.engine.prediction_io import iter_prediction_windows, prefetch_block
from masksift.engine.score_inputs import ScoreInputBuilder, score_input_name
from masksift.engine.score_task import BlockScorer
from masksift.engine.work_items import (
    CONDENSE,
    BlockTask,
    HasIOCounters,
    RunContext,
    finish_block,
    pack_condense_output,
    reused_result,
)
from masksift.runtime.telemetry.logs import logger
from masksift.scoring.image import EvidencePlanes, ImageCondenser, ImagesCondenser
from masksift.scoring.kernels.condense import CondenseConfig, class_dtype
from masksift.scoring.methods.base import ImageEvidence, summarize
from masksift.scoring.statistics.class_statistics import ClassStatistics
from masksift.scoring.statistics.thresholds import Thresholds
from masksift.storage.objects import ObjectDirectory
from masksift.storage.zarr.evidence import EVIDENCE_PLANES
from masksift.storage.zarr.per_image import image_sizes
from masksift.storage.zarr.reader import ArrayReader

MAX_LOGGED_IMAGES = 10
"""Quarantined images of a block that are logged; the table of images lists all."""

log = logger(__name__)


class LabelVariants(Protocol):
    """Several sets of labels under which the predictions of an image are condensed in one read."""

    @property
    def names(self) -> Sequence[str]:
        """All variants; an image may have only some of them."""

    def make(self, index: int, labels: NDArray[np.unsignedinteger]) -> Mapping[str, NDArray[np.unsignedinteger]]:
        """Return the variants of an image's class indices (H, W), by name."""


CountedImages = tuple[ImageEvidence, ClassStatistics]
"""Evidence and statistics of images; all pixels of a quarantined image are ignored."""

ImageConsumer = Callable[[int, Mapping[str, CountedImages]], None]
"""Called with the number of the first image in its source, and evidence and statistics by label variant."""


@dataclass(frozen=True)
class CondensedChunk:
    """Images of one chunk after the first pass.

    Attributes:
        planes: Arrays of shape (n, H, W) by name, in the dtypes in which they are stored.
        statuses: Status of each image.
    """

    planes: Mapping[str, NDArray[Any]]
    statuses: Sequence[ImageStatus]


def condense_block(context: RunContext, frozen: Thresholds | None, task: BlockTask) -> TaskResult:
    """Read the predictions of a block once; write its statistics, statuses, evidence and input of scoring.

    Args:
        context: Settings of the run.
        frozen: Thresholds of another run, with which the images are scored at once.
        task: The block.

    Returns:
        Counters of the block.
    """
    manifest, block, spec = context.condense_manifest(task.evidence_location), task.block, task.spec
    if (output := manifest.load(CONDENSE, task.evidence_block)) is not None:
        return reused_result(output)
    started = time.perf_counter()
    config = task.condense_config(context.lattice)
    predictions = [ArrayReader(array.stored, context.options) for array in spec.prediction_arrays]
    labels, evidence = open_labels(spec, context.options), context.evidence_arrays(task.evidence_location)
    sizes = image_sizes(spec, block.start, block.stop, context.options)
    consumer = _RunConsumer(context, frozen, task, ClassStatistics.empty(config), sizes)
    statuses, buffers = list[ImageStatus](), BufferPool()
    background = task.layout.writes_in_background(spec, local=evidence.local)
    prefetch_block(spec, task.layout, predictions, labels, block.start, block.stop)
    with BackgroundWriter(background=background) as writer:
        for number, (start, stop) in enumerate(task.layout.chunk_ranges(block.start, block.stop)):
            consumer.start_chunk(start, stop)
            chunk_sizes = sizes[start - block.start : stop - block.start]
            slot = number % (1 + background)
            chunk = condense_chunk(task, config, predictions, labels, buffers, start, chunk_sizes, consumer.add, slot)
            planes = chunk.planes if context.writes_planes(task) else {}
            writes = [partial(evidence.write, name, start, plane) for name, plane in planes.items()]
            writer.submit(_call_all, [*writes, *consumer.chunk_writes()])
            statuses += chunk.statuses
    _log_quarantined(task, statuses)
    users: list[HasIOCounters] = [*predictions, labels, evidence, consumer.directory]
    causes = None
    if consumer.scorer is not None:
        causes = consumer.scorer.finish(statuses, started).causes
        users.append(consumer.scorer)
    return finish_block(
        task,
        CONDENSE,
        manifest,
        task.evidence_block,
        pack_condense_output(consumer.statistics, statuses),
        [status.status for status in statuses],
        users,
        started,
        causes,
    )


class _RunConsumer:
    """Add the images of a block to its statistics, and keep the input of scoring or score them at once."""

    def __init__(
        self,
        context: RunContext,
        frozen: Thresholds | None,
        task: BlockTask,
        statistics: ClassStatistics,
        sizes: NDArray[np.int64],
    ) -> None:
        self.statistics = statistics
        self.scorer = None if frozen is None else BlockScorer(context, frozen, task)
        self.directory = ObjectDirectory(context.out, context.options)
        self._context, self._task, self._sizes = context, task, sizes
        self._keeps_inputs = context.writes_score_inputs(task, scores_at_once=frozen is not None)
        self._start, self._inputs = 0, ScoreInputBuilder()

    def start_chunk(self, start: int, stop: int) -> None:
        """Start the chunk of images [start, stop)."""
        self._start, self._inputs = start, ScoreInputBuilder()
        if self.scorer is not None:
            self.scorer.start_chunk(start, stop)

    def add(self, first: int, variants: Mapping[str, CountedImages]) -> None:
        """Add the next images, which have one label variant. Their planes are in the cache."""
        ((images, statistics),) = variants.values()
        self.statistics = self.statistics.merge(statistics)
        number = first - self._task.block.start
        sizes = self._sizes[number : number + len(images.labels)]
        summary = summarize(images, self._context.methods, sizes)
        if self._keeps_inputs:
            self._inputs.add(first - self._start, summary, images)
        if self.scorer is not None:
            self.scorer.score(first, images, summary)

    def chunk_writes(self) -> Iterator[Callable[[], None]]:
        """Return the calls that write the chunk."""
        if self._keeps_inputs:
            name = score_input_name(self._context.fingerprint, self._task.spec.index, self._start)
            yield partial(_write_object, self.directory, name, self._inputs.pack())
        if self.scorer is not None:
            yield self.scorer.mask_write()


def _write_object(directory: ObjectDirectory, name: str, data: bytes) -> None:
    directory.io_counters["bytes_written"] += len(data)
    directory.write(name, data)


def _call_all(calls: Sequence[Callable[[], None]]) -> None:
    for call in calls:
        call()


def condense_chunk(
    task: BlockTask,
    config: CondenseConfig,
    predictions: Sequence[ArrayReader],
    labels: ArrayReader,
    buffers: BufferPool,
    start: int,
    sizes: NDArray[np.int64],
    consume: ImageConsumer,
    slot: int = 0,
    variants: LabelVariants | None = None,
) -> CondensedChunk:
    """Condense the images of one chunk under one or several label variants, reading each window once.

    Args:
        task: Block of the chunk.
        config: Settings of the condensing kernel.
        predictions: Reader of each ensemble member, or one in all.
        labels: Reader of the labels.
        buffers: Buffers for windows and planes. The planes stay valid until the next chunk with the same ``slot``.
        start: First image of the chunk.
        sizes: Unpadded (rows, columns) of each image, shape (n, 2).
        consume: Called with groups of all images in order; with variants, with each image that is not quarantined.
        slot: Number of the set of planes to use.
        variants: Label variants; the stored labels alone by default. With variants the labels are planes too, and the
            planes of a variant have its name as prefix.

    Returns:
        Planes and statuses of the chunk.
    """
    spec, shape = task.spec, (len(sizes), task.spec.height, task.spec.width)
    codes, classes = config.evidence.codes_dtype, class_dtype(spec.classes)
    prefixes = [""] if variants is None else [f"{name}_" for name in variants.names]
    dtypes = dict.fromkeys([f"{prefix}{EVIDENCE_PLANES[0]}" for prefix in prefixes], codes)
    dtypes |= {EVIDENCE_PLANES[1]: classes, EVIDENCE_PLANES[2]: codes}
    dtypes |= {} if variants is None else {f"{prefix}labels": classes for prefix in prefixes}
    planes = {name: buffers.get(f"{name} {slot}", shape, dtype) for name, dtype in dtypes.items()}
    given, statuses = read_labels(spec, labels, buffers, start, start + len(sizes), sizes)
    for plane in planes.values():  # padding, and an image without a variant, are never written
        plane[(sizes < shape[1:]).any(axis=1) if variants is None else slice(None)] = 0
    members = task.member_configs
    condensers: list[dict[str, ImageCondenser]] = [{} for _ in sizes]
    for i, condenser in enumerate(condensers):
        if variants is None or start + i in statuses:
            continue
        for name, image in variants.make(start + i, given[i]).items():
            labels_plane = planes[f"{name}_labels"][i]
            labels_plane[...] = image
            # all variants write the same predicted classes and confidences
            evidence = EvidencePlanes(*(planes[n][i] for n in (f"{name}_{EVIDENCE_PLANES[0]}", *EVIDENCE_PLANES[1:])))
            condenser[name] = ImageCondenser(labels_plane, evidence, config, members)
    together = None
    if variants is None:
        together = ImagesCondenser(given, EvidencePlanes(*(planes[n] for n in EVIDENCE_PLANES)), config, members)
    for window, member, first, values in iter_prediction_windows(
        spec, task.layout, predictions, buffers, start, sizes, statuses
    ):
        if together is not None and not members and values.shape[2:] == shape[1:]:
            together.add_images(first - start, values, {i - start for i in statuses})
            continue
        for i, image_values in enumerate(values, first):
            if i in statuses:
                continue
            alone = condensers[i - start].values() if together is None else [together.image(i - start)]
            for image_condenser in alone:
                if spec.members:
                    mean = buffers.get("mean", (spec.classes, math.prod(window.shape)), np.float32).reshape(-1)
                    total = _image_mean(mean, i - window.start, window, image_values)
                    image_condenser.add_member_window(member, image_values, total, window.y0, window.x0)
                else:
                    image_condenser.add_window(image_values, window.y0, window.x0)
    if together is not None:
        failed = {i - start: status for i, status in statuses.items()}
        found_statuses = together.finish(
            failed,
            lambda part, images, counted: consume(start + part.start, {"": (images, counted)}),
            overwrite_labels=True,
        )
        statuses = dict(enumerate(found_statuses, start))
    for i, condenser in enumerate(condensers if together is None else ()):
        if start + i in statuses:
            for plane in planes.values():
                plane[i] = 0
            continue
        found: dict[str, CountedImages] = {}
        for name, image_condenser in condenser.items():
            status, statistics = image_condenser.finish()
            statuses.setdefault(start + i, status)  # of the predictions, the same for every variant
            if statistics is not None and image_condenser.evidence is not None:
                found[name] = image_condenser.evidence, statistics
        if found:
            consume(start + i, found)
    stored = config.evidence.dtype
    return CondensedChunk(
        {name: plane.view(stored) if name.endswith("confidence") else plane for name, plane in planes.items()},
        [statuses[start + i] for i in range(len(sizes))],
    )


def _image_mean(
    mean: NDArray[np.float32], number: int, window: ReadWindow, predictions: NDArray[Any]
) -> NDArray[np.float32]:
    """Return the C-contiguous part of the ensemble mean's buffer for one image of a window."""
    first = number * (mean.size // window.shape[0])
    return mean[first : first + predictions.size].reshape(predictions.shape)


def _log_quarantined(task: BlockTask, statuses: Sequence[ImageStatus]) -> None:
    quarantined = [(i, status) for i, status in enumerate(statuses, task.block.start) if status.status != SCORED]
    for i, status in quarantined[:MAX_LOGGED_IMAGES]:
        fields = {"image": f"{task.spec.name}/{i}", "status": status.status, "reason": status.reason}
        log.warning("image %(image)s is quarantined: %(status)s (%(reason)s)", fields, extra={"fields": fields})
    if len(quarantined) > MAX_LOGGED_IMAGES:
        log.warning("%d more images of this block are quarantined", len(quarantined) - MAX_LOGGED_IMAGES)
