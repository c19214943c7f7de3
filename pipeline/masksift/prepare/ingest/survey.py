"""The sizes of everything before anything is written: from headers alone, many at a time."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from masksift.core.errors import DataError
from masksift.core.status import SCORED
from masksift.core.task_result import TaskResult
from masksift.prepare.ingest.config import IngestConfig
from masksift.prepare.ingest.discover import Inputs
from masksift.prepare.ingest.labels import InputPair
from masksift.prepare.ingest.npy import Header
from masksift.prepare.ingest.predictions import DTYPES, stored_header
from masksift.prepare.ingest.raster import size_of
from masksift.runtime.executors.base import split_items
from masksift.runtime.progress import ProgressReporter

AT_ONCE = 16
"""Files whose headers are read at a time."""
_BATCH = 512
_ORDERS = (("class", "y", "x"), ("y", "x", "class"))

Size = tuple[int, int]


@dataclass(frozen=True)
class Survey:
    """``order``: axes of an image's predictions as stored, of ``dtype``; ``height``, ``width``: of every image that is
    written; ``padded``: whether some are smaller."""

    classes: int
    order: tuple[str, ...]
    dtype: str
    height: int
    width: int
    padded: bool


@dataclass(frozen=True)
class _Facts:
    """What the headers of one image's files say. Of images that say the same, the first one is looked at."""

    label: Size
    predictions: tuple[int, ...]
    dtype: str
    picture: Size | None


def survey(inputs: Inputs, config: IngestConfig, options: Mapping[str, Any], report: ProgressReporter) -> Survey:
    """Read every header, and settle what all images have in common. Raises DataError, with the files and the sizes,
    where they do not fit together."""
    seen: dict[_Facts, InputPair] = {}
    if inputs.arrays is not None:
        (_, labels), (_, predictions) = inputs.arrays
        size = (labels.shape[1], labels.shape[2])
        seen[_Facts(size, predictions.shape[1:], np.dtype(predictions.dtype).name, None)] = inputs.pairs[0]
    else:
        with report.stage("headers", len(inputs.pairs)) as stage, ThreadPoolExecutor(AT_ONCE) as pool:
            for batch in split_items(inputs.pairs, _BATCH):
                for pair, facts in zip(batch, pool.map(lambda pair: _facts(pair, inputs, options), batch), strict=True):
                    seen.setdefault(facts, pair)
                stage.advance(TaskResult(0, len(batch), 0, {SCORED: len(batch)}))
    dtype = _dtype(seen)
    order, classes = _order(seen, inputs, config)
    height, width, padded = _canvas(seen, order, config)
    return Survey(classes, order, dtype, height, width, padded)


def _facts(pair: InputPair, inputs: Inputs, options: Mapping[str, Any]) -> _Facts:
    header: Header = stored_header(inputs.form, pair, options)
    picture = None if pair.picture is None else size_of(pair.picture, options)
    return _Facts(size_of(str(pair.label), options), header.shape, np.dtype(header.dtype).name, picture)


def _dtype(seen: Mapping[_Facts, InputPair]) -> str:
    first = next(iter(seen))
    for facts, pair in seen.items():
        if facts.dtype not in DTYPES:
            raise DataError(
                f"predictions of {_file(pair)} are stored as {facts.dtype}",
                "that is no precision of a probability",
                f"Write them as one of {', '.join(DTYPES)}",
            )
        if facts.dtype != first.dtype:
            raise DataError(
                f"predictions of {_file(pair)} are {facts.dtype}, of {_file(seen[first])} {first.dtype}",
                "a source has one precision",
                "Write all in one, or ingest them apart",
            )
    return first.dtype


def _order(seen: Mapping[_Facts, InputPair], inputs: Inputs, config: IngestConfig) -> tuple[tuple[str, ...], int]:
    """The order of the axes that fits every image, and the number of classes."""
    named = None if inputs.classes is None else len(inputs.classes)
    if inputs.form == "numbers":
        if named is None:
            raise DataError(
                f"predictions at {config.predictions} are class numbers",
                "how many classes there are is not known",
                "Name them: --classes a,b,c, or --preset",
            )
        return _ORDERS[0], named
    left: tuple[tuple[str, ...], ...] = (
        (config.axes,) if config.axes else _ORDERS if inputs.form != "planes" else _ORDERS[:1]
    )
    for facts, pair in seen.items():
        fitting = tuple(order for order in left if _fits(facts, order, named, config.resize is not None))
        if not fitting:
            raise _misfit(facts, pair, left, named)
        left = fitting
    if len(left) > 1:  # where sizes may differ, the order by which none does
        equal = tuple(order for order in left if all(_size(facts.predictions, order) == facts.label for facts in seen))
        left = equal or left
    if len(left) > 1:
        facts, pair = next(iter(seen.items()))
        raise DataError(
            f"predictions of {_file(pair)} have the shape {facts.predictions}",
            "whether classes come first or last is not known",
            "Give --axes class,y,x or --axes y,x,class",
        )
    order = left[0]
    counts = {facts.predictions[order.index("class")]: pair for facts, pair in seen.items()}
    if len(counts) > 1:
        (one, first), (other, second) = list(counts.items())[:2]
        raise DataError(
            f"{_file(first)} predicts {one} classes, {_file(second)} {other}",
            "all images have one class table",
            "Give predictions of one model, or name the --classes",
        )
    return order, next(iter(counts))


def _fits(facts: _Facts, order: tuple[str, ...], classes: int | None, resizing: bool) -> bool:
    shape = facts.predictions
    if len(shape) != 3 or (classes is not None and shape[order.index("class")] != classes):
        return False
    return resizing or _size(shape, order) == facts.label


def _size(shape: tuple[int, ...], order: tuple[str, ...]) -> Size:
    return (shape[order.index("y")], shape[order.index("x")]) if len(shape) == 3 else (shape[0], shape[1])


def _misfit(facts: _Facts, pair: InputPair, orders: tuple[tuple[str, ...], ...], classes: int | None) -> DataError:
    shape = facts.predictions
    if len(shape) != 3:
        return DataError(
            f"predictions of {_file(pair)} have the shape {shape}",
            "those of an image have the axes class, y, x",
            "Write an array (K, H, W) or (H, W, K) an image",
        )
    possible = [order for order in orders if classes is None or shape[order.index("class")] == classes]
    if not possible:
        return DataError(
            f"predictions of {_file(pair)} have the shape {shape}, and there are {classes} classes",
            "which plane is which class is not known",
            "Give predictions of these classes, or name those of the model: --classes a,b,c",
        )
    return _sizes_differ(pair, facts.label, _size(shape, possible[0]))


def _sizes_differ(pair: InputPair, label: Size, predictions: Size) -> DataError:
    return DataError(
        f"the label {_file(pair, 'label')} is {label[0]} x {label[1]}, its prediction {_file(pair)} {predictions[0]} x "
        f"{predictions[1]}",
        "which pixel belongs to which is not known",
        "Say what to bring to the size of the other: --resize predictions (bilinear) or --resize labels (nearest)",
    )


def _canvas(seen: Mapping[_Facts, InputPair], order: tuple[str, ...], config: IngestConfig) -> tuple[int, int, bool]:
    """The size that all images are written in, and whether some are smaller."""
    sizes: dict[Size, InputPair] = {}
    for facts, pair in seen.items():
        predictions = _size(facts.predictions, order)
        if config.resize is None and predictions != facts.label:
            raise _sizes_differ(pair, facts.label, predictions)
        size = predictions if config.resize == "labels" else facts.label
        if config.resize is None and facts.picture not in (None, size):
            assert facts.picture is not None
            raise DataError(
                f"the label {_file(pair, 'label')} is {size[0]} x {size[1]}, its picture {pair.picture} "
                f"{facts.picture[0]} x {facts.picture[1]}",
                "it would not show what was labelled",
                "Give pictures of the labels' size, or leave --images out",
            )
        sizes.setdefault(size, pair)
    if len(sizes) > 1 and not config.pad:
        (one, first), (other, second) = list(sizes.items())[:2]
        raise DataError(
            f"{_file(first, 'label')} is {one[0]} x {one[1]}, {_file(second, 'label')} {other[0]} x {other[1]}",
            "images of one source have one size",
            "Pad them to the largest with --pad, or ingest each size apart",
        )
    return max(size[0] for size in sizes), max(size[1] for size in sizes), len(sizes) > 1


def _file(pair: InputPair, side: str = "predictions") -> str:
    """A file in words, or a place in an array."""
    value = pair.label if side == "label" else pair.predictions
    if isinstance(value, int):
        return f"image {value}"
    return value if isinstance(value, str) else value[0].rpartition("/")[0]
