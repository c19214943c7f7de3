"""The regions that lie in the images of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from masksift.core import signals as interruption
from masksift.engine.completed_run import CompletedRun
from masksift.review.report.selection import SelectedImage
from masksift.storage.tables.parquet import iter_tables, list_parts

MAX_REGIONS_PER_IMAGE = 50
"""Regions of an image that are listed."""
COLUMNS = (
    "rank",
    "kind",
    "given",
    "suggested",
    "y0",
    "x0",
    "y1",
    "x1",
    "area",
    "evidence",
    "mean_self_confidence",
    "mean_predicted_confidence",
)
"""What the page knows of a region, in this order."""
_DIGITS = 4
"""Decimals of what is no whole number: as many as are read."""


@dataclass
class ImageRegions:
    """The regions of one image, that with most evidence first: `COLUMNS` of each."""

    regions: list[list[Any]] = field(default_factory=list)

    @property
    def pairs(self) -> list[tuple[int | None, int]]:
        """Their pairs of given and suggested classes, each once."""
        given, suggested = COLUMNS.index("given"), COLUMNS.index("suggested")
        return list(dict.fromkeys((region[given], region[suggested]) for region in self.regions))


def find_regions(run: CompletedRun, chosen: Sequence[SelectedImage]) -> list[ImageRegions]:
    """Collect up to `MAX_REGIONS_PER_IMAGE` regions per image. Reads the region table once, file by file."""
    found = [ImageRegions() for _ in chosen]
    of_place = {one.place: found[one.number] for one in chosen}
    for table in iter_tables(
        run.directory, list_parts(run.directory, "regions"), ["source", "index", *COLUMNS], at_once=1
    ):
        interruption.raise_if_interrupted()
        places = zip(table["source"].to_pylist(), table["index"].to_pylist(), strict=True)
        rows = zip(*(table[name].to_pylist() for name in COLUMNS), strict=True)
        for place, row in zip(places, rows, strict=True):
            image = of_place.get(place)
            if image is not None and len(image.regions) < MAX_REGIONS_PER_IMAGE:
                image.regions.append([round(value, _DIGITS) if isinstance(value, float) else value for value in row])
    return found
