"""A source that has pictures and labels, and no predictions yet."""

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
from masksift.storage.sources.open import make_source_spec, open_label_array, open_per_image_array
from masksift.storage.sources.overrides import Overrides
from masksift.storage.urls import join, local_path
from masksift.storage.zarr.per_image import open_array
from masksift.storage.zarr.stores import open_group


@dataclass(frozen=True)
class LabeledSource:
    """A source as facts. ``spec``: as of one with predictions, of uint8, which are not there; ``pictures``: (image, y,
    x, 3) uint8; ``groups``: what the array of groups says of each image, None where none was asked for."""

    spec: SourceSpec
    pictures: ArraySpec
    groups: tuple[str, ...] | None


def open_labeled_source(
    url: str, overrides: Overrides, options: Mapping[str, Any], *, pictures: str, groups: str | None
) -> LabeledSource:
    """Open one source; ``pictures``, ``groups``: names of arrays. Raises DataError where it is none."""
    ignore = overrides.ignore or ()
    labels, lost = open_label_array(url, overrides.labels, overrides.labels_axes, ignore, options)
    group = open_group(url, options, MAX_ATTEMPTS_ON_OPEN)
    own: Any = group[overrides.labels]
    told = {**group.attrs.asdict(), **own.attrs.asdict()}
    names = overrides.classes or told.get("class_names")
    if not isinstance(names, Sequence) or isinstance(names, str) or len(names) < 2:
        shown = "not given" if names is None else repr(names)
        raise DataError(
            f"the class_names of {url} are {shown}",
            "how many classes there are to tell apart is not known",
            "Give two or more: --classes a,b,c",
        )
    n, height, width = labels.shape
    shape = (n, len(names), height, width)
    predictions = ArraySpec(
        join(local_path(url) or url, "predictions"), shape, (1, *shape[1:]), "uint8", 1, (0, 1, 2, 3)
    )
    spec = make_source_spec(url, predictions, labels, replace(overrides, kind="probabilities"), {}, told)
    images = _pictures(group, url, pictures, labels.shape)
    lost = lost and own.fill_value not in spec.ignore
    return LabeledSource(
        replace(
            spec,
            image_id=open_per_image_array(group, url, overrides.image_id, "image_id", n),
            size_arrays=tuple(
                open_per_image_array(group, url, name, role, n)
                for name, role in ((overrides.height, "height"), (overrides.width, "width"))
            ),
            absent_labels_are_missing=lost,
            content_hashes={"content": content_hash([labels, images], options)},
        ),
        images,
        None if groups is None else _groups(group, url, groups, n, options),
    )


def _pictures(group: zarr.Group, url: str, name: str, labels: tuple[int, ...]) -> ArraySpec:
    array = group.get(name)
    if not isinstance(array, zarr.Array):
        raise DataError(
            f"{url} holds no array {name!r}",
            "there are no pictures to train on or to predict",
            "Write them, (image, y, x, 3) uint8, or say which array holds them: --arrays.images NAME",
        )
    if array.shape != (*labels, 3) or array.dtype != np.uint8:
        raise DataError(
            f"pictures {name!r} of {url} have the shape {array.shape} and the dtype {array.dtype}, its labels the "
            f"shape {labels}",
            "which pixel a label is of is not known",
            f"Write them as {(*labels, 3)} of uint8",
        )
    return make_array_spec(array, url)


def _groups(group: zarr.Group, url: str, name: str, images: int, options: Mapping[str, Any]) -> tuple[str, ...]:
    """What the array of groups holds, as text."""
    array = group.get(name)
    if not isinstance(array, zarr.Array) or array.shape != (images,) or array.dtype.kind == "f":
        has = f"{array.dtype} {array.shape}" if isinstance(array, zarr.Array) else "no array"
        raise DataError(
            f"{url} has {has} under the name {name!r}",
            "which images belong together is not known",
            f"Write an array of texts or whole numbers, one for each of the {images:,} images, or give "
            "--group_pattern, a regular expression on their ids",
        )
    return tuple(str(value) for value in np.asarray(open_array(make_array_spec(array, url), options)[:]).tolist())
