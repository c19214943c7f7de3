"""Listed regions of a run: their orders, and their pixels for the tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masksift.engine.completed_run import CompletedRun
from masksift.review.export.run_length import box_mask
from masksift.storage.tables.arrow import integer_lists
from masksift.storage.tables.segments import join_tables

ORDER_COLUMNS = {"priority": "priority", "class": "class_priority", "evidence": "evidence"}
"""Column of the table of regions by order: the highest value first."""
MAX_CONCURRENT_TABLES = 2
"""Files of the region table in memory: the run lengths of one may take some megabytes."""
_BOX = ("y0", "x0", "y1", "x1")

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class RegionMasks:
    """Pixels of R regions, ordered by image.

    Attributes:
        image: Position of the image of each region, (R,) int64, ascending.
        height: Rows of that image, (R,) int64.
        box: Rows [y0, y1) and columns [x0, x1) as y0, x0, y1, x1, (R, 4) int64.
        run_lengths: COCO's uncompressed run-length codes of all regions, int32.
        run_ends: End of each region's code in ``run_lengths``, (R,) int64.
    """

    image: Integers
    height: Integers
    box: Integers
    run_lengths: NDArray[np.int32]
    run_ends: Integers

    @classmethod
    def empty(cls) -> RegionMasks:
        """Return no regions."""
        none = np.empty(0, np.int64)
        return cls(none, none, np.empty((0, 4), np.int64), np.empty(0, np.int32), none)

    def __len__(self) -> int:
        return len(self.image)

    def find(self, start: int, stop: int) -> slice:
        """Return the regions of the images at the positions [start, stop)."""
        first, last = np.searchsorted(self.image, [start, stop]).tolist()
        return slice(first, last)

    def between(self, start: int, stop: int) -> RegionMasks:
        """Copy the regions of the images at the positions [start, stop), which are counted from ``start``."""
        found = self.find(start, stop)
        run_start = self.run_ends[found.start - 1] if found.start else np.int64(0)
        ends = self.run_ends[found] - run_start
        lengths = self.run_lengths[run_start : run_start + (ends[-1] if len(ends) else 0)]
        return RegionMasks(self.image[found] - start, self.height[found], self.box[found], lengths, ends)

    def count(self, number: int, masks: tuple[Mask, ...]) -> list[int]:
        """Count the pixels of a region in each of some masks (H, W) of its image."""
        start = self.run_ends[number - 1] if number else 0
        y0, x0, y1, x1 = self.box[number].tolist()
        inside = box_mask(self.run_lengths[start : self.run_ends[number]], int(self.height[number]), (y0, x0, y1, x1))
        return [int(np.count_nonzero(mask[y0:y1, x0:x1] & inside)) for mask in masks]


@dataclass(frozen=True)
class ListedRegions:
    """R regions of the table of a run, ordered by image.

    Attributes:
        masks: Pixels of the regions.
        places: Place of each region in each order, (R,) int64, a permutation of 0 to R - 1; 0 is reviewed first.
        absent: Columns of orders that the table does not have.
    """

    masks: RegionMasks
    places: Mapping[str, Integers]
    absent: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.masks)


def read_listed_regions(run: CompletedRun) -> ListedRegions:
    """Read the table of regions of a run, with some hundred bytes per region."""
    columns = ["source", "index", "height", *_BOX, *ORDER_COLUMNS.values(), "rle"]
    tables = list(run.region_tables(columns, MAX_CONCURRENT_TABLES))
    if not sum(map(len, tables)):
        return ListedRegions(RegionMasks.empty(), {}, ())
    table = join_tables(tables)
    blocks, sources = run.tasks.plan.blocks, table["source"].to_pylist()
    firsts = {name: blocks.position(number, 0) for name, number in run.source_index.items()}
    image = np.array([firsts[source] for source in sources], np.int64) + table["index"].to_numpy()
    order = np.argsort(image, kind="stable")
    codes = list(integer_lists(table["rle"]))
    masks = RegionMasks(
        image[order],
        table["height"].to_numpy().astype(np.int64)[order],
        np.stack([table[name].to_numpy().astype(np.int64) for name in _BOX], axis=1)[order],
        np.concatenate([codes[number] for number in order.tolist()]),
        np.cumsum([len(codes[number]) for number in order.tolist()]),
    )
    present = {name: column for name, column in ORDER_COLUMNS.items() if column in table.column_names}
    values = {name: table[column].to_numpy().astype(np.float64)[order] for name, column in present.items()}
    places = {name: order_places(keys, values["evidence"], order) for name, keys in values.items()}
    absent = tuple(column for name, column in ORDER_COLUMNS.items() if name not in present)
    return ListedRegions(masks, places, absent)


def order_places(keys: Floats, evidence: Floats, ranks: NDArray[np.integer]) -> Integers:
    """Return the place of each region, highest key first; on ties by evidence, then by rank.

    Args:
        keys: Values of the order, (R,); NaN is last.
        evidence: Evidence of the regions, (R,).
        ranks: Ranks in the table, (R,).

    Returns:
        (R,) int64, from 0.
    """
    places = np.empty(len(keys), np.int64)
    places[np.lexsort((ranks, -evidence, -keys))] = np.arange(len(keys))
    return places
