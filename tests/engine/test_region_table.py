"""Table rows of regions."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from masksift.engine.region_table import RegionTableBuilder, worst_region_columns
from masksift.scoring.kernels.regions import Regions
from masksift.storage.tables.schemas import WORST_REGION, unranked_regions_schema
from support.condensed import a_few

CLASS_NAMES = ("road", "sky", "car")


def make_regions(*evidence: float, image: int = 0) -> Regions:
    """Make regions of one pixel with the given evidence, from left to right; the last one is an omission."""
    n = len(evidence)
    codes = [np.array([x, 1, n - x - 1], np.int32)[: 2 + (x < n - 1)] for x in range(n)]
    columns = np.arange(n)
    zeros, ones = np.zeros(n, np.int64), np.ones(n, np.int64)
    box = np.stack([zeros, columns, ones, columns + 1], axis=1)
    return Regions(
        np.full(n, image),
        np.where(columns == n - 1, 3, 1),
        zeros,
        ones,
        box,
        np.stack([zeros, columns], axis=1).astype(float),
        np.array(evidence, float),
        np.full(n, 0.125),
        np.full(n, 0.75),
        np.concatenate([np.empty(0, np.int32), *codes]),
        np.cumsum([len(code) for code in codes], dtype=np.int64),
    )


def image_columns(widths: list[int], first: int = 0) -> dict[str, Any]:
    indices = range(first, first + len(widths))
    ids = [f"a/{index}" for index in indices]
    ones = [1] * len(widths)
    return {"image_id": ids, "source": ["a"] * len(ids), "index": [*indices], "height": ones, "width": widths}


def test_table_describes_label_and_omission_regions() -> None:
    builder = RegionTableBuilder(10, CLASS_NAMES)
    builder.add(make_regions(0.5, 0.25, image=1), 2)
    label, omission = builder.table(image_columns([9, 9, 9, 2], 1)).to_pylist()
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


def test_worst_region_columns_describe_the_region_with_most_evidence() -> None:
    regions = Regions.concatenate([make_regions(0.5, 2.0, 2.0), make_regions(1.0, 0.25, image=2)])
    columns = worst_region_columns(regions, 4)
    rows = [tuple(columns[name].tolist()[i] for name in WORST_REGION.names) for i in range(4)]
    assert rows == [(0, 1, 1, 2, 2.0), (None,) * 5, (0, 0, 1, 1, 1.0), (None,) * 5]


def test_table_without_regions_has_the_schema_and_no_rows() -> None:
    table = RegionTableBuilder(10, CLASS_NAMES).table(image_columns([]), ("site",))
    assert (len(table), table.schema) == (0, unranked_regions_schema(("site",)))


@a_few
@given(images=st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), max_size=6), max_size=6), top=st.integers(1, 9))
def test_table_keeps_the_regions_with_most_evidence_in_stable_order(images: list[list[float]], top: int) -> None:
    builder = RegionTableBuilder(top, CLASS_NAMES)
    for index, evidence in enumerate(images):
        builder.add(make_regions(*evidence), index)
    every = [(-value, index, x) for index, evidence in enumerate(images) for x, value in enumerate(evidence)]
    actual = [
        (-row["evidence"], row["index"], row["x0"])
        for row in builder.table(image_columns([*map(len, images)])).to_pylist()
    ]
    assert actual == sorted(every)[:top]
