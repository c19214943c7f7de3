"""Class planes, and the choice and replacement of masks, for all error types.

A plane is (H, W), unsigned integers: class indices 0 to K - 1, and the largest value of the dtype for ignored pixels.
Error types never change an ignored pixel, and draw random numbers only from the generator they are passed, so that the
same seed gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.unsignedinteger]
Mask = NDArray[np.bool_]

MIN_MASK_SHARE = 0.01
"""Least share of the valid pixels in a mask whose outline is changed; an error in a smaller mask has no consequence.
Where a mask is dropped or gets another class, `size` sets this share."""
ALL_FILLS = ("nearest", "background", "ignore")


@dataclass(frozen=True)
class ErrorParams:
    """Parameters of a simulated error.

    Attributes:
        error_type: Key of `ERROR_TYPES`.
        size: Size of the change, in the unit of the error type.
        classes: Class indices that may lose pixels or be assigned.
        objects: ``whole`` (all pixels of a class) or ``one`` (one connected component).
        fill: Replacement of lost pixels: ``nearest``, ``background`` or ``ignore``; only for types that fill.
        background: Class index for the fill ``background``.
    """

    error_type: str
    size: float
    classes: tuple[int, ...]
    objects: str = "whole"
    fill: str = "nearest"
    background: int | None = None


@dataclass(frozen=True)
class CorruptedLabels:
    """Plane with an error, and the affected classes: those that lost pixels, or the two that were exchanged."""

    plane: Plane
    classes: tuple[int, ...]


@dataclass(frozen=True)
class ErrorType:
    """A simulated error.

    Attributes:
        draw: Applies one random draw, which may change nothing. Returns None if no draw can change the plane.
        default_size: Default of `ErrorParams.size`.
        size_unit: Description of the size and its unit.
        fills: Supported replacements of lost pixels, default first; empty if no pixel is lost.
        single_object: Whether the error can affect a single object.
    """

    draw: Callable[[Plane, np.random.Generator, ErrorParams], CorruptedLabels | None]
    default_size: float
    size_unit: str
    fills: tuple[str, ...] = ALL_FILLS
    single_object: bool = True


def mask_error(
    new_mask: Callable[[Plane, Mask, np.random.Generator, ErrorParams], Mask], default_size: float, size_unit: str
) -> ErrorType:
    """Make an error type that replaces the mask of a random class or object by ``new_mask(plane, mask, ...)``."""

    def draw(plane: Plane, rng: np.random.Generator, params: ErrorParams) -> CorruptedLabels | None:
        choice = choose_mask(plane, rng, params)
        if choice is None:
            return None
        label, mask = choice
        return CorruptedLabels(replace_mask(plane, label, mask, new_mask(plane, mask, rng, params), params), (label,))

    return ErrorType(draw, default_size, size_unit)


def ignored_value(plane: Plane) -> int:
    """Value of ignored pixels."""
    return int(np.iinfo(plane.dtype).max)


def class_counts(plane: Plane, classes: tuple[int, ...]) -> dict[int, int]:
    """Count pixels by class, for those of ``classes`` that occur in the plane."""
    numbers, counts = np.unique(plane, return_counts=True)
    wanted = set(classes) - {ignored_value(plane)}
    return {int(k): int(n) for k, n in zip(numbers, counts, strict=True) if int(k) in wanted}


def choose_mask(
    plane: Plane, rng: np.random.Generator, params: ErrorParams, min_share: float = MIN_MASK_SHARE
) -> tuple[int, Mask] | None:
    """Choose a random class, or object of a class, with at least ``min_share`` of the valid pixels, if there is one."""
    min_pixels = max(1.0, min_share * np.count_nonzero(plane != ignored_value(plane)))
    background = params.background if params.fill == "background" else None
    counts = class_counts(plane, params.classes)
    labels = [k for k, pixels in counts.items() if pixels >= min_pixels and k != background]
    for k in rng.permutation(labels).tolist():
        mask = plane == k
        if params.objects == "whole":
            return k, mask
        components = _label_components(mask)
        large = np.flatnonzero(np.bincount(components.reshape(-1))[1:] >= min_pixels) + 1
        if large.size:
            return k, components == rng.choice(large)
    return None


def iter_objects(mask: Mask) -> Iterator[tuple[tuple[slice, slice], Mask]]:
    """Yield the bounding box of every 8-connected component, and its mask inside the box."""
    from scipy import ndimage

    components = _label_components(mask)
    for number, box in enumerate(ndimage.find_objects(components), 1):
        yield box, components[box] == number


def _label_components(mask: Mask) -> NDArray[np.int32]:
    """Number the 8-connected components from 1, in the order of their first pixels; 0 is outside of the mask."""
    from scipy import ndimage

    components: NDArray[np.int32] = ndimage.label(mask, np.ones((3, 3)))[0]
    return components


def replace_mask(plane: Plane, label: int, mask: Mask, new: Mask, params: ErrorParams) -> Plane:
    """Give the class ``label`` to ``new`` instead of ``mask``, in a copy, and fill uncovered pixels as configured."""
    result, uncovered = plane.copy(), mask & ~new
    if uncovered.any():
        if params.fill == "ignore":
            result[uncovered] = ignored_value(plane)
        elif params.fill == "background":
            assert params.background is not None
            result[uncovered] = params.background
        else:
            _fill_with_nearest(result, uncovered, (plane != label) & (plane != ignored_value(plane)))
    result[new & (plane != ignored_value(plane))] = label
    return result


def _fill_with_nearest(plane: Plane, uncovered: Mask, donors: Mask) -> None:
    """Copy the nearest donor pixel into every uncovered pixel, in place; without donors nothing changes."""
    if donors.any():
        row, column = _distance_transform(~donors, return_distances=False, return_indices=True)
        plane[uncovered] = plane[row[uncovered], column[uncovered]]


def distance_to(mask: Mask) -> NDArray[np.float64]:
    """Distance of each pixel to the nearest pixel of a nonempty mask, (H, W), pixels."""
    distances: NDArray[np.float64] = _distance_transform(~mask)
    return distances


def _distance_transform(mask: Mask, **options: bool) -> Any:
    from scipy import ndimage

    return ndimage.distance_transform_edt(mask, **options)
