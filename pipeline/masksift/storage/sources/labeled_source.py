"""Open a source of images and labels that has no predictions yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import zarr

from masksift.core.errors import DataError
from masksift.core.specs import ArraySpec, SourceSpec
from masksift.storage.retry import MAX_ATTEMPTS_ON_OPEN
from masksift.storage.sources.fingerprint import content_hash
from masksift.storage.sources.images_array import make_array_spec
from masksift.storage.sources.label_values import recognize_binary_masks
from masksift.storage.sources.open import (
    find_array,
    make_source_spec,
    open_label_array,
    open_per_image_array,
    stored_fill_value,
)
from masksift.storage.sources.overrides import Overrides
from masksift.storage.sources.packing import read_packing
from masksift.storage.urls import join, local_path
from masksift.storage.zarr.metadata import open_group
from masksift.storage.zarr.per_image import read_values


@dataclass(frozen=True)
class LabeledSource:
    """Source of images and labels.

    Attributes:
        spec: The source as it will be with uint8 predictions.
        pictures: RGB images, (image, y, x, 3) uint8.
        groups: Group of each image as text; None if no array of groups was requested.
    """

    spec: SourceSpec
    pictures: ArraySpec
    groups: tuple[str, ...] | None


def open_labeled_source(
    url: str, overrides: Overrides, options: Mapping[str, Any], *, pictures: str, groups: str | None
) -> LabeledSource:
    """Open a source of images and labels.

    Args:
        url: URL of the Zarr group.
        overrides: Settings of the configuration.
        options: Storage options of S3.
        pictures: Name of the images array.
        groups: Name of the array of groups.

    Returns:
        The source.

    Raises:
        DataError: Arrays are missing or do not fit each other, or the class names are unknown.
    """
    ignore = overrides.ignore or ()
    labels, absent_is_lost = open_label_array(url, overrides.labels, overrides.labels_axes, ignore, options)
    group = open_group(url, options, MAX_ATTEMPTS_ON_OPEN)
    array: Any = find_array(group, url, overrides.labels)
    attributes = {**group.attrs.asdict(), **array.attrs.asdict()}
    names = overrides.classes or attributes.get("class_names")
    if not isinstance(names, Sequence) or isinstance(names, str) or len(names) < 2:
        value = "not given" if names is None else repr(names)
        raise DataError(f"The class_names of {url} are {value}", "Pass two or more: --classes a,b,c")
    n, height, width = labels.shape
    shape = (n, len(names), height, width)
    predictions = ArraySpec(
        join(local_path(url) or url, "predictions"), shape, (1, *shape[1:]), "uint8", 1, (0, 1, 2, 3)
    )
    packing = read_packing(url, overrides.labels, array)
    spec = make_source_spec(url, predictions, labels, replace(overrides, kind="probabilities"), {}, attributes, packing)
    images = _open_images(group, url, pictures, labels.shape)
    spec = replace(
        spec,
        image_id=open_per_image_array(group, url, overrides.image_id, "image_id", n),
        size_arrays=tuple(
            open_per_image_array(group, url, name, role, n)
            for name, role in ((overrides.height, "height"), (overrides.width, "width"))
        ),
        absent_labels_are_missing=absent_is_lost and stored_fill_value(array, labels) not in spec.ignore,
        content_hashes={"content": content_hash([labels, images], options)},
    )
    return LabeledSource(
        recognize_binary_masks([spec], overrides, options)[0],
        images,
        None if groups is None else _read_groups(group, url, groups, n, options),
    )


def _open_images(group: zarr.Group, url: str, name: str, labels: tuple[int, ...]) -> ArraySpec:
    array = find_array(group, url, name)
    if array is None:
        raise DataError(
            f"{url} contains no images array {name!r}",
            "Write one, (image, y, x, 3) uint8, or pass its name: --arrays.images NAME",
        )
    if array.shape != (*labels, 3) or array.dtype != np.uint8:
        raise DataError(
            f"Images {name!r} of {url} have shape {array.shape} and dtype {array.dtype}, its labels shape {labels}",
            f"Write the images as {(*labels, 3)} of uint8",
        )
    return make_array_spec(array, url)


def _read_groups(group: zarr.Group, url: str, name: str, images: int, options: Mapping[str, Any]) -> tuple[str, ...]:
    array = find_array(group, url, name)
    if array is None or array.shape != (images,) or array.dtype.kind == "f":
        actual = f"{array.dtype} {array.shape}" if array is not None else "no array"
        raise DataError(
            f"{url} contains {actual} under the name {name!r}",
            f"Write an array of texts or integers, one for each of the {images:,} images, or pass --group_pattern, a "
            "regular expression on their ids",
        )
    return tuple(str(value) for value in read_values(make_array_spec(array, url), 0, images, options).tolist())
