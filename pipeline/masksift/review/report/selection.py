"""Which images the page shows, in its order: the first of the ranking, then as many of those that were left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from masksift.core import signals as interruption
from masksift.core.status import SCORED
from masksift.engine.completed_run import Complete
from masksift.storage.tables.parquet import parts_in, read_each

__all__ = ["Chosen", "choose"]


@dataclass(frozen=True)
class Chosen:
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


def choose(run: Complete, top: int) -> list[Chosen]:
    """The first ``top`` images of the ranking, then quarantined ones in the order of the sources, at most as many."""
    chosen = _ranked(run, top)
    return chosen + _left_out(run, top, len(chosen))


def _ranked(run: Complete, top: int) -> list[Chosen]:
    """Of the ranking's parts no more are read than are needed."""
    chosen: list[Chosen] = []
    own = run.job.columns
    names = ["rank", "image_id", "source", "index", *own, *run.methods]
    for table in read_each(run.folder, parts_in(run.folder, "ranking"), names, at_once=1):
        for row in table.slice(0, top - len(chosen)).to_pylist():
            scores = {name: row[name] for name in run.methods}
            chosen.append(
                Chosen(len(chosen), row["rank"], row["image_id"], row["source"], row["index"], SCORED, None,
                       {name: row[name] for name in own}, scores)
            )  # fmt: skip
        if len(chosen) == top:
            break
    return chosen


def _left_out(run: Complete, top: int, first: int) -> list[Chosen]:
    """The table of images is gone through only where there are any, and as far as it takes to find enough."""
    wanted = min(top, run.record["images"] - run.record["counts"].get(SCORED, 0))
    chosen: list[Chosen] = []
    if not wanted:
        return chosen
    own = run.job.columns
    names = ["image_id", "source", "index", *own, "status", "reason"]
    for table in read_each(run.folder, run.image_parts, names):
        interruption.check()
        found = [row for row, status in enumerate(table["status"].to_pylist()) if status != SCORED]
        for row in found[: wanted - len(chosen)]:
            (told,) = table.slice(row, 1).to_pylist()
            chosen.append(
                Chosen(first + len(chosen), None, told["image_id"], told["source"], told["index"], told["status"],
                       told["reason"], {name: told[name] for name in own}, {})
            )  # fmt: skip
        if len(chosen) == wanted:
            break
    return chosen
