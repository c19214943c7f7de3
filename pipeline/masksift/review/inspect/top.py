"""`masksift top`: the worst images or regions of a complete run, for people as a table, for machines as JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from masksift.core.errors import UsageError
from masksift.core.text import closest_match, escape_unprintable
from masksift.engine.completed_run import CompletedRun, open_completed_run
from masksift.engine.result_tables import ranking_part_names
from masksift.review.inspect.config import TopConfig
from masksift.review.inspect.lookup import image_location, iter_region_tables, ranked_images, read_image_rows
from masksift.storage.tables.lookup import lowest
from masksift.storage.tables.parquet import iter_tables, read_table
from masksift.storage.tables.schemas import images_schema

_AT_ONCE = 1000
"""Images whose rows are looked up at a time."""


@dataclass(frozen=True)
class TopTable:
    """``rows``: the worst first, with all that the tables say of them but masks; ``columns``: those of the table for
    people, by their titles; ``right``: which of them are numbers."""

    rows: Sequence[Mapping[str, Any]]
    columns: Mapping[str, Sequence[str]]
    right: frozenset[str]

    def lines(self) -> Iterator[str]:
        """A JSON object for each row, on one line, in ASCII."""
        return (json.dumps(dict(row)) for row in self.rows)

    def text(self, width: int | None = None) -> str:
        """A table, a row a line; where a screen of that ``width`` is too narrow, cells go on below."""
        if not self.rows:
            return "there are none"
        columns = {title: [title, *cells] for title, cells in self.columns.items()}
        widths = {title: max(map(cell_len, cells)) for title, cells in columns.items()}
        if width is not None and sum(widths.values()) + 2 * (len(widths) - 1) > width:
            return self._folded(width)
        padded = [
            [
                " " * (widths[title] - cell_len(cell)) + cell
                if title in self.right
                else cell + " " * (widths[title] - cell_len(cell))
                for cell in cells
            ]
            for title, cells in columns.items()
        ]
        return "\n".join("  ".join(line).rstrip() for line in zip(*padded, strict=True))

    def _folded(self, width: int) -> str:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for title in self.columns:
            table.add_column(title, justify="right" if title in self.right else "left", overflow="fold")
        for cells in zip(*self.columns.values(), strict=True):
            table.add_row(*(Text(cell) for cell in cells))
        console = Console(file=io.StringIO(), width=width, color_system=None)
        with console.capture() as captured:
            console.print(table)
        return "\n".join(line.rstrip() for line in captured.get().splitlines())


def top(config: TopConfig) -> TopTable:
    """The worst images or regions. Raises UsageError where there is no such run or score."""
    run = open_completed_run(config.run, config.storage)
    several = len(run.tasks.sources) > 1
    return _regions(run, config.top, several) if config.regions else _images(run, config, several)


def _images(run: CompletedRun, config: TopConfig, several: bool) -> TopTable:
    ranks_by = run.record["configuration"]["rank_by"]
    by = config.by or ranks_by
    if by not in run.methods:
        raise UsageError(
            f"the run has no score {by!r}, only {', '.join(run.methods)}",
            "there is no order by it",
            f"Did you mean {closest_match(by, run.methods)!r}?",
        )
    found = _first_of_ranking(run, config.top) if by == ranks_by else _lowest(run, by, config.top)
    names = run.class_names
    rows = []
    for rank, row in enumerate(found, 1):
        pair = {
            f"worst_{side}_name": None if row[f"worst_{side}"] is None else names[row[f"worst_{side}"]]
            for side in ("given", "suggested")
        }
        rows.append({"rank": rank, "ranked_by": by, "score": row[by], **row, **pair})
    columns = {
        "rank": [f"{row['rank']:,}" for row in rows],
        "image": [escape_unprintable(row["image_id"]) for row in rows],
        by: [f"{row['score']:.4f}" for row in rows],
        "flagged px": [f"{row['flagged_pixels']:,}" for row in rows],
        "most of them": [_pair(row["worst_given_name"], row["worst_suggested_name"]) for row in rows],
        "px": ["" if row["worst_pixels"] is None else f"{row['worst_pixels']:,}" for row in rows],
    } | ({"source": [escape_unprintable(image_location(row)) for row in rows]} if several else {})
    return TopTable(rows, columns, frozenset({"rank", by, "flagged px", "px"}))


def _first_of_ranking(run: CompletedRun, most: int) -> list[dict[str, Any]]:
    """The rows of the table of images of those that the ranking has first."""
    rows: list[dict[str, Any]] = []
    for name in ranking_part_names(ranked_images(run)):
        table = read_table(run.directory, name, ["source", "index"]).slice(0, most - len(rows))
        for first in range(0, len(table), _AT_ONCE):
            places = [(row["source"], row["index"]) for row in table.slice(first, _AT_ONCE).to_pylist()]
            rows += read_image_rows(run, places)
        if len(rows) >= most:
            break
    return rows


def _lowest(run: CompletedRun, by: str, most: int) -> list[dict[str, Any]]:
    """The same by another score: one walk through the table of images, of which no more rows are held than asked for
    and those of a few parts."""
    schema = images_schema(run.methods, run.context.path_columns)
    found: list[dict[str, Any]] = lowest(
        iter_tables(run.directory, run.image_part_names, schema.names), schema, by, most
    ).to_pylist()
    return found


def _regions(run: CompletedRun, most: int, several: bool) -> TopTable:
    rows: list[dict[str, Any]] = []
    for table in iter_region_tables(run):
        rows += table.drop_columns("rle").slice(0, most - len(rows)).to_pylist()
        if len(rows) >= most:
            break
    columns = {
        "rank": [f"{row['rank']:,}" for row in rows],
        "image": [escape_unprintable(row["image_id"]) for row in rows],
        "evidence": [f"{row['evidence']:,.1f}" for row in rows],
        "given -> suggested": [_pair(row["given_name"] or "no label", row["suggested_name"]) for row in rows],
        "px": [f"{row['area']:,}" for row in rows],
        "rows": [f"{row['y0']}:{row['y1']}" for row in rows],
        "columns": [f"{row['x0']}:{row['x1']}" for row in rows],
    } | ({"source": [escape_unprintable(image_location(row)) for row in rows]} if several else {})
    return TopTable(rows, columns, frozenset({"rank", "evidence", "px"}))


def _pair(given: str | None, suggested: str | None) -> str:
    return (
        "" if given is None or suggested is None else f"{escape_unprintable(given)} -> {escape_unprintable(suggested)}"
    )
