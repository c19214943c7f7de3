"""Validate dtype, axes, shapes and attributes of a source."""

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

_KINDS = ("probabilities", "logits")

_DTYPES = ("uint8", "uint16", "float16", "float32", "float64")


def reorder(sizes: tuple[int, ...], order: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(sizes[place]) for place in order)


def validate_dtype(url: str, name: str, role: str, array: zarr.Array[Any]) -> str:
    """The dtype by its name, in native byte order: what is read comes in it."""
    dtype = array.dtype
    shown = "text" if dtype.kind in "UTSO" else str(dtype)
    if role == "labels" and dtype.kind not in "iu":
        raise DataError(
            f"labels {name!r} of {url} are stored as {shown}",
            "class numbers are integers: nothing was scored",
            "Write them as integers (uint8 up to 256 values)",
        )
    if role == "predictions" and dtype.name not in _DTYPES:
        raise DataError(
            f"predictions {name!r} of {url} are stored as {shown}",
            "that is no precision of a probability here",
            f"Write them as one of {', '.join(_DTYPES)}",
        )
    return str(dtype.name)


def validate_axes(
    url: str, name: str, role: str, array: zarr.Array[Any], dims: tuple[str, ...], axes: tuple[str, ...] | None
) -> tuple[int, ...]:
    """Where each canonical axis lies: by the configuration, else by the array's own names, else in order."""
    own: Any = getattr(array.metadata, "dimension_names", None) or array.attrs.asdict().get("_ARRAY_DIMENSIONS") or ()
    named = tuple(str(name) for name in own)
    names = axes or (named if sorted(named) == sorted(dims) else dims)
    if array.ndim != len(dims):
        raise DataError(
            f"{role} {name!r} of {url} have the shape {array.shape}",
            f"{role} need the {len(dims)} axes {', '.join(dims)}",
            f"Name the array that has them: --arrays.{role} NAME",
        )
    if sorted(names) != sorted(dims):
        raise DataError(
            f"{role} {name!r} of {url} have the shape {array.shape} and the axes {', '.join(names)}",
            f"{role} need the {len(dims)} axes {', '.join(dims)}",
            f"Name the axes in the order they are stored: --arrays.{role}_axes {','.join(dims)}",
        )
    return tuple(names.index(dim) for dim in dims)


def validate_shapes(url: str, predictions: ArraySpec, labels: ArraySpec) -> None:
    n, classes, height, width = predictions.shape
    if (n, height, width) != labels.shape:
        raise DataError(
            f"predictions of {url} are {n} images of {height} x {width}, its labels{_elsewhere(url, labels)} "
            f"{labels.shape[0]} of {labels.shape[1]} x {labels.shape[2]}",
            "which label belongs to which pixel cannot be known",
            "Give arrays of one size; where only the order of the axes differs, name it with --arrays.predictions_axes",
        )
    if min(predictions.shape) == 0 or classes < 2:
        raise DataError(
            f"predictions of {url} have the shape {predictions.shape} (image, class, y, x)",
            "there is nothing to compare",
            "Give at least one image, one pixel and two classes",
        )
    if classes > 65533:
        raise DataError(f"predictions of {url} have {classes} classes", "at most 65,533 fit", "Merge rare classes")


def _elsewhere(url: str, labels: ArraySpec) -> str:
    """Where labels are, if not below the URL of their source."""
    own = f"{(local_path(url) or url).rstrip('/')}/"
    return "" if labels.url.startswith(own) else f" in {labels.url}"


def validate_class_names(url: str, overrides: Overrides, facts: Mapping[str, Any], classes: int) -> tuple[str, ...]:
    names = overrides.classes or facts.get("class_names") or [f"class {k}" for k in range(classes)]
    if isinstance(names, (str, Mapping)) or not isinstance(names, Sequence):
        raise DataError(
            f"the class_names of {url} are {json.dumps(names)}",
            "they should be a list, one name a class",
            "Give --classes a,b,c",
        )
    if len(names) != classes:
        raise DataError(
            f"{url} predicts {classes} classes and {len(names)} are named: {', '.join(map(str, names[:30]))}",
            "which name belongs to which class cannot be known",
            "Give one name a class, in the order of the predictions: --classes a,b,c",
        )
    return tuple(str(name) for name in names)


def validate_ignore(url: str, overrides: Overrides, facts: Mapping[str, Any]) -> tuple[int, ...]:
    values = overrides.ignore if overrides.ignore is not None else facts.get("ignore", ())
    listed: Sequence[Any] = values if isinstance(values, Sequence) and not isinstance(values, str) else (values,)
    if not all(_is_number(value) and float(value).is_integer() for value in listed):
        raise DataError(
            f"the ignore values of {url} are {json.dumps(values)}", "label values are integers", "Give --ignore 255"
        )
    return tuple(sorted({int(value) for value in listed}))


def validate_scale(url: str, overrides: Overrides, facts: Mapping[str, Any], dtype: str, kind: str) -> float:
    integers = dtype.startswith("uint")
    if kind not in _KINDS:
        raise DataError(
            f"predictions of {url} are of kind {kind!r}",
            "what their numbers mean is not known",
            "Give --kind probabilities, or --kind logits",
        )
    if kind == "logits" and integers:
        raise DataError(
            f"predictions of {url} are {dtype} of kind 'logits'",
            "logits are floats here",
            "Give --kind probabilities, or write the logits as float16 or float32",
        )
    if not integers and overrides.scale is not None:
        raise DataError(
            f"--scale is {overrides.scale} and predictions of {url} are {dtype}",
            "a scale is the step of integers",
            "Leave --scale out",
        )
    if not integers:
        return 1.0
    scale = overrides.scale if overrides.scale is not None else facts.get("scale", 1 / np.iinfo(dtype).max)
    if not _is_number(scale) or not 0 < scale <= 1:
        raise DataError(
            f"the scale of {url} is {json.dumps(scale)}",
            "a step of a probability lies in (0, 1]",
            "Give --scale 0.00392",
        )
    return float(scale)


def absent_is_missing(url: str, overrides: Overrides, facts: Mapping[str, Any]) -> bool:
    empty = overrides.empty_label_chunks or facts.get("empty_label_chunks", "missing")
    if empty not in ("missing", "fill"):
        raise DataError(
            f"empty_label_chunks of {url} is {json.dumps(empty)}",
            "what an absent chunk of labels means is not known",
            "Give --arrays.empty_label_chunks missing, or fill",
        )
    return bool(empty == "missing")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def validate_remap(
    url: str, remap: tuple[tuple[int, int], ...], classes: int, ignore: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    for value, meant in remap:
        if not 0 <= meant < classes and meant not in ignore:
            raise DataError(
                f"remap makes {meant} of label {value}, and {url} has the classes 0..{classes - 1} and the ignore "
                f"values {list(ignore)}",
                "that is neither",
                "Give it a class, or an ignore value",
            )
    return remap
