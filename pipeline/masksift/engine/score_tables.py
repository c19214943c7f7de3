"""Rows of the tables of images and regions, collected as columns while images are scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.engine.region_table import RegionTableBuilder, worst_region_columns
from masksift.engine.work_items import PairCounts
from masksift.scoring.methods.base import Method, ScoringInput
from masksift.scoring.score_image import find_image_regions, make_omission_rule, score_images
from masksift.scoring.statistics.thresholds import ThresholdCodes
from masksift.storage.tables.arrow import concatenate, table_from_columns
from masksift.storage.tables.schemas import images_schema


class ScoreTables:
    """Tables and class pairs of images that are scored group by group.

    Args:
        methods: Scores to compute.
        codes: Thresholds of the data set.
        min_area: Smallest area of a listed region, pixels.
        max_regions: Largest number of listed regions.
        class_names: Names of the classes.
        path_columns: Names of partition columns.
    """

    def __init__(
        self,
        methods: Sequence[Method],
        codes: ThresholdCodes,
        min_area: int,
        max_regions: int,
        class_names: Sequence[str],
        path_columns: Sequence[str] = (),
    ) -> None:
        self._methods, self._min_area, self._path_columns = methods, min_area, path_columns
        self._omissions = make_omission_rule(codes, methods)
        self._regions = RegionTableBuilder(max_regions, class_names)
        self._columns: list[dict[str, Any]] = []
        self._images = 0
        k = len(class_names)
        self.pairs = PairCounts(np.zeros((k, k), np.int64), np.zeros((k, k), np.int64))

    def add(self, images: ScoringInput, sizes: NDArray[np.int64]) -> None:
        """Score the next images, whose rows and columns without padding are ``sizes`` (n, 2)."""
        columns = score_images(images, self._methods)
        regions = find_image_regions(images, sizes, self._min_area, self._omissions)
        self._columns.append(columns | worst_region_columns(regions, len(sizes)))
        self._regions.add(regions, self._images)
        self._images += len(sizes)
        flagged = images.flagged_pairs
        self.pairs = self.pairs.merge(PairCounts(flagged.sum(axis=0), np.count_nonzero(flagged, axis=0)))

    def finish(self, facts: Mapping[str, Any]) -> tuple[Any, Any]:
        """Return the tables of images and regions.

        Args:
            facts: Columns of all images that do not depend on scores: image_id, source, index, height, width, status,
                reason, and the partition columns that the source has.
        """
        schema = images_schema([method.name for method in self._methods], self._path_columns)
        found = {
            name: concatenate([columns[name] for columns in self._columns])
            for name in (self._columns[0] if self._columns else ())
        }
        columns = dict.fromkeys(self._path_columns, [None] * self._images) | dict(facts) | found
        return table_from_columns(columns, schema), self._regions.table(facts, self._path_columns)
