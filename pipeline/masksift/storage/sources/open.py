"""Opening a source: which arrays it holds, what their attributes say, and every way in which they disagree."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import zarr
from zarr.errors import ContainsArrayError

from masksift.core.errors import DataError, UsageError
from masksift.core.specs import ArraySpec, SourceSpec
from masksift.scoring.kernels.condense import default_sum_tolerance
from masksift.storage.credentials import is_s3, unreachable_error
from masksift.storage.retry import MAX_ATTEMPTS_ON_OPEN
from masksift.storage.sources.ensemble import check_same_shape, mean_source, split_array_url
from masksift.storage.sources.evidence_source import EVIDENCE_ATTRIBUTE, open_evidence_source
from masksift.storage.sources.fingerprint import content_hash, metadata_hash
from masksift.storage.sources.naming import parse_partitions, source_names
from masksift.storage.sources.overrides import Overrides
from masksift.storage.sources.validate import (
    absent_is_missing,
    reorder,
    validate_axes,
    validate_class_names,
    validate_dtype,
    validate_ignore,
    validate_remap,
    validate_scale,
    validate_shapes,
)
from masksift.storage.urls import join, local_path
from masksift.storage.zarr.stores import open_group
from masksift.storage.zarr.validation import codec_error_message

_PREDICTIONS = ("image", "class", "y", "x")
_LABELS = ("image", "y", "x")


def open_source(
    url: str, overrides: Overrides, options: Mapping[str, Any], *, index: int = 0, name: str | None = None
) -> SourceSpec:
    """Open one source and answer its facts; ``name``: where others are beside it. Raises DataError, with the names and
    the numbers, where it is none."""
    arrays = f"the arrays {overrides.names[0]!r} and {overrides.labels!r}"
    group = _group(url, options, f"Give the URL of a group that holds {arrays}")
    if EVIDENCE_ATTRIBUTE in group.attrs:
        _check_evidence(url, overrides)
        return open_evidence_source(group, url, overrides.classes, overrides.ignore, options, index=index, name=name)
    called = name or source_names([url])[0]
    found = [_predictions(group, url, one, called, overrides, options) for one in overrides.names]
    check_same_shape({one: member.shape for one, (_, member, _) in zip(overrides.names, found, strict=True)})
    home, place = _home_of_labels(group, url, called, overrides, options)
    labels = _array(home, place, overrides.labels, "labels", _LABELS, overrides.labels_axes)
    of_labels = _attributes(home, labels[0], group)
    specs = [make_source_spec(url, member, labels[1], overrides, told, of_labels) for _, member, told in found]
    spec = specs[0] if len(specs) == 1 else mean_source(specs)
    images = spec.images
    return replace(
        spec,
        index=index,
        name=name or spec.name,
        image_id=open_per_image_array(group, url, overrides.image_id, "image_id", images),
        size_arrays=tuple(
            open_per_image_array(group, url, own, role, images)
            for own, role in ((overrides.height, "height"), (overrides.width, "width"))
        ),
        absent_labels_are_missing=absent_is_missing(url, overrides, of_labels)
        and labels[0].fill_value not in spec.ignore,
        content_hashes={
            "metadata": metadata_hash(*(array for array, _, _ in found), labels[0]),
            "content": content_hash([*spec.prediction_arrays, labels[1]], options),
        },
    )


def make_source_spec(
    url: str,
    predictions: ArraySpec,
    labels: ArraySpec,
    overrides: Overrides,
    of_predictions: Mapping[str, Any] | None = None,
    of_labels: Mapping[str, Any] | None = None,
) -> SourceSpec:
    """The facts of a source of these arrays, by their attributes and by what overrides them. Raises DataError."""
    theirs, own = of_predictions or {}, of_labels or {}
    validate_shapes(url, predictions, labels)
    kind = overrides.kind or str(theirs.get("kind", "probabilities"))
    ignore = validate_ignore(url, overrides, {**theirs, **own})
    scale = validate_scale(url, overrides, theirs, predictions.dtype, kind)
    tolerance = overrides.sum_tolerance
    if tolerance is None:
        tolerance = default_sum_tolerance(predictions.shape[1], predictions.dtype, scale)
    return SourceSpec(
        index=0,
        name=source_names([url])[0],
        url=url,
        predictions=predictions,
        labels=labels,
        image_id=None,
        class_names=validate_class_names(url, overrides, {**own, **theirs}, predictions.shape[1]),
        ignore=ignore,
        prediction_kind=kind,
        scale=scale,
        sum_tolerance=tolerance,
        absent_labels_are_missing=True,
        partitions=parse_partitions(url),
        remap=validate_remap(url, overrides.remap, predictions.shape[1], ignore),
    )


def _predictions(
    group: zarr.Group, url: str, name: str, source: str, overrides: Overrides, options: Mapping[str, Any]
) -> tuple[zarr.Array[Any], ArraySpec, dict[str, Any]]:
    """An array of predictions, its facts and what its attributes say."""
    place, own = split_array_url(name, url, source)
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
            "Evidence is of one prediction and cannot be averaged",
            "Run it apart, or pass the predictions of all members",
        )
    if overrides.labels_from is not None:
        raise DataError(
            f"{url} holds evidence in place of predictions, and labels_from is {overrides.labels_from}",
            "what its model thinks of other labels is not known",
            "Leave labels_from out, or give predictions",
        )


def _group(url: str, options: Mapping[str, Any], remedy: str) -> zarr.Group:
    """The group at a URL. Raises DataError, with the remedy where there is none."""
    try:
        return open_group(url, options, MAX_ATTEMPTS_ON_OPEN)
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
            raise unreachable_error(url, e) from e
        raise


def open_label_array(
    url: str, name: str, axes: tuple[str, ...] | None, meant: tuple[int, ...], options: Mapping[str, Any]
) -> tuple[ArraySpec, bool]:
    """The facts of one array (image, y, x) of integers in a group that needs to hold no other, such as labels that
    somebody corrected; and whether an absent chunk of it is lost data: it is not where its fill value is one of those
    that may be ``meant``. Raises DataError."""
    group = _group(url, options, f"Give the URL of a group that holds the array {name!r}")
    array, spec = _array(group, url, name, "labels", _LABELS, axes)
    return spec, absent_is_missing(url, Overrides(), _attributes(group, array)) and array.fill_value not in meant


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
        f"the metadata of {url} cannot be understood ({codec_error_message(cause)})",
        "it is not known what lies there",
        "See whether zarr.open can open it, and write it again where not",
    )


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
    dtype = validate_dtype(url, name, role, array)
    order = validate_axes(url, name, role, array, dims, axes)
    store = local_path(url)
    node = f"{(store or url).rstrip('/')}/{array.path.strip('/')}" if array.path else url
    spec = ArraySpec(
        url=node,
        shape=reorder(array.shape, order),
        chunks=reorder(array.chunks, order),
        dtype=dtype,
        itemsize=array.dtype.itemsize,
        axes=order,
        shards=reorder(array.shards, order) if array.shards else None,
        zarr_format=array.metadata.zarr_format,
    )
    return array, spec


def open_per_image_array(group: zarr.Group, url: str, name: str, role: str, images: int) -> ArraySpec | None:
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
            f"{what} cannot be matched to images",
            f"Write one {'id' if role == 'image_id' else 'number'} an image",
        )
    if role != "image_id" and array.dtype.kind not in "iu":
        raise DataError(
            f"{name!r} of {url} is stored as {array.dtype}", f"{what} are whole numbers", "Write them as integers"
        )
    node = f"{(local_path(url) or url).rstrip('/')}/{array.path.strip('/')}"
    return ArraySpec(node, array.shape, array.chunks, str(array.dtype), 1, (0,), zarr_format=array.metadata.zarr_format)
