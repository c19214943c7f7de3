"""`masksift predict`: out-of-sample predictions for a source of images and labels, by cross-validation.

The steps: open the source, assign folds, train a model per fold, predict shard by shard. The new source holds what a
run takes (predictions or evidence, labels, ids, RGB images) and `fold`: an image of fold 2 is predicted by model 2,
which was trained on all other folds. Its directory `predict` holds `folds.parquet`, the models and, written last,
`predict.json`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError, UsageError
from masksift.core.limits import MIB
from masksift.core.status import BAD_LABELS
from masksift.core.versions import package_versions
from masksift.engine.resumable_job import ResumableJob, make_plan_record
from masksift.prepare.predict.config import PredictConfig
from masksift.prepare.predict.folds import FOLDS_TABLE, NO_FOLD, assign_folds, folds_schema, groups_from_ids
from masksift.prepare.predict.metrics import segmentation_metrics
from masksift.prepare.predict.summary import format_summary
from masksift.prepare.predict.tasks import (
    DIRECTORY,
    EVIDENCE,
    FoldTask,
    PredictContext,
    PredictShard,
    ShardResult,
    fit_fold,
    predict_shard,
)
from masksift.prepare.predict.trainers import HUB, ONNX, PIXELS, TORCH, Trainer, TrainerSpec
from masksift.prepare.writers.base import SHARD_BYTES
from masksift.runtime.progress import ProgressReporter
from masksift.scoring.kernels.condense import class_dtype
from masksift.storage.locations import check_output
from masksift.storage.objects import ObjectDirectory
from masksift.storage.sources.labeled_source import LabeledSource, open_labeled_source
from masksift.storage.tables.arrow import table_from_rows
from masksift.storage.tables.parquet import write_table
from masksift.storage.urls import local_path
from masksift.storage.zarr.origin import copy_origin
from masksift.storage.zarr.per_image import image_ids
from masksift.storage.zarr.writer import write_integers

RECORD = "predict.json"
PREDICT_WORKER_BYTES = 400 * MIB
"""Memory of a worker before its first task, including scikit-learn (measured, rounded up)."""
_PACKAGES = {
    PIXELS: ("scikit-learn", "scipy"),
    TORCH: ("torch", "segmentation-models-pytorch"),
    ONNX: ("onnxruntime",),
    HUB: ("torch", "transformers"),
}
"""Packages that decide what each built-in trainer predicts."""


@dataclass(frozen=True)
class _Folds:
    """Id, group and fold of every image, (N,) each."""

    ids: Sequence[str]
    groups: Sequence[str]
    folds: NDArray[np.int16]


def predict(config: PredictConfig, progress: ProgressReporter) -> str:
    """Write the source that a configuration describes, or resume an interrupted prediction."""
    options = config.options()
    source = open_labeled_source(
        config.source, config.overrides(), options, pictures=config.arrays.images, groups=config.groups
    )
    check_output(config.out, [config.source, source.spec.labels.url, source.pictures.url])
    spec, folds = source.spec, _assign_folds(config, source)
    trainer = TrainerSpec(
        config.trainer,
        os.getcwd(),
        spec.classes,
        int(np.iinfo(class_dtype(spec.classes)).max),
        config.seed,
        config.balance,
        config.trainer_settings,
        options,
        spec.class_names,
    )
    plan = make_plan_record(_identity(config, source, folds, trainer))
    # workers may run in other directories than this process
    url = local_path(config.out) or config.out.rstrip("/")
    context = PredictContext(url, plan["fingerprint"], replace(source, groups=None), trainer, config.write, options)
    built = _build_trainer(config, context)
    memory = projected_memory(context, built)
    job = ResumableJob(context.directory, plan, RECORD, "predict", config.out, progress)
    record = job.finished_record()
    if record is None:
        if not job.is_resumable:
            _refuse_other_contents(config, context)
        purpose = f"the trainer {config.trainer} on these images"
        tasks_at_most, seconds = max(config.folds, spec.images), math.inf  # training takes long, even on few images
        with job.open_executor(config.executor, tasks_at_most, memory, seconds, purpose) as executor:
            _create_source(context, folds)
            if config.trains:
                tasks = [FoldTask(k, tuple(np.flatnonzero(folds.folds != k).tolist())) for k in range(config.folds)]
                images = sum(len(task.training_images) for task in tasks)
                job.run_tasks(executor, partial(fit_fold, context), tasks, "fit", images, needs_resources=True)
            shards = _make_shards(context, folds)
            results = job.run_tasks(
                executor, partial(predict_shard, context), shards, "predict", spec.images, needs_resources=True
            )
            copy_origin(spec.url, url, options)
            record = _make_record(config, context, folds, results, getattr(built, "notes", ()))
            job.write_record(record)
    return format_summary(config, record)


def _assign_folds(config: PredictConfig, source: LabeledSource) -> _Folds:
    ids = image_ids(source.spec, 0, source.spec.images, config.options())
    groups: Sequence[str] = ids if source.groups is None else source.groups
    if config.group_pattern is not None:
        groups = groups_from_ids(ids, config.group_pattern)
    if not config.trains:
        return _Folds(ids, groups, np.full(len(ids), NO_FOLD, np.int16))
    return _Folds(ids, groups, assign_folds(groups, config.folds, config.seed))


def _identity(config: PredictConfig, source: LabeledSource, folds: _Folds, trainer: TrainerSpec) -> dict[str, Any]:
    """Collect everything that decides the predictions, except the code of a user's trainer."""
    identity = {
        "configuration": config.identity(),
        "source": source.spec.identity(),
        "ids_and_groups": hashlib.sha256("\0".join([*folds.ids, *folds.groups]).encode()).hexdigest()[:16],
    }
    if not config.trains:
        identity["model"] = trainer.model_hash()
    return identity


def _build_trainer(config: PredictConfig, context: PredictContext) -> Trainer:
    """Build a trainer as the workers will; UsageError or DataError if that fails or the output cannot hold sizes."""
    if config.write == EVIDENCE and context.padded and not context.ignore:
        raise DataError(
            f"{config.source} has padded images, but no ignore value",
            "Evidence does not store sizes",
            "Pass --ignore 255, or --write predictions",
        )
    return context.trainer.build(0)


def _refuse_other_contents(config: PredictConfig, context: PredictContext) -> None:
    foreign = [name for name in ObjectDirectory(context.url, context.options).names() if name != DIRECTORY]
    if foreign:
        raise UsageError(
            f"{config.out} contains files that `masksift predict` did not write ({', '.join(foreign[:3])})",
            "Use an empty or new directory for --out",
        )


def projected_memory(context: PredictContext, trainer: Trainer) -> int:
    """Bound the memory of a worker, bytes, without that of a trainer that does not state it."""
    # a chunk of images and labels as it is read, the probabilities of one image, and a shard as it is collected,
    # encoded and written
    spec = context.source.spec
    trainer_memory = getattr(trainer, "memory", None)
    trainer_bytes = 0 if trainer_memory is None else int(trainer_memory(spec.images, spec.height, spec.width))
    chunk = spec.pixels * (3 * context.source.pictures.chunks[0] + spec.labels.itemsize * spec.labels.chunks[0])
    image = spec.pixels * 8 * spec.classes  # as floats, and in steps
    shard_images = max(1, min(spec.images, SHARD_BYTES // (spec.classes * spec.pixels)))
    shard = shard_images * spec.pixels * (spec.classes + spec.labels.itemsize + 3)
    return PREDICT_WORKER_BYTES + trainer_bytes + 2 * chunk + image + 3 * shard


def _create_source(context: PredictContext, folds: _Folds) -> None:
    """Create the arrays and the fold table; the directory becomes a Zarr group, so that readers accept it."""
    group = {"zarr_format": 3, "node_type": "group", "attributes": {}}
    context.directory.write("zarr.json", json.dumps(group).encode())
    context.writer()
    write_integers(context.url, context.options, "fold", folds.folds)
    rows = [
        {"image_id": image_id, "fold": fold, "group": group}
        for image_id, fold, group in zip(folds.ids, folds.folds.tolist(), folds.groups, strict=True)
    ]
    table = table_from_rows(rows, folds_schema())
    write_table(context.directory, FOLDS_TABLE, table, context.source.spec.class_names)


def _make_shards(context: PredictContext, folds: _Folds) -> list[PredictShard]:
    count = context.writer().shards
    ranges = [context.writer(number, count).range for number in range(count)]
    return [
        PredictShard(number, count, images.start, folds.folds[images.start : images.stop])
        for number, images in enumerate(ranges)
    ]


def _make_record(
    config: PredictConfig,
    context: PredictContext,
    folds: _Folds,
    results: Sequence[ShardResult],
    notes: Sequence[str],
) -> dict[str, Any]:
    """Make the content of predict.json, which is the same for the same command."""
    spec = context.source.spec
    counts: dict[int, NDArray[np.int64]] = {}
    for result in results:
        for fold, rows in result.counts.items():
            counts[fold] = counts.get(fold, 0) + rows
    sizes = {fold: int((folds.folds == fold).sum()) for fold in sorted(counts)}
    overall = segmentation_metrics(np.sum(list(counts.values()), axis=0))
    return {
        "configuration": config.model_dump(mode="json"),
        "versions": package_versions() | {name: version(name) for name in _PACKAGES.get(context.trainer.kind, ())},
        "images": spec.images,
        "bad_labels": sum(result.task_result.counts.get(BAD_LABELS, 0) for result in results),
        "out_of_sample": config.trains,
        **({"notes": [*notes]} if notes else {}),
        **{name: value for name, value in overall.items() if name != "iou"},
        "iou": dict(zip(spec.class_names, overall["iou"], strict=True)),
        "folds": [
            {
                "fold": fold,
                "images": sizes[fold],
                "trained_on": spec.images - sizes[fold] if config.trains else None,
                **{name: value for name, value in segmentation_metrics(counts[fold]).items() if name != "iou"},
            }
            for fold in sizes
        ],
    }
