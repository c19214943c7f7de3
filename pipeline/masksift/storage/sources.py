"""Opening a source: which arrays it holds, what their attributes say, and every way in which they disagree."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr

from masksift.errors import DataError
from masksift.schema import ArraySpec, DataSpec
from masksift.storage.arrays import open_group, open_store
from masksift.storage.objects import local_path

__all__ = ["Overrides", "image_ids", "open_source", "source_name"]

_PREDICTIONS = ("image", "class", "y", "x")
_LABELS = ("image", "y", "x")
_KINDS = ("probabilities", "logits")
_DTYPES = ("uint8", "uint16", "float16", "float32", "float64")


@dataclass(frozen=True)
class Overrides:
    """What the configuration says of a source; None leaves it to the source's attributes."""

    predictions: str = "predictions"
    labels: str = "labels"
    image_id: str = "image_id"
    predictions_axes: tuple[str, ...] | None = None
    labels_axes: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None
    ignore: tuple[int, ...] | None = None
    kind: str | None = None
    scale: float | None = None
    sum_tolerance: float | None = None
    empty_label_chunks: str | None = None


def source_name(url: str) -> str:
    """The last part of a source's URL, without `.zarr`: its name in the results."""
    return url.rstrip("/").rsplit("/", 1)[-1].removesuffix(".zarr") or "source"


def open_source(url: str, overrides: Overrides, options: Mapping[str, Any], *, index: int = 0) -> DataSpec:
    """Open one source and answer its facts. Raises DataError, with the names and the numbers, where it is none."""
    try:
        group = open_group(url, options)
    except (FileNotFoundError, NotADirectoryError) as e:
        raise DataError(
            f"there is no Zarr group at {url}", "nothing was read", "Give the URL of a group that holds the arrays "
            f"{overrides.predictions!r} and {overrides.labels!r}",
        ) from e  # fmt: skip
    predictions = _array(group, url, overrides.predictions, "predictions", _PREDICTIONS, overrides.predictions_axes)
    labels = _array(group, url, overrides.labels, "labels", _LABELS, overrides.labels_axes)
    _check_shapes(url, predictions[1], labels[1])
    facts = {**group.attrs.asdict(), **labels[0].attrs.asdict(), **predictions[0].attrs.asdict()}
    classes = predictions[1].shape[1]
    kind = overrides.kind or str(facts.get("kind", "probabilities"))
    ignore = _ignore(url, overrides, {**predictions[0].attrs.asdict(), **group.attrs.asdict(), **labels[0].attrs.asdict()})
    scale = _scale(url, overrides, facts, predictions[1].dtype, kind)
    tolerance = overrides.sum_tolerance if overrides.sum_tolerance is not None else _tolerance(predictions[1], scale)
    empty = overrides.empty_label_chunks or str(facts.get("empty_label_chunks", "missing"))
    return DataSpec(
        index=index,
        name=source_name(url),
        url=url,
        predictions=predictions[1],
        labels=labels[1],
        image_id=_optional_ids(group, url, overrides.image_id, labels[1].shape[0]),
        class_names=_class_names(url, overrides, facts, classes),
        ignore=ignore,
        kind=kind,
        scale=scale,
        sum_tolerance=tolerance,
        fill_is_missing=empty != "fill" and labels[0].fill_value not in ignore,
        facts={"metadata": _fingerprint(predictions[0], labels[0])},
    )


def image_ids(source: DataSpec, start: int, stop: int, options: Mapping[str, Any]) -> list[str]:
    """The ids of images [start, stop): the source's own, or `<source>/<index>`."""
    if source.image_id is None:
        return [f"{source.name}/{i}" for i in range(start, stop)]
    array = zarr.open_array(open_store(source.image_id.url, options, read_only=True), mode="r")
    return [str(value) for value in np.asarray(array[start:stop]).tolist()]


def _array(
    group: zarr.Group, url: str, name: str, role: str, dims: tuple[str, ...], axes: tuple[str, ...] | None
) -> tuple[zarr.Array[Any], ArraySpec]:
    array = group.get(name)
    if not isinstance(array, zarr.Array):
        present = sorted(key for key, _ in group.arrays())
        near = difflib.get_close_matches(name, present, n=1)
        hint = f"Say which array holds them: --arrays.{role} {near[0] if near else 'NAME'}"
        raise DataError(f"{url} holds no array {name!r}, only {present}", f"there are no {role} to read", hint)
    _check_dtype(url, name, role, str(array.dtype))
    order = _axes(url, name, role, array, dims, axes)
    store = local_path(url)
    node = f"{(store or url).rstrip('/')}/{array.path.strip('/')}" if array.path else url
    canonical = lambda sizes: tuple(int(sizes[place]) for place in order)  # noqa: E731
    spec = ArraySpec(
        url=node,
        shape=canonical(array.shape),
        chunks=canonical(array.chunks),
        dtype=str(array.dtype),
        itemsize=array.dtype.itemsize,
        axes=order,
        shards=canonical(array.shards) if array.shards else None,
        format=array.metadata.zarr_format,
    )
    return array, spec


def _check_dtype(url: str, name: str, role: str, dtype: str) -> None:
    if role == "labels" and np.dtype(dtype).kind not in "iu":
        raise DataError(
            f"labels {name!r} of {url} are stored as {dtype}", "class numbers are integers: nothing was scored",
            "Write them as integers (uint8 up to 256 values)",
        )  # fmt: skip
    if role == "predictions" and dtype not in _DTYPES:
        raise DataError(
            f"predictions {name!r} of {url} are stored as {dtype}", "that is no precision of a probability here",
            f"Write them as one of {', '.join(_DTYPES)}",
        )  # fmt: skip


def _axes(
    url: str, name: str, role: str, array: zarr.Array[Any], dims: tuple[str, ...], axes: tuple[str, ...] | None
) -> tuple[int, ...]:
    """Where each canonical axis lies: by the configuration, else by the array's own names, else in order."""
    own = getattr(array.metadata, "dimension_names", None) or array.attrs.asdict().get("_ARRAY_DIMENSIONS")
    names = tuple(axes) if axes else tuple(str(n) for n in own) if own and sorted(map(str, own)) == sorted(dims) else dims
    if sorted(names) != sorted(dims) or array.ndim != len(dims):
        raise DataError(
            f"{role} {name!r} of {url} have the shape {array.shape} and the axes {', '.join(names)}",
            f"{role} need the {len(dims)} axes {', '.join(dims)}",
            f"Name the axes in the order they are stored: --arrays.{role}_axes {','.join(dims)}",
        )
    return tuple(names.index(dim) for dim in dims)


def _check_shapes(url: str, predictions: ArraySpec, labels: ArraySpec) -> None:
    n, classes, height, width = predictions.shape
    if (n, height, width) != labels.shape:
        raise DataError(
            f"predictions of {url} are {n} images of {height} x {width}, its labels {labels.shape[0]} of "
            f"{labels.shape[1]} x {labels.shape[2]}",
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


def _class_names(url: str, overrides: Overrides, facts: Mapping[str, Any], classes: int) -> tuple[str, ...]:
    names = overrides.classes or facts.get("class_names") or [f"class {k}" for k in range(classes)]
    if len(names) != classes:
        raise DataError(
            f"{url} predicts {classes} classes and names {len(names)}: {', '.join(map(str, names[:30]))}",
            "which name belongs to which class cannot be known",
            "Give one name a class, in the order of the predictions: --classes a,b,c",
        )
    return tuple(str(name) for name in names)


def _ignore(url: str, overrides: Overrides, facts: Mapping[str, Any]) -> tuple[int, ...]:
    values = overrides.ignore if overrides.ignore is not None else facts.get("ignore", ())
    listed: Sequence[Any] = values if isinstance(values, Sequence) and not isinstance(values, str) else (values,)
    if not all(isinstance(value, int) or (isinstance(value, float) and value.is_integer()) for value in listed):
        raise DataError(f"the ignore values of {url} are {values!r}", "label values are integers", "Give --ignore 255")
    return tuple(sorted({int(value) for value in listed}))


def _scale(url: str, overrides: Overrides, facts: Mapping[str, Any], dtype: str, kind: str) -> float:
    integers = dtype.startswith("uint")
    if kind not in _KINDS or (kind == "logits" and integers):
        raise DataError(
            f"predictions of {url} are {dtype} of kind {kind!r}", "what their numbers mean is not known",
            "Give --kind probabilities, or --kind logits for floats",
        )  # fmt: skip
    if not integers:
        return 1.0
    scale = overrides.scale if overrides.scale is not None else float(facts.get("scale", 1 / np.iinfo(dtype).max))
    if not 0 < scale <= 1:
        raise DataError(f"the scale of {url} is {scale}", "a step of a probability lies in (0, 1]", "Give --scale 0.00392")
    return scale


def _tolerance(predictions: ArraySpec, scale: float) -> float:
    """How far a sum over K classes may lie from 1: 0.02, and for integers half a step a class more."""
    return 0.02 + (predictions.shape[1] * scale / 2 if predictions.dtype.startswith("uint") else 0.0)


def _optional_ids(group: zarr.Group, url: str, name: str, images: int) -> ArraySpec | None:
    array = group.get(name)
    if not isinstance(array, zarr.Array):
        return None
    if array.shape != (images,):
        raise DataError(
            f"{name!r} of {url} has the shape {array.shape}, for {images} images", "ids cannot be matched to images",
            "Write one id an image",
        )  # fmt: skip
    node = f"{(local_path(url) or url).rstrip('/')}/{array.path.strip('/')}"
    return ArraySpec(node, array.shape, array.chunks, str(array.dtype), 1, (0,))


def _fingerprint(*arrays: zarr.Array[Any]) -> str:
    """A digest of the arrays' metadata: another shape, dtype, chunk or attribute is another input."""
    texts = [json.dumps(array.metadata.to_dict(), sort_keys=True, default=str) for array in arrays]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()
