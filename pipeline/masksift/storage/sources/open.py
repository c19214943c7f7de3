"""Opening a source: which arrays it holds, what their attributes say, and every way in which they disagree."""

from __future__ import annotations

import difflib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import zarr
from zarr.errors import ContainsArrayError

from masksift.core.errors import DataError, UsageError
from masksift.core.specs import ArraySpec, DataSpec
from masksift.storage.credentials import is_s3, unreachable
from masksift.storage.objects import join, local_path
from masksift.storage.retry import AT_FIRST
from masksift.storage.sources.ensemble import averaged, check_alike, place_of
from masksift.storage.sources.evidence_source import MARK, open_written
from masksift.storage.sources.fingerprint import content, digest
from masksift.storage.sources.naming import partitions_of, source_names
from masksift.storage.sources.overrides import Overrides
from masksift.storage.zarr.stores import open_group
from masksift.storage.zarr.validation import said

__all__ = ["described", "labels_url", "open_plane", "open_source", "optional"]

_PREDICTIONS = ("image", "class", "y", "x")
_LABELS = ("image", "y", "x")
_KINDS = ("probabilities", "logits")
_DTYPES = ("uint8", "uint16", "float16", "float32", "float64")


def open_source(
    url: str, overrides: Overrides, options: Mapping[str, Any], *, index: int = 0, name: str | None = None
) -> DataSpec:  # fmt: skip
    """Open one source and answer its facts; ``name``: where others are beside it. Raises DataError, with the names and
    the numbers, where it is none."""
    arrays = f"the arrays {overrides.names[0]!r} and {overrides.labels!r}"
    group = _group(url, options, f"Give the URL of a group that holds {arrays}")
    if MARK in group.attrs:
        _check_evidence(url, overrides)
        return open_written(group, url, overrides.classes, overrides.ignore, options, index=index, name=name)
    called = name or source_names([url])[0]
    found = [_predictions(group, url, one, called, overrides, options) for one in overrides.names]
    check_alike({one: member.shape for one, (_, member, _) in zip(overrides.names, found, strict=True)})
    home, place = _home_of_labels(group, url, called, overrides, options)
    labels = _array(home, place, overrides.labels, "labels", _LABELS, overrides.labels_axes)
    of_labels = _attributes(home, labels[0], group)
    specs = [described(url, member, labels[1], overrides, told, of_labels) for _, member, told in found]
    spec = specs[0] if len(specs) == 1 else averaged(specs)
    images = spec.images
    return replace(
        spec, index=index, name=name or spec.name,
        image_id=optional(group, url, overrides.image_id, "image_id", images),
        extent=tuple(optional(group, url, own, role, images)
                     for own, role in ((overrides.height, "height"), (overrides.width, "width"))),
        fill_is_missing=_empty_is_lost(url, overrides, of_labels) and labels[0].fill_value not in spec.ignore,
        facts={"metadata": digest(*(array for array, _, _ in found), labels[0]),
               "content": content([*spec.stored, labels[1]], options)},
    )  # fmt: skip


def described(
    url: str, predictions: ArraySpec, labels: ArraySpec, overrides: Overrides,
    of_predictions: Mapping[str, Any] | None = None, of_labels: Mapping[str, Any] | None = None,
) -> DataSpec:  # fmt: skip
    """The facts of a source of these arrays, by their attributes and by what overrides them. Raises DataError."""
    theirs, own = of_predictions or {}, of_labels or {}
    _check_shapes(url, predictions, labels)
    kind = overrides.kind or str(theirs.get("kind", "probabilities"))
    ignore = _ignore(url, overrides, {**theirs, **own})
    scale = _scale(url, overrides, theirs, predictions.dtype, kind)
    tolerance = overrides.sum_tolerance if overrides.sum_tolerance is not None else _tolerance(predictions, scale)
    return DataSpec(
        index=0,
        name=source_names([url])[0],
        url=url,
        predictions=predictions,
        labels=labels,
        image_id=None,
        class_names=_class_names(url, overrides, {**own, **theirs}, predictions.shape[1]),
        ignore=ignore,
        kind=kind,
        scale=scale,
        sum_tolerance=tolerance,
        fill_is_missing=True,
        partitions=partitions_of(url),
        remap=_remap(url, overrides.remap, predictions.shape[1], ignore),
    )


def _predictions(
    group: zarr.Group, url: str, name: str, source: str, overrides: Overrides, options: Mapping[str, Any]
) -> tuple[zarr.Array[Any], ArraySpec, dict[str, Any]]:
    """An array of predictions, its facts and what its attributes say."""
    place, own = place_of(name, url, source)
    home = group if place == url else _group(place, options, "An array named by its URL lies in a group")
    array, spec = _array(home, place, own, "predictions", _PREDICTIONS, overrides.predictions_axes)
    return array, spec, _attributes(home, array)


def _home_of_labels(
    group: zarr.Group, url: str, name: str, overrides: Overrides, options: Mapping[str, Any]
) -> tuple[zarr.Group, str]:
    """The group that holds the labels, and its URL: the source itself, or the group of its name that is said to."""
    if overrides.labels_from is None:
        return group, url
    place = labels_url(overrides.labels_from, name)
    remedy = f"labels_from is to hold a group for each source, here for {name}"
    return _group(place, options, remedy), place


def labels_url(folder: str, source: str) -> str:
    """Where in a folder of labels those of a source lie, by its name."""
    return join(folder, f"{source}.zarr")


def _check_evidence(url: str, overrides: Overrides) -> None:
    """Evidence is of the labels and the predictions it was written with."""
    if len(overrides.names) > 1:
        raise DataError(
            f"{url} holds evidence in place of predictions, and arrays.predictions are {', '.join(overrides.names)}",
            "how the members of an ensemble voted is not in it", "Run it apart, or give the members' predictions",
        )  # fmt: skip
    if overrides.labels_from is not None:
        raise DataError(
            f"{url} holds evidence in place of predictions, and labels_from is {overrides.labels_from}",
            "what its model thinks of other labels is not known", "Leave labels_from out, or give predictions",
        )  # fmt: skip


def _group(url: str, options: Mapping[str, Any], remedy: str) -> zarr.Group:
    """The group at a URL. Raises DataError, with the remedy where there is none."""
    try:
        return open_group(url, options, AT_FIRST)
    except (FileNotFoundError, NotADirectoryError) as e:
        raise DataError(f"there is no Zarr group at {url}", "nothing was read", remedy) from e
    except ContainsArrayError as e:
        raise DataError(
            f"{url} is an array", "a source is a group of arrays", "Give the URL of the group it lies in"
        ) from e
    except (ValueError, KeyError, TypeError) as e:
        raise _no_metadata(url, e) from e
    except UsageError:
        raise
    except Exception as e:  # every client of S3 has errors of its own
        if is_s3(url):
            raise unreachable(url, e) from e
        raise


def open_plane(
    url: str, name: str, axes: tuple[str, ...] | None, meant: tuple[int, ...], options: Mapping[str, Any]
) -> tuple[ArraySpec, bool]:
    """The facts of one array (image, y, x) of integers in a group that needs to hold no other, such as labels that
    somebody corrected; and whether an absent chunk of it is lost data: it is not where its fill value is one of those
    that may be ``meant``. Raises DataError."""
    group = _group(url, options, f"Give the URL of a group that holds the array {name!r}")
    array, spec = _array(group, url, name, "labels", _LABELS, axes)
    return spec, _empty_is_lost(url, Overrides(), _attributes(group, array)) and array.fill_value not in meant


def _member(group: zarr.Group, url: str, name: str) -> zarr.Array[Any] | None:
    """The array of that name in the group, or None."""
    try:
        found = group[name]
    except (ValueError, TypeError, KeyError) as e:
        if isinstance(e, KeyError) and name in str(e):
            return None
        raise _no_metadata(join(url, name), e) from e
    return found if isinstance(found, zarr.Array) else None


def _no_metadata(url: str, cause: Exception) -> DataError:
    return DataError(
        f"the metadata of {url} cannot be understood ({said(cause)})", "it is not known what lies there",
        "See whether zarr.open can open it, and write it again where not",
    )  # fmt: skip


def _no_array(group: zarr.Group, url: str, name: str, role: str, consequence: str) -> DataError:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of whatever else lies there
        present = sorted(key for key, _ in group.arrays())
    near = difflib.get_close_matches(name, present, n=1)
    only = f"only {', '.join(map(repr, present))}" if present else "and no other"
    hint = f"Say which array holds them: --arrays.{role} {near[0] if near else 'NAME'}"
    return DataError(f"{url} holds no array {name!r}, {only}", consequence, hint)


def _attributes(group: zarr.Group, array: zarr.Array[Any], source: zarr.Group | None = None) -> dict[str, Any]:
    """What the array's attributes say, else its group's, else those of the ``source``. A null says nothing."""
    beyond = {} if source is None else source.attrs.asdict()
    told = {**beyond, **group.attrs.asdict(), **array.attrs.asdict()}
    return {name: value for name, value in told.items() if value is not None}


def _array(
    group: zarr.Group, url: str, name: str, role: str, dims: tuple[str, ...], axes: tuple[str, ...] | None
) -> tuple[zarr.Array[Any], ArraySpec]:
    array = _member(group, url, name)
    if array is None:
        raise _no_array(group, url, name, role, f"there are no {role} to read")
    dtype = _check_dtype(url, name, role, array)
    order = _axes(url, name, role, array, dims, axes)
    store = local_path(url)
    node = f"{(store or url).rstrip('/')}/{array.path.strip('/')}" if array.path else url
    spec = ArraySpec(
        url=node,
        shape=_ordered(array.shape, order),
        chunks=_ordered(array.chunks, order),
        dtype=dtype,
        itemsize=array.dtype.itemsize,
        axes=order,
        shards=_ordered(array.shards, order) if array.shards else None,
        format=array.metadata.zarr_format,
    )
    return array, spec


def _ordered(sizes: tuple[int, ...], order: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(sizes[place]) for place in order)


def _check_dtype(url: str, name: str, role: str, array: zarr.Array[Any]) -> str:
    """The dtype by its name, in native byte order: what is read comes in it."""
    dtype = array.dtype
    shown = "text" if dtype.kind in "UTSO" else str(dtype)
    if role == "labels" and dtype.kind not in "iu":
        raise DataError(
            f"labels {name!r} of {url} are stored as {shown}", "class numbers are integers: nothing was scored",
            "Write them as integers (uint8 up to 256 values)",
        )  # fmt: skip
    if role == "predictions" and dtype.name not in _DTYPES:
        raise DataError(
            f"predictions {name!r} of {url} are stored as {shown}", "that is no precision of a probability here",
            f"Write them as one of {', '.join(_DTYPES)}",
        )  # fmt: skip
    return str(dtype.name)


def _axes(
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


def _check_shapes(url: str, predictions: ArraySpec, labels: ArraySpec) -> None:
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


def _class_names(url: str, overrides: Overrides, facts: Mapping[str, Any], classes: int) -> tuple[str, ...]:
    names = overrides.classes or facts.get("class_names") or [f"class {k}" for k in range(classes)]
    if isinstance(names, (str, Mapping)) or not isinstance(names, Sequence):
        raise DataError(
            f"the class_names of {url} are {json.dumps(names)}", "they should be a list, one name a class",
            "Give --classes a,b,c",
        )  # fmt: skip
    if len(names) != classes:
        raise DataError(
            f"{url} predicts {classes} classes and {len(names)} are named: {', '.join(map(str, names[:30]))}",
            "which name belongs to which class cannot be known",
            "Give one name a class, in the order of the predictions: --classes a,b,c",
        )
    return tuple(str(name) for name in names)


def _ignore(url: str, overrides: Overrides, facts: Mapping[str, Any]) -> tuple[int, ...]:
    values = overrides.ignore if overrides.ignore is not None else facts.get("ignore", ())
    listed: Sequence[Any] = values if isinstance(values, Sequence) and not isinstance(values, str) else (values,)
    if not all(_is_number(value) and float(value).is_integer() for value in listed):
        raise DataError(
            f"the ignore values of {url} are {json.dumps(values)}", "label values are integers", "Give --ignore 255"
        )
    return tuple(sorted({int(value) for value in listed}))


def _scale(url: str, overrides: Overrides, facts: Mapping[str, Any], dtype: str, kind: str) -> float:
    integers = dtype.startswith("uint")
    if kind not in _KINDS:
        raise DataError(
            f"predictions of {url} are of kind {kind!r}", "what their numbers mean is not known",
            "Give --kind probabilities, or --kind logits",
        )  # fmt: skip
    if kind == "logits" and integers:
        raise DataError(
            f"predictions of {url} are {dtype} of kind 'logits'", "logits are floats here",
            "Give --kind probabilities, or write the logits as float16 or float32",
        )  # fmt: skip
    if not integers and overrides.scale is not None:
        raise DataError(
            f"--scale is {overrides.scale} and predictions of {url} are {dtype}", "a scale is the step of integers",
            "Leave --scale out",
        )  # fmt: skip
    if not integers:
        return 1.0
    scale = overrides.scale if overrides.scale is not None else facts.get("scale", 1 / np.iinfo(dtype).max)
    if not _is_number(scale) or not 0 < scale <= 1:
        raise DataError(
            f"the scale of {url} is {json.dumps(scale)}", "a step of a probability lies in (0, 1]",
            "Give --scale 0.00392",
        )  # fmt: skip
    return float(scale)


def _empty_is_lost(url: str, overrides: Overrides, facts: Mapping[str, Any]) -> bool:
    empty = overrides.empty_label_chunks or facts.get("empty_label_chunks", "missing")
    if empty not in ("missing", "fill"):
        raise DataError(
            f"empty_label_chunks of {url} is {json.dumps(empty)}", "what an absent chunk of labels means is not known",
            "Give --arrays.empty_label_chunks missing, or fill",
        )  # fmt: skip
    return bool(empty == "missing")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _tolerance(predictions: ArraySpec, scale: float) -> float:
    """How far a sum over K classes may lie from 1: 0.02, and for integers half a step a class more."""
    return 0.02 + (predictions.shape[1] * scale / 2 if predictions.dtype.startswith("uint") else 0.0)


def _remap(
    url: str, remap: tuple[tuple[int, int], ...], classes: int, ignore: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    for value, meant in remap:
        if not 0 <= meant < classes and meant not in ignore:
            raise DataError(
                f"remap makes {meant} of label {value}, and {url} has the classes 0..{classes - 1} and the ignore "
                f"values {list(ignore)}",
                "that is neither", "Give it a class, or an ignore value",
            )  # fmt: skip
    return remap


def optional(group: zarr.Group, url: str, name: str, role: str, images: int) -> ArraySpec | None:
    """The array of one value an image that may be there; it must be where the configuration names it."""
    array = _member(group, url, name)
    what = {"image_id": "ids"}.get(role, f"{role}s")
    if array is None and name != role:
        raise _no_array(group, url, name, role, f"there are no {what} to read")
    if array is None:
        return None
    if array.shape != (images,):
        raise DataError(
            f"{name!r} of {url} has the shape {array.shape}, for {images} images",
            f"{what} cannot be matched to images", f"Write one {'id' if role == 'image_id' else 'number'} an image",
        )  # fmt: skip
    if role != "image_id" and array.dtype.kind not in "iu":
        raise DataError(
            f"{name!r} of {url} is stored as {array.dtype}", f"{what} are whole numbers", "Write them as integers"
        )
    node = f"{(local_path(url) or url).rstrip('/')}/{array.path.strip('/')}"
    return ArraySpec(node, array.shape, array.chunks, str(array.dtype), 1, (0,), format=array.metadata.zarr_format)
