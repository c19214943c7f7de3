"""Which regions are exported: the first of the table of regions that pass, and the images they lie in, worst first.

What is held is what is exported: of a region some hundred bytes and its run-length code, four bytes a number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError, UsageError
from masksift.engine.completed_run import CompletedRun
from masksift.review.decisions import ACCEPT, REJECT, ReviewDecisions, load_decisions
from masksift.review.export.config import ExportConfig
from masksift.review.export.file_names import FileNames
from masksift.review.export.run_length import Mask, box_mask
from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.arrow import integer_lists
from masksift.storage.tables.parquet import iter_tables, read_table

_PLAIN = (
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
    "evidence",
    "mean_self_confidence",
    "mean_predicted_confidence",
    "height",
    "width",
)


@dataclass(frozen=True)
class ExportRegion:
    """One row of the table of regions. ``box``: y0, x0, y1, x1; ``counts``: COCO's run-length code, not compressed."""

    rank: int
    kind: str
    given: int | None
    suggested: int
    area: int
    box: tuple[int, int, int, int]
    evidence: float
    mean_self_confidence: float | None
    mean_predicted_confidence: float
    counts: NDArray[np.int32]

    def attributes(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """What tools are told of it besides its place and the suggested class. ``given`` is None of an omission."""
        return {
            "given": None if self.given is None else classes[self.given],
            "suggested": classes[self.suggested],
            "evidence": self.evidence,
            "reason": self.kind,
            "rank": self.rank,
            "mean_self_confidence": self.mean_self_confidence,
            "mean_predicted_confidence": self.mean_predicted_confidence,
        }

    def mask(self, height: int) -> Mask:
        """Its pixels in its box, of an image of so many rows."""
        return box_mask(self.counts, height, self.box)


@dataclass(frozen=True)
class ExportImage:
    """An image with the regions that are exported, worst first. ``name``: its path in an export, without an ending;
    ``facts``: what the run says of it, its scores among that; ``size``: its own rows and columns."""

    name: str
    source: str
    index: int
    size: tuple[int, int]
    facts: Mapping[str, Any]
    regions: tuple[ExportRegion, ...]


def select_images(run: CompletedRun, config: ExportConfig) -> list[ExportImage]:
    """The images to export, in the order of their worst regions. Raises DataError, UsageError where the verdicts are
    none, or of another run."""
    verdicts = None if config.verdicts is None else _verdicts(run, config.verdicts)
    names, found = FileNames(), dict[tuple[str, int], tuple[dict[str, Any], list[ExportRegion]]]()
    for row, counts in _rows(run.directory, config, verdicts):
        regions = found.setdefault((row["source"], row["index"]), (row, []))[1]
        regions.append(_region(row, counts))
    facts = _facts(run, list(found))
    return [
        ExportImage(
            names.name(row["image_id"]),
            *place,
            (row["height"], row["width"]),
            {name: row[name] for name in ("image_id", "source", "index")} | facts[place],
            tuple(regions),
        )
        for place, (row, regions) in found.items()
    ]


def _region(row: Mapping[str, Any], counts: NDArray[np.int32]) -> ExportRegion:
    plain = {name: row[name] for name in ExportRegion.__dataclass_fields__ if name in row}
    return ExportRegion(**plain, box=(row["y0"], row["x0"], row["y1"], row["x1"]), counts=counts)


def _verdicts(run: CompletedRun, url: str) -> ReviewDecisions:
    found = load_decisions(url, run.context.options)
    if found.run != run.context.fingerprint:
        raise UsageError(
            f"the verdicts of {url} are on the run {found.run[:12]}, and this one is {run.context.fingerprint[:12]}",
            "the ranks of its regions are others",
            "Give the run that was reviewed, or the verdicts on this one",
        )
    return found


def _rows(
    folder: ObjectDirectory, config: ExportConfig, verdicts: ReviewDecisions | None
) -> Iterator[tuple[dict[str, Any], NDArray[np.int32]]]:
    """The rows that pass, in order, with their run-length codes. One part of the table is held at a time, and none is
    read behind the last row that may pass."""
    parts = [f"regions/{name}" for name in folder.names("regions") if name.endswith(".parquet")]
    if not parts:
        raise DataError(
            f"{folder.url} holds no regions/part-*.parquet",
            "there is nothing to export",
            "Score it again with this version: `masksift score RUN --out URL`",
        )
    left = config.top
    for table in iter_tables(folder, parts, [*_PLAIN, "rle"], at_once=1):
        plain = {name: table[name].to_pylist() for name in _PLAIN}
        for number, code in enumerate(integer_lists(table["rle"])):
            row = {name: values[number] for name, values in plain.items()}
            if row["evidence"] < config.min_evidence or not left:  # all that follow have no more
                return
            if row["area"] >= config.min_area and _passes(row, config, verdicts):
                left -= 1
                yield row, code.copy()  # the part is let go


def _passes(row: Mapping[str, Any], config: ExportConfig, verdicts: ReviewDecisions | None) -> bool:
    """Whether its verdict, if there are any, lets it be exported."""
    if verdicts is None:
        return True
    said = verdicts.for_region((row["source"], row["index"]), row["rank"])
    return said == ACCEPT if config.accepted else said != REJECT


def _facts(run: CompletedRun, places: list[tuple[str, int]]) -> dict[tuple[str, int], dict[str, Any]]:
    """What the table of images says of some images, of which the parts that hold any are read."""
    wanted: dict[int, list[tuple[str, int]]] = {}
    for place in places:
        wanted.setdefault(run.find_task(*place).block.number, []).append(place)
    columns = [*run.context.path_columns, *run.methods, "flagged_pixels", "valid_pixels"]
    found = {}
    for number, some in sorted(wanted.items()):
        table = read_table(run.directory, run.image_part_names[number], columns)
        first = run.tasks[number].block.start
        for source, index in some:
            found[source, index] = {name: table[name][index - first].as_py() for name in columns}
    return found
