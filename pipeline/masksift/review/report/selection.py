"""Select the images of the page: the first of the ranking, then quarantined images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from masksift.core.status import SCORED
from masksift.engine.completed_run import CompletedRun
from masksift.storage.tables.parquet import iter_tables


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

    @property
    def key(self) -> tuple[str, int]:
        """Source name and image index."""
        return self.source, self.index


def select_images(run: CompletedRun, top: int) -> list[SelectedImage]:
    """Select the first ``top`` images of the ranking, then at most as many quarantined images in source order."""
    ranked = [
        _make_image(run, number, row, scores={name: row[name] for name in run.methods})
        for number, row in enumerate(_ranked_rows(run, top))
    ]
    names = ["image_id", "source", "index", *run.context.path_columns, "status", "reason"]
    quarantined = run.quarantined_rows(top, names)
    return ranked + [_make_image(run, len(ranked) + number, row) for number, row in enumerate(quarantined)]


def _make_image(
    run: CompletedRun, number: int, row: Mapping[str, Any], scores: Mapping[str, float | None] | None = None
) -> SelectedImage:
    return SelectedImage(
        number,
        row.get("rank"),
        row["image_id"],
        row["source"],
        row["index"],
        row.get("status", SCORED),
        row.get("reason"),
        {name: row[name] for name in run.context.path_columns},
        scores or {},
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
