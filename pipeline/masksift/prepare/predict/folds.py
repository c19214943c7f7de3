"""Which fold an image is in. By the seed and the groups alone: neither workers nor the order of images have a say."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from masksift.core.errors import DataError, UsageError

TABLE = "folds.parquet"


def assign(groups: Sequence[str], folds: int, seed: int) -> NDArray[np.int16]:
    """The fold (N,) int16 of each image, by the group (N,) it is in. A group is in one fold; the sizes of two folds
    differ by no more than the largest group (list scheduling, the largest groups first: Graham 1969).

    Raises DataError for fewer groups than folds.
    """
    sizes = Counter(groups)
    if len(sizes) < folds:
        raise DataError(
            f"there are {len(sizes):,} groups of images for {folds} folds",
            "some fold would be empty, and its model would have seen every image",
            f"Give --folds {len(sizes)}, or smaller groups" if len(sizes) > 1 else "Give smaller groups",
        )
    filled, home = [0] * folds, dict[str, int]()
    for group in sorted(sizes, key=lambda group: (-sizes[group], _group_hash(seed, group))):
        home[group] = min(range(folds), key=lambda fold: filled[fold])
        filled[home[group]] += sizes[group]
    return np.array([home[group] for group in groups], np.int16)


def _group_hash(seed: int, group: str) -> bytes:
    return hashlib.sha256(f"fold\0{seed}\0{group}".encode()).digest()


def by_pattern(ids: Sequence[str], pattern: str) -> list[str]:
    """The group of each image: what the pattern's first parentheses hold in its id, or all that the pattern matches.
    Raises UsageError where it is no pattern, or an id does not match."""
    try:
        expression = re.compile(pattern)
    except re.error as e:
        raise UsageError(
            f"group_pattern is {pattern!r}, which is no regular expression ({e})",
            "no image has a group",
            "Give one such as '^([^_]+)_'",
        ) from e
    groups = []
    for name in ids:
        found = expression.search(name)
        group = found and (found[1] if expression.groups else found[0])
        if group is None:
            raise UsageError(
                f"group_pattern {pattern!r} does not match the image {name!r}",
                "its group is not known",
                "Give one that matches every id, such as '^([^_]+)_'",
            )
        groups.append(group)
    return groups


def schema() -> pa.Schema:
    """One row an image, in the order of the source."""
    return pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("fold", pa.int16(), nullable=False),  # -1: of no fold, nobody knows what the model has seen
            pa.field("group", pa.string(), nullable=False),  # its own id, where images are no groups
        ]
    )
