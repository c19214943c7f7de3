"""What is known to be wrong in the demo's labels, as a value and as a CSV file, and how well a ranking finds it."""

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

    `kind` is "drop", "swap" or "shift"; `classes` are the class numbers lost, exchanged or displaced; `changed_share`
    is the share of the image's valid pixels whose label changed, in (0, 1].
    """

    kind: str
    classes: tuple[int, ...]
    changed_share: float


@dataclass(frozen=True)
class DemoTruth:
    """A finished demo data set: where it lies, its images in order, and the known errors by `image_id`."""

    source: Path
    truth: Path
    class_names: tuple[str, ...]
    image_ids: tuple[str, ...]
    errors: Mapping[str, KnownError]


@dataclass(frozen=True)
class FoundAtTop:
    """Of `known` errors, `found` are among the first `known` images of a ranking; `by_kind`: kind -> (found, known)."""

    found: int
    known: int
    by_kind: Mapping[str, tuple[int, int]]


def found_at_top(ranked_ids: Sequence[str], truth: DemoTruth) -> FoundAtTop:
    """How many of the E known errors are among the first E of `ranked_ids` (the first = review first), and by kind.

    Raises ValueError when an id is ranked twice, or is not an image of this demo.
    """
    strangers = sorted(set(ranked_ids) - set(truth.image_ids))
    if strangers or len(set(ranked_ids)) < len(ranked_ids):
        what = (
            f"{len(strangers)} ids are not of this demo, such as {strangers[0]!r}"
            if strangers
            else "an id is ranked twice"
        )
        raise ValueError(
            f"{what}; the counts would mean nothing; give the ranking of {truth.source.name}, each image once"
        )
    top = set(ranked_ids[: len(truth.errors)])
    by_kind: dict[str, tuple[int, int]] = {}
    for image_id, error in truth.errors.items():
        found, known = by_kind.get(error.kind, (0, 0))
        by_kind[error.kind] = found + (image_id in top), known + 1
    return FoundAtTop(sum(found for found, _ in by_kind.values()), len(truth.errors), by_kind)


def write_truth(path: Path, errors: Mapping[str, KnownError], class_names: Sequence[str]) -> None:
    """One row a known error (COLUMNS), UTF-8; class names joined by "|", the share with DECIMALS decimals."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for image_id, error in errors.items():
            names = "|".join(class_names[label] for label in error.classes)
            rows.writerow([image_id, error.kind, names, f"{error.changed_share:.{DECIMALS}f}"])


def read_truth(path: Path, class_names: Sequence[str]) -> dict[str, KnownError]:
    """What :func:`write_truth` wrote, by `image_id`."""
    number = {name: label for label, name in enumerate(class_names)}
    with path.open(newline="", encoding="utf-8") as file:
        return {
            row["image_id"]: KnownError(
                row["kind"], tuple(number[name] for name in row["classes"].split("|")), float(row["changed_share"])
            )
            for row in csv.DictReader(file)
        }
