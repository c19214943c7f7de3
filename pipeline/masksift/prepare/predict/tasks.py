"""What one worker does: fit the model of a fold, or predict a shard of images by the models of their folds."""

from __future__ import annotations

import json
import pickle
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError, MasksiftError, RunFailed
from masksift.core.status import BAD_LABELS, SCORED
from masksift.core.task_result import TaskResult
from masksift.prepare.predict.lazy_images import LazyImages, LazyLabels, class_plane_of
from masksift.prepare.predict.metrics import counts_of
from masksift.prepare.predict.trainers import Trainer, TrainerSpec
from masksift.prepare.writers.base import SHARD_BYTES
from masksift.prepare.writers.evidence import EvidenceWriter
from masksift.prepare.writers.predictions import PredictionWriter
from masksift.storage.credentials import StorageOptions
from masksift.storage.manifest import Manifest
from masksift.storage.objects import ObjectDirectory
from masksift.storage.sources.labeled_source import LabeledSource
from masksift.storage.urls import join
from masksift.storage.zarr.per_image import image_ids, image_sizes

WORK = "predict"
"""The folder in the new source that is not the source's."""
EVIDENCE = "evidence"
FIT, PREDICT = "fit", "predict"
NO_FOLD = -1
"""Of images whose model was trained elsewhere."""
SHARDS = 16
"""A shard of predictions is a sixteenth of the source, if that is less than a writer's: to predict takes longer than to
write, and a small source should keep several workers busy too."""
SUM_TOLERANCE = 1e-2
"""How far the probabilities of a trainer may lie from a sum of 1."""


@dataclass(frozen=True)
class PredictContext:
    """What every task knows. ``write``: predictions or evidence; ``padded``: images have sizes of their own."""

    out: str
    fingerprint: str
    source: LabeledSource
    words: TrainerSpec
    write: str
    options: StorageOptions = field(repr=False)

    @property
    def work(self) -> ObjectDirectory:
        return ObjectDirectory(join(self.out, WORK), self.options)

    @property
    def manifest(self) -> Manifest:
        return Manifest(self.work, self.fingerprint)

    @property
    def padded(self) -> bool:
        return any(extent is not None for extent in self.source.spec.size_arrays)

    def writer(self, number: int = 0, of: int = 1) -> PredictionWriter | EvidenceWriter:
        """The writer of one of so many parts of the new source."""
        spec = self.source.spec
        facts: dict[str, Any] = {
            "images": spec.images,
            "height": spec.height,
            "width": spec.width,
            "classes": spec.class_names,
            "ignore": spec.ignore,
            "dtype": "uint8",
            "label_dtype": spec.labels.dtype,
            "part": (number, of),
            "storage": self.options,
        }
        if self.write == EVIDENCE:
            return EvidenceWriter(self.out, **facts)
        image = spec.classes * spec.pixels
        size = min(SHARD_BYTES, image * -(-spec.images // SHARDS))
        return PredictionWriter(self.out, pictures=True, padded=self.padded, shard_bytes=size, **facts)


@dataclass(frozen=True)
class Fold:
    """A fold, by the places of the images that its model is trained on: those of all others."""

    number: int
    places: tuple[int, ...]


@dataclass(frozen=True)
class Shard:
    """Images [start, stop), which lie in one object: number ``number`` of ``of``, with the fold of each."""

    number: int
    of: int
    start: int
    folds: NDArray[np.int16]

    @property
    def stop(self) -> int:
        return self.start + len(self.folds)


@dataclass
class ShardResult:
    """What a shard answers. ``counts``: by fold, as `quality.counts_of`, summed."""

    task_result: TaskResult
    counts: dict[int, NDArray[np.int64]]


class _CheckpointStore:
    """Where the trainer of a fold keeps what is half learnt."""

    def __init__(self, job: PredictContext, fold: int) -> None:
        self._folder, self._name = job.work, f"half/{job.fingerprint[:12]}-{fold}.bin"

    def load(self) -> bytes | None:
        return self._folder.read(self._name)

    def save(self, data: bytes) -> None:
        self._folder.write(self._name, data)

    def remove(self) -> None:
        self._folder.remove(self._name)


def fit_fold(job: PredictContext, fold: Fold) -> TaskResult | MasksiftError:
    """Train the model of a fold that is not there yet, and keep it. What a trainer raises is answered and not raised:
    another attempt would raise it again."""
    manifest, count, spec = job.manifest, len(fold.places), job.source.spec
    if fold.number not in manifest.missing(FIT, [fold.number]):
        return TaskResult(fold.number, count, count * spec.pixels, {SCORED: count}, reused=True)
    begun = time.perf_counter()
    pictures = LazyImages(job.source.pictures, job.options, fold.places)
    labels = LazyImages(spec.labels, job.options, fold.places, absent_is_missing=spec.absent_labels_are_missing)
    planes = LazyLabels(spec, labels, fold.places, image_sizes(spec, 0, spec.images, job.options))
    half = _CheckpointStore(job, fold.number)
    try:
        trainer = job.words.trainer(fold.number)
        keep_in = getattr(trainer, "keep_in", None)
        if keep_in is not None:
            keep_in(half)
        trainer.fit(pictures, planes)
        model = pickle.dumps(trainer)
    except MasksiftError as e:
        return _of_fold(e, fold.number)
    except Exception as e:
        return _failed(e, f"fitting fold {fold.number} to {count:,} images")
    read = pictures.bytes + labels.bytes
    manifest.save(FIT, fold.number, {"model": model})
    half.remove()
    return TaskResult(
        fold.number,
        count,
        count * spec.pixels,
        {SCORED: count},
        bytes_read=read,
        bytes_written=len(model),
        seconds=time.perf_counter() - begun,
    )


def predict_shard(job: PredictContext, shard: Shard) -> ShardResult | MasksiftError:
    """Predict and write a shard that is not there yet. What is wrong with it is answered and not raised."""
    try:
        return _predicted(job, shard)
    except MasksiftError as e:
        return e


def _predicted(job: PredictContext, shard: Shard) -> ShardResult:
    begun, spec, manifest = time.perf_counter(), job.source.spec, job.manifest
    images = len(shard.folds)
    with job.writer(shard.number, shard.of) as writer:
        product = manifest.load(PREDICT, shard.number)
        if writer.next_image == writer.range.stop and product is not None:
            return _reused(product)
        places = range(shard.start, shard.stop)
        pictures = LazyImages(job.source.pictures, job.options, places)
        labels = LazyImages(spec.labels, job.options, places, absent_is_missing=spec.absent_labels_are_missing)
        names = image_ids(spec, shard.start, shard.stop, job.options)
        sizes = image_sizes(spec, shard.start, shard.stop, job.options)
        models, counts, good = _Models(job), dict[int, NDArray[np.int64]](), 0
        for i, fold in enumerate(shard.folds.tolist()):
            picture, given = pictures[i], labels[i]
            steps = models.predict(fold, picture, names[i])
            plane, is_good = class_plane_of(spec, given, sizes[i])
            counts[fold] = counts.get(fold, 0) + counts_of(plane, steps.argmax(axis=0), spec.classes)
            good += is_good
            if i == images - 1:  # before the writer puts what says that the shard is there
                said = {SCORED: good, BAD_LABELS: images - good}
                result = TaskResult(
                    shard.number,
                    images,
                    images * spec.pixels,
                    {name: n for name, n in said.items() if n},
                    bytes_read=pictures.bytes + labels.bytes,
                    seconds=time.perf_counter() - begun,
                )
                done = ShardResult(result, counts)
                manifest.save(PREDICT, shard.number, _product(done))
            _write(job, writer, steps, given, names[i], picture, sizes[i])
    return done


class _Models:
    """The models of a shard, each loaded when the first image needs it. They come from the run's own folder."""

    def __init__(self, job: PredictContext) -> None:
        self._job, self._loaded = job, dict[int, Trainer]()

    def _model(self, fold: int) -> Trainer:
        if fold not in self._loaded:
            words = self._job.words
            if fold == NO_FOLD:
                self._loaded[fold] = words.trainer(fold)
            else:
                product = self._job.manifest.load(FIT, fold)
                assert product is not None, "folds are fitted first"
                words.find()
                self._loaded[fold] = pickle.loads(product["model"])
        return self._loaded[fold]

    def predict(self, fold: int, picture: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
        """Probabilities (K, H, W) of an image (H, W, 3) in steps of 1 / 255. Raises DataError, RunFailed."""
        model, spec = self._model(fold), self._job.source.spec
        try:
            answer = np.asarray(model.predict_proba(picture[None]))
        except MasksiftError:
            raise
        except Exception as e:
            raise _failed(e, f"predicting image {name!r}") from e
        wanted = (1, spec.classes, spec.height, spec.width)
        if answer.shape != wanted or answer.dtype.kind != "f":
            raise DataError(
                f"the trainer {self._job.words.words} answers {answer.dtype} of {answer.shape} for image {name!r}",
                f"it should be floats of {wanted}",
                "Mend its predict_proba: (n, K, H, W), a plane a class",
            )
        off = np.abs(answer.sum(axis=1) - 1).max()
        if not (off <= SUM_TOLERANCE and answer.min() >= -SUM_TOLERANCE):  # NaN is no probability either
            raise DataError(
                f"the trainer {self._job.words.words} answers numbers from {answer.min():.6g} to {answer.max():.6g} "
                f"for image {name!r}, whose sums lie up to {off:.6g} from 1",
                "they are no probabilities",
                "Mend its predict_proba: a softmax over the classes, as a rule",
            )
        steps: NDArray[np.uint8] = np.rint(np.clip(answer[0], 0, 1) * np.float32(255)).astype(np.uint8)
        return steps


def _write(
    job: PredictContext,
    writer: PredictionWriter | EvidenceWriter,
    steps: NDArray[np.uint8],
    given: NDArray[Any],
    name: str,
    picture: NDArray[np.uint8],
    size: NDArray[np.int64],
) -> None:
    if isinstance(writer, PredictionWriter):
        writer.write(steps[None], given[None], [name], picture[None], size[None] if job.padded else None)
        return
    if job.padded:  # evidence has no sizes: what is beyond an image is ignored
        rows, columns = (int(side) for side in size)
        given[rows:], given[:, columns:] = job.source.spec.ignore[0], job.source.spec.ignore[0]
    writer.write(steps[None], given[None], [name])


def _product(done: ShardResult) -> dict[str, bytes]:
    counts = {str(fold): part.tolist() for fold, part in sorted(done.counts.items())}
    return {"done": json.dumps({"task_result": asdict(done.task_result), "counts": counts}).encode()}


def _reused(product: Mapping[str, bytes]) -> ShardResult:
    tree = json.loads(product["done"])
    counts = {int(fold): np.array(part, np.int64) for fold, part in tree["counts"].items()}
    return ShardResult(TaskResult(**{**tree["task_result"], "reused": True}), counts)


def _of_fold(e: MasksiftError, fold: int) -> MasksiftError:
    return type(e)(f"fold {fold}: {e.what}", *e.args[1:])


def _failed(e: Exception, doing: str) -> RunFailed:
    """What a trainer raised, and where: its traceback stays on the worker."""
    place = traceback.extract_tb(e.__traceback__)[-1]
    return RunFailed(
        f"{doing}, the trainer raised {type(e).__name__}: {e} ({place.filename}, line {place.lineno})",
        "what is done is kept",
        "Mend it, and the same command goes on",
    )
