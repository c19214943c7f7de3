"""Rows of a complete run's tables, found without holding more of a table than a few of its parts."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

from masksift.core.errors import UsageError
from masksift.core.status import SCORED
from masksift.engine.completed_run import CompletedRun
from masksift.engine.result_tables import ranking_part_names
from masksift.storage.tables.lookup import matching
from masksift.storage.tables.parquet import iter_tables, read_table

_NAMED = 5
"""Images of one id that are named where it is refused."""


def ranked_images(run: CompletedRun) -> int:
    """How many images the ranking has."""
    return int(run.record["counts"].get(SCORED, 0))


def find_image(run: CompletedRun, word: str) -> dict[str, Any]:
    """The row of the table of images that is meant: by its id or, where no other image is called so, by `source/index`.
    Raises UsageError where there is none, or several."""
    source, _, number = word.rpartition("/")
    placed = None
    if source in run.source_index and number.isascii() and number.isdecimal() and len(number) < 19:
        if int(number) < run.tasks.sources[run.source_index[source]].images:
            placed = read_image_rows(run, [(source, int(number))])[0]
        if placed is not None and placed["image_id"] == word:
            return placed
    found: list[dict[str, Any]] = []
    for table in matching(iter_tables(run.directory, run.image_part_names), {"image_id": word}):
        found += table.slice(0, _NAMED + 1 - len(found)).to_pylist()
        if len(found) > _NAMED:
            break
    if len(found) == 1:
        return found[0]
    if placed is not None and (not found or placed in found):
        return placed
    if found:
        places = ", ".join(image_location(row) for row in found[:_NAMED]) + (", ..." if len(found) > _NAMED else "")
        raise UsageError(
            f"several images of {run.context.out} are called {word!r}: {places}",
            "which one is meant is not known",
            f"Give one of these: {image_location(found[0])}",
        )
    raise UsageError(
        f"no image of {run.context.out} is called {word!r}",
        "there is nothing to draw",
        f"Give an image_id of its tables, as `masksift top` lists them, or source/index such as "
        f"{run.tasks.sources[0].name}/0",
    )


def image_location(row: Any) -> str:
    """How an image is called that shares its id with others."""
    return f"{row['source']}/{row['index']}"


def read_image_rows(run: CompletedRun, places: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
    """The rows of the table of images of those sources and indices, in that order: only the parts they lie in are
    read."""
    parts = [run.find_task(*place) for place in places]
    numbers = sorted({part.block.number for part in parts})
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    tables = iter_tables(run.directory, [run.image_part_names[number] for number in numbers])
    wanted: dict[int, list[tuple[str, int]]] = {number: [] for number in numbers}
    for part, place in zip(parts, places, strict=True):
        wanted[part.block.number].append(place)
    for number, table in zip(numbers, tables, strict=True):
        start = run.tasks.plan.blocks[number].start
        for place in wanted[number]:
            (rows[place],) = table.slice(place[1] - start, 1).to_pylist()
    return [rows[place] for place in places]


def find_rank(run: CompletedRun, row: dict[str, Any]) -> int | None:
    """The rank of an image, None where it has none: the parts of the ranking are searched as a dictionary is."""
    score = row[run.record["configuration"]["rank_by"]]
    if row["status"] != SCORED or score is None:
        return None
    parts = ranking_part_names(ranked_images(run))
    columns = ["rank", "source", "index", "score"]

    def last(name: str) -> float:
        return float(read_table(run.directory, name, ["score"])["score"].to_numpy()[-1])

    first = bisect_left(parts, score, key=last)
    for name in parts[first:]:
        table = read_table(run.directory, name, columns)
        for found in matching([table], {"source": row["source"], "index": row["index"]}):
            return int(found["rank"][0].as_py())
        if table["score"].to_numpy()[-1] > score:
            break
    return None


def iter_region_tables(run: CompletedRun, columns: Sequence[str] | None = None) -> Iterator[Any]:
    """The parts of the table of regions, one after the other."""
    for number in count():
        try:
            yield read_table(run.directory, f"regions/part-{number:06d}.parquet", columns)
        except FileNotFoundError:
            return


def read_regions(run: CompletedRun, row: dict[str, Any], most: int) -> tuple[list[dict[str, Any]], int]:
    """The regions of an image that the run lists, at most so many, that with most evidence first; and how many there
    are."""
    found: list[dict[str, Any]] = []
    total = 0
    for table in matching(iter_region_tables(run), {"source": row["source"], "index": row["index"]}):
        found += table.slice(0, most - len(found)).to_pylist()
        total += len(table)
    return found, total
