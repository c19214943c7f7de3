"""What the kinds of errors share: a plane of class numbers, the choice of a mask in it, and its change into another.

A *plane* is (H, W), unsigned integers: class numbers 0..K-1, and the dtype's maximum where a pixel is ignored. No kind
changes an ignored pixel. Whatever is drawn comes from the generator alone, so that the same one gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.unsignedinteger]
Mask = NDArray[np.bool_]

LEAST = 0.01
"""Share of an image's valid pixels that a mask must hold whose outline is changed: an error in less is of no
consequence. Where a mask is lost or given another class, `size` says it."""


@dataclass(frozen=True)
class ErrorParams:
    """How errors are made. ``objects``: `whole` or `one`; ``fill``: `nearest`, `background` or `ignore`, of kinds that
    fill anything; ``size``: in the kind's own unit; ``classes``: those that may suffer or be given; ``background``: the
    class that `background` fills with."""

    kind: str
    size: float
    classes: tuple[int, ...]
    objects: str = "whole"
    fill: str = "nearest"
    background: int | None = None


@dataclass(frozen=True)
class CorruptedLabels:
    """A plane with an error in it, and the classes that the error was drawn for: the one that lost pixels, or the two
    that were exchanged."""

    plane: Plane
    classes: tuple[int, ...]


@dataclass(frozen=True)
class ErrorType:
    """A kind of error. ``draw``: one draw, which may change nothing; None where no draw can. ``size``: its default, in
    its ``unit``; ``fills``: what it can fill with, its default first; ``objects``: whether it can befall one object."""

    draw: Callable[[Plane, np.random.Generator, ErrorParams], CorruptedLabels | None]
    size: float
    unit: str
    fills: tuple[str, ...] = ()
    objects: bool = True


def ignored_in(plane: Plane) -> int:
    """The value of ignored pixels."""
    return int(np.iinfo(plane.dtype).max)


def counts_of(plane: Plane, classes: tuple[int, ...]) -> dict[int, int]:
    """Pixels by class, of those of ``classes`` that the plane has."""
    numbers, counts = np.unique(plane, return_counts=True)
    wanted = set(classes)
    return {int(k): int(n) for k, n in zip(numbers, counts, strict=True) if int(k) in wanted and k != ignored_in(plane)}


def choose(
    plane: Plane, generator: np.random.Generator, setting: ErrorParams, least: float = LEAST
) -> tuple[int, Mask] | None:
    """A class and its mask, or the mask of one of its objects: any class, and any object of it, is as likely as
    another. Only masks that hold at least ``least`` of the valid pixels count; None where there is none."""
    floor = max(1.0, least * np.count_nonzero(plane != ignored_in(plane)))
    present = counts_of(plane, setting.classes)
    filling = setting.background if setting.fill == "background" else None
    labels = [k for k, pixels in present.items() if pixels >= floor and k != filling]
    for k in generator.permutation(labels).tolist():
        mask = plane == k
        if setting.objects == "whole":
            return k, mask
        numbers = _components(mask)
        large = np.flatnonzero(np.bincount(numbers.reshape(-1))[1:] >= floor) + 1
        if large.size:
            return k, numbers == generator.choice(large)
    return None


def objects_of(mask: Mask) -> Iterator[tuple[tuple[slice, slice], Mask]]:
    """Every object of a mask, pixels that touch by a side or a corner: the box that it lies in, and its mask there."""
    numbers = _components(mask)
    for number, box in enumerate(_ndimage().find_objects(numbers), 1):
        yield box, numbers[box] == number


def _components(mask: Mask) -> NDArray[np.int32]:
    """Number the 8-connected objects of a mask (H, W) from 1 on, 0 outside."""
    numbers: NDArray[np.int32]
    numbers, _ = _ndimage().label(mask, np.ones((3, 3)))
    return numbers


def reshaped(plane: Plane, label: int, mask: Mask, new: Mask, setting: ErrorParams) -> Plane:
    """A copy of the plane in which ``mask``, pixels of the class ``label``, is ``new``. What it uncovers is filled as
    the setting says: with the nearest valid pixel of another class (where there is none, it stays), with the
    background, or with no label; what it covers takes its class."""
    after, uncovered = plane.copy(), mask & ~new
    if uncovered.any():
        after[uncovered] = _filling(plane, label, setting)(uncovered)
    after[new & (plane != ignored_in(plane))] = label
    return after


def _filling(plane: Plane, label: int, setting: ErrorParams) -> Callable[[Mask], Any]:
    if setting.fill == "ignore":
        return lambda uncovered: ignored_in(plane)
    if setting.fill == "background":
        return lambda uncovered: setting.background
    lender = (plane != label) & (plane != ignored_in(plane))
    if not lender.any():
        return lambda uncovered: label
    row, column = _ndimage().distance_transform_edt(~lender, return_distances=False, return_indices=True)
    return lambda uncovered: plane[row[uncovered], column[uncovered]]


def distances(mask: Mask) -> NDArray[np.float64]:
    """(H, W), pixels: how far each pixel is from the nearest of a mask that holds at least one."""
    found: NDArray[np.float64] = _ndimage().distance_transform_edt(~mask)
    return found


def _ndimage() -> Any:
    """Import scipy.ndimage on use: scipy is an optional dependency, and the configuration imports this module."""
    from scipy import ndimage

    return ndimage
