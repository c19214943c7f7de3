"""Table rows of regions, collected while images are scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels.regions import Regions
from masksift.storage.tables.arrow import list_array, table_from_columns, take
from masksift.storage.tables.schemas import WORST_REGION, unranked_regions_schema

LABEL, OMISSION = "label", "omission"
"""Kinds of regions: flagged pixels, and ignored pixels that are confidently predicted as a class."""


def worst_region_columns(regions: Regions, images: int) -> dict[str, Any]:
    """Return the columns of `WORST_REGION`, (images,) masked arrays: the region with most evidence, the first on ties.

    Args:
        regions: Regions of images 0 to ``images`` - 1.
        images: Number of images.
    """
    order = np.lexsort((np.arange(len(regions)), -regions.evidence, regions.image))
    first = order[np.flatnonzero(np.diff(regions.image[order], prepend=-1))]
    where, absent = regions.image[first], np.ones(images, bool)
    absent[where] = False
    columns = {}
    for name, values in zip(WORST_REGION.names, (*regions.box.T, regions.evidence), strict=True):
        column = np.zeros(images, values.dtype)
        column[where] = values[first]
        columns[name] = np.ma.MaskedArray(column, absent)
    return columns


class RegionTableBuilder:
    """Collect regions of images and keep those with most evidence, plus at most a quarter more."""

    def __init__(self, max_regions: int, class_names: Sequence[str]) -> None:
        self._max_regions, self._class_names = max_regions, class_names
        self._groups: list[Regions] = []
        self._held = 0

    def add(self, regions: Regions, first_image: int) -> None:
        """Add regions, the first of whose images has the number ``first_image``."""
        if not len(regions):
            return
        self._groups.append(replace(regions, image=regions.image + first_image))
        self._held += len(regions)
        if self._held > self._max_regions + self._max_regions // 4:
            self._prune()

    def table(self, images: Mapping[str, Any], path_columns: Sequence[str] = ()) -> Any:
        """Return the regions with most evidence first; equal ones in the order in which they were added.

        Args:
            images: Columns of all images by number: image_id, source, index, height, width, and ``path_columns``.
            path_columns: Names of partition columns; null where ``images`` lacks one.
        """
        schema = unranked_regions_schema(path_columns)
        if not self._groups:
            return schema.empty_table()
        self._prune()
        regions = self._groups[0].take(self._order(self._groups[0]))
        columns = {
            name: take(images[name], regions.image) if name in images else [None] * len(regions)
            for name in ("image_id", "source", "index", *path_columns, "height", "width")
        }
        return table_from_columns(columns | self._region_columns(regions), schema)

    def _order(self, regions: Regions) -> NDArray[np.intp]:
        """Return the positions of the regions with most evidence, in descending order."""
        return np.argsort(-regions.evidence, kind="stable")[: self._max_regions]

    def _prune(self) -> None:
        """Drop all regions beyond the largest number, without changing the order of the others."""
        regions = Regions.concatenate(self._groups)
        if len(regions) > self._max_regions:
            regions = regions.take(np.sort(self._order(regions)))
        self._groups, self._held = [regions], len(regions)

    def _region_columns(self, regions: Regions) -> dict[str, Any]:
        is_omission = regions.given == len(self._class_names)
        names = [*self._class_names, None]
        return {
            "kind": np.where(is_omission, OMISSION, LABEL),
            "given": np.ma.MaskedArray(regions.given, is_omission),
            "suggested": regions.suggested,
            "given_name": take(names, regions.given),
            "suggested_name": take(names, regions.suggested),
            "area": regions.area,
            **dict(zip(("y0", "x0", "y1", "x1"), regions.box.T, strict=True)),
            **dict(zip(("centroid_y", "centroid_x"), regions.centroid.T, strict=True)),
            "evidence": regions.evidence,
            "mean_self_confidence": np.ma.MaskedArray(regions.self_confidence, is_omission),
            "mean_predicted_confidence": regions.predicted_confidence,
            "rle": list_array(regions.run_lengths, regions.run_ends),
        }
