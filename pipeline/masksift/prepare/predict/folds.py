"""Assign images to folds. Neither workers nor the order of images matter, only the random seed and the groups."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from masksift.core.errors import DataError, UsageError

FOLDS_TABLE = "folds.parquet"
NO_FOLD = -1
"""Fold of images whose model was trained elsewhere, on unknown images."""


def assign_folds(groups: Sequence[str], folds: int, seed: int) -> NDArray[np.int16]:
    """Assign each image to a fold, (N,) int16, by its group; DataError for fewer groups than folds."""
    # list scheduling, largest groups first (Graham 1969): sizes differ by at most the largest group
    sizes = Counter(groups)
    if len(sizes) < folds:
        raise DataError(
            f"There are {folds} folds, but only {len(sizes):,} group(s) of images",
            "A fold would be empty, and its model would be trained on every image",
            f"Pass --folds {len(sizes)}, or use smaller groups" if len(sizes) > 1 else "Use smaller groups",
        )
    fold_sizes, fold_of_group = [0] * folds, dict[str, int]()
    random_order = {group: hashlib.sha256(f"fold\0{seed}\0{group}".encode()).digest() for group in sizes}
    for group in sorted(sizes, key=lambda group: (-sizes[group], random_order[group])):
        fold = min(range(folds), key=fold_sizes.__getitem__)
        fold_of_group[group] = fold
        fold_sizes[fold] += sizes[group]
    return np.array([fold_of_group[group] for group in groups], np.int16)


def groups_from_ids(ids: Sequence[str], pattern: str) -> list[str]:
    """Extract the group of each image from its id: the first group of the pattern, or the whole match without any."""
    try:
        expression = re.compile(pattern)
    except re.error as e:
        raise UsageError(
            f"group_pattern is {pattern!r}, which is not a valid regular expression ({e})",
            "Use one such as '^([^_]+)_'",
        ) from e
    groups = []
    for image_id in ids:
        match = expression.search(image_id)
        group = match and (match[1] if expression.groups else match[0])
        if group is None:
            raise UsageError(
                f"group_pattern {pattern!r} does not match the image {image_id!r}",
                "Use a pattern that matches every id, such as '^([^_]+)_'",
            )
        groups.append(group)
    return groups


def folds_schema() -> pa.Schema:
    """Return the schema of the fold table: one row per image, in the order of the source."""
    return pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("fold", pa.int16(), nullable=False),  # `NO_FOLD` if the model was trained elsewhere
            pa.field("group", pa.string(), nullable=False),  # image id if images are not grouped
        ]
    )
