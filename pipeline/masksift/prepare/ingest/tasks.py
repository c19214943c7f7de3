"""What one worker does with one shard of images: read their files, write them, and return a result."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import MasksiftError
from masksift.core.status import SCORED
from masksift.core.task_result import TaskResult
from masksift.prepare.ingest.labels import InputPair, LabelReader
from masksift.prepare.ingest.predictions import PredictionReader
from masksift.prepare.ingest.raster import read_picture, resize_bilinear, resize_nearest
from masksift.prepare.writers.predictions import PredictionWriter
from masksift.storage.credentials import StorageOptions


@dataclass(frozen=True)
class IngestContext:
    """What every task of an ingest knows. ``facts``: of the writer; ``resize``: what is brought to the other's size."""

    url: str
    facts: Mapping[str, Any]
    labels: LabelReader
    predictions: PredictionReader
    resize: str | None
    options: StorageOptions

    def writer(self, number: int = 0, shards: int = 1) -> PredictionWriter:
        """The writer of one of so many parts of the source."""
        return PredictionWriter(self.url, part=(number, shards), storage=self.options, **self.facts)

    def read(self, pair: InputPair) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.uint8] | None]:
        """Predictions (K, H, W), labels (H, W) and, where there are to be pictures, one (H, W, 3), black where it is
        missing: of the image's own size. Raises DataError."""
        plane = self.labels.read(pair, self.options)
        to_labels = plane.shape if self.resize == "predictions" else None
        predictions = self.predictions.read(pair, self.options, to_labels)
        size = predictions.shape[1:]
        if self.resize == "labels" and plane.shape != size:
            plane = resize_nearest(plane, size)
        if not self.facts["pictures"]:
            return predictions, plane, None
        picture = np.zeros((*size, 3), np.uint8) if pair.picture is None else read_picture(pair.picture, self.options)
        return predictions, plane, picture if picture.shape[:2] == size else resize_bilinear(picture, size)


@dataclass(frozen=True)
class Shard:
    """Images that lie in one object: number ``number`` of ``of``."""

    number: int
    of: int
    pairs: tuple[InputPair, ...]


def write_shard(job: IngestContext, shard: Shard) -> TaskResult | MasksiftError:
    """Write a shard that is not there yet. What is wrong with a file is answered and not raised: another attempt would
    find it again."""
    try:
        return _written(job, shard)
    except MasksiftError as e:
        return e


def _written(job: IngestContext, shard: Shard) -> TaskResult:
    begun, images = time.perf_counter(), len(shard.pairs)
    pixels = images * job.facts["height"] * job.facts["width"]
    with job.writer(shard.number, shard.of) as writer:
        if writer.next_image == writer.range.stop:
            return TaskResult(shard.number, images, pixels, {SCORED: images}, reused=True)
        for pair in shard.pairs:
            _write(writer, job, pair)
    return TaskResult(
        shard.number,
        images,
        pixels,
        {SCORED: images},
        bytes_written=writer.written,
        seconds=time.perf_counter() - begun,
    )


def _write(writer: PredictionWriter, job: IngestContext, pair: InputPair) -> None:
    """One image, at the beginning of a larger one where images are padded."""
    predictions, plane, picture = job.read(pair)
    size, ignored = plane.shape, job.facts["ignore"]
    if job.facts["padded"]:
        missing = [(0, job.facts["height"] - size[0]), (0, job.facts["width"] - size[1])]
        predictions = np.pad(predictions, [(0, 0), *missing])
        plane = np.pad(plane, missing, constant_values=ignored)
        picture = None if picture is None else np.pad(picture, [*missing, (0, 0)])
    writer.write(
        predictions[None],
        plane[None],
        [pair.name] if pair.name else None,
        None if picture is None else picture[None],
        np.array([size]) if job.facts["padded"] else None,
    )
