"""Rows of the tables of images and regions, collected as columns while images are scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.status import ImageStatus
from masksift.engine.region_table import RegionTableBuilder
from masksift.engine.work_items import PairCounts
from masksift.scoring.kernels.label_grids import sample_grids
from masksift.scoring.methods.base import Method, ScoringInput
from masksift.scoring.score_image import find_image_regions, make_omission_rule, score_images
from masksift.scoring.statistics.thresholds import ThresholdCodes
from masksift.storage.tables.arrow import bytes_array, concatenate, table_from_columns
from masksift.storage.tables.schemas import scored_images_schema


class ScoreTables:
    """Tables and class pairs of images that are scored group by group.

    Args:
        methods: Scores to compute.
        codes: Thresholds of the data set.
        min_area: Smallest area of a listed region, pixels.
        class_names: Names of the classes.
        facts: Columns of all images that are known before: image_id, source, index, height, width, and the partition
            columns that the source has.
        path_columns: Names of partition columns.
    """

    def __init__(
        self,
        methods: Sequence[Method],
        codes: ThresholdCodes,
        min_area: int,
        class_names: Sequence[str],
        facts: Mapping[str, Any],
        path_columns: Sequence[str] = (),
    ) -> None:
        self._methods, self._min_area, self._path_columns = methods, min_area, path_columns
        self._omissions = make_omission_rule(codes, methods)
        self._facts, self._regions = facts, RegionTableBuilder(class_names, facts, path_columns)
        self._columns: list[dict[str, Any]] = []
        self._grids: list[NDArray[np.unsignedinteger]] = []
        self._images = 0
        self.pairs = PairCounts.zeros(len(class_names))

    def add(self, images: ScoringInput, sizes: NDArray[np.int64]) -> None:
        """Score the next images, whose rows and columns without padding are ``sizes`` (n, 2)."""
        columns = score_images(images, self._methods)
        regions = find_image_regions(images, sizes, self._min_area, self._omissions)
        summary = images.summary  # without it the planes are whole
        grids = sample_grids(images.labels, images.predicted_class, sizes) if summary is None else summary.grids
        self._columns.append(columns)
        self._grids.append(grids)
        self._regions.add(regions, images, sizes, self._images)
        self._images += len(sizes)
        self.pairs = self.pairs.merge(PairCounts.from_images(images))

    def finish(self, statuses: Sequence[ImageStatus]) -> tuple[Any, bytes]:
        """Return the table of images, and the packed tables of regions, before these are compared with the data set.

        Args:
            statuses: Status of each image.
        """
        schema = scored_images_schema([method.name for method in self._methods], self._path_columns)
        found = {
            name: concatenate([columns[name] for columns in self._columns])
            for name in (self._columns[0] if self._columns else ())
        }
        status = {name: [getattr(one, name) for one in statuses] for name in ("status", "reason")}
        columns = dict.fromkeys(self._path_columns, [None] * self._images) | dict(self._facts) | status | found
        columns["grids"] = bytes_array(np.concatenate(self._grids)) if self._grids else []
        return table_from_columns(columns, schema), self._regions.finish()
