"""Table rows of regions, collected while images are scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels.regions import Regions
from masksift.storage.tables.arrow import table_from_columns, table_from_rows
from masksift.storage.tables.schemas import WORST_REGION, unranked_regions_schema

LABEL, OMISSION = "label", "omission"
"""Kinds of regions: flagged pixels, and ignored pixels that are confidently predicted as a class."""


class RegionTableBuilder:
    """Collect regions image by image and keep those with most evidence, plus at most a quarter more."""

    def __init__(self, max_regions: int, class_names: Sequence[str]) -> None:
        self._max_regions, self._class_names = max_regions, class_names
        self._images: list[tuple[Mapping[str, Any], Regions]] = []
        self._held = 0

    def add(self, image_fields: Mapping[str, Any], regions: Regions) -> dict[str, Any]:
        """Add the regions of an image, and return the columns of its row that describe the one with most evidence."""
        if not len(regions):
            return {}
        self._images.append((image_fields, regions))
        self._held += len(regions)
        if self._held > self._max_regions + self._max_regions // 4:
            self._prune()
        worst = int(regions.evidence.argmax())
        values = (*regions.box[worst].tolist(), float(regions.evidence[worst]))
        return dict(zip(WORST_REGION.names, values, strict=True))

    def table(self, path_columns: Sequence[str] = ()) -> Any:
        """Return the regions with most evidence first; equal ones in the order in which they were added."""
        if not self._images:
            return table_from_rows([], unranked_regions_schema(path_columns))
        self._prune()
        order = self._order()
        regions = Regions.of([regions for _, regions in self._images], order)
        image = np.repeat(np.arange(len(self._images)), [len(regions) for _, regions in self._images])[order].tolist()
        columns = {
            name: [self._images[i][0].get(name) for i in image]
            for name in ("image_id", "source", "index", *path_columns, "height", "width")
        }
        return table_from_columns(columns | self._region_columns(regions), unranked_regions_schema(path_columns))

    def _order(self) -> NDArray[np.intp]:
        """Return the positions of the regions with most evidence, in descending order."""
        evidence = np.concatenate([np.empty(0), *(regions.evidence for _, regions in self._images)])
        return np.argsort(-evidence, kind="stable")[: self._max_regions]

    def _prune(self) -> None:
        """Drop all regions beyond the largest number, without changing the order of the others."""
        is_kept = np.zeros(self._held, bool)
        is_kept[self._order()] = True
        ends = np.cumsum([0, *(len(regions) for _, regions in self._images)])
        positions = [np.flatnonzero(is_kept[start:stop]) for start, stop in pairwise(ends)]
        self._images = [
            (fields, regions if len(keep) == len(regions) else Regions.of([regions], keep))
            for (fields, regions), keep in zip(self._images, positions, strict=True)
            if len(keep)
        ]
        self._held = int(np.count_nonzero(is_kept))

    def _region_columns(self, regions: Regions) -> dict[str, Any]:
        is_label = (regions.given < len(self._class_names)).tolist()
        given = [k if known else None for k, known in zip(regions.given.tolist(), is_label, strict=True)]
        self_confidence = zip(regions.self_confidence.tolist(), is_label, strict=True)
        return {
            "kind": [LABEL if known else OMISSION for known in is_label],
            "given": given,
            "suggested": regions.suggested,
            "given_name": [None if k is None else self._class_names[k] for k in given],
            "suggested_name": [self._class_names[k] for k in regions.suggested.tolist()],
            "area": regions.area,
            **dict(zip(("y0", "x0", "y1", "x1"), regions.box.T, strict=True)),
            **dict(zip(("centroid_y", "centroid_x"), regions.centroid.T, strict=True)),
            "evidence": regions.evidence,
            "mean_self_confidence": [mean if known else None for mean, known in self_confidence],
            "mean_predicted_confidence": regions.predicted_confidence,
            "rle": regions.rle,
        }
