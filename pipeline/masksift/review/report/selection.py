"""Select the images of the page: the first of the ranking, then quarantined images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from masksift.core.status import SCORED
from masksift.engine.completed_run import CompletedRun
from masksift.review.class_agreement import class_below_usual
from masksift.review.label_transforms import transform_text
from masksift.storage.tables.parquet import iter_tables
from masksift.storage.tables.schemas import TRANSFORM, WORST_CLASS

_IMAGE_COLUMNS = (
    "height",
    "width",
    "flagged_pixels",
    "worst_given",
    "worst_suggested",
    *WORST_CLASS.names,
    *TRANSFORM.names,
)


@dataclass(frozen=True)
class SelectedImage:
    """One image of the page.

    Attributes:
        number: Row on the page.
        rank: Rank, None for a quarantined image.
        image_id: Id of the image.
        source: Name of the source.
        index: Index in the source.
        status: Status of the image.
        reason: Reason of a quarantine.
        columns: Values of the path columns.
        scores: Scores by method, empty for a quarantined image.
        size: Rows and columns of the image, as its source states them.
        flagged: Flagged pixels, None for a quarantined image.
        pair: Given and suggested class of most flagged pixels.
        agrees_less: Class that agrees less than in the other images, and whether much less.
        misplaced: Sentence about labels that seem misplaced as a whole, else empty.
    """

    number: int
    rank: int | None
    image_id: str
    source: str
    index: int
    status: str
    reason: str | None
    columns: Mapping[str, str | None]
    scores: Mapping[str, float | None]
    size: tuple[int, int]
    flagged: int | None
    pair: tuple[int, int] | None
    agrees_less: tuple[int, bool] | None
    misplaced: str

    @property
    def key(self) -> tuple[str, int]:
        """Source name and image index."""
        return self.source, self.index


def select_images(run: CompletedRun, top: int) -> list[SelectedImage]:
    """Select the first ``top`` images of the ranking, then at most as many quarantined images in source order."""
    ranked = _ranked_rows(run, top)
    facts = run.image_rows([(row["source"], row["index"]) for row in ranked], _IMAGE_COLUMNS)
    rows = [row | own for row, own in zip(ranked, facts, strict=True)]
    names = ["image_id", "source", "index", *run.context.path_columns, "status", "reason", *_IMAGE_COLUMNS]
    return [_make_image(run, number, row) for number, row in enumerate(rows + run.quarantined_rows(top, names))]


def _make_image(run: CompletedRun, number: int, row: Mapping[str, Any]) -> SelectedImage:
    rank = row.get("rank")
    pair = row["worst_given"], row["worst_suggested"]
    return SelectedImage(
        number,
        rank,
        row["image_id"],
        row["source"],
        row["index"],
        row.get("status", SCORED),
        row.get("reason"),
        {name: row[name] for name in run.context.path_columns},
        {} if rank is None else {name: row[name] for name in run.methods},
        (row["height"], row["width"]),
        row["flagged_pixels"],
        None if None in pair else pair,
        class_below_usual(row),
        transform_text(row),
    )


def _ranked_rows(run: CompletedRun, top: int) -> list[dict[str, Any]]:
    """Read the first rows of the ranking, and no more files than needed."""
    rows: list[dict[str, Any]] = []
    names = ["rank", "image_id", "source", "index", *run.context.path_columns, *run.methods]
    for table in iter_tables(run.directory, run.ranking_part_names, names, at_once=1):
        rows += table.slice(0, top - len(rows)).to_pylist()
        if len(rows) == top:
            break
    return rows
