"""Rows of regions: gathered image by image, never many more than are kept, and what an image says of its worst one."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from masksift.engine.region_table import RegionTableBuilder, region_part_name
from masksift.scoring.kernels.regions import Regions
from masksift.storage.tables.schemas import WORST_REGION, unranked_regions_schema
from support.condensed import a_few

NAMES = ("road", "sky", "car")


def found(*evidence: float) -> Regions:
    """Regions of one pixel each with so much evidence, from left to right; the last one is an omission."""
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


def facts(index: int, width: int) -> dict[str, Any]:
    return {"image_id": f"a/{index}", "source": "a", "index": index, "height": 1, "width": width}


def test_a_row_says_what_is_given_and_what_is_suggested() -> None:
    rows = RegionTableBuilder(10, NAMES)
    rows.add(facts(4, 2), found(0.5, 0.25))
    label, omission = rows.table().to_pylist()
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
    nothing = {"given": None, "given_name": None, "mean_self_confidence": None}
    assert omission == label | nothing | {
        "kind": "omission",
        "x0": 1,
        "x1": 2,
        "centroid_x": 1.0,
        "evidence": 0.25,
        "rle": [1, 1],
    }


def test_the_image_says_where_most_evidence_is() -> None:
    rows = RegionTableBuilder(10, NAMES)
    assert rows.add(facts(0, 3), found(0.5, 2.0, 2.0)) == dict(zip(WORST_REGION.names, (0, 1, 1, 2, 2.0), strict=True))
    assert rows.add(facts(1, 0), found()) == {}


def test_no_region_is_a_table_without_rows() -> None:
    table = RegionTableBuilder(10, NAMES).table(("site",))
    assert (len(table), table.schema) == (0, unranked_regions_schema(("site",)))


@a_few
@given(images=st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), max_size=6), max_size=6), top=st.integers(1, 9))
def test_the_best_are_kept_and_of_equal_ones_those_found_first(images: list[list[float]], top: int) -> None:
    rows = RegionTableBuilder(top, NAMES)
    for index, evidence in enumerate(images):
        rows.add(facts(index, len(evidence)), found(*evidence))
    every = [(-value, index, x) for index, evidence in enumerate(images) for x, value in enumerate(evidence)]
    got = [(-row["evidence"], row["index"], row["x0"]) for row in rows.table().to_pylist()]
    assert got == sorted(every)[:top]


def test_a_block_keeps_them_beside_its_products() -> None:
    assert region_part_name("0123456789abcdef", 7) == "manifest/regions/part-0123456789ab-00000007.parquet"
