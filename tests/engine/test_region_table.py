"""Table rows of regions."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from masksift.engine.region_table import RegionTableBuilder
from masksift.scoring.kernels.regions import Regions
from masksift.storage.tables.schemas import WORST_REGION, unranked_regions_schema
from support.condensed import a_few

CLASS_NAMES = ("road", "sky", "car")


def make_regions(*evidence: float) -> Regions:
    """Make regions of one pixel with the given evidence, from left to right; the last one is an omission."""
    n = len(evidence)
    columns = np.arange(n)
    zeros, ones = np.zeros(n, np.int64), np.ones(n, np.int64)
    box = np.stack([zeros, columns, ones, columns + 1], axis=1)
    return Regions(
        np.where(columns == n - 1, 3, 1),
        zeros,
        ones,
        box,
        np.stack([zeros, columns], axis=1).astype(float),
        np.array(evidence, float),
        np.full(n, 0.125),
        np.full(n, 0.75),
        [np.array([x, 1, n - x - 1], np.int32)[: 2 + (x < n - 1)] for x in range(n)],
    )


def image_fields(index: int, width: int) -> dict[str, Any]:
    return {"image_id": f"a/{index}", "source": "a", "index": index, "height": 1, "width": width}


def test_table_describes_label_and_omission_regions() -> None:
    builder = RegionTableBuilder(10, CLASS_NAMES)
    builder.add(image_fields(4, 2), make_regions(0.5, 0.25))
    label, omission = builder.table().to_pylist()
    assert label == {
        "image_id": "a/4",
        "source": "a",
        "index": 4,
        "kind": "label",
        "given": 1,
        "suggested": 0,
        "given_name": "sky",
        "suggested_name": "road",
        "area": 1,
        "y0": 0,
        "x0": 0,
        "y1": 1,
        "x1": 1,
        "centroid_y": 0.0,
        "centroid_x": 0.0,
        "evidence": 0.5,
        "mean_self_confidence": 0.125,
        "mean_predicted_confidence": 0.75,
        "height": 1,
        "width": 2,
        "rle": [0, 1, 1],
    }
    no_label = {"given": None, "given_name": None, "mean_self_confidence": None}
    assert omission == label | no_label | {
        "kind": "omission",
        "x0": 1,
        "x1": 2,
        "centroid_x": 1.0,
        "evidence": 0.25,
        "rle": [1, 1],
    }


def test_add_returns_the_columns_of_the_region_with_most_evidence() -> None:
    builder = RegionTableBuilder(10, CLASS_NAMES)
    worst = builder.add(image_fields(0, 3), make_regions(0.5, 2.0, 2.0))
    assert worst == dict(zip(WORST_REGION.names, (0, 1, 1, 2, 2.0), strict=True))
    assert builder.add(image_fields(1, 0), make_regions()) == {}


def test_table_without_regions_has_the_schema_and_no_rows() -> None:
    table = RegionTableBuilder(10, CLASS_NAMES).table(("site",))
    assert (len(table), table.schema) == (0, unranked_regions_schema(("site",)))


@a_few
@given(images=st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), max_size=6), max_size=6), top=st.integers(1, 9))
def test_table_keeps_the_regions_with_most_evidence_in_stable_order(images: list[list[float]], top: int) -> None:
    builder = RegionTableBuilder(top, CLASS_NAMES)
    for index, evidence in enumerate(images):
        builder.add(image_fields(index, len(evidence)), make_regions(*evidence))
    every = [(-value, index, x) for index, evidence in enumerate(images) for x, value in enumerate(evidence)]
    actual = [(-row["evidence"], row["index"], row["x0"]) for row in builder.table().to_pylist()]
    assert actual == sorted(every)[:top]
