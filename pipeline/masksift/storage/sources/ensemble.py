"""Ensembles: several arrays of predictions of the same images become one source, of their mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import lcm

from masksift.core.errors import DataError
from masksift.core.specs import ArraySpec, EnsembleMember, SourceSpec


def split_array_url(name: str, url: str, source: str) -> tuple[str, str]:
    """(URL of the group, name within it) of an array of predictions: by its name in the source at ``url``, or by a URL
    of its own, in which `{source}` is the source's name."""
    if "://" not in name and not name.startswith("/"):
        return url, name
    group, _, own = name.replace("{source}", source).rstrip("/").rpartition("/")
    return group, own


def check_same_shape(members: Mapping[str, tuple[int, ...]]) -> None:
    """Raise DataError where members, by their names, have several shapes (image, class, y, x)."""
    if len(set(members.values())) > 1:
        said = ", ".join(f"{name} {shape}" for name, shape in members.items())
        raise DataError(
            f"the predictions of an ensemble have the shapes (image, class, y, x) {said}",
            "there is no mean of arrays of several sizes",
            "Give --arrays.predictions members of the same images, classes and sizes",
        )


def mean_source(specs: Sequence[SourceSpec]) -> SourceSpec:
    """The source whose predictions are the mean of those of all ``specs``, which are alike in all else. Raises
    DataError where two of them name a class differently."""
    first = next((spec for spec in specs if _named(spec)), specs[0])
    for spec in specs:
        differing = [k for k in range(first.classes) if spec.class_names[k] != first.class_names[k]]
        if _named(spec) and differing:
            k = differing[0]
            raise DataError(
                f"class {k} is {first.class_names[k]!r} in {first.predictions.url} and {spec.class_names[k]!r} in "
                f"{spec.predictions.url}",
                "the mean of two classes is neither",
                "Say what the classes are: --classes a,b,c",
            )
    return replace(
        specs[0],
        predictions=_mean_of(specs[0].url, [spec.predictions for spec in specs]),
        class_names=first.class_names,
        prediction_kind="probabilities",
        scale=1.0,
        sum_tolerance=float(first.classes),  # each member is held to its own
        members=tuple(
            EnsembleMember(spec.predictions, spec.prediction_kind, spec.scale, spec.sum_tolerance) for spec in specs
        ),
    )


def _mean_of(url: str, arrays: Sequence[ArraySpec]) -> ArraySpec:
    """What the mean would be as an array: float32, and whole chunks and shards of every member in each of its own, so
    that what is decoded for one window is needed for no other."""
    shape = arrays[0].shape
    chunks = _common(shape, [array.chunks for array in arrays])
    shards = _common(shape, [array.shards or array.chunks for array in arrays])
    sharded = any(array.shards for array in arrays)
    return ArraySpec(url, shape, chunks, "float32", 4, (0, 1, 2, 3), shards if sharded else None)


def _common(shape: tuple[int, ...], sizes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(min(extent, lcm(*parts)) for extent, *parts in zip(shape, *sizes, strict=True))


def _named(spec: SourceSpec) -> bool:
    return spec.class_names != tuple(f"class {k}" for k in range(spec.classes))
