"""Known annotation errors of three kinds, put into a copy of correct labels.

The kinds are those of Lad & Mueller 2023, "Estimating label quality and errors in semantic segmentation data via any
model" (arXiv 2307.05080): **drop**, **swap** and **shift**. How the pixels an error leaves behind are filled (with the
class of the nearest pixel that keeps its own) and how far a mask is shifted is this project's choice, not the paper's.

Everything here is a pure function of its arguments: labels go in, changed labels come out, ignored pixels never change.
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

LEAST_SHARE = 0.01
"""Share of an image's valid pixels that an error must change: less is no error of consequence."""
SHIFT_RANGE = (0.02, 0.08)
"""How far a shift displaces a mask, in shares of the image's diagonal."""
ONE_OBJECT = 0.5
"""Chance that a drop loses one object rather than the whole class."""


def changed_share(before: Labels, after: Labels, ignore: int = 255) -> float:
    """Share in [0, 1] of the pixels valid in `before` whose label differs in `after`; 0 where none is valid."""
    valid = before != ignore
    return int(np.count_nonzero((before != after) & valid)) / max(int(np.count_nonzero(valid)), 1)


def lose(labels: Labels, mask: Mask, label: int, ignore: int = 255) -> Labels:
    """A copy (H, W) uint8 in which the pixels of `mask` take the class of the nearest valid pixel not of class `label`.

    Nearest in the Euclidean sense. Ignored pixels neither change nor lend their value. Where the image has no other
    class, nothing changes.
    """
    lender = (labels != ignore) & (labels != label)
    if not lender.any():
        return labels.copy()
    row, column = ndimage.distance_transform_edt(~lender, return_distances=False, return_indices=True)
    return np.where(mask & (labels != ignore), labels[row, column], labels)


def swap_classes(labels: Labels, first: int, second: int) -> Labels:
    """A copy (H, W) uint8 in which the two classes are exchanged. Done twice, it is the identity."""
    out = labels.copy()
    out[labels == first], out[labels == second] = second, first
    return out


def shift_class(labels: Labels, label: int, rows: int, columns: int, ignore: int = 255) -> Labels:
    """A copy (H, W) uint8 in which the mask of one class is displaced by `rows` down and `columns` to the right.

    What it uncovers is filled as by :func:`lose`; what leaves the image is lost; ignored pixels stay as they are.
    """
    mask = labels == label
    moved = ndimage.shift(mask.astype(np.uint8), (rows, columns), order=0, cval=0).astype(bool)
    out = lose(labels, mask, label, ignore)
    out[moved & (labels != ignore)] = label
    return out


def _drops(labels: Labels, generator: np.random.Generator, ignore: int) -> Iterator[tuple[tuple[int, ...], Labels]]:
    """Candidates for a drop: every class in random order, whole or (by chance, if large enough) one object of it."""
    valid = np.count_nonzero(labels != ignore)
    for label in generator.permutation(_present(labels, ignore)).tolist():
        mask = labels == label
        if generator.random() < ONE_OBJECT:
            objects, _ = ndimage.label(mask, np.ones((3, 3), int))
            areas = np.bincount(objects.ravel())
            large = np.flatnonzero(areas[1:] >= LEAST_SHARE * valid) + 1
            if large.size:
                mask = objects == generator.choice(large)
        yield (label,), lose(labels, mask, label, ignore)


def _swaps(labels: Labels, generator: np.random.Generator, ignore: int) -> Iterator[tuple[tuple[int, ...], Labels]]:
    """Candidates for a swap: every pair of classes of the image, in random order."""
    present = _present(labels, ignore)
    pairs = [(a, b) for a in present for b in present if a < b]
    for at in generator.permutation(len(pairs)):
        yield pairs[at], swap_classes(labels, *pairs[at])


def _shifts(labels: Labels, generator: np.random.Generator, ignore: int) -> Iterator[tuple[tuple[int, ...], Labels]]:
    """Candidates for a shift: every class in random order, each in a random direction by a random distance."""
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


def _first_of_consequence(
    kind: str, candidates: Candidates, labels: Labels, generator: np.random.Generator, ignore: int = 255
) -> tuple[Labels, KnownError]:
    """(changed labels (H, W) uint8, what was done): the first random candidate that changes at least LEAST_SHARE.

    Raises ValueError when no candidate does: the image has too few classes, or too small ones.
    """
    for classes, changed in candidates(labels, generator, ignore):
        share = changed_share(labels, changed, ignore)
        if share >= LEAST_SHARE:
            return changed, KnownError(kind, classes, round(share, DECIMALS))
    raise ValueError(
        f"no {kind} changes {LEAST_SHARE:.0%} of this image's valid pixels (its classes: {_present(labels, ignore)}); "
        "it would not be an error of consequence; choose an image with more, or larger, classes"
    )


drop = partial(_first_of_consequence, "drop", _drops)
"""A class, or one object of it, is lost; its pixels take the class of their nearest neighbours."""
swap = partial(_first_of_consequence, "swap", _swaps)
"""Two classes are exchanged all over the image."""
shift = partial(_first_of_consequence, "shift", _shifts)
"""The mask of one class is displaced by 2 to 8 % of the diagonal."""

KINDS: Mapping[str, Callable[[Labels, np.random.Generator], tuple[Labels, KnownError]]] = {
    "drop": drop,
    "swap": swap,
    "shift": shift,
}


def plant(
    labels: NDArray[np.uint8], counts: Mapping[str, int], generator: np.random.Generator
) -> tuple[NDArray[np.uint8], dict[int, KnownError]]:
    """Known errors in a copy of the labels (N, H, W) uint8 of a data set: at most one an image.

    `counts` says how many images get which kind, e.g. `{"drop": 6, "swap": 9, "shift": 6}`. Answers the changed copy
    and, by index of the image, what was done. An image that cannot carry the kind it was chosen for is passed over.
    Raises ValueError when images run out.
    """
    out, known = labels.copy(), dict[int, KnownError]()
    queue = iter(generator.permutation(len(labels)).tolist())
    for kind, wanted in counts.items():
        planted = 0
        while planted < wanted:
            index = next(queue, None)
            if index is None:
                raise ValueError(
                    f"only {planted} of {wanted} {kind} errors could be planted in {len(labels)} images; "
                    "the truth would not be as asked; ask for fewer errors or give more images"
                )
            try:
                out[index], known[index] = KINDS[kind](labels[index], generator)
            except ValueError:
                continue
            planted += 1
    return out, dict(sorted(known.items()))
