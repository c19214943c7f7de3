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

from masksift.core.specs import DataSpec, Window
from masksift.core.status import SCORED, Verdict
from masksift.core.task_result import Receipt
from masksift.engine.block_io import expect, read_labels, slabs
from masksift.engine.buffers import Memory
from masksift.engine.overlap import Behind
from masksift.engine.planning.layout import Layout
from masksift.engine.task_outputs import (
    CONDENSE,
    condensed_product,
    open_labels,
    reused_result,
    used_by,
)
from masksift.engine.work_items import Job, Part
from masksift.runtime.telemetry.logs import logger
from masksift.scoring.image import Condensing, Planes
from masksift.scoring.kernels.condense import Recipe, class_dtype
from masksift.scoring.statistics.class_statistics import ClassStatistics
from masksift.storage.zarr.evidence import EVIDENCE, VOTES, EvidenceArrays
from masksift.storage.zarr.per_image import extents
from masksift.storage.zarr.reader import ArrayReader

__all__ = ["NAMED", "condense_block", "log"]

NAMED = 10
"""Quarantined images of a block that the log names: the table has all."""

log = logger(__name__)


def condense_block(job: Job, part: Part) -> Receipt:
    """K planes -> 3: read the block's predictions once, write its evidence, keep its statistics and verdicts."""
    manifest, block = job.condensed(part.home), part.block
    if (done := manifest.load(CONDENSE, part.place)) is not None:
        return reused_result(done)
    started = time.perf_counter()
    spec, layout, recipe = part.spec, part.layout, part.recipe(job.lattice)
    predictions = [ArrayReader(array, job.options) for array in spec.stored]
    labels = open_labels(job, part)
    evidence = job.evidence(part.home)
    statistics = ClassStatistics.zero(recipe)
    verdicts: list[Verdict] = []
    memory, sizes = Memory(), extents(spec, block.start, block.stop, job.options)
    behind_by = 1 if layout.written_behind(spec, local=evidence.local) else 0
    expect(spec, layout, predictions, labels, block.start, block.stop)
    with Behind(at_once=not behind_by) as behind:
        for turn, (start, stop) in enumerate(layout.groups(block.start, block.stop)):
            planes, group_verdicts, group_statistics = _condense_group(
                spec, layout, recipe, part.members, predictions, labels, memory, start,
                sizes[start - block.start : stop - block.start], turn % (1 + behind_by),
            )  # fmt: skip
            behind(_write_planes, evidence, start, planes)
            verdicts += group_verdicts
            statistics = statistics.merge(group_statistics)
    _say_quarantined(part, verdicts)
    receipt = Receipt(
        block.number, block.images, block.images * spec.pixels, dict(Counter(verdict.status for verdict in verdicts)),
        **used_by(*predictions, labels, evidence, manifest, puts=1), seconds=time.perf_counter() - started,
    )  # fmt: skip
    manifest.save(CONDENSE, part.place, condensed_product(statistics, verdicts, receipt))
    return replace(receipt, **used_by(*predictions, labels, evidence, manifest))


def _say_quarantined(part: Part, verdicts: Sequence[Verdict]) -> None:
    lost = [(i, verdict) for i, verdict in enumerate(verdicts, part.block.start) if verdict.status != SCORED]
    for i, verdict in lost[:NAMED]:
        facts = {"image": f"{part.spec.name}/{i}", "status": verdict.status, "reason": verdict.reason}
        log.warning("image %(image)s is quarantined: %(status)s (%(reason)s)", facts, extra={"facts": facts})
    if len(lost) > NAMED:
        log.warning("%d more images of this block are quarantined", len(lost) - NAMED)


def _write_planes(evidence: EvidenceArrays, start: int, planes: tuple[NDArray[Any], ...]) -> None:
    for name, plane in zip((*EVIDENCE, VOTES), planes, strict=False):
        evidence.write(name, start, plane)


def _condense_group(
    spec: DataSpec,
    layout: Layout,
    recipe: Recipe,
    members: list[tuple[str, Recipe]],
    predictions: Sequence[ArrayReader],
    labels: ArrayReader,
    memory: Memory,
    start: int,
    sizes: NDArray[np.int64],
    turn: int,
) -> tuple[tuple[NDArray[Any], ...], list[Verdict], ClassStatistics]:
    """The planes (n, H, W), as they are stored, of the n images from ``start`` on whose own rows and columns are
    ``sizes`` (n, 2), a verdict each, and their statistics. The planes stay as they are until the ``turn`` comes
    again."""
    stop = start + len(sizes)
    shape = (stop - start, spec.height, spec.width)
    codes, numbers = recipe.evidence.codes_dtype, class_dtype(recipe.classes)
    dtypes = dict(
        zip((*EVIDENCE, *([VOTES] if spec.members else [])), (codes, numbers, codes, np.dtype(np.uint8)), strict=False)
    )
    planes = tuple(memory.array(f"{name} {turn}", shape, dtype) for name, dtype in dtypes.items())
    given, verdicts = read_labels(spec, labels, memory, start, stop, sizes)
    for plane in planes:  # what is not an image's own is never written
        plane[(sizes < shape[1:]).any(axis=1)] = 0
    images = [
        Condensing(given[i], Planes(*(plane[i] for plane in planes)), recipe, members) for i in range(stop - start)
    ]
    for window, member, i, own in slabs(spec, layout, predictions, memory, start, sizes, verdicts):
        if spec.members:
            mean = memory.array("mean", (spec.classes, math.prod(window.shape)), np.float32).reshape(-1)
            images[i - start].member(member, own, _share(mean, i - window.start, window, own), window.y0, window.x0)
        else:
            images[i - start].slab(own, window.y0, window.x0)
    statistics = ClassStatistics.zero(recipe)
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


def _share(total: NDArray[np.float32], number: int, window: Window, own: NDArray[Any]) -> NDArray[np.float32]:
    """The memory for the mean of one image's part of a window, C-contiguous."""
    first = number * (total.size // window.shape[0])
    return total[first : first + own.size].reshape(own.shape)
