"""`masksift top`: list the worst images or regions of a completed run, as a text table or as JSON lines."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from masksift.core.errors import UsageError
from masksift.core.text import closest_match, escape_unprintable, pluralize
from masksift.engine.completed_run import CompletedRun, open_completed_run
from masksift.review.class_agreement import class_below_usual
from masksift.review.inspect.config import TopConfig
from masksift.review.inspect.lookup import image_location
from masksift.review.label_transforms import transform_words
from masksift.storage.tables.lookup import lowest_rows
from masksift.storage.tables.parquet import iter_tables, read_table
from masksift.storage.tables.schemas import REGION_ORDERS, images_schema

_ROWS_AT_ONCE = 1000
"""Rows of images that are looked up, and of regions that are converted, at a time."""


@dataclass(frozen=True)
class TopTable:
    """Worst images or regions.

    Attributes:
        rows: All columns of the result tables except masks, worst first.
        columns: Cells of the text table by title.
        right: Titles of the right-aligned columns.
        note: Last line of the text table.
    """

    rows: Sequence[Mapping[str, Any]]
    columns: Mapping[str, Sequence[str]]
    right: frozenset[str]
    note: str = ""

    def lines(self) -> Iterator[str]:
        """Yield each row as one line of ASCII JSON."""
        return (json.dumps(dict(row)) for row in self.rows)

    def text(self, width: int | None = None) -> str:
        """Format the table with one line per row; cells wrap if a terminal of this width is too narrow."""
        if not self.rows:
            return "nothing to list"
        columns = {title: [title, *cells] for title, cells in self.columns.items()}
        widths = {title: max(map(cell_len, cells)) for title, cells in columns.items()}
        if width is not None and sum(widths.values()) + 2 * (len(widths) - 1) > width:
            return "\n".join([self._wrapped_text(width), *self._notes])
        padded = []
        for title, cells in columns.items():
            spaces = [" " * (widths[title] - cell_len(cell)) for cell in cells]
            pairs = zip(spaces, cells, strict=True) if title in self.right else zip(cells, spaces, strict=True)
            padded.append([first + second for first, second in pairs])
        lines = ["  ".join(line).rstrip() for line in zip(*padded, strict=True)]
        return "\n".join([*lines, *self._notes])

    @property
    def _notes(self) -> list[str]:
        return [self.note] if self.note else []

    def _wrapped_text(self, width: int) -> str:
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
    """List the worst images or regions; raises UsageError if there is no such run or score."""
    run = open_completed_run(config.run, config.storage)
    return _top_regions(run, config) if config.regions else _top_images(run, config)


def _top_images(run: CompletedRun, config: TopConfig) -> TopTable:
    rank_by = run.record["configuration"]["rank_by"]
    by = config.by or rank_by
    if by not in run.methods:
        raise UsageError(
            f"The run has no score {by!r}, only {', '.join(run.methods)}",
            f"Did you mean {closest_match(by, run.methods)!r}?",
        )
    image_rows = _first_of_ranking(run, config.top) if by == rank_by else _lowest_scores(run, by, config.top)
    rows = []
    for rank, row in enumerate(image_rows, 1):
        names = {
            f"worst_{side}_name": None if row[f"worst_{side}"] is None else run.class_names[row[f"worst_{side}"]]
            for side in ("given", "suggested", "class")
        }
        rows.append({"rank": rank, "ranked_by": by, "score": row[by], **row, **names})
    columns = {
        "rank": [f"{row['rank']:,}" for row in rows],
        "image": [escape_unprintable(row["image_id"]) for row in rows],
        by: [f"{row['score']:.4f}" for row in rows],
        "flagged px": [f"{row['flagged_pixels']:,}" for row in rows],
        "most of them": [_class_pair(row["worst_given_name"], row["worst_suggested_name"]) for row in rows],
        "px": ["" if row["worst_pixels"] is None else f"{row['worst_pixels']:,}" for row in rows],
    }
    below = [class_below_usual(row) for row in rows]
    if any(below):
        columns["agrees less"] = ["" if one is None else escape_unprintable(run.class_names[one[0]]) for one in below]
    misplaced = [transform_words(row) for row in rows]
    if any(misplaced):
        columns["labels look"] = misplaced
    return TopTable(rows, columns | _location_column(run, rows), frozenset({"rank", by, "flagged px", "px"}))


def _location_column(run: CompletedRun, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the column with the locations of images, empty for a run with one source."""
    if len(run.tasks.sources) == 1:
        return {}
    return {"source": [escape_unprintable(image_location(row)) for row in rows]}


def _first_of_ranking(run: CompletedRun, top: int) -> list[dict[str, Any]]:
    """Read the rows of the first images of the ranking from the image table."""
    rows: list[dict[str, Any]] = []
    for name in run.ranking_part_names:
        table = read_table(run.directory, name, ["source", "index"]).slice(0, top - len(rows))
        for first in range(0, len(table), _ROWS_AT_ONCE):
            keys = [(row["source"], row["index"]) for row in table.slice(first, _ROWS_AT_ONCE).to_pylist()]
            rows += run.image_rows(keys)
        if len(rows) >= top:
            break
    return rows


def _lowest_scores(run: CompletedRun, by: str, top: int) -> list[dict[str, Any]]:
    """Read the rows with the lowest scores in one pass over the image table."""
    schema = images_schema(run.methods, run.context.path_columns)
    tables = iter_tables(run.directory, run.image_part_names, schema.names)
    rows: list[dict[str, Any]] = lowest_rows(tables, schema, by, top).to_pylist()
    return rows


def _top_regions(run: CompletedRun, config: TopConfig) -> TopTable:
    by = REGION_ORDERS[run.record["configuration"]["regions"]["rank_by"]]
    rows, of_image, left_out = list[dict[str, Any]](), Counter[tuple[str, int]](), 0
    for row in _iter_regions(run):
        if len(rows) == config.top:
            break
        image = row["source"], row["index"]
        of_image[image] += 1
        if of_image[image] <= config.per_image:
            rows.append(row)
        else:
            left_out += 1
    columns = {
        "rank": [f"{row['rank']:,}" for row in rows],
        "image": [escape_unprintable(row["image_id"]) for row in rows],
        **{name.replace("_", " "): [f"{row[name]:,.1f}" for row in rows] for name in dict.fromkeys((by, "evidence"))},
        "given -> suggested": [_class_pair(row["given_name"] or "no label", row["suggested_name"]) for row in rows],
        "px": [f"{row['area']:,}" for row in rows],
        "rows": [f"{row['y0']}:{row['y1']}" for row in rows],
        "columns": [f"{row['x0']}:{row['x1']}" for row in rows],
    }
    right = frozenset({"rank", by.replace("_", " "), "evidence", "px"})
    note = f"and {pluralize(left_out, 'region')} of these images: see --per-image" if left_out else ""
    return TopTable(rows, columns | _location_column(run, rows), right, note)


def _iter_regions(run: CompletedRun) -> Iterator[dict[str, Any]]:
    for table in run.region_tables():
        for first in range(0, len(table), _ROWS_AT_ONCE):
            yield from table.drop_columns("rle").slice(first, _ROWS_AT_ONCE).to_pylist()


def _class_pair(given: str | None, suggested: str | None) -> str:
    if given is None or suggested is None:
        return ""
    return f"{escape_unprintable(given)} -> {escape_unprintable(suggested)}"
