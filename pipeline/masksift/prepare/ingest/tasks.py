"""Write one shard of an ingested source on a worker."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError, MasksiftError
from masksift.core.status import SCORED
from masksift.core.task_result import TaskResult
from masksift.prepare.ingest.labels import InputPair, LabelReader
from masksift.prepare.ingest.pieces import Piece
from masksift.prepare.ingest.predictions import PredictionReader
from masksift.prepare.ingest.raster import read_rgb, resize_bilinear, resize_nearest
from masksift.prepare.writers.predictions import PredictionWriter
from masksift.storage.credentials import StorageOptions


@dataclass(frozen=True)
class IngestContext:
    """Settings shared by all tasks of an ingest."""

    url: str
    writer_args: Mapping[str, Any]
    labels: LabelReader
    predictions: PredictionReader | None
    resize: str | None  # "labels" or "predictions": the side that is resized to the other
    options: StorageOptions

    def without_predictions(self) -> IngestContext:
        """Return the same ingest of labels and images only."""
        return replace(self, predictions=None, writer_args={**self.writer_args, "predictions": False})

    def writer(self, number: int = 0, writers: int = 1) -> PredictionWriter:
        """Open writer ``number`` of ``writers`` that share the source."""
        return PredictionWriter(self.url, part=(number, writers), storage=self.options, **self.writer_args)

    def read(self, pair: InputPair) -> tuple[NDArray[Any] | None, NDArray[Any], NDArray[np.uint8] | None]:
        """Read predictions (K, H, W) or None, labels (H, W) and, if written, the RGB image (H, W, 3) or black."""
        labels = self.labels.read(pair, self.options)
        predictions, size = None, labels.shape
        if self.predictions is not None:
            target = labels.shape if self.resize == "predictions" else None
            predictions = self.predictions.read(pair, self.options, target)
            size = predictions.shape[1:]
        if self.resize == "labels" and labels.shape != size:
            labels = resize_nearest(labels, size)
        if not self.writer_args["pictures"]:
            return predictions, labels, None
        rgb = self._read_rgb(pair, size)
        if rgb.shape[:2] != size and self.resize is None:  # a PNG may have its orientation behind its pixels
            raise DataError(
                f"{pair.rgb} is {rgb.shape[0]} x {rgb.shape[1]} once its EXIF orientation is applied, its label is "
                f"{size[0]} x {size[1]}",
                "Remove the orientation from the images, or turn the labels and predictions",
            )
        return predictions, labels, rgb if rgb.shape[:2] == size else resize_bilinear(rgb, size)

    def _read_rgb(self, pair: InputPair, size: tuple[int, ...]) -> NDArray[np.uint8]:
        if pair.rgb is None:
            return np.zeros((*size, 3), np.uint8)
        return pair.rgb.read_rgb(self.options) if isinstance(pair.rgb, Piece) else read_rgb(pair.rgb, self.options)


@dataclass(frozen=True)
class IngestShard:
    """Images of one stored object: shard ``number`` of ``shards``."""

    number: int
    shards: int
    pairs: tuple[InputPair, ...]


def write_shard(context: IngestContext, shard: IngestShard) -> TaskResult | MasksiftError:
    """Write a shard unless it exists; return errors of files, because a retry would raise them again."""
    start, images = time.perf_counter(), len(shard.pairs)
    pixels = images * context.writer_args["height"] * context.writer_args["width"]
    result = TaskResult(shard.number, images, pixels, {SCORED: images})
    try:
        with context.writer(shard.number, shard.shards) as writer:
            if writer.next_image == writer.range.stop:
                return replace(result, reused=True)
            for pair in shard.pairs:
                _write_image(writer, context, pair)
    except MasksiftError as e:
        return e
    return replace(result, bytes_written=writer.bytes_written, seconds=time.perf_counter() - start)


def _write_image(writer: PredictionWriter, context: IngestContext, pair: InputPair) -> None:
    """Write one image, padded below and to the right if the source is padded."""
    predictions, labels, rgb = context.read(pair)
    size, args = labels.shape, context.writer_args
    if args["padded"]:
        missing = [(0, args["height"] - size[0]), (0, args["width"] - size[1])]
        predictions = None if predictions is None else np.pad(predictions, [(0, 0), *missing])
        labels = np.pad(labels, missing, constant_values=args["ignore"])
        rgb = None if rgb is None else np.pad(rgb, [*missing, (0, 0)])
    writer.write(
        None if predictions is None else predictions[None],
        labels[None],
        [pair.name] if pair.name else None,
        None if rgb is None else rgb[None],
        np.array([size]) if args["padded"] else None,
    )
