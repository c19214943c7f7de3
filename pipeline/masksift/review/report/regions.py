"""Collect the regions of the images on the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from masksift.core import signals
from masksift.engine.completed_run import CompletedRun
from masksift.review.report.selection import SelectedImage

MAX_REGIONS_PER_IMAGE = 50
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
    "priority",
    "evidence",
    "mean_self_confidence",
    "mean_predicted_confidence",
)
"""Columns of a region on the page, in this order."""
_DECIMALS = 4


@dataclass
class ImageRegions:
    """`COLUMNS` of the regions of one image, in its order, and their number in the region table."""

    regions: list[list[Any]] = field(default_factory=list)
    listed: int = 0

    @property
    def class_pairs(self) -> list[tuple[int | None, int]]:
        """Distinct pairs of given and suggested class."""
        given, suggested = COLUMNS.index("given"), COLUMNS.index("suggested")
        return list(dict.fromkeys((region[given], region[suggested]) for region in self.regions))


def find_regions(run: CompletedRun, selected: Sequence[SelectedImage]) -> list[ImageRegions]:
    """Collect up to `MAX_REGIONS_PER_IMAGE` regions per image. Reads the region table once, file by file."""
    by_key = {image.key: ImageRegions() for image in selected}
    for table in run.region_tables(["source", "index", *COLUMNS]):
        signals.raise_if_interrupted()
        keys = zip(table["source"].to_pylist(), table["index"].to_pylist(), strict=True)
        rows = zip(*(table[name].to_pylist() for name in COLUMNS), strict=True)
        for key, row in zip(keys, rows, strict=True):
            image = by_key.get(key)
            if image is None:
                continue
            image.listed += 1
            if image.listed <= MAX_REGIONS_PER_IMAGE:
                image.regions.append([round(value, _DECIMALS) if isinstance(value, float) else value for value in row])
    return [by_key[image.key] for image in selected]
