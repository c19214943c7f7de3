"""Open a source: find its arrays, read their attributes and validate them."""

from __future__ import annotations

import difflib
import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import zarr
from zarr.errors import ContainsArrayError

from masksift.core.errors import DataError, UsageError
from masksift.core.json_text import check_nesting
from masksift.core.specs import ArraySpec, Packing, SourceSpec
from masksift.scoring.kernels.condense import default_sum_tolerance
from masksift.storage.credentials import cloud_of, unreachable_error
from masksift.storage.retry import MAX_ATTEMPTS_ON_OPEN
from masksift.storage.sources.decoding import prediction_array, resolve_values
from masksift.storage.sources.ensemble import check_same_shape, mean_source, split_array_url
from masksift.storage.sources.evidence_source import EVIDENCE_ATTRIBUTE, open_evidence_source
from masksift.storage.sources.fingerprint import content_hash, metadata_hash
from masksift.storage.sources.label_values import resolve_label_values
from masksift.storage.sources.naming import parse_partitions, source_names
from masksift.storage.sources.overrides import Overrides
from masksift.storage.sources.packing import read_packing
from masksift.storage.sources.validate import (
    absent_is_missing,
    reorder,
    validate_axes,
    validate_chunks,
    validate_class_colors,
    validate_class_names,
    validate_dtype,
    validate_shapes,
)
from masksift.storage.urls import is_absolute, join, local_path, split_url
from masksift.storage.zarr.bounded_codecs import bound_array
from masksift.storage.zarr.links import LinkSettings
from masksift.storage.zarr.metadata import open_group, open_member
from masksift.storage.zarr.stores import open_bare_array
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
_NO_NODE = (FileNotFoundError, NotADirectoryError)
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
    group = open_source_group(url, overrides, options)
    return describe_source(group, url, overrides, options, index=index, name=name)


def describe_source(
    group: zarr.Group | None,
    url: str,
    overrides: Overrides,
    options: Mapping[str, Any],
    *,
    index: int,
    name: str | None,
) -> SourceSpec:
    """Describe the source in an opened group; see `open_source`."""
    members = overrides.prediction_names
    if group is not None and EVIDENCE_ATTRIBUTE in group.attrs:
        _check_evidence_settings(url, overrides)
        return open_evidence_source(group, url, overrides.classes, overrides.ignore, options, index=index, name=name)
    source_name = name or source_names([url])[0]
    stored = [_find_stored(group, url, member, source_name, "predictions", options) for member in members]
    found_labels = _find_labels(group, url, source_name, overrides, options)
    labels, labels_spec = found_labels.array, _label_spec(found_labels, overrides.labels_axes)
    label_attributes = _attributes(found_labels.group, labels, group)
    if group is None:
        group, place = found_labels.group, found_labels.url
    else:
        place = url
    label_packing = read_packing(found_labels.url, found_labels.name, labels)
    predictions = [_describe_predictions(found, labels_spec, overrides) for found in stored]
    specs = [
        make_source_spec(
            url,
            spec,
            labels_spec,
            overrides,
            _attributes(found.group, found.array),
            label_attributes,
            label_packing,
        )
        for found, spec in zip(stored, predictions, strict=True)
    ]
    check_same_shape({member: spec.predictions.shape for member, spec in zip(members, specs, strict=True)})
    spec = specs[0] if len(specs) == 1 else mean_source(specs)
    images = spec.images
    return replace(
        spec,
        index=index,
        name=source_name,
        image_id=open_per_image_array(group, place, overrides.image_id, "image_id", images),
        size_arrays=tuple(
            open_per_image_array(group, place, array, role, images)
            for array, role in ((overrides.height, "height"), (overrides.width, "width"))
        ),
        absent_labels_are_missing=absent_is_missing(url, overrides, label_attributes)
        and stored_fill_value(labels, labels_spec) not in spec.ignore,
        content_hashes={
            "metadata": metadata_hash(*(found.array for found in stored), labels),
            "content": content_hash([*spec.prediction_arrays, labels_spec], options),
            **_linked_places([found.array for found in stored]),
        },
    )


def _linked_places(arrays: Iterable[zarr.Array[Any]]) -> dict[str, Any]:
    settings = (LinkSettings.of(array.attrs.asdict()) for array in arrays)
    places = sorted({place for one in settings if one is not None for place in one.places})
    return {"places": places} if places else {}


def make_source_spec(
    url: str,
    predictions: ArraySpec,
    labels: ArraySpec,
    overrides: Overrides,
    prediction_attributes: Mapping[str, Any] | None = None,
    label_attributes: Mapping[str, Any] | None = None,
    label_packing: Packing | None = None,
) -> SourceSpec:
    """Describe a source of two arrays, by their attributes and the overrides.

    Args:
        url: URL of the source.
        predictions: Prediction array.
        labels: Label array.
        overrides: Settings of the configuration.
        prediction_attributes: Attributes that apply to the predictions.
        label_attributes: Attributes that apply to the labels.
        label_packing: Packing of the labels.

    Returns:
        The source, without ids and sizes. Contradictions raise DataError.
    """
    of_predictions, of_labels = prediction_attributes or {}, label_attributes or {}
    validate_shapes(url, predictions, labels)
    kind = overrides.kind or str(of_predictions.get("kind", "probabilities"))
    label_settings, class_settings = {**of_predictions, **of_labels}, {**of_labels, **of_predictions}
    values = resolve_label_values(labels, overrides, label_settings, predictions.shape[1], label_packing)
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
        class_names=validate_class_names(url, overrides, class_settings, predictions),
        ignore=values.ignore,
        prediction_kind=kind,
        scale=scale,
        sum_tolerance=tolerance,
        absent_labels_are_missing=True,
        partitions=parse_partitions(url),
        remap=values.remap,
        label_offset=values.offset,
        class_colors=validate_class_colors(
            f"class_colors of {url}", class_settings.get("class_colors"), predictions.shape[1]
        ),
    )


@dataclass(frozen=True)
class _FoundArray:
    """An array in its group, with the URL of the group and its name there; or without group, with its own URL."""

    group: zarr.Group | None
    url: str
    name: str
    array: zarr.Array[Any]


def open_source_group(
    url: str, overrides: Overrides, options: Mapping[str, Any], more: Iterable[str] = ()
) -> zarr.Group | None:
    """Open the group of a source and read the metadata of its arrays, all at a time.

    Args:
        url: URL of the source.
        overrides: Settings of the configuration.
        options: Storage options of S3.
        more: Names of further arrays.

    Returns:
        The group; None if the URL is an array, and all arrays are named by their URLs.

    Raises:
        DataError: There is no group.
    """
    members, labels = overrides.prediction_names, overrides.labels
    names = (*members, labels, overrides.image_id, overrides.height, overrides.width, *more)
    relative = [name for name in names if not is_absolute(name)]
    remedy = f"Pass the URL of a group with the arrays {members[0]!r} and {labels!r}"
    try:
        return _open_group(url, options, remedy, relative)
    except DataError as e:
        if all(map(is_absolute, (*members, labels))) and isinstance(e.__cause__, (ContainsArrayError, *_NO_NODE)):
            return None
        raise


def find_array_by_url(url: str, role: str, options: Mapping[str, Any]) -> _FoundArray:
    """Find an array by its URL, in a group or without one. A missing array raises DataError."""
    place, name = split_url(url)
    try:
        group = _open_group(place, options, "", [name])
    except DataError as e:
        if not isinstance(e.__cause__, _NO_NODE):
            raise
    else:
        if (array := find_array(group, place, name)) is not None:
            return _FoundArray(group, place, name, array)
        raise _missing_array_error(group, place, name, role)
    remedy = "Pass the URL of a Zarr array; `masksift ingest` converts images and NumPy files"
    array = _open_node(open_bare_array, url, options, "array", remedy)
    _check_array(array, url)
    return _FoundArray(None, url, name, array)


def _find_stored(
    group: zarr.Group | None, url: str, name: str, source: str, role: str, options: Mapping[str, Any]
) -> _FoundArray:
    """Find an array by its name in the source or by its URL."""
    if is_absolute(name):
        return find_array_by_url(join(*split_array_url(name, url, source)), role, options)
    assert group is not None
    array = find_array(group, url, name)
    if array is None:
        raise _missing_array_error(group, url, name, role)
    return _FoundArray(group, url, name, array)


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


def _find_labels(
    group: zarr.Group | None, url: str, name: str, overrides: Overrides, options: Mapping[str, Any]
) -> _FoundArray:
    """Find the labels: in the source, by their URL, or in the group of the source's name in `labels_from`."""
    if overrides.labels_from is None:
        return _find_stored(group, url, overrides.labels, name, "labels", options)
    place = labels_url(overrides.labels_from, name)
    remedy = f"labels_from must contain a group per source, here for {name}"
    group = _open_group(place, options, remedy, [overrides.label_name])
    return _find_stored(group, place, overrides.label_name, name, "labels", options)


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
    for name, value in (("remap", overrides.remap), ("label_offset", overrides.label_offset)):
        if value:
            raise DataError(
                f"{url} contains evidence instead of predictions, but {name} is set",
                "The classes of its labels are fixed",
                f"Omit {name}, or write the evidence again from labels with other numbers",
            )


def _open_group(url: str, options: Mapping[str, Any], remedy: str, names: Iterable[str]) -> zarr.Group:
    """Open a group with the metadata of arrays of these names. A missing one raises DataError with the remedy."""
    group: zarr.Group = _open_node(partial(open_group, names=names), url, options, "group", remedy)
    return group


def _open_node(
    open_node: Callable[[str, Mapping[str, Any], int], Any],
    url: str,
    options: Mapping[str, Any],
    kind: str,
    remedy: str,
) -> Any:
    try:
        node = open_node(url, options, MAX_ATTEMPTS_ON_OPEN)
        check_nesting(node.attrs.asdict())
        return node
    except _NO_NODE as e:
        raise DataError(f"There is no Zarr {kind} at {url}", remedy) from e
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
    group = _open_group(url, options, f"Pass the URL of a group that contains the array {name!r}", [name])
    found = _find_stored(group, url, name, "", "labels", options)
    array, spec = found.array, _label_spec(found, axes)
    return spec, absent_is_missing(url, Overrides(), _attributes(group, array)) and stored_fill_value(
        array, spec
    ) not in ignore


def stored_fill_value(array: zarr.Array[Any], spec: ArraySpec) -> Any:
    """Return the fill value of labels in the dtype in which they are read."""
    fill: Any = array.fill_value
    return None if fill is None else np.asarray(fill).astype(spec.dtype)[()]


def find_array(group: zarr.Group, url: str, name: str) -> zarr.Array[Any] | None:
    """Return an array of a group, or None. Metadata that cannot be parsed raise DataError."""
    try:
        member = open_member(group, name)
    except METADATA_ERRORS as e:
        raise _metadata_error(join(url, name), e) from e
    if not isinstance(member, zarr.Array):
        return None
    _check_array(member, join(url, name))
    return member


def _check_array(array: zarr.Array[Any], url: str) -> None:
    """Raise DataError for metadata that zarr accepts at first, or whose chunks have no bounded size."""
    try:
        check_nesting(array.attrs.asdict())
        bound_array(array)
        LinkSettings.of(array.attrs.asdict())
        if getattr(array.metadata, "storage_transformers", None):  # zarr raises this only for the URL of the array
            raise ValueError("storage transformers are not supported")
    except METADATA_ERRORS as e:
        raise _metadata_error(url, e) from e
    validate_chunks(url, array)


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


def _attributes(*nodes: zarr.Group | zarr.Array[Any] | None) -> dict[str, Any]:
    """Merge the attributes of group, array and source, in the priority array, group, source. Nulls are ignored."""
    group, array, *source = nodes
    merged: dict[str, Any] = {}
    for node in (*source, group, array):
        merged |= {} if node is None else node.attrs.asdict()
    return {name: value for name, value in merged.items() if value is not None}


def _label_spec(found: _FoundArray, axes: tuple[str, ...] | None) -> ArraySpec:
    dtype = validate_dtype(found.url, found.name, "labels", found.array)
    if (packing := read_packing(found.url, found.name, found.array)) is not None:
        dtype = packing.dtype
    order = validate_axes(found.url, found.name, "labels", found.array, _LABEL_AXES, axes)
    return _array_spec(found.array, found.url, dtype, order)


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


def open_per_image_array(group: zarr.Group | None, url: str, name: str, role: str, images: int) -> ArraySpec | None:
    """Open an optional array with one value per image. Return None if it is missing under its default name, `role`."""
    array = None if group is None else find_array(group, url, name)
    if array is None and name != role and group is not None:
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
