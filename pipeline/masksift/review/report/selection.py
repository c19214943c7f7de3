"""Which images the page shows, in its order: the first of the ranking, then as many of those that were left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from masksift.core import signals as interruption
from masksift.core.status import SCORED
from masksift.engine.completed_run import CompletedRun
from masksift.storage.tables.parquet import iter_tables, list_parts


@dataclass(frozen=True)
class SelectedImage:
    """One image of the page. ``number``: its row; ``rank``, ``scores``: of the ranking, None and empty where it was
    left out, ``reason``: why that was; ``columns``: what the path of its source says."""

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
    def place(self) -> tuple[str, int]:
        """Its source and its number there."""
        return self.source, self.index


def select_images(run: CompletedRun, top: int) -> list[SelectedImage]:
    """The first ``top`` images of the ranking, then quarantined ones in the order of the sources, at most as many."""
    chosen = _ranked(run, top)
    return chosen + _left_out(run, top, len(chosen))


def _ranked(run: CompletedRun, top: int) -> list[SelectedImage]:
    """Of the ranking's parts no more are read than are needed."""
    chosen: list[SelectedImage] = []
    own = run.context.path_columns
    names = ["rank", "image_id", "source", "index", *own, *run.methods]
    for table in iter_tables(run.directory, list_parts(run.directory, "ranking"), names, at_once=1):
        for row in table.slice(0, top - len(chosen)).to_pylist():
            scores = {name: row[name] for name in run.methods}
            chosen.append(
                SelectedImage(
                    len(chosen),
                    row["rank"],
                    row["image_id"],
                    row["source"],
                    row["index"],
                    SCORED,
                    None,
                    {name: row[name] for name in own},
                    scores,
                )
            )
        if len(chosen) == top:
            break
    return chosen


def _left_out(run: CompletedRun, top: int, first: int) -> list[SelectedImage]:
    """The table of images is gone through only where there are any, and as far as it takes to find enough."""
    wanted = min(top, run.record["images"] - run.record["counts"].get(SCORED, 0))
    chosen: list[SelectedImage] = []
    if not wanted:
        return chosen
    own = run.context.path_columns
    names = ["image_id", "source", "index", *own, "status", "reason"]
    for table in iter_tables(run.directory, run.image_part_names, names):
        interruption.raise_if_interrupted()
        found = [row for row, status in enumerate(table["status"].to_pylist()) if status != SCORED]
        for row in found[: wanted - len(chosen)]:
            (told,) = table.slice(row, 1).to_pylist()
            chosen.append(
                SelectedImage(
                    first + len(chosen),
                    None,
                    told["image_id"],
                    told["source"],
                    told["index"],
                    told["status"],
                    told["reason"],
                    {name: told[name] for name in own},
                    {},
                )
            )
        if len(chosen) == wanted:
            break
    return chosen
