"""Validate dtype, axes, shapes and attributes of a source. Every check raises DataError."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import zarr

from masksift.core.errors import DataError
from masksift.core.specs import PREDICTION_DTYPES, ArraySpec, Color, Packing
from masksift.core.text import truncate
from masksift.core.units import format_bytes
from masksift.storage.sources.overrides import Overrides
from masksift.storage.urls import local_path
from masksift.storage.zarr.bounded_codecs import COMPRESSORS, MAX_CHUNK_BYTES, MAX_CHUNKS_PER_SHARD, decoded_size

_PREDICTION_KINDS = ("probabilities", "logits")
MAX_CLASSES = 65533
MAX_IMAGES = 1 << 32
"""Largest number of images of a source: far more than any has, few enough to count its blocks."""
MAX_PIXELS = 1 << 36
"""Largest number of pixels of an image, whose planes are held in memory."""
BINARY_CLASSES = ("background", "foreground")


def reorder(sizes: tuple[int, ...], order: tuple[int, ...]) -> tuple[int, ...]:
    """Return sizes in stored axis order in canonical order."""
    return tuple(int(sizes[axis]) for axis in order)


def validate_dtype(url: str, name: str, role: str, array: zarr.Array[Any], packing: Packing | None = None) -> str:
    """Return the name of the stored dtype in native byte order. A packing allows more dtypes of predictions."""
    dtype = array.dtype
    text = "text" if dtype.kind in "UTSO" else str(dtype)
    if role == "labels" and dtype.kind not in "iub":
        raise DataError(f"Labels {name!r} of {url} are stored as {text}", "Write them as integers, for example uint8")
    values = dtype.name if packing is None else packing.dtype
    unpacked = packing is not None and packing.is_linear and dtype.kind in "iu"
    if role == "predictions" and values not in PREDICTION_DTYPES and not unpacked:
        raise DataError(
            f"Predictions {name!r} of {url} are stored as {text}",
            f"Write them as one of {', '.join(PREDICTION_DTYPES)}"
            + (", or give other integers the attribute scale_factor" if dtype.kind in "iu" else ""),
        )
    return str(dtype.name)


def validate_chunks(url: str, array: zarr.Array[Any]) -> None:
    """Check that the memory for a chunk is bounded by the metadata, and within reason."""
    if min(array.chunks, default=1) < 1:
        raise DataError(f"{url} has chunks of shape {array.chunks}", "Write it again with chunks of at least one value")
    size = decoded_size(array)
    if size.unbounded:
        raise DataError(
            f"{url} is encoded with {', '.join(size.unbounded)}, whose decoded size has no bound",
            "A damaged chunk could exhaust the memory of a worker",
            f"Write it with one of {', '.join(COMPRESSORS)}",
        )
    if size.chunk_bytes > MAX_CHUNK_BYTES:
        amount = format_bytes(size.elements * array.dtype.itemsize)
        raise DataError(
            f"{url} has chunks of shape {array.chunks} and dtype {array.dtype}, {amount} each, more than "
            f"{format_bytes(MAX_CHUNK_BYTES)}",
            "Write it again with smaller chunks",
        )
    if size.chunks_per_object > MAX_CHUNKS_PER_SHARD:
        raise DataError(
            f"{url} has {size.chunks_per_object:,} chunks per shard, more than {MAX_CHUNKS_PER_SHARD:,}",
            "The index of a shard would not fit into memory",
            "Write it again with larger chunks or smaller shards",
        )


def validate_axes(
    url: str,
    name: str,
    role: str,
    array: zarr.Array[Any],
    dims: tuple[str, ...],
    axes: tuple[str, ...] | None,
    fits: Callable[[tuple[int, ...]], bool] | None = None,
) -> tuple[int, ...]:
    """Find the stored position of each canonical axis: by setting, by the array's own names, or in order.

    Additional axes of length 1 are left out, and so is a class axis of length 1: such predictions hold the positive
    class.

    Args:
        url: URL of the group.
        name: Name of the array.
        role: "predictions" or "labels".
        array: The array.
        dims: Canonical axes.
        axes: Stored axes by setting.
        fits: Returns whether sizes in canonical order fit the labels, which decides between several orders.

    Returns:
        Positions of the axes; three of predictions without a class axis.

    Raises:
        DataError: There is no such order.
    """
    binary = tuple(dim for dim in dims if dim != "class")
    stored: Any = (
        getattr(array.metadata, "dimension_names", None) or array.attrs.asdict().get("_ARRAY_DIMENSIONS") or ()
    )
    named = _named_order(tuple(str(dim) for dim in axes or stored), array.shape, dims, binary)
    if axes and named is None:
        raise DataError(
            f"{role.capitalize()} {name!r} of {url} have shape {array.shape} and axes {', '.join(axes)}",
            _needed_axes(role, dims),
            f"Pass the axes in stored order: --arrays.{role}_axes {','.join(dims)}",
        )
    orders = [named] if named else []
    orders += [] if axes else _possible_orders(array.shape, dims, binary)  # the array's names may be wrong
    if not orders:
        raise DataError(
            f"{role.capitalize()} {name!r} of {url} have shape {array.shape}",
            _needed_axes(role, dims),
            f"Pass the name of an array with these axes: --arrays.{role} NAME",
        )
    order = next((order for order in orders if fits is None or fits(reorder(array.shape, order))), orders[0])
    if len(order) == len(dims) > len(binary) and array.shape[order[1]] == 1:
        return order[:1] + order[2:]
    return order


def _needed_axes(role: str, dims: tuple[str, ...]) -> str:
    text = f"They need the {len(dims)} axes {', '.join(dims)}"
    return f"{text}, or image, y, x with the positive class" if role == "predictions" else text


def _named_order(names: tuple[str, ...], shape: tuple[int, ...], *options: tuple[str, ...]) -> tuple[int, ...] | None:
    """Return the positions of the first axes that are all named, if all other axes have length 1."""
    if len(names) != len(shape) or len(set(names)) < len(names):
        return None
    for dims in options:
        others = [size for dim, size in zip(names, shape, strict=True) if dim not in dims]
        if set(dims) <= set(names) and all(size == 1 for size in others):
            return tuple(names.index(dim) for dim in dims)
    return None


def _possible_orders(
    shape: tuple[int, ...], dims: tuple[str, ...], binary: tuple[str, ...]
) -> Iterator[tuple[int, ...]]:
    """Yield the positions of axes without names, most plausible first; the axes left out have length 1."""
    for count in dict.fromkeys((len(dims), len(binary))):
        left_out = combinations(reversed(range(len(shape))), max(0, len(shape) - count))
        for axes in left_out if len(shape) >= count else ():
            if all(shape[axis] == 1 for axis in axes):
                yield tuple(axis for axis in range(len(shape)) if axis not in axes)
    if len(shape) == len(dims) > len(binary) and shape[1] == 1:
        yield 1, 0, 2, 3  # the classes of one image


def validate_shapes(url: str, predictions: ArraySpec, labels: ArraySpec) -> None:
    """Check that predictions and labels fit each other, and the bounds of their shapes."""
    n, classes, height, width = predictions.shape
    stored = predictions.stored.shape
    rows, columns = labels.shape[1:]
    smaller = n == labels.shape[0] and stored[-2] <= rows and stored[-1] <= columns
    larger = n == labels.shape[0] and predictions.is_resized and not smaller
    if (n, height, width) != labels.shape or larger:
        remedy = "Pass arrays of equal size; if only the axis order differs, pass --arrays.predictions_axes"
        if smaller:
            remedy = "To enlarge the predictions bilinearly while they are read, pass --resize predictions"
        raise DataError(
            f"Predictions of {url} are {n} images of {stored[-2]} x {stored[-1]}, its labels{_location(url, labels)} "
            f"{labels.shape[0]} of {rows} x {columns}",
            *(["Predictions are enlarged, but not reduced"] if larger else []),
            remedy,
        )
    if min(predictions.shape) == 0 or min(stored) == 0 or classes < 2:
        raise DataError(
            f"Predictions of {url} have shape {predictions.shape} (image, class, y, x)",
            "Pass at least one image, one pixel and two classes, or (image, y, x) with the positive class of two",
        )
    if classes > MAX_CLASSES:
        raise DataError(f"Predictions of {url} have {classes} classes, more than {MAX_CLASSES:,}", "Merge rare classes")
    if n > MAX_IMAGES or rows * columns > MAX_PIXELS:
        raise DataError(
            f"{url} declares {n:,} images of {rows:,} x {columns:,}, more than {MAX_IMAGES:,} images or {MAX_PIXELS:,} "
            "pixels per image",
            "Check its metadata; cut larger images into tiles",
        )


def _location(url: str, labels: ArraySpec) -> str:
    """Return where labels are, unless they are below the URL of their source."""
    prefix = f"{(local_path(url) or url).rstrip('/')}/"
    return "" if labels.url.startswith(prefix) else f" in {labels.url}"


def default_class_names(classes: int, *, binary: bool = False) -> tuple[str, ...]:
    """Return the names of classes without names; ``binary``: only the positive class of two is given."""
    return BINARY_CLASSES if binary else tuple(f"class {k}" for k in range(classes))


def validate_class_names(
    url: str, overrides: Overrides, attributes: Mapping[str, Any], predictions: ArraySpec
) -> tuple[str, ...]:
    """Return one name per class."""
    classes = predictions.shape[1]
    defaults = default_class_names(classes, binary=predictions.is_binary)
    names = overrides.classes or attributes.get("class_names") or defaults
    if isinstance(names, (str, Mapping)) or not isinstance(names, Sequence):
        raise DataError(
            f"class_names of {url} is {json.dumps(names)}, but must be a list",
            "Pass one name per class: --classes a,b,c",
        )
    if len(names) == 1 and predictions.is_binary:
        names = (defaults[0], *names)
    if len(names) != classes:
        raise DataError(
            f"{url} has predictions of {classes} classes and {len(names)} class names: "
            f"{', '.join(map(str, names[:30]))}",
            "Pass one name per class, in the order of the predictions: --classes a,b,c",
        )
    return tuple(str(name) for name in names)


def validate_class_colors(name: str, colors: Any, classes: int) -> tuple[Color, ...]:
    """Return one color per class, or none for None; errors call the colors ``name``."""
    if colors is None:
        return ()
    remedy = "Write one [red, green, blue] from 0 to 255 per class, in the order of the classes, or none at all"
    if not isinstance(colors, (list, tuple)):
        raise DataError(f"{name} is {truncate(json.dumps(colors), 60)}, but must be a list", remedy)
    if len(colors) != classes:
        raise DataError(f"{name} has {len(colors)} colors for {classes} classes", remedy)
    for k, color in enumerate(colors):
        levels = color if isinstance(color, (list, tuple)) else ()
        if len(levels) != 3 or not all(type(level) is int and 0 <= level <= 255 for level in levels):
            raise DataError(f"{name} has {truncate(json.dumps(color), 60)} for class {k}", remedy)
    return tuple((red, green, blue) for red, green, blue in colors)


def validate_scale(url: str, overrides: Overrides, attributes: Mapping[str, Any], dtype: str, kind: str) -> float:
    """Return the probability of one step of integer predictions, 1 for floats, and check the prediction kind."""
    integers = dtype.startswith("uint")
    if kind not in _PREDICTION_KINDS:
        raise DataError(
            f"Predictions of {url} are of unknown kind {kind!r}", "Pass --kind probabilities or --kind logits"
        )
    if kind == "logits" and integers:
        raise DataError(
            f"Predictions of {url} are {dtype} of kind 'logits', but logits must be floats, or integers with the "
            "attributes scale_factor and add_offset",
            "Pass --kind probabilities if they are probabilities, or write the logits as float16 or float32",
        )
    if not integers and overrides.scale is not None:
        raise DataError(
            f"--scale is {overrides.scale}, but predictions of {url} are {dtype}",
            "Only integers have a scale",
            "Omit --scale",
        )
    if not integers:
        return 1.0
    scale = overrides.scale if overrides.scale is not None else attributes.get("scale", 1 / np.iinfo(dtype).max)
    if not _is_number(scale) or not 0 < scale <= 1:
        raise DataError(f"scale of {url} is {json.dumps(scale)}, but must be in (0, 1]", "Pass --scale 0.00392")
    return float(scale)


def absent_is_missing(url: str, overrides: Overrides, attributes: Mapping[str, Any]) -> bool:
    """Return whether an absent chunk of labels is lost data, instead of the fill value."""
    meaning = overrides.empty_label_chunks or attributes.get("empty_label_chunks", "missing")
    if meaning not in ("missing", "fill"):
        raise DataError(
            f"empty_label_chunks of {url} is {json.dumps(meaning)}",
            "Pass --arrays.empty_label_chunks missing or --arrays.empty_label_chunks fill",
        )
    return bool(meaning == "missing")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
