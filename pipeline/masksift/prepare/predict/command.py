"""`masksift predict`: out-of-sample predictions for a source of pictures and labels, by cross-validation.

The line: open, fold, fit (a fold a task), predict (a shard a task), tell. The new source, at ``out``, is what a run
takes: predictions (or evidence), labels, ids, pictures, and `fold`: an image of fold 2 is predicted by model 2, which
was trained on all other folds. In its folder `predict`: `folds.parquet`, the models and, written last, `predict.json`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError, UsageError
from masksift.core.status import BAD_LABELS
from masksift.core.versions import package_versions
from masksift.engine.resumable_job import ResumableJob, make_plan_record
from masksift.prepare.predict.config import PredictConfig
from masksift.prepare.predict.folds import TABLE, assign, by_pattern, schema
from masksift.prepare.predict.metrics import segmentation_metrics
from masksift.prepare.predict.tasks import (
    EVIDENCE,
    NO_FOLD,
    WORK,
    Fold,
    PredictContext,
    Shard,
    ShardResult,
    fit_fold,
    predict_shard,
)
from masksift.prepare.predict.trainers import ONNX, PIXELS, TORCH, Trainer, TrainerSpec
from masksift.prepare.writers.base import SHARD_BYTES
from masksift.runtime.executors import Executor
from masksift.runtime.progress import ProgressReporter
from masksift.scoring.kernels.condense import class_dtype
from masksift.storage.objects import ObjectDirectory
from masksift.storage.sources.labeled_source import LabeledSource, open_labeled_source
from masksift.storage.tables.arrow import table_from_rows
from masksift.storage.tables.parquet import write_table
from masksift.storage.urls import local_path
from masksift.storage.zarr.per_image import image_ids
from masksift.storage.zarr.writer import write_integers

RECORD = "predict.json"
BASE_MEMORY = 400 << 20
"""Bytes of a worker that holds nothing yet, scikit-learn included (measured, rounded up)."""
_PACKAGES = {PIXELS: ("scikit-learn", "scipy"), TORCH: ("torch", "segmentation-models-pytorch"), ONNX: ("onnxruntime",)}
"""That decide what a trainer of ours predicts."""


@dataclass(frozen=True)
class PredictResult:
    """How it ended: its record (predict.json), and in words."""

    record: Mapping[str, Any]
    text: str


@dataclass(frozen=True)
class _Split:
    """What is known of every image, (N,) each: its id, its group, its fold."""

    ids: Sequence[str]
    groups: Sequence[str]
    folds: NDArray[np.int16]


def predict(config: PredictConfig, progress: ProgressReporter) -> PredictResult:
    """Write the source that the configuration describes; called again after any interruption, it goes on.

    Raises MasksiftError.
    """
    options = config.options()
    source = open_labeled_source(
        config.source, config.overrides(), options, pictures=config.arrays.images, groups=config.groups
    )
    split = _split(config, source)
    # workers may stand in other folders than this process
    out, home = local_path(config.out) or config.out.rstrip("/"), os.getcwd()
    spec = source.spec
    ignored = int(np.iinfo(class_dtype(spec.classes)).max)
    words = TrainerSpec(
        config.trainer, home, spec.classes, ignored, config.seed, config.balance, config.told(), options
    )
    plan = make_plan_record(_identity(config, source, split, words))
    context = PredictContext(out, plan["fingerprint"], replace(source, groups=None), words, config.write, options)
    trainer = _checked(config, context)
    job = ResumableJob(context.work, plan, RECORD, "predict", config.out, progress)
    record = job.finished_record()
    if record is None:
        if not job.is_resumable:
            _check_empty(config, context)
        purpose = f"the trainer {config.trainer} on these images"
        tasks = max(config.folds, spec.images)
        with job.open_executor(config.executor, tasks, _memory(context, trainer), purpose) as executor:
            _prepare(context, split)
            if config.folded:
                _fit(job, context, split, config.folds, executor)
            record = _record(config, context, split, _predict(job, context, split, executor))
            job.write_record(record)
    return PredictResult(record, _text(config, record))


def _split(config: PredictConfig, source: LabeledSource) -> _Split:
    """Raises DataError, UsageError where the images make no such folds."""
    ids = image_ids(source.spec, 0, source.spec.images, config.options())
    if config.group_pattern is not None:
        groups: Sequence[str] = by_pattern(ids, config.group_pattern)
    else:
        groups = ids if source.groups is None else source.groups
    if not config.folded:
        return _Split(ids, groups, np.full(len(ids), NO_FOLD, np.int16))
    return _Split(ids, groups, assign(groups, config.folds, config.seed))


def _identity(config: PredictConfig, source: LabeledSource, split: _Split, words: TrainerSpec) -> dict[str, Any]:
    """Everything that decides the predictions, as plain values. The code of a user's trainer is not included."""
    digest = hashlib.sha256("\0".join([*split.ids, *split.groups]).encode()).hexdigest()
    identity = {
        "configuration": config.identity(),
        "source": source.spec.as_json(),
        "ids_and_groups": digest[:16],
    }
    if not config.folded:
        identity["model"] = hashlib.sha256(words.file()).hexdigest()
    return identity


def _checked(config: PredictConfig, context: PredictContext) -> Trainer:
    """A trainer as the workers will build it. Raises UsageError, DataError where one cannot be built, or used so."""
    if config.write == EVIDENCE and context.padded and not context.source.spec.ignore:
        raise DataError(
            f"images of {config.source} are padded, and it has no ignore value",
            "evidence has no place for their own sizes",
            "Give --ignore 255, or --write predictions",
        )
    return context.words.trainer(0)


def _check_empty(config: PredictConfig, context: PredictContext) -> None:
    strangers = [name for name in ObjectDirectory(context.out, context.options).names() if name != WORK]
    if strangers:
        raise UsageError(
            f"{config.out} holds what no `masksift predict` wrote ({', '.join(strangers[:3])})",
            "it would be mixed with the new source",
            "Give an empty or a new folder as --out",
        )


def _memory(context: PredictContext, trainer: Trainer) -> int:
    """Bytes that a worker needs at most, as far as that is known: of a trainer that does not say, nothing is. Beside
    it, a chunk of pictures and labels as it is read, an image's probabilities, a shard as it is gathered and packed."""
    spec = context.source.spec
    of_trainer = getattr(trainer, "memory", None)
    own = int(of_trainer(spec.images, spec.height, spec.width)) if of_trainer is not None else 0
    beside = spec.labels.itemsize + 3
    read = spec.pixels * (3 * context.source.pictures.chunks[0] + spec.labels.itemsize * spec.labels.chunks[0])
    together = max(1, min(spec.images, SHARD_BYTES // (spec.classes * spec.pixels)))
    written = together * spec.pixels * (spec.classes + beside)
    image = spec.pixels * 8 * spec.classes  # as floats, and in steps
    return BASE_MEMORY + own + 2 * read + image + 3 * written


def _prepare(context: PredictContext, split: _Split) -> None:
    """All that stands before the first model: the arrays, the folds, and the folder's own sign that it is no array."""
    empty = {"zarr_format": 3, "node_type": "group", "attributes": {}}
    context.work.write("zarr.json", json.dumps(empty).encode())
    context.writer()
    write_integers(context.out, context.options, "fold", split.folds)
    rows = [
        {"image_id": name, "fold": fold, "group": group}
        for name, fold, group in zip(split.ids, split.folds.tolist(), split.groups, strict=True)
    ]
    write_table(context.work, TABLE, table_from_rows(rows, schema()), context.source.spec.class_names)


def _fit(job: ResumableJob, context: PredictContext, split: _Split, folds: int, executor: Executor) -> None:
    """Train all models. The first failure ends it; models that are trained stay."""
    tasks = [Fold(number, tuple(np.flatnonzero(split.folds != number).tolist())) for number in range(folds)]
    job.run_tasks(executor, partial(fit_fold, context), tasks, "fit", sum(len(task.places) for task in tasks))


def _predict(job: ResumableJob, context: PredictContext, split: _Split, executor: Executor) -> list[ShardResult]:
    """Predict all shards. The first failure ends it; shards that are written stay."""
    count = context.writer().shards
    ranges = [context.writer(number, count).range for number in range(count)]
    tasks = [Shard(number, count, own.start, split.folds[own.start : own.stop]) for number, own in enumerate(ranges)]
    return job.run_tasks(executor, partial(predict_shard, context), tasks, "predict", len(split.ids))


def _record(
    config: PredictConfig, context: PredictContext, split: _Split, results: Sequence[ShardResult]
) -> dict[str, Any]:
    """What is known at the end: the same command twice gives the same record."""
    spec = context.source.spec
    counts: dict[int, NDArray[np.int64]] = {}
    for result in results:
        for fold, own in result.counts.items():
            counts[fold] = counts.get(fold, 0) + own
    sizes = {fold: int((split.folds == fold).sum()) for fold in sorted(counts)}
    whole = segmentation_metrics(np.sum(list(counts.values()), axis=0))
    return {
        "configuration": config.model_dump(mode="json"),
        "versions": package_versions() | {name: version(name) for name in _PACKAGES.get(context.words.kind, ())},
        "images": spec.images,
        "bad_labels": sum(result.task_result.counts.get(BAD_LABELS, 0) for result in results),
        "out_of_sample": config.folded,
        **{name: value for name, value in whole.items() if name != "iou"},
        "iou": dict(zip(spec.class_names, whole["iou"], strict=True)),
        "folds": [
            {
                "fold": fold,
                "images": sizes[fold],
                "trained_on": spec.images - sizes[fold] if config.folded else None,
                **{name: value for name, value in segmentation_metrics(counts[fold]).items() if name != "iou"},
            }
            for fold in sizes
        ],
    }


def _text(config: PredictConfig, record: Mapping[str, Any]) -> str:
    """The end, in words."""
    lines = [
        f"fold {part['fold']}: {part['images']:,} images by a model of the other {part['trained_on']:,}, {_told(part)}"
        for part in record["folds"]
        if record["out_of_sample"]
    ]
    lines.append(f"all {record['images']:,} images: {_told(record)}, against the labels as they are given")
    if record["bad_labels"]:
        lines.append(f"not trained on, for labels that are no class: {record['bad_labels']:,} images")
    if not record["out_of_sample"]:
        lines.append(
            f"{config.trainer} was trained elsewhere: nobody can prove that it never saw these images, and what it has "
            "seen with a wrong label it may repeat"
        )
    return "\n".join([*lines, f"source: {config.out} (masksift run --source {config.out})"])


def _told(part: Mapping[str, Any]) -> str:
    if part["mean_iou"] is None:
        return "no labelled pixel to hold them against"
    return f"mean IoU {part['mean_iou']:.3f}, pixel accuracy {part['pixel_accuracy']:.3f}"
