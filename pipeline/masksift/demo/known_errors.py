"""Known errors of the demo, their CSV file, and the share that a ranking finds."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

COLUMNS = ("image_id", "kind", "classes", "changed_share")
DECIMALS = 6


@dataclass(frozen=True)
class KnownError:
    """One error of an image.

    Attributes:
        kind: "drop", "swap" or "shift".
        classes: Class numbers dropped, swapped or shifted.
        changed_share: Share of the image's valid pixels whose label changed, in (0, 1].
    """

    kind: str
    classes: tuple[int, ...]
    changed_share: float


@dataclass(frozen=True)
class DemoTruth:
    """A complete demo data set: its paths, its images in order, and its known errors by `image_id`."""

    source: Path
    truth: Path
    class_names: tuple[str, ...]
    image_ids: tuple[str, ...]
    errors: Mapping[str, KnownError]


@dataclass(frozen=True)
class FoundAtTop:
    """Numbers of known errors and of those found among as many first images of a ranking, in total and by kind."""

    found: int
    known: int
    by_kind: Mapping[str, tuple[int, int]]


def found_at_top(ranked_ids: Sequence[str], truth: DemoTruth) -> FoundAtTop:
    """Count the known errors among the first images of a ranking, as many images as there are errors.

    Args:
        ranked_ids: Image ids, the one to review first on top.
        truth: The demo data set.

    Returns:
        The counts.

    Raises:
        ValueError: If an id is ranked twice or is not an image of this demo.
    """
    unknown = sorted(set(ranked_ids) - set(truth.image_ids))
    if unknown or len(set(ranked_ids)) < len(ranked_ids):
        problem = f"{len(unknown)} ids such as {unknown[0]!r} are unknown" if unknown else "An id is ranked twice"
        raise ValueError(f"{problem}. Pass a ranking of {truth.source.name} with each image once.")
    top = set(ranked_ids[: len(truth.errors)])
    by_kind: dict[str, tuple[int, int]] = {}
    for image_id, error in truth.errors.items():
        found, known = by_kind.get(error.kind, (0, 0))
        by_kind[error.kind] = found + (image_id in top), known + 1
    return FoundAtTop(sum(found for found, _ in by_kind.values()), len(truth.errors), by_kind)


def write_truth(path: Path, errors: Mapping[str, KnownError], class_names: Sequence[str]) -> None:
    """Write one row per known error; class names are joined by "|"."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for image_id, error in errors.items():
            names = "|".join(class_names[label] for label in error.classes)
            rows.writerow([image_id, error.kind, names, f"{error.changed_share:.{DECIMALS}f}"])


def read_truth(path: Path, class_names: Sequence[str]) -> dict[str, KnownError]:
    """Read the errors by `image_id`."""
    number = {name: label for label, name in enumerate(class_names)}
    with path.open(newline="", encoding="utf-8") as file:
        return {
            row["image_id"]: KnownError(
                row["kind"], tuple(number[name] for name in row["classes"].split("|")), float(row["changed_share"])
            )
            for row in csv.DictReader(file)
        }
