"""Second pass of a sweep: score the images of one block, and find their regions, in every setting."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masksift.core.npz import pack_arrays, unpack_arrays
from masksift.core.status import SCORED
from masksift.core.task_result import TaskResult
from masksift.engine.block_io import BufferPool
from masksift.engine.score_task import Planes, read_planes
from masksift.engine.work_items import (
    CONDENSE,
    SCORE,
    finish_block,
    load_output,
    reused_result,
)
from masksift.evaluation.sweep.regions import RegionCollector
from masksift.evaluation.sweep.work_items import CLEAN, Setting, SweepContext, SweepTask, plane_dtypes, variant_planes
from masksift.scoring.image import EvidencePlanes, count_confident_pixels
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.methods.base import ScoringInput
from masksift.scoring.score_image import make_omission_rule
from masksift.scoring.statistics.thresholds import ThresholdCodes
from masksift.storage.zarr.evidence import EVIDENCE_PLANES, PREDICTED_CLASS, EvidenceArrays
from masksift.storage.zarr.per_image import image_sizes

Variant = tuple[Planes, Planes]
"""Class indices (H, W) of the labels, and the codes of their self-confidence."""


def count_block(
    context: SweepContext, limits: Mapping[Setting, Mapping[Encoding, NDArray[np.int64]]], sweep_task: SweepTask
) -> NDArray[np.int64]:
    """Count the pixels (error types, shares) of a block that reach the threshold codes (K,) of another class."""
    counts = np.zeros((len(context.error_types), context.shares), np.int64)
    for image in _SweepEvidence(context, sweep_task).images():
        for (row, share), codes in limits.items():
            labels, self_confidence = image.variant(context, row, share)
            planes = EvidencePlanes(self_confidence, image.predicted, image.confidence)
            counts[row, share] += count_confident_pixels(labels, planes, codes[sweep_task.block_task.encoding])
    return counts


def score_block(
    context: SweepContext,
    limits: Mapping[Encoding, Mapping[Setting, ThresholdCodes]],
    sweep_task: SweepTask,
) -> TaskResult:
    """Compute each score once per variant, or once per setting if it uses thresholds, and the regions of each setting.

    Args:
        context: Settings of the sweep.
        limits: Thresholds by encoding and setting.
        sweep_task: The block.

    Returns:
        Counters of the task.
    """
    task, block = sweep_task.block_task, sweep_task.block_task.block
    manifest = context.score_manifest
    if (output := manifest.load(SCORE, block.number)) is not None:
        return reused_result(output)
    started, codes = time.perf_counter(), limits[task.encoding]
    evidence = _SweepEvidence(context, sweep_task)
    image_methods, threshold_methods = context.image_methods.values(), context.threshold_methods.values()
    settings = (len(context.error_types), context.shares)
    methods = [*image_methods, *threshold_methods]
    omissions = [make_omission_rule(codes[setting], methods) for setting in np.ndindex(settings)]
    regions = RegionCollector(omissions, task.spec.class_names)
    sizes = image_sizes(task.spec, block.start, block.stop, context.options)
    by_variant = np.full((len(context.variants), block.images, len(image_methods)), np.nan)
    by_setting = np.full((*settings, block.images, len(threshold_methods)), np.nan)

    def scoring_input(image: _SweepImage, variant: Variant, thresholds: ThresholdCodes) -> ScoringInput:
        labels, self_confidence = variant
        return ScoringInput(
            labels[np.newaxis],
            image.predicted[np.newaxis],
            self_confidence[np.newaxis],
            image.confidence[np.newaxis],
            task.spec.classes,
            task.encoding,
            thresholds,
            context.rule,
        )

    for image in evidence.images():
        for number, name in enumerate(context.variants if image_methods else ()):
            if name in image.variants:
                scored = scoring_input(image, image.variants[name], codes[0, 0])
                by_variant[number, image.number] = [method.scores(scored)[0] for method in image_methods]
        for setting, (row, share) in enumerate(np.ndindex(settings)):
            variant = image.variant(context, row, share)
            scored = scoring_input(image, variant, codes[row, share])
            by_setting[row, share, image.number] = [method.scores(scored)[0] for method in threshold_methods]
            wrong = variant[0] != image.variants[CLEAN][0]
            regions.add(setting, image.number, scored, sizes[image.number], wrong)
    arrays = {"scored": evidence.scored, "changed": evidence.changed}
    statuses = [SCORED] * int(evidence.scored.sum())
    output = {"scores": pack_arrays(**arrays, by_variant=by_variant, by_setting=by_setting), **regions.pack()}
    return finish_block(task, SCORE, manifest, block.number, output, statuses, [evidence], started)


@dataclass(frozen=True)
class _SweepImage:
    """Evidence of one image.

    Attributes:
        number: Number of the image in its block.
        first_shares: Number of the smallest share with which the image gets an error, by error type.
        variants: Label variants of the image, by name.
        predicted: Predicted class, shape (H, W).
        confidence: Codes of the predicted confidence, shape (H, W).
    """

    number: int
    first_shares: NDArray[np.int16]
    variants: Mapping[str, Variant]
    predicted: Planes
    confidence: Planes

    def variant(self, context: SweepContext, row: int, share: int) -> Variant:
        """Return the variant that a setting uses: the error if the share includes the image, or the clean labels."""
        name = context.error_types[row]
        return self.variants[name if self.first_shares[row] <= share and name in self.variants else CLEAN]


class _SweepEvidence:
    """Read what `condense_block` wrote of a block; ``scored`` and ``changed`` as in `Scores`."""

    def __init__(self, context: SweepContext, sweep_task: SweepTask) -> None:
        self._context, self._task = context, sweep_task
        output = load_output(context.condense_manifest, CONDENSE, sweep_task.block_task.block.number)
        facts = unpack_arrays(output["facts"])
        self.scored: NDArray[np.bool_] = facts["scored"]
        self.changed: NDArray[np.float64] = facts["changed"]
        self._arrays = EvidenceArrays(sweep_task.block_task.evidence_location.evidence_url, context.options)

    @property
    def io_counters(self) -> Counter[str]:
        """Bytes and requests, by field name of `TaskResult`."""
        return self._arrays.io_counters

    def images(self) -> Iterator[_SweepImage]:
        """Yield every image that is not quarantined, in order."""
        task, buffers, block = self._task.block_task, BufferPool(), self._task.block_task.block
        names = list(plane_dtypes(self._context, task.spec, task.encoding.dtype))
        ranges = list(task.layout.chunk_ranges(block.start, block.stop))
        for name in names:
            self._arrays.prefetch(name, ranges)
        for start, stop in ranges:
            planes = dict(zip(names, read_planes(self._arrays, task, names, start, stop, buffers), strict=True))
            for i in range(stop - start):
                number = start - block.start + i
                if not self.scored[number]:
                    continue
                changed = zip(self._context.error_types, self.changed[:, number], strict=True)
                variants = {}
                for name in (CLEAN, *(error_type for error_type, share in changed if share)):
                    labels, self_confidence = variant_planes(name)
                    variants[name] = planes[labels][i], planes[self_confidence][i]
                first_shares = self._task.first_shares[:, number]
                yield _SweepImage(
                    number, first_shares, variants, planes[PREDICTED_CLASS][i], planes[EVIDENCE_PLANES[2]][i]
                )
