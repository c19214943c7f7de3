"""Check sizes and dtypes of all inputs before anything is written, from headers only and many at a time."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from masksift.core.errors import DataError
from masksift.core.limits import MAX_CONCURRENT_REQUESTS
from masksift.core.specs import PREDICTION_DTYPES
from masksift.core.status import SCORED
from masksift.core.task_result import TaskResult
from masksift.prepare.ingest.array_formats import EXTENSIONS, label_size, read_label_size
from masksift.prepare.ingest.array_formats.stored_array import StoredArray
from masksift.prepare.ingest.binary import ValueSurvey
from masksift.prepare.ingest.config import AXIS_ORDERS, IngestConfig
from masksift.prepare.ingest.discover import Inputs
from masksift.prepare.ingest.labels import ClassMap, InputPair
from masksift.prepare.ingest.pieces import Piece
from masksift.prepare.ingest.predictions import PredictionFormat, plane_size, stored_shape
from masksift.prepare.ingest.raster import image_size, raster_header
from masksift.runtime.executors.base import split_items
from masksift.runtime.progress import ProgressReporter
from masksift.storage.sources.validate import BINARY_CLASSES

_IMAGES_PER_UPDATE = 512

Size = tuple[int, int]
Axes = tuple[str, ...]


@dataclass(frozen=True)
class Survey:
    """Facts common to all images."""

    classes: int
    class_names: tuple[str, ...] | None  # None if nothing names them
    format: PredictionFormat | None  # None without predictions
    values: ClassMap | None  # None if label values are class numbers
    order: Axes  # stored axes of an image's predictions; () without
    dtype: str  # stored; "" without predictions
    height: int
    width: int
    padded: bool  # some images are smaller


@dataclass(frozen=True)
class _ImageHeaders:
    """Headers of the files of one image; of images with equal headers only the first is kept."""

    label: Size
    predictions: tuple[int, ...]
    dtype: str
    rgb: Size | None
    rotated: bool = False  # the EXIF orientation turns the image


_Headers = Mapping[_ImageHeaders, InputPair]


def survey_inputs(
    inputs: Inputs, config: IngestConfig, options: Mapping[str, Any], progress: ProgressReporter
) -> Survey:
    """Read every header; DataError, naming two files, if sizes, dtypes or numbers of classes differ."""
    headers: dict[_ImageHeaders, InputPair] = {}
    with (
        progress.stage("headers", len(inputs.pairs)) as stage,
        ThreadPoolExecutor(MAX_CONCURRENT_REQUESTS) as pool,
    ):
        for pairs in split_items(inputs.pairs, _IMAGES_PER_UPDATE):
            headers_of_pairs = pool.map(lambda pair: _read_headers(pair, inputs, config, options), pairs)
            for pair, header in zip(pairs, headers_of_pairs, strict=True):
                headers.setdefault(header, pair)
            stage.advance(TaskResult(0, len(pairs), 0, {SCORED: len(pairs)}))
    values = ValueSurvey(inputs, config, options, progress)
    names, prediction_format = inputs.classes, inputs.prediction_format
    if prediction_format is None:
        classes = _class_count(names, config)
        height, width, padded = _canvas(headers, (), config)
        mapping = _label_values(values, inputs, classes)
        return Survey(classes, names, None, mapping, (), "", height, width, padded)
    if _are_planes(headers, inputs, config) and (decided := values.plane_format({one.dtype for one in headers})):
        names, prediction_format = names or BINARY_CLASSES, decided
    is_plane = prediction_format in ("positive", "numbers")
    if is_plane:
        headers = {replace(one, predictions=plane_size(one.predictions) or ()): pair for one, pair in headers.items()}
    dtype = "uint8" if prediction_format == "numbers" else _common_dtype(headers)
    order, classes = (
        (AXIS_ORDERS[0], _class_count(names, config)) if is_plane else _common_order(headers, inputs, config)
    )
    height, width, padded = _canvas(headers, order, config)
    mapping = _label_values(values, inputs, classes)
    return Survey(classes, names, prediction_format, mapping, order, dtype, height, width, padded)


def _label_values(survey: ValueSurvey, inputs: Inputs, classes: int) -> ClassMap | None:
    """Return the classes of label values; None if the values are class numbers."""
    masks = survey.mask_values if classes == 2 else None
    return masks or inputs.values


def _are_planes(headers: _Headers, inputs: Inputs, config: IngestConfig) -> bool:
    """Return whether the predictions of every image are one plane."""
    sizes = ((header, plane_size(header.predictions)) for header in headers)
    return inputs.prediction_format != "planes" and all(
        size is not None and (config.resize is not None or size == header.label) for header, size in sizes
    )


def _class_count(names: tuple[str, ...] | None, config: IngestConfig) -> int:
    if names is None and config.predictions is None:
        raise DataError(
            "There are no predictions, and the number of classes is unknown", "Pass --classes a,b,c or --preset"
        )
    if names is None:
        raise DataError(
            f"Predictions in {config.predictions} are class numbers, but the number of classes is unknown",
            "Pass --classes a,b,c or --preset",
        )
    return len(names)


def _read_headers(pair: InputPair, inputs: Inputs, config: IngestConfig, options: Mapping[str, Any]) -> _ImageHeaders:
    lossy = config.allow_lossy
    label = _label_size(pair, options, lossy)
    shape: tuple[int, ...] = ()
    dtype = ""
    if inputs.prediction_format is not None:
        shape, dtype = stored_shape(inputs.prediction_format, pair, options, lossy=lossy)
    if isinstance(pair.rgb, Piece):
        return _ImageHeaders(label, shape, dtype, pair.rgb.size)
    rgb, rotated = (None, False) if pair.rgb is None else image_size(pair.rgb, options)
    return _ImageHeaders(label, shape, dtype, rgb, rotated)


def _label_size(pair: InputPair, options: Mapping[str, Any], lossy: bool) -> Size:
    file = pair.label
    if pair.shapes is not None:
        return pair.shapes.height, pair.shapes.width
    if isinstance(file, Piece):
        return file.size
    if isinstance(file, StoredArray):
        return label_size(file)
    if file.lower().endswith(EXTENSIONS):
        return read_label_size(file, options)
    return raster_header(file, options, lossy=lossy)[0]


def _common_dtype(headers: _Headers) -> str:
    first = next(iter(headers))
    for header, pair in headers.items():
        if header.dtype not in PREDICTION_DTYPES:
            raise DataError(
                f"Predictions of {_name(pair)} are stored as {header.dtype}",
                f"Write them as {', '.join(PREDICTION_DTYPES)}",
            )
        if header.dtype != first.dtype:
            raise DataError(
                f"Predictions of {_name(pair)} are {header.dtype}, those of {_name(headers[first])} are {first.dtype}",
                "Use one dtype for all, or ingest them separately",
            )
    return first.dtype


def _common_order(headers: _Headers, inputs: Inputs, config: IngestConfig) -> tuple[Axes, int]:
    """Find the axis order that fits every image, and the number of classes."""
    named = None if inputs.classes is None else len(inputs.classes)
    orders: tuple[Axes, ...] = AXIS_ORDERS[:1] if inputs.prediction_format == "planes" else AXIS_ORDERS
    orders = (config.axes,) if config.axes else orders
    for header, pair in headers.items():
        fitting = tuple(order for order in orders if _fits(header, order, named, config.resize is not None))
        if not fitting:
            raise _misfit(header, pair, orders, named)
        orders = fitting
    if len(orders) > 1:  # where sizes may differ, prefer the order that gives equal sizes
        equal = tuple(
            order for order in orders if all(_size(header.predictions, order) == header.label for header in headers)
        )
        orders = equal or orders
    if len(orders) > 1:  # a lower resolution of all images has their ratio of height to width
        ratio = tuple(order for order in orders if all(_same_ratio(header, order) for header in headers))
        orders = ratio or orders
    if len(orders) > 1:
        header, pair = next(iter(headers.items()))
        raise DataError(
            f"Predictions of {_name(pair)} have the shape {header.predictions}",
            "Classes could be the first or the last axis",
            "Pass --axes class,y,x or --axes y,x,class",
        )
    order = orders[0]
    counts = {header.predictions[order.index("class")]: pair for header, pair in headers.items()}
    if len(counts) > 1:
        (one, first), (other, second) = list(counts.items())[:2]
        raise DataError(
            f"{_name(first)} predicts {one} classes, {_name(second)} predicts {other}",
            "Use predictions of one model, or pass --classes",
        )
    return order, next(iter(counts))


def _fits(header: _ImageHeaders, order: Axes, classes: int | None, resizes: bool) -> bool:
    shape = header.predictions
    if len(shape) != 3 or (classes is not None and shape[order.index("class")] != classes):
        return False
    return resizes or _size(shape, order) == header.label


def _size(shape: tuple[int, ...], order: Axes) -> Size:
    return (shape[order.index("y")], shape[order.index("x")]) if len(shape) == 3 else (shape[0], shape[1])


def _same_ratio(header: _ImageHeaders, order: Axes) -> bool:
    height, width = _size(header.predictions, order)
    return height * header.label[1] == width * header.label[0]


def _misfit(header: _ImageHeaders, pair: InputPair, orders: tuple[Axes, ...], classes: int | None) -> DataError:
    shape = header.predictions
    plane = plane_size(shape)
    if plane is not None and plane != header.label and classes in (None, 2):
        return _sizes_differ(pair, header.label, plane)
    if len(shape) != 3:
        return DataError(
            f"Predictions of {_name(pair)} have the shape {shape}, but three axes are required: class, y, x",
            "Write an array (K, H, W) or (H, W, K) per image, or pass --classes a,b,c if it holds class numbers",
        )
    possible = [order for order in orders if classes is None or shape[order.index("class")] == classes]
    if not possible:
        return DataError(
            f"Predictions of {_name(pair)} have the shape {shape}, but there are {classes} classes",
            "Use predictions of these classes, or name those of the model: --classes a,b,c",
        )
    return _sizes_differ(pair, header.label, _size(shape, possible[0]))


def _sizes_differ(pair: InputPair, label: Size, predictions: Size) -> DataError:
    return DataError(
        f"Label {_name(pair, 'label')} is {label[0]} x {label[1]}, its prediction {_name(pair)} is {predictions[0]} x "
        f"{predictions[1]}",
        "Pass --resize predictions (bilinear) or --resize labels (nearest)",
    )


def _canvas(headers: _Headers, order: Axes, config: IngestConfig) -> tuple[int, int, bool]:
    """Determine height and width of all written images, and whether some are smaller."""
    sizes: dict[Size, InputPair] = {}
    for header, pair in headers.items():
        predictions = _size(header.predictions, order) if order else header.label
        if config.resize is None and predictions != header.label:
            raise _sizes_differ(pair, header.label, predictions)
        size = predictions if config.resize == "labels" else header.label
        if header.rotated and header.rgb != header.label and header.rgb == header.label[::-1]:
            raise DataError(
                f"Label {_name(pair, 'label')} is {header.label[0]} x {header.label[1]}, its image {pair.rgb} is "
                f"{header.rgb[0]} x {header.rgb[1]} once its EXIF orientation is applied",
                "The labels were drawn on the image as it is stored",
                "Remove the orientation from the images, or turn the labels and predictions",
            )
        if config.resize is None and header.rgb is not None and header.rgb != size:
            raise DataError(
                f"Label {_name(pair, 'label')} is {size[0]} x {size[1]}, its image {pair.rgb} is {header.rgb[0]} x "
                f"{header.rgb[1]}",
                "Use images of the labels' size, or drop --images",
            )
        sizes.setdefault(size, pair)
    if len(sizes) > 1 and not config.pad and config.window is None:
        (one, first), (other, second) = list(sizes.items())[:2]
        raise DataError(
            f"{_name(first, 'label')} is {one[0]} x {one[1]}, {_name(second, 'label')} is {other[0]} x {other[1]}",
            "Images of one source have one size",
            "Pass --pad to pad them to the largest, or ingest each size separately",
        )
    return max(size[0] for size in sizes), max(size[1] for size in sizes), len(sizes) > 1


def _name(pair: InputPair, side: str = "predictions") -> str:
    """Name a file, or an index into an array, in messages."""
    value = pair.label if side == "label" or pair.predictions is None else pair.predictions
    if isinstance(value, StoredArray):
        return f"image {value.name}" if isinstance(value.name, int) else value.location
    return value[0].rpartition("/")[0] if isinstance(value, tuple) else str(value)
