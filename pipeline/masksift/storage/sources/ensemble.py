"""Combine the prediction arrays of an ensemble into one source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import lcm

from masksift.core.errors import DataError
from masksift.core.specs import ArraySpec, EnsembleMember, SourceSpec
from masksift.storage.sources.validate import default_class_names
from masksift.storage.urls import is_absolute, local_path


def split_array_url(name: str, url: str, source: str) -> tuple[str, str]:
    """Return the group URL and the name within the group of an array.

    Args:
        name: Name of an array in the source, or a URL in which `{source}` stands for the name of the source.
        url: URL of the source.
        source: Name of the source.

    Returns:
        URL of the group, and name of the array in it.
    """
    if not is_absolute(name):
        return url, name
    place = local_path(name) or name  # decoded before the name of the source, which is not percent-encoded, is added
    group, _, array = place.replace("{source}", source).rstrip("/").rpartition("/")
    return group, array


def check_same_shape(members: Mapping[str, tuple[int, ...]]) -> None:
    """Raise DataError if ensemble members, by name, differ in shape (image, class, y, x)."""
    if len(set(members.values())) > 1:
        shapes = ", ".join(f"{name} {shape}" for name, shape in members.items())
        raise DataError(
            f"The predictions of an ensemble differ in shape (image, class, y, x): {shapes}",
            "Pass --arrays.predictions with the same images, classes and sizes",
        )


def has_class_names(spec: SourceSpec) -> bool:
    """Return whether a source names its classes, instead of having default names."""
    return spec.class_names not in {
        default_class_names(spec.classes, binary=array.is_binary) for array in spec.prediction_arrays
    }


def mean_source(specs: Sequence[SourceSpec]) -> SourceSpec:
    """Return the source whose predictions are the mean of an ensemble.

    Args:
        specs: The source with each member's predictions; all else is equal.

    Returns:
        The source.

    Raises:
        DataError: Two members name a class differently.
    """
    first = next((spec for spec in specs if has_class_names(spec)), specs[0])
    for spec in specs:
        differing = [k for k in range(first.classes) if spec.class_names[k] != first.class_names[k]]
        if has_class_names(spec) and differing:
            k = differing[0]
            raise DataError(
                f"Class {k} is {first.class_names[k]!r} in {first.predictions.url} and {spec.class_names[k]!r} in "
                f"{spec.predictions.url}",
                "Their mean has no meaning",
                "Pass the class names with --classes a,b,c",
            )
    return replace(
        specs[0],
        predictions=_mean_array(specs[0].url, [spec.predictions for spec in specs]),
        class_names=first.class_names,
        class_colors=next((spec.class_colors for spec in specs if spec.class_colors), ()),
        prediction_kind="probabilities",
        scale=1.0,
        sum_tolerance=float(first.classes),  # the sums of each member are checked with its own tolerance
        members=tuple(
            EnsembleMember(spec.predictions, spec.prediction_kind, spec.scale, spec.sum_tolerance) for spec in specs
        ),
    )


def _mean_array(url: str, arrays: Sequence[ArraySpec]) -> ArraySpec:
    """Describe the mean, with chunks that hold whole chunks of every member, so that none is decoded twice."""
    shape = arrays[0].shape
    chunks = _common_multiple(shape, [array.chunks for array in arrays])
    shards = _common_multiple(shape, [array.shards or array.chunks for array in arrays])
    sharded = any(array.shards for array in arrays)
    return ArraySpec(url, shape, chunks, "float32", 4, (0, 1, 2, 3), shards if sharded else None)


def _common_multiple(shape: tuple[int, ...], sizes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(min(extent, lcm(*lengths)) for extent, *lengths in zip(shape, *sizes, strict=True))
