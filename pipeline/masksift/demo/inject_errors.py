"""Inject known annotation errors into a copy of correct labels: drop, swap and shift.

These are the error types of Lad & Mueller 2023, "Estimating label quality and errors in semantic segmentation data via
any model" (arXiv 2307.05080). This project chose the fill of uncovered pixels (the class of the nearest unchanged
pixel) and the distance of a shift. Ignored pixels never change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from masksift.demo.known_errors import DECIMALS, KnownError

Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

MIN_CHANGED_SHARE = 0.01
"""Smallest share of an image's valid pixels that an error changes."""
SHIFT_RANGE = (0.02, 0.08)
"""Distance of a shift as a share of the image's diagonal."""
OBJECT_PROBABILITY = 0.5
"""Probability that a drop removes one object instead of the whole class."""


def changed_share(before: Labels, after: Labels, ignore: int = 255) -> float:
    """Return the share of the valid pixels whose label changed, in [0, 1]."""
    valid = before != ignore
    return int(np.count_nonzero((before != after) & valid)) / max(int(np.count_nonzero(valid)), 1)


def fill_mask(labels: Labels, mask: Mask, label: int, ignore: int = 255) -> Labels:
    """Copy labels (H, W), and give the pixels of a mask the class of the nearest valid pixel of another class.

    Ignored pixels neither change nor provide a class. Without another class nothing changes.

    Args:
        labels: Labels (H, W).
        mask: Pixels of the class to fill.
        label: The class.
        ignore: Label value of ignored pixels.

    Returns:
        The changed labels.
    """
    provider = (labels != ignore) & (labels != label)
    if not provider.any():
        return labels.copy()
    row, column = ndimage.distance_transform_edt(~provider, return_distances=False, return_indices=True)
    return np.where(mask & (labels != ignore), labels[row, column], labels)


def swap_classes(labels: Labels, first: int, second: int) -> Labels:
    """Copy labels (H, W) and exchange two classes."""
    out = labels.copy()
    out[labels == first], out[labels == second] = second, first
    return out


def shift_class(labels: Labels, label: int, rows: int, columns: int, ignore: int = 255) -> Labels:
    """Copy labels (H, W) and move one class.

    Args:
        labels: Labels (H, W).
        label: The class.
        rows: Distance down in pixels.
        columns: Distance to the right in pixels.
        ignore: Label value of ignored pixels, which never change.

    Returns:
        The changed labels; uncovered pixels are filled as by `fill_mask`.
    """
    mask = labels == label
    moved = ndimage.shift(mask.astype(np.uint8), (rows, columns), order=0, cval=0).astype(bool)
    out = fill_mask(labels, mask, label, ignore)
    out[moved & (labels != ignore)] = label
    return out


def _drops(labels: Labels, generator: np.random.Generator, ignore: int) -> Iterator[tuple[tuple[int, ...], Labels]]:
    """Yield drops of every class in random order, of the whole class or one large object of it."""
    valid = np.count_nonzero(labels != ignore)
    for label in generator.permutation(_present(labels, ignore)).tolist():
        mask = labels == label
        if generator.random() < OBJECT_PROBABILITY:
            objects, _ = ndimage.label(mask, np.ones((3, 3), int))
            areas = np.bincount(objects.ravel())
            large = np.flatnonzero(areas[1:] >= MIN_CHANGED_SHARE * valid) + 1
            if large.size:
                mask = objects == generator.choice(large)
        yield (label,), fill_mask(labels, mask, label, ignore)


def _swaps(labels: Labels, generator: np.random.Generator, ignore: int) -> Iterator[tuple[tuple[int, ...], Labels]]:
    """Yield swaps of every pair of classes in random order."""
    present = _present(labels, ignore)
    pairs = [(a, b) for a in present for b in present if a < b]
    for at in generator.permutation(len(pairs)):
        yield pairs[at], swap_classes(labels, *pairs[at])


def _shifts(labels: Labels, generator: np.random.Generator, ignore: int) -> Iterator[tuple[tuple[int, ...], Labels]]:
    """Yield shifts of every class in random order, each in a random direction by a random distance."""
    for label in generator.permutation(_present(labels, ignore)).tolist():
        distance, turn = (
            np.hypot(*labels.shape) * generator.uniform(*SHIFT_RANGE),
            generator.uniform(0, 2 * np.pi),
        )
        rows, columns = round(distance * np.sin(turn)), round(distance * np.cos(turn))
        yield (label,), shift_class(labels, label, rows, columns, ignore)


def _present(labels: Labels, ignore: int) -> list[int]:
    return [int(label) for label in np.unique(labels) if label != ignore]


Candidates = Callable[[Labels, np.random.Generator, int], Iterator[tuple[tuple[int, ...], Labels]]]


def _first_large_change(
    kind: str, candidates: Candidates, labels: Labels, generator: np.random.Generator, ignore: int = 255
) -> tuple[Labels, KnownError]:
    """Return the first candidate that changes enough pixels.

    Args:
        kind: Error type.
        candidates: Yields classes and changed labels.
        labels: Labels (H, W).
        generator: Source of randomness.
        ignore: Label value of ignored pixels.

    Returns:
        The changed labels and the error.

    Raises:
        ValueError: If no candidate changes enough pixels, because the classes are too few or too small.
    """
    for classes, changed in candidates(labels, generator, ignore):
        share = changed_share(labels, changed, ignore)
        if share >= MIN_CHANGED_SHARE:
            return changed, KnownError(kind, classes, round(share, DECIMALS))
    raise ValueError(
        f"No {kind} changes {MIN_CHANGED_SHARE:.0%} of the image's valid pixels (classes: {_present(labels, ignore)}). "
        "Use an image with more or larger classes."
    )


drop = partial(_first_large_change, "drop", _drops)
"""Remove a class or one object of it; its pixels take the class of the nearest other pixels."""
swap = partial(_first_large_change, "swap", _swaps)
"""Exchange two classes in the whole image."""
shift = partial(_first_large_change, "shift", _shifts)
"""Move one class by 2 to 8 % of the diagonal."""

ERROR_TYPES: Mapping[str, Callable[[Labels, np.random.Generator], tuple[Labels, KnownError]]] = {
    "drop": drop,
    "swap": swap,
    "shift": shift,
}


def inject_errors(
    labels: NDArray[np.uint8], counts: Mapping[str, int], generator: np.random.Generator
) -> tuple[NDArray[np.uint8], dict[int, KnownError]]:
    """Copy labels and inject at most one error per image.

    Args:
        labels: Labels (N, H, W) uint8.
        counts: Number of images by error type, such as `{"drop": 6, "swap": 9, "shift": 6}`.
        generator: Source of randomness.

    Returns:
        The changed labels and the errors by image index. Images unfit for their error type are skipped.

    Raises:
        ValueError: If there are too few images.
    """
    out, known = labels.copy(), dict[int, KnownError]()
    queue = iter(generator.permutation(len(labels)).tolist())
    for kind, wanted in counts.items():
        injected = 0
        while injected < wanted:
            index = next(queue, None)
            if index is None:
                raise ValueError(
                    f"Only {injected} of {wanted} {kind} errors fit into {len(labels)} images. "
                    "Inject fewer errors or use more images."
                )
            try:
                out[index], known[index] = ERROR_TYPES[kind](labels[index], generator)
            except ValueError:
                continue
            injected += 1
    return out, dict(sorted(known.items()))
