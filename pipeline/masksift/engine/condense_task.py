"""First pass: condense one block."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.specs import ReadWindow, SourceSpec
from masksift.core.status import SCORED, ImageStatus
from masksift.core.task_result import TaskResult
from masksift.engine.block_io import iter_prediction_windows, prefetch_block, read_labels
from masksift.engine.buffers import BufferPool
from masksift.engine.overlap import WriteBehind
from masksift.engine.planning.layout import Layout
from masksift.engine.task_outputs import (
    CONDENSE,
    open_labels,
    pack_condense_output,
    reused_result,
    sum_io_counters,
)
from masksift.engine.work_items import BlockTask, RunContext
from masksift.runtime.telemetry.logs import logger
from masksift.scoring.image import EvidencePlanes, ImageCondenser
from masksift.scoring.kernels.condense import CondenseConfig, class_dtype
from masksift.scoring.statistics.class_statistics import ClassStatistics
from masksift.storage.zarr.evidence import EVIDENCE, EvidenceArrays
from masksift.storage.zarr.per_image import image_sizes
from masksift.storage.zarr.reader import ArrayReader

MAX_LOGGED_IMAGES = 10
"""Quarantined images of a block that the log names: the table has all."""

log = logger(__name__)


def condense_block(job: RunContext, part: BlockTask) -> TaskResult:
    """K planes -> 3: read the block's predictions once, write its evidence, keep its statistics and verdicts."""
    manifest, block = job.condense_manifest(part.evidence_location), part.block
    if (done := manifest.load(CONDENSE, part.evidence_block)) is not None:
        return reused_result(done)
    started = time.perf_counter()
    spec, layout, recipe = part.spec, part.layout, part.condense_config(job.lattice)
    predictions = [ArrayReader(array, job.options) for array in spec.prediction_arrays]
    labels = open_labels(job, part)
    evidence = job.evidence_arrays(part.evidence_location)
    statistics = ClassStatistics.empty(recipe)
    verdicts: list[ImageStatus] = []
    memory, sizes = BufferPool(), image_sizes(spec, block.start, block.stop, job.options)
    behind_by = 1 if layout.writes_in_background(spec, local=evidence.local) else 0
    prefetch_block(spec, layout, predictions, labels, block.start, block.stop)
    with WriteBehind(at_once=not behind_by) as behind:
        for turn, (start, stop) in enumerate(layout.chunk_ranges(block.start, block.stop)):
            planes, group_verdicts, group_statistics = _condense_group(
                spec,
                layout,
                recipe,
                part.member_configs,
                predictions,
                labels,
                memory,
                start,
                sizes[start - block.start : stop - block.start],
                turn % (1 + behind_by),
            )
            behind(_write_planes, evidence, start, planes)
            verdicts += group_verdicts
            statistics = statistics.merge(group_statistics)
    _log_quarantined(part, verdicts)
    result = TaskResult(
        block.number,
        block.images,
        block.images * spec.pixels,
        dict(Counter(verdict.status for verdict in verdicts)),
        **sum_io_counters(*predictions, labels, evidence, manifest, puts=1),
        seconds=time.perf_counter() - started,
    )
    manifest.save(CONDENSE, part.evidence_block, pack_condense_output(statistics, verdicts, result))
    return replace(result, **sum_io_counters(*predictions, labels, evidence, manifest))


def _log_quarantined(part: BlockTask, verdicts: Sequence[ImageStatus]) -> None:
    lost = [(i, verdict) for i, verdict in enumerate(verdicts, part.block.start) if verdict.status != SCORED]
    for i, verdict in lost[:MAX_LOGGED_IMAGES]:
        facts = {"image": f"{part.spec.name}/{i}", "status": verdict.status, "reason": verdict.reason}
        log.warning("image %(image)s is quarantined: %(status)s (%(reason)s)", facts, extra={"facts": facts})
    if len(lost) > MAX_LOGGED_IMAGES:
        log.warning("%d more images of this block are quarantined", len(lost) - MAX_LOGGED_IMAGES)


def _write_planes(evidence: EvidenceArrays, start: int, planes: tuple[NDArray[Any], ...]) -> None:
    for name, plane in zip(EVIDENCE, planes, strict=True):
        evidence.write(name, start, plane)


def _condense_group(
    spec: SourceSpec,
    layout: Layout,
    recipe: CondenseConfig,
    members: list[tuple[str, CondenseConfig]],
    predictions: Sequence[ArrayReader],
    labels: ArrayReader,
    memory: BufferPool,
    start: int,
    sizes: NDArray[np.int64],
    turn: int,
) -> tuple[tuple[NDArray[Any], ...], list[ImageStatus], ClassStatistics]:
    """The planes (n, H, W), as they are stored, of the n images from ``start`` on whose own rows and columns are
    ``sizes`` (n, 2), a verdict each, and their statistics. The planes stay as they are until the ``turn`` comes
    again."""
    stop = start + len(sizes)
    shape = (stop - start, spec.height, spec.width)
    codes, numbers = recipe.evidence.codes_dtype, class_dtype(recipe.classes)
    dtypes = dict(zip(EVIDENCE, (codes, numbers, codes), strict=True))
    planes = tuple(memory.get(f"{name} {turn}", shape, dtype) for name, dtype in dtypes.items())
    given, verdicts = read_labels(spec, labels, memory, start, stop, sizes)
    for plane in planes:  # what is not an image's own is never written
        plane[(sizes < shape[1:]).any(axis=1)] = 0
    images = [
        ImageCondenser(given[i], EvidencePlanes(*(plane[i] for plane in planes)), recipe, members)
        for i in range(stop - start)
    ]
    for window, member, i, own in iter_prediction_windows(spec, layout, predictions, memory, start, sizes, verdicts):
        if spec.members:
            mean = memory.get("mean", (spec.classes, math.prod(window.shape)), np.float32).reshape(-1)
            images[i - start].add_member_window(
                member, own, _share(mean, i - window.start, window, own), window.y0, window.x0
            )
        else:
            images[i - start].add_window(own, window.y0, window.x0)
    statistics = ClassStatistics.empty(recipe)
    answers = []
    for i, image in enumerate(images, start):
        verdict = verdicts.get(i)
        if verdict is None:
            verdict, found = image.finish()
            statistics = statistics if found is None else statistics.merge(found)
        else:
            for plane in planes:
                plane[i - start] = 0
        answers.append(verdict)
    kept = recipe.evidence.dtype
    return (planes[0].view(kept), planes[1], planes[2].view(kept), *planes[3:]), answers, statistics


def _share(total: NDArray[np.float32], number: int, window: ReadWindow, own: NDArray[Any]) -> NDArray[np.float32]:
    """The memory for the mean of one image's part of a window, C-contiguous."""
    first = number * (total.size // window.shape[0])
    return total[first : first + own.size].reshape(own.shape)
