"""Open a source: find its arrays, read their attributes and validate them."""

from __future__ import annotations

import difflib
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import zarr
from zarr.errors import ContainsArrayError

from masksift.core.errors import DataError, UsageError
from masksift.core.json_text import check_nesting
from masksift.core.specs import ArraySpec, SourceSpec
from masksift.scoring.kernels.condense import default_sum_tolerance
from masksift.storage.credentials import cloud_of, unreachable_error
from masksift.storage.retry import MAX_ATTEMPTS_ON_OPEN
from masksift.storage.sources.decoding import prediction_array, resolve_values
from masksift.storage.sources.ensemble import check_same_shape, mean_source, split_array_url
from masksift.storage.sources.evidence_source import EVIDENCE_ATTRIBUTE, open_evidence_source
from masksift.storage.sources.fingerprint import content_hash, metadata_hash
from masksift.storage.sources.naming import parse_partitions, source_names
from masksift.storage.sources.overrides import Overrides
from masksift.storage.sources.packing import read_packing
from masksift.storage.sources.validate import (
    absent_is_missing,
    reorder,
    validate_axes,
    validate_chunks,
    validate_class_names,
    validate_dtype,
    validate_ignore,
    validate_remap,
    validate_shapes,
)
from masksift.storage.urls import join, local_path
from masksift.storage.zarr.bounded_codecs import bound_array
from masksift.storage.zarr.stores import open_group
from masksift.storage.zarr.validation import codec_error_message

_PREDICTION_AXES = ("image", "class", "y", "x")
_LABEL_AXES = ("image", "y", "x")
METADATA_ERRORS = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    NotImplementedError,
    RecursionError,
)
"""Errors that zarr raises for metadata it cannot parse."""
MAX_CHUNK_VALUES = 1 << 24
"""Values in a chunk of an array with one value per image, unless it has more images."""


def open_source(
    url: str, overrides: Overrides, options: Mapping[str, Any], *, index: int = 0, name: str | None = None
) -> SourceSpec:
    """Open one source.

    Args:
        url: URL of the Zarr group.
        overrides: Settings of the configuration.
        options: Storage options of S3.
        index: Number of the source in the run.
        name: Name of the source in the run; derived from the URL by default.

    Returns:
        The source.

    Raises:
        DataError: Arrays are missing, or arrays and settings contradict each other. Other functions raise it, too.
    """
    members = overrides.prediction_names
    arrays = f"the arrays {members[0]!r} and {overrides.labels!r}"
    group = _open_group(url, options, f"Pass the URL of a group that contains {arrays}")
    if EVIDENCE_ATTRIBUTE in group.attrs:
        _check_evidence_settings(url, overrides)
        return open_evidence_source(group, url, overrides.classes, overrides.ignore, options, index=index, name=name)
    source_name = name or source_names([url])[0]
    stored = [_find_predictions(group, url, member, source_name, options) for member in members]
    labels_group, place = _open_labels_group(group, url, source_name, overrides, options)
    labels, labels_spec = _open_array(
        labels_group, place, overrides.labels, "labels", _LABEL_AXES, overrides.labels_axes
    )
    label_attributes = _attributes(labels_group, labels, group)
    predictions = [_describe_predictions(found, labels_spec, overrides) for found in stored]
    specs = [
        make_source_spec(url, spec, labels_spec, overrides, _attributes(found.group, found.array), label_attributes)
        for found, spec in zip(stored, predictions, strict=True)
    ]
    check_same_shape({member: spec.predictions.shape for member, spec in zip(members, specs, strict=True)})
    spec = specs[0] if len(specs) == 1 else mean_source(specs)
    images = spec.images
    return replace(
        spec,
        index=index,
        name=source_name,
        image_id=open_per_image_array(group, url, overrides.image_id, "image_id", images),
        size_arrays=tuple(
            open_per_image_array(group, url, array, role, images)
            for array, role in ((overrides.height, "height"), (overrides.width, "width"))
        ),
        absent_labels_are_missing=absent_is_missing(url, overrides, label_attributes)
        and labels.fill_value not in spec.ignore,
        content_hashes={
            "metadata": metadata_hash(*(found.array for found in stored), labels),
            "content": content_hash([*spec.prediction_arrays, labels_spec], options),
        },
    )


def make_source_spec(
    url: str,
    predictions: ArraySpec,
    labels: ArraySpec,
    overrides: Overrides,
    prediction_attributes: Mapping[str, Any] | None = None,
    label_attributes: Mapping[str, Any] | None = None,
) -> SourceSpec:
    """Describe a source of two arrays, by their attributes and the overrides.

    Args:
        url: URL of the source.
        predictions: Prediction array.
        labels: Label array.
        overrides: Settings of the configuration.
        prediction_attributes: Attributes that apply to the predictions.
        label_attributes: Attributes that apply to the labels.

    Returns:
        The source, without ids and sizes. Contradictions raise DataError.
    """
    of_predictions, of_labels = prediction_attributes or {}, label_attributes or {}
    validate_shapes(url, predictions, labels)
    kind = overrides.kind or str(of_predictions.get("kind", "probabilities"))
    ignore = validate_ignore(url, overrides, {**of_predictions, **of_labels})
    predictions, scale, step = resolve_values(url, predictions, overrides, of_predictions, kind)
    tolerance = overrides.sum_tolerance
    if tolerance is None:
        tolerance = default_sum_tolerance(predictions.shape[1], step)
    return SourceSpec(
        index=0,
        name=source_names([url])[0],
        url=url,
        predictions=predictions,
        labels=labels,
        image_id=None,
        class_names=validate_class_names(url, overrides, {**of_labels, **of_predictions}, predictions),
        ignore=ignore,
        prediction_kind=kind,
        scale=scale,
        sum_tolerance=tolerance,
        absent_labels_are_missing=True,
        partitions=parse_partitions(url),
        remap=validate_remap(url, overrides.remap, predictions.shape[1], ignore),
    )


@dataclass(frozen=True)
class _FoundArray:
    """An array in its group, with the URL of the group and its name there."""

    group: zarr.Group
    url: str
    name: str
    array: zarr.Array[Any]


def _find_predictions(group: zarr.Group, url: str, name: str, source: str, options: Mapping[str, Any]) -> _FoundArray:
    """Find a prediction array by its name in the source or by its URL."""
    place, array_name = split_array_url(name, url, source)
    parent = group if place == url else _open_group(place, options, "The URL of an array must be in a group")
    array = find_array(parent, place, array_name)
    if array is None:
        raise _missing_array_error(parent, place, array_name, "predictions")
    return _FoundArray(parent, place, array_name, array)


def _describe_predictions(found: _FoundArray, labels: ArraySpec, overrides: Overrides) -> ArraySpec:
    """Describe the predictions that an array holds, of the size of the labels if it is resized."""
    resize = overrides.resize is not None

    def fits(sizes: tuple[int, ...]) -> bool:
        images, *_, height, width = sizes
        rows, columns = labels.shape[1:]
        enlarged = resize and 1 < height <= rows and 1 < width <= columns
        return images == labels.shape[0] and ((height, width) == (rows, columns) or enlarged)

    packing = read_packing(found.url, found.name, found.array)
    dtype = validate_dtype(found.url, found.name, "predictions", found.array, packing)
    order = validate_axes(
        found.url, found.name, "predictions", found.array, _PREDICTION_AXES, overrides.predictions_axes, fits
    )
    stored = _array_spec(found.array, found.url, dtype, order)
    return prediction_array(stored, packing, labels, resize=resize)


def _open_labels_group(
    group: zarr.Group, url: str, name: str, overrides: Overrides, options: Mapping[str, Any]
) -> tuple[zarr.Group, str]:
    """Return the group of the labels and its URL: the source, or the group of its name in `labels_from`."""
    if overrides.labels_from is None:
        return group, url
    place = labels_url(overrides.labels_from, name)
    return _open_group(place, options, f"labels_from must contain a group per source, here for {name}"), place


def labels_url(directory: str, source: str) -> str:
    """Return the URL of the group with a source's labels in a directory of labels."""
    return join(directory, f"{source}.zarr")


def _check_evidence_settings(url: str, overrides: Overrides) -> None:
    """Refuse settings that need predictions."""
    members = overrides.prediction_names
    if len(members) > 1:
        raise DataError(
            f"{url} contains evidence instead of predictions, but arrays.predictions are {', '.join(members)}",
            "Evidence is of one prediction and cannot be averaged",
            "Run it separately, or pass the predictions of all members",
        )
    if overrides.labels_from is not None:
        raise DataError(
            f"{url} contains evidence instead of predictions, but labels_from is {overrides.labels_from}",
            "Evidence depends on the labels",
            "Omit labels_from, or pass predictions",
        )


def _open_group(url: str, options: Mapping[str, Any], remedy: str) -> zarr.Group:
    """Open a group. A missing one raises DataError with the remedy."""
    try:
        group = open_group(url, options, MAX_ATTEMPTS_ON_OPEN)
        check_nesting(group.attrs.asdict())
        return group
    except (FileNotFoundError, NotADirectoryError) as e:
        raise DataError(f"There is no Zarr group at {url}", remedy) from e
    except ContainsArrayError as e:
        raise DataError(f"{url} is an array, but a source is a group of arrays", "Pass the URL of its group") from e
    except METADATA_ERRORS as e:
        raise _metadata_error(url, e) from e
    except UsageError:
        raise
    except Exception as e:  # the clients have no common base class of errors
        if cloud_of(url):
            raise unreachable_error(url, e) from e
        raise


def open_label_array(
    url: str, name: str, axes: tuple[str, ...] | None, ignore: tuple[int, ...], options: Mapping[str, Any]
) -> tuple[ArraySpec, bool]:
    """Open an integer array (image, y, x) in a group that may contain no other array, such as corrected labels.

    Args:
        url: URL of the group.
        name: Name of the array.
        axes: Stored order of the axes.
        ignore: Ignore values.
        options: Storage options of S3.

    Returns:
        The array, and whether an absent chunk is lost data: it is not if the fill value is an ignore value. A missing
        array raises DataError.
    """
    group = _open_group(url, options, f"Pass the URL of a group that contains the array {name!r}")
    array, spec = _open_array(group, url, name, "labels", _LABEL_AXES, axes)
    return spec, absent_is_missing(url, Overrides(), _attributes(group, array)) and array.fill_value not in ignore


def find_array(group: zarr.Group, url: str, name: str) -> zarr.Array[Any] | None:
    """Return an array of a group, or None. Metadata that cannot be parsed raise DataError."""
    try:
        member = group[name]
        if not isinstance(member, zarr.Array):
            return None
        check_nesting(member.attrs.asdict())
        bound_array(member)
        if getattr(member.metadata, "storage_transformers", None):  # zarr raises this only for the URL of the array
            raise ValueError("storage transformers are not supported")
    except METADATA_ERRORS as e:
        if isinstance(e, KeyError) and name in str(e):
            return None
        raise _metadata_error(join(url, name), e) from e
    validate_chunks(join(url, name), member)
    return member


def _metadata_error(url: str, cause: Exception) -> DataError:
    return DataError(
        f"The metadata of {url} cannot be parsed ({codec_error_message(cause)})",
        "Check that zarr.open can open it, and write it again if not",
    )


def _missing_array_error(group: zarr.Group, url: str, name: str, role: str) -> DataError:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr warns about other files in the group
        present = sorted(key for key, _ in group.arrays())
    similar = difflib.get_close_matches(name, present, n=1)
    others = f"only {', '.join(map(repr, present))}" if present else "and no other"
    return DataError(
        f"{url} contains no array {name!r}, {others}",
        f"Pass the name of the array: --arrays.{role} {similar[0] if similar else 'NAME'}",
    )


def _attributes(group: zarr.Group, array: zarr.Array[Any], source: zarr.Group | None = None) -> dict[str, Any]:
    """Merge the attributes of array, group and source, in this priority. Nulls are ignored."""
    inherited = {} if source is None else source.attrs.asdict()
    merged = {**inherited, **group.attrs.asdict(), **array.attrs.asdict()}
    return {name: value for name, value in merged.items() if value is not None}


def _open_array(
    group: zarr.Group, url: str, name: str, role: str, dims: tuple[str, ...], axes: tuple[str, ...] | None
) -> tuple[zarr.Array[Any], ArraySpec]:
    array = find_array(group, url, name)
    if array is None:
        raise _missing_array_error(group, url, name, role)
    dtype = validate_dtype(url, name, role, array)
    return array, _array_spec(array, url, dtype, validate_axes(url, name, role, array, dims, axes))


def _array_spec(array: zarr.Array[Any], url: str, dtype: str, order: tuple[int, ...]) -> ArraySpec:
    """Describe an array in the group at a URL, with the stored position of each canonical axis."""
    path = local_path(url)
    return ArraySpec(
        url=f"{(path or url).rstrip('/')}/{array.path.strip('/')}" if array.path else url,
        shape=reorder(array.shape, order),
        chunks=reorder(array.chunks, order),
        dtype=dtype,
        itemsize=array.dtype.itemsize,
        axes=order,
        shards=reorder(array.shards, order) if array.shards else None,
        zarr_format=array.metadata.zarr_format,
    )


def open_per_image_array(group: zarr.Group, url: str, name: str, role: str, images: int) -> ArraySpec | None:
    """Open an optional array with one value per image. Return None if it is missing under its default name, `role`."""
    array = find_array(group, url, name)
    if array is None and name != role:
        raise _missing_array_error(group, url, name, role)
    if array is None:
        return None
    if array.shape != (images,):
        raise DataError(
            f"{name!r} of {url} has shape {array.shape}, for {images} images",
            f"Write one {'id' if role == 'image_id' else 'number'} per image",
        )
    if (size := math.prod(array.chunks)) > max(images, MAX_CHUNK_VALUES):
        raise DataError(
            f"{name!r} of {url} has {size:,} values per chunk, for {images:,} images", "Write smaller chunks"
        )
    if role != "image_id" and array.dtype.kind not in "iu":
        raise DataError(f"{name!r} of {url} is stored as {array.dtype}", "Write integers")
    node = f"{(local_path(url) or url).rstrip('/')}/{array.path.strip('/')}"
    return ArraySpec(node, array.shape, array.chunks, str(array.dtype), 1, (0,), zarr_format=array.metadata.zarr_format)
