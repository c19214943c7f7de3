"""Validate dtype, axes, shapes and attributes of a source. Every check raises DataError."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zarr

from masksift.core.errors import DataError
from masksift.core.specs import ArraySpec
from masksift.storage.sources.overrides import Overrides
from masksift.storage.urls import local_path

_PREDICTION_KINDS = ("probabilities", "logits")
_PREDICTION_DTYPES = ("uint8", "uint16", "float16", "float32", "float64")
MAX_CLASSES = 65533


def reorder(sizes: tuple[int, ...], order: tuple[int, ...]) -> tuple[int, ...]:
    """Return sizes in stored axis order in canonical order."""
    return tuple(int(sizes[axis]) for axis in order)


def validate_dtype(url: str, name: str, role: str, array: zarr.Array[Any]) -> str:
    """Return the name of the dtype in native byte order."""
    dtype = array.dtype
    text = "text" if dtype.kind in "UTSO" else str(dtype)
    if role == "labels" and dtype.kind not in "iu":
        raise DataError(f"Labels {name!r} of {url} are stored as {text}", "Write them as integers, for example uint8")
    if role == "predictions" and dtype.name not in _PREDICTION_DTYPES:
        raise DataError(
            f"Predictions {name!r} of {url} are stored as {text}",
            f"Write them as one of {', '.join(_PREDICTION_DTYPES)}",
        )
    return str(dtype.name)


def validate_axes(
    url: str, name: str, role: str, array: zarr.Array[Any], dims: tuple[str, ...], axes: tuple[str, ...] | None
) -> tuple[int, ...]:
    """Return the stored position of each canonical axis: by setting, by the array's own names, or in order."""
    stored: Any = (
        getattr(array.metadata, "dimension_names", None) or array.attrs.asdict().get("_ARRAY_DIMENSIONS") or ()
    )
    named = tuple(str(dim) for dim in stored)
    names = axes or (named if sorted(named) == sorted(dims) else dims)
    if array.ndim != len(dims):
        raise DataError(
            f"{role.capitalize()} {name!r} of {url} have shape {array.shape}",
            f"They need the {len(dims)} axes {', '.join(dims)}",
            f"Pass the name of an array with these axes: --arrays.{role} NAME",
        )
    if sorted(names) != sorted(dims):
        raise DataError(
            f"{role.capitalize()} {name!r} of {url} have shape {array.shape} and axes {', '.join(names)}",
            f"They need the {len(dims)} axes {', '.join(dims)}",
            f"Pass the axes in stored order: --arrays.{role}_axes {','.join(dims)}",
        )
    return tuple(names.index(dim) for dim in dims)


def validate_shapes(url: str, predictions: ArraySpec, labels: ArraySpec) -> None:
    """Check that predictions and labels fit each other, and the bounds of their shapes."""
    n, classes, height, width = predictions.shape
    if (n, height, width) != labels.shape:
        raise DataError(
            f"Predictions of {url} are {n} images of {height} x {width}, its labels{_location(url, labels)} "
            f"{labels.shape[0]} of {labels.shape[1]} x {labels.shape[2]}",
            "Pass arrays of equal size; if only the axis order differs, pass --arrays.predictions_axes",
        )
    if min(predictions.shape) == 0 or classes < 2:
        raise DataError(
            f"Predictions of {url} have shape {predictions.shape} (image, class, y, x)",
            "Pass at least one image, one pixel and two classes",
        )
    if classes > MAX_CLASSES:
        raise DataError(f"Predictions of {url} have {classes} classes, more than {MAX_CLASSES:,}", "Merge rare classes")


def _location(url: str, labels: ArraySpec) -> str:
    """Return where labels are, unless they are below the URL of their source."""
    prefix = f"{(local_path(url) or url).rstrip('/')}/"
    return "" if labels.url.startswith(prefix) else f" in {labels.url}"


def validate_class_names(
    url: str, overrides: Overrides, attributes: Mapping[str, Any], classes: int
) -> tuple[str, ...]:
    """Return one name per class."""
    names = overrides.classes or attributes.get("class_names") or [f"class {k}" for k in range(classes)]
    if isinstance(names, (str, Mapping)) or not isinstance(names, Sequence):
        raise DataError(
            f"class_names of {url} is {json.dumps(names)}, but must be a list",
            "Pass one name per class: --classes a,b,c",
        )
    if len(names) != classes:
        raise DataError(
            f"{url} has predictions of {classes} classes and {len(names)} class names: "
            f"{', '.join(map(str, names[:30]))}",
            "Pass one name per class, in the order of the predictions: --classes a,b,c",
        )
    return tuple(str(name) for name in names)


def validate_ignore(url: str, overrides: Overrides, attributes: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the sorted ignore values."""
    value = overrides.ignore if overrides.ignore is not None else attributes.get("ignore", ())
    values: Sequence[Any] = value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    if not all(_is_number(entry) and float(entry).is_integer() for entry in values):
        raise DataError(f"ignore of {url} is {json.dumps(value)}, but must be integers", "Pass --ignore 255")
    return tuple(sorted({int(entry) for entry in values}))


def validate_scale(url: str, overrides: Overrides, attributes: Mapping[str, Any], dtype: str, kind: str) -> float:
    """Return the probability of one step of integer predictions, 1 for floats, and check the prediction kind."""
    integers = dtype.startswith("uint")
    if kind not in _PREDICTION_KINDS:
        raise DataError(
            f"Predictions of {url} are of unknown kind {kind!r}", "Pass --kind probabilities or --kind logits"
        )
    if kind == "logits" and integers:
        raise DataError(
            f"Predictions of {url} are {dtype} of kind 'logits', but logits must be floats",
            "Pass --kind probabilities, or write the logits as float16 or float32",
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


def validate_remap(
    url: str, remap: tuple[tuple[int, int], ...], classes: int, ignore: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    """Return the pairs of label value and class, which must be a class or an ignore value."""
    for value, target in remap:
        if not 0 <= target < classes and target not in ignore:
            raise DataError(
                f"remap maps label {value} to {target}, but {url} has classes 0 to {classes - 1} and ignore values "
                f"{list(ignore)}",
                "Map it to a class or an ignore value",
            )
    return remap
