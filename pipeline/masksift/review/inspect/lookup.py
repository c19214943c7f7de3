"""Find images and regions in the tables of a completed run, with a few table files in memory at a time."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from masksift.core.errors import UsageError
from masksift.core.status import SCORED
from masksift.engine.completed_run import CompletedRun
from masksift.storage.tables.lookup import filter_ids, filter_rows
from masksift.storage.tables.parquet import iter_tables, read_table

_MAX_LISTED_IMAGES = 5
"""Images listed in the error message for an ambiguous id."""


def find_image(run: CompletedRun, name: str) -> dict[str, Any]:
    """Find the row of an image by its id, or by SOURCE/INDEX if that is not the id of another image."""
    source, _, number = name.rpartition("/")
    located = None
    if source in run.source_index and number.isascii() and number.isdecimal() and len(number) < 19:
        if int(number) < run.tasks.sources[run.source_index[source]].images:
            located = run.image_rows([(source, int(number))])[0]
        if located is not None and located["image_id"] == name:
            return located
    rows: list[dict[str, Any]] = []
    for table in filter_ids(iter_tables(run.directory, run.image_part_names), name):
        rows += table.slice(0, _MAX_LISTED_IMAGES + 1 - len(rows)).to_pylist()
        if len(rows) > _MAX_LISTED_IMAGES:
            break
    if len(rows) == 1:
        return rows[0]
    if located is not None and (not rows or located in rows):
        return located
    if rows:
        locations = [image_location(row) for row in rows]
        listed = ", ".join(locations[:_MAX_LISTED_IMAGES]) + (", ..." if len(rows) > _MAX_LISTED_IMAGES else "")
        raise UsageError(
            f"Several images of {run.context.out} have the id {name!r}: {listed}", f"Pass {locations[0]} or another one"
        )
    raise UsageError(
        f"{run.context.out} has no image {name!r}",
        f"Pass an image_id as `masksift top` lists them, or SOURCE/INDEX such as {run.tasks.sources[0].name}/0",
    )


def image_location(row: Any) -> str:
    """Return SOURCE/INDEX of a row, which is unique where ids are not."""
    return f"{row['source']}/{row['index']}"


def find_rank(run: CompletedRun, row: dict[str, Any]) -> int | None:
    """Find the rank of an image by binary search over the files of the ranking; None for an unranked image."""
    score = row[run.record["configuration"]["rank_by"]]
    if row["status"] != SCORED or score is None:
        return None
    files = run.ranking_part_names

    def last_score(file: str) -> float:
        return float(read_table(run.directory, file, ["score"])["score"].to_numpy()[-1])

    for file in files[bisect_left(files, score, key=last_score) :]:
        table = read_table(run.directory, file, ["rank", "source", "index", "score"])
        for match in filter_rows([table], {"source": row["source"], "index": row["index"]}):
            return int(match["rank"][0].as_py())
        if table["score"].to_numpy()[-1] > score:
            break
    return None


def read_regions(run: CompletedRun, row: dict[str, Any], top: int) -> tuple[list[dict[str, Any]], int]:
    """Read the first ``top`` regions of an image by rank; also returns the number of its listed regions."""
    regions: list[dict[str, Any]] = []
    total = 0
    for table in filter_rows(run.region_tables(), {"source": row["source"], "index": row["index"]}):
        regions += table.slice(0, top - len(regions)).to_pylist()
        total += len(table)
    return regions, total
