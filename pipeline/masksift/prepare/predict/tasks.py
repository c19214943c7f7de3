"""Train the model of one fold, or predict one shard of images, on a worker."""

from __future__ import annotations

import json
import pickle
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError, MasksiftError, RunFailed
from masksift.core.status import BAD_LABELS, SCORED
from masksift.core.task_result import TaskResult
from masksift.prepare.predict.folds import NO_FOLD
from masksift.prepare.predict.lazy_images import LazyImages, LazyLabels, to_class_plane
from masksift.prepare.predict.metrics import count_agreement
from masksift.prepare.predict.trainers import Trainer, TrainerSpec
from masksift.prepare.writers.base import SHARD_BYTES
from masksift.prepare.writers.evidence import EvidenceWriter
from masksift.prepare.writers.predictions import PredictionWriter
from masksift.scoring.kernels.condense import class_dtype, class_plane
from masksift.storage.credentials import StorageOptions
from masksift.storage.manifest import Manifest
from masksift.storage.objects import ObjectDirectory
from masksift.storage.sources.labeled_source import LabeledSource
from masksift.storage.urls import join
from masksift.storage.zarr.per_image import image_ids, image_sizes

DIRECTORY = "predict"
"""Directory of models, tables and manifest, inside the new source."""
EVIDENCE = "evidence"
FIT, PREDICT = "fit", "predict"
MIN_SHARDS = 16
"""Number of shards of a small source, to keep several workers busy: predicting takes longer than writing."""
SUM_TOLERANCE = 1e-2
"""Largest accepted distance of a trainer's probabilities from [0, 1] and of their sum from 1."""


@dataclass(frozen=True)
class PredictContext:
    """Settings shared by all tasks of a prediction."""

    url: str
    fingerprint: str  # hash of everything that decides the predictions
    source: LabeledSource
    trainer: TrainerSpec
    write: str  # "predictions" or "evidence"
    options: StorageOptions = field(repr=False)

    @property
    def directory(self) -> ObjectDirectory:
        """Directory of models, tables and manifest."""
        return ObjectDirectory(join(self.url, DIRECTORY), self.options)

    @property
    def manifest(self) -> Manifest:
        """Manifest of trained folds and predicted shards."""
        return Manifest(self.directory, self.fingerprint)

    @property
    def padded(self) -> bool:
        """True if the source states image sizes without padding."""
        return any(array is not None for array in self.source.spec.size_arrays)

    @property
    def writes_class_indices(self) -> bool:
        """True if the new source gets class indices as labels, because it has no remap, no offset and no booleans."""
        spec = self.source.spec
        return bool(spec.remap or spec.label_offset or spec.labels.dtype == "bool")

    @property
    def ignore(self) -> tuple[int, ...]:
        """Ignore values of the new source."""
        spec = self.source.spec
        return (int(np.iinfo(class_dtype(spec.classes)).max),) if self.writes_class_indices else spec.ignore

    def writer(self, number: int = 0, writers: int = 1) -> PredictionWriter | EvidenceWriter:
        """Open writer ``number`` of ``writers`` that share the new source."""
        spec = self.source.spec
        args: dict[str, Any] = {
            "images": spec.images,
            "height": spec.height,
            "width": spec.width,
            "classes": spec.class_names,
            "class_colors": spec.class_colors or None,
            "ignore": self.ignore,
            "dtype": "uint8",
            "label_dtype": class_dtype(spec.classes).name if self.writes_class_indices else spec.labels.dtype,
            "part": (number, writers),
            "storage": self.options,
        }
        if self.write == EVIDENCE:
            return EvidenceWriter(self.url, **args)
        shard_bytes = min(SHARD_BYTES, spec.classes * spec.pixels * -(-spec.images // MIN_SHARDS))
        return PredictionWriter(self.url, pictures=True, padded=self.padded, shard_bytes=shard_bytes, **args)

    def images(self, indices: range | tuple[int, ...]) -> tuple[LazyImages, LazyImages]:
        """Open RGB images and stored labels at the given indices."""
        spec = self.source.spec
        labels = LazyImages(spec.labels, self.options, indices, absent_is_missing=spec.absent_labels_are_missing)
        return LazyImages(self.source.pictures, self.options, indices), labels


@dataclass(frozen=True)
class FoldTask:
    """Fold ``number``, with the indices of its training images: those of all other folds."""

    number: int
    training_images: tuple[int, ...]


@dataclass(frozen=True)
class PredictShard:
    """Images of one stored object: shard ``number`` of ``shards``, from image ``start`` on, with their folds."""

    number: int
    shards: int
    start: int
    folds: NDArray[np.int16]

    @property
    def images(self) -> range:
        """Indices of the images."""
        return range(self.start, self.start + len(self.folds))


@dataclass
class ShardResult:
    """Result of a shard. ``counts``: sum of `count_agreement` by fold."""

    task_result: TaskResult
    counts: dict[int, NDArray[np.int64]]

    def pack(self) -> dict[str, bytes]:
        """Serialize for the manifest."""
        counts = {str(fold): rows.tolist() for fold, rows in sorted(self.counts.items())}
        return {"result": json.dumps({"task_result": asdict(self.task_result), "counts": counts}).encode()}

    @classmethod
    def from_reused(cls, output: Mapping[str, bytes]) -> ShardResult:
        """Deserialize the result of an earlier attempt."""
        tree = json.loads(output["result"])
        counts = {int(fold): np.array(rows, np.int64) for fold, rows in tree["counts"].items()}
        return cls(TaskResult(**{**tree["task_result"], "reused": True}), counts)


class _CheckpointStore:
    """Checkpoint of the trainer of one fold, in the output directory."""

    def __init__(self, context: PredictContext, fold: int) -> None:
        self._directory, self._name = context.directory, f"checkpoints/{context.fingerprint[:12]}-{fold}.bin"

    def load(self) -> bytes | None:
        return self._directory.read(self._name)

    def save(self, data: bytes) -> None:
        self._directory.write(self._name, data)

    def remove(self) -> None:
        self._directory.remove(self._name)


def fit_fold(context: PredictContext, task: FoldTask) -> TaskResult | MasksiftError:
    """Train and store the model of a fold unless it exists; return errors, because a retry would raise them again."""
    manifest, images, spec = context.manifest, len(task.training_images), context.source.spec
    result = TaskResult(task.number, images, images * spec.pixels, {SCORED: images})
    if manifest.is_finished(FIT, task.number):
        return replace(result, reused=True)
    start = time.perf_counter()
    rgb, labels = context.images(task.training_images)
    planes = LazyLabels(spec, labels, task.training_images, image_sizes(spec, 0, spec.images, context.options))
    checkpoint = _CheckpointStore(context, task.number)
    try:
        trainer = context.trainer.build(task.number)
        if (set_checkpoint := getattr(trainer, "set_checkpoint", None)) is not None:
            set_checkpoint(checkpoint)
        trainer.fit(rgb, planes)
        model = pickle.dumps(trainer)
    except MasksiftError as e:
        return type(e)(f"Fold {task.number}: {e.what}", *e.args[1:])
    except Exception as e:
        return _trainer_error(e, f"training fold {task.number} on {images:,} images")
    bytes_read = rgb.bytes_read + labels.bytes_read
    manifest.save(FIT, task.number, {"model": model})
    checkpoint.remove()
    seconds = time.perf_counter() - start
    return replace(result, bytes_read=bytes_read, bytes_written=len(model), seconds=seconds)


def predict_shard(context: PredictContext, shard: PredictShard) -> ShardResult | MasksiftError:
    """Predict and write a shard unless it exists; return errors, because a retry would raise them again."""
    try:
        return _predict_shard(context, shard)
    except MasksiftError as e:
        return e


def _predict_shard(context: PredictContext, shard: PredictShard) -> ShardResult:
    start, spec, manifest = time.perf_counter(), context.source.spec, context.manifest
    images = len(shard.images)
    with context.writer(shard.number, shard.shards) as writer:
        output = manifest.load(PREDICT, shard.number)
        if writer.next_image == writer.range.stop and output is not None:
            return ShardResult.from_reused(output)
        rgb_images, labels = context.images(shard.images)
        ids = image_ids(spec, shard.images.start, shard.images.stop, context.options)
        sizes = image_sizes(spec, shard.images.start, shard.images.stop, context.options)
        models, counts, valid = _ModelCache(context), dict[int, NDArray[np.int64]](), 0
        for i, fold in enumerate(shard.folds.tolist()):
            rgb, image_labels = rgb_images[i], labels[i]
            steps = models.predict(fold, rgb, ids[i])
            plane, is_valid = to_class_plane(spec, image_labels, sizes[i])
            counts[fold] = counts.get(fold, 0) + count_agreement(plane, steps.argmax(axis=0), spec.classes)
            valid += is_valid
            if context.writes_class_indices:
                image_labels, _ = class_plane(image_labels, spec.classes, spec.ignore, spec.remap, spec.label_offset)
            if i == images - 1:  # before the writer marks the shard as finished
                task_result = TaskResult(
                    shard.number,
                    images,
                    images * spec.pixels,
                    {status: n for status, n in ((SCORED, valid), (BAD_LABELS, images - valid)) if n},
                    bytes_read=rgb_images.bytes_read + labels.bytes_read,
                    seconds=time.perf_counter() - start,
                )
                result = ShardResult(task_result, counts)
                manifest.save(PREDICT, shard.number, result.pack())
            _write_image(context, writer, steps, image_labels, ids[i], rgb, sizes[i])
    return result


class _ModelCache:
    """Models for one shard, each loaded from the output directory when the first image needs it."""

    def __init__(self, context: PredictContext) -> None:
        self._context, self._models = context, dict[int, Trainer]()

    def _load(self, fold: int) -> Trainer:
        if fold not in self._models:
            trainer = self._context.trainer
            if fold == NO_FOLD:
                self._models[fold] = trainer.build(fold)
            else:
                output = self._context.manifest.load(FIT, fold)
                assert output is not None, "folds are trained first"
                trainer.add_import_path()
                self._models[fold] = pickle.loads(output["model"])
        return self._models[fold]

    def predict(self, fold: int, rgb: NDArray[np.uint8], image_id: str) -> NDArray[np.uint8]:
        """Predict (K, H, W) in steps of 1 / 255 for (H, W, 3); DataError for invalid output, RunFailed for a crash."""
        model, spec, name = self._load(fold), self._context.source.spec, self._context.trainer.name
        try:
            output = np.asarray(model.predict_proba(rgb[None]))
        except MasksiftError:
            raise
        except Exception as e:
            raise _trainer_error(e, f"predicting image {image_id!r}") from e
        expected = (1, spec.classes, spec.height, spec.width)
        if output.shape != expected or output.dtype.kind != "f":
            raise DataError(
                f"Trainer {name} returns {output.dtype} of shape {output.shape} for image {image_id!r}, expected "
                f"floats of shape {expected}",
                "Correct its predict_proba: (n, K, H, W), a plane per class",
            )
        error = np.abs(output.sum(axis=1) - 1).max()
        if not (error <= SUM_TOLERANCE and output.min() >= -SUM_TOLERANCE):  # also refuses NaN
            raise DataError(
                f"Trainer {name} returns values from {output.min():.6g} to {output.max():.6g} for image {image_id!r}, "
                f"with sums up to {error:.6g} away from 1",
                "They are not probabilities",
                "Correct its predict_proba, usually by a softmax over the classes",
            )
        steps: NDArray[np.uint8] = np.rint(np.clip(output[0], 0, 1) * np.float32(255)).astype(np.uint8)
        return steps


def _write_image(
    context: PredictContext,
    writer: PredictionWriter | EvidenceWriter,
    steps: NDArray[np.uint8],
    labels: NDArray[Any],
    image_id: str,
    rgb: NDArray[np.uint8],
    size: NDArray[np.int64],
) -> None:
    if isinstance(writer, PredictionWriter):
        writer.write(steps[None], labels[None], [image_id], rgb[None], size[None] if context.padded else None)
        return
    if context.padded:  # evidence has no sizes: padding is ignored instead
        rows, columns = (int(side) for side in size)
        labels[rows:], labels[:, columns:] = context.ignore[0], context.ignore[0]
    writer.write(steps[None], labels[None], [image_id])


def _trainer_error(e: Exception, action: str) -> RunFailed:
    """Describe an exception of a trainer with its place: the traceback stays on the worker."""
    frame = traceback.extract_tb(e.__traceback__)[-1]
    return RunFailed(
        f"The trainer raised {type(e).__name__} while {action}: {e} ({frame.filename}, line {frame.lineno})",
        "Finished models and shards are kept",
        "Correct the trainer and run the same command again",
    )
