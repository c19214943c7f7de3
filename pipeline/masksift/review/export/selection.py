"""Select the regions to export and their images, worst first.

Memory grows with the exported regions: some hundred bytes each, and four bytes per run length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError, UsageError
from masksift.engine.completed_run import CompletedRun
from masksift.review.decisions import ACCEPT, REJECT, RERANKED, ImageKey, ReviewDecisions, load_decisions
from masksift.review.export.config import ExportConfig
from masksift.review.export.run_length import Mask, box_mask
from masksift.review.file_names import FileNames
from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.arrow import integer_lists
from masksift.storage.tables.parquet import iter_tables, read_table

_COLUMNS = (
    "rank",
    "image_id",
    "source",
    "index",
    "kind",
    "given",
    "suggested",
    "area",
    "y0",
    "x0",
    "y1",
    "x1",
    "priority",
    "evidence",
    "mean_self_confidence",
    "mean_predicted_confidence",
    "height",
    "width",
)


@dataclass(frozen=True)
class ExportRegion:
    """One row of the region table: box as y0, x0, y1, x1, and uncompressed COCO run lengths."""

    rank: int
    kind: str
    given: int | None
    suggested: int
    area: int
    box: tuple[int, int, int, int]
    priority: float
    evidence: float
    mean_self_confidence: float | None
    mean_predicted_confidence: float
    run_lengths: NDArray[np.int32]

    def attributes(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """Return the columns that tools show with a region; an omission has no ``given`` class."""
        return {
            "given": None if self.given is None else classes[self.given],
            "suggested": classes[self.suggested],
            "priority": self.priority,
            "evidence": self.evidence,
            "reason": self.kind,
            "rank": self.rank,
            "mean_self_confidence": self.mean_self_confidence,
            "mean_predicted_confidence": self.mean_predicted_confidence,
        }

    def mask(self, height: int) -> Mask:
        """Decode the mask within the box, for an image of ``height`` rows."""
        return box_mask(self.run_lengths, height, self.box)


@dataclass(frozen=True)
class ExportImage:
    """One image with its exported regions.

    Attributes:
        name: Relative path in the export, without extension.
        source: Name of the source.
        index: Index in the source.
        size: Rows and columns of the image.
        columns: Id, location, scores and other columns of the image table.
        regions: Regions, worst first.
    """

    name: str
    source: str
    index: int
    size: tuple[int, int]
    columns: Mapping[str, Any]
    regions: tuple[ExportRegion, ...]


def select_images(run: CompletedRun, config: ExportConfig) -> list[ExportImage]:
    """Select the images to export, ordered by their worst regions."""
    decisions = None
    if config.verdicts is not None:
        decisions = load_decisions(config.verdicts, run.context.options)
        decisions.check_run(run.context.fingerprint, config.run)
    file_names, images = FileNames(), dict[ImageKey, tuple[dict[str, Any], list[ExportRegion]]]()
    for row, run_lengths in _iter_rows(run.directory, config, decisions):
        regions = images.setdefault((row["source"], row["index"]), (row, []))[1]
        fields = {name: row[name] for name in ExportRegion.__dataclass_fields__ if name in row}
        box = row["y0"], row["x0"], row["y1"], row["x1"]
        regions.append(ExportRegion(**fields, box=box, run_lengths=run_lengths))
    names = [*run.context.path_columns, *run.methods, "flagged_pixels", "valid_pixels"]
    image_rows = dict(zip(images, run.image_rows(list(images), names), strict=True))
    return [
        ExportImage(
            file_names.name(row["image_id"]),
            *key,
            (row["height"], row["width"]),
            {name: row[name] for name in ("image_id", "source", "index")}
            | {name: image_rows[key][name] for name in names},
            tuple(regions),
        )
        for key, (row, regions) in images.items()
    ]


_Row = tuple[dict[str, Any], NDArray[np.int32]]
"""Row of the table of regions, and its run lengths."""


def _iter_rows(directory: ObjectDirectory, config: ExportConfig, decisions: ReviewDecisions | None) -> Iterator[_Row]:
    """Yield the rows to export with their run lengths; no file after the last of them is read."""
    if config.reranked:
        yield from _iter_reranked(directory, config, decisions)
    else:
        for row, run_lengths in _select_rows(_iter_regions(directory), config, decisions):
            yield row, run_lengths.copy()  # a view would keep the table in memory


def _iter_regions(directory: ObjectDirectory) -> Iterator[_Row]:
    """Yield all rows of the table of regions, with views of their run lengths."""
    files = [f"regions/{name}" for name in directory.names("regions") if name.endswith(".parquet")]
    if not files:
        raise DataError(f"{directory.url} has no regions/part-*.parquet", "Run `masksift score RUN --out URL`")
    for table in iter_tables(directory, files, [*_COLUMNS, "rle"], at_once=1):
        columns = {name: table[name].to_pylist() for name in _COLUMNS}
        for number, run_lengths in enumerate(integer_lists(table["rle"])):
            yield {name: values[number] for name, values in columns.items()}, run_lengths


def _iter_reranked(
    directory: ObjectDirectory, config: ExportConfig, decisions: ReviewDecisions | None
) -> Iterator[_Row]:
    """Yield the rows to export in the order learned from decisions. Raises UsageError without that table."""
    if RERANKED not in directory.names():
        raise UsageError(f"{directory.url} has no {RERANKED}", "Write it with `masksift rerank RUN --verdicts FILE`")
    names = ["old_rank", *(name for name in _COLUMNS if name != "rank")]
    rows = read_table(directory, RERANKED, names).rename_columns(["rank", *names[1:]]).to_pylist()
    nothing = np.empty(0, np.int32)
    chosen = [row["rank"] for row, _ in _select_rows(((row, nothing) for row in rows), config, decisions)]
    wanted, found = set(chosen), dict[int, _Row]()
    for row, run_lengths in _iter_regions(directory):
        if row["rank"] in wanted:
            found[row["rank"]] = row, run_lengths.copy()
            if len(found) == len(wanted):
                break
    yield from (found[rank] for rank in chosen)


def _select_rows(rows: Iterable[_Row], config: ExportConfig, decisions: ReviewDecisions | None) -> Iterator[_Row]:
    """Yield the first rows that are to be exported, and look at no row after the last of them."""
    remaining, exported = config.top, Counter[ImageKey]()
    for row, run_lengths in rows:
        image = row["source"], row["index"]
        if config.per_image is not None and exported[image] == config.per_image:
            continue
        if _is_exported(row, config, decisions):
            remaining -= 1
            exported[image] += 1
            yield row, run_lengths
        if not remaining:
            return


def _is_exported(row: Mapping[str, Any], config: ExportConfig, decisions: ReviewDecisions | None) -> bool:
    if row["area"] < config.min_area or row["evidence"] < config.min_evidence:
        return False
    if decisions is None:
        return True
    decision = decisions.for_region((row["source"], row["index"]), row["rank"])
    return decision == ACCEPT if config.accepted else decision != REJECT
