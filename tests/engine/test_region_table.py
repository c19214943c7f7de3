"""Table rows of regions, and the comparison of regions with the whole data set."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.engine import region_table
from masksift.engine.region_table import RegionTableBuilder, add_worst_regions, compare_regions, worst_regions
from masksift.scoring.kernels.regions import Regions
from masksift.scoring.methods.base import ScoringInput
from masksift.scoring.region_priority import PairTotals, max_image_regions
from masksift.storage.tables.arrow import table_from_rows
from masksift.storage.tables.schemas import WORST_REGION_COLUMNS, scored_regions_schema, unranked_regions_schema
from masksift.storage.tables.segments import iter_packed_tables
from support.condensed import a_few, images_of, one_row

CLASS_NAMES = ("road", "sky", "car")
SIZES = np.array([[1, 9]])


def make_image() -> ScoringInput:
    """Make an image of one row of three classes with two flagged pixels, of sky where the model sees the road."""
    rows = [[0.75, 0.125, 0.125], [0.75, 0.125, 0.125], [0.75, 0.125, 0.125], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    (image,) = images_of(one_row(rows, [0, 1, 1, 1, 2]))
    assert image is not None
    assert image.flagged.pixels[0].tolist() == [[0, 0, 0], [2, 0, 0], [0, 0, 0]]
    return image


def make_regions(*evidence: float) -> Regions:
    """Make regions of one pixel with the given evidence, from left to right; the last one is an omission."""
    n = len(evidence)
    codes = [np.array([x, 1, n - x - 1], np.int32)[: 2 + (x < n - 1)] for x in range(n)]
    columns = np.arange(n)
    zeros, ones = np.zeros(n, np.int64), np.ones(n, np.int64)
    box = np.stack([zeros, columns, ones, columns + 1], axis=1)
    return Regions(
        np.full(n, 0),
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
    builder = RegionTableBuilder(CLASS_NAMES, image_columns([9, 9, 9, 2], 1))
    builder.add(make_regions(0.5, 0.25), make_image(), SIZES, 3)
    label, omission = rows_of(builder.finish())
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
        "priority": pytest.approx(math.sqrt(0.5) * 0.75 * math.log(0.76 / 0.135) ** 2, rel=1e-14),
        "class_priority": label["priority"],
        "evidence": 0.5,
        "mean_self_confidence": 0.125,
        "mean_predicted_confidence": 0.75,
        "given_z": 0.0,
        "suggested_z": 0.0,
        "given_pixels": 3,
        "suggested_pixels": 3,
        "height": 1,
        "width": 2,
        "rle": [0, 1, 1],
        "pair_evidence": 1.25,
    }
    no_label = dict.fromkeys(("given", "given_name", "mean_self_confidence", "given_z", "given_pixels"))
    assert omission == label | no_label | {
        "kind": "omission",
        "x0": 1,
        "x1": 2,
        "centroid_x": 1.0,
        "priority": pytest.approx(math.sqrt(0.25) * 0.75 * math.log(0.76 / 0.21) ** 2, rel=1e-14),
        "class_priority": omission["priority"],
        "evidence": 0.25,
        "pair_evidence": 0.0,
        "rle": [1, 1],
    }


def rows_of(packed: bytes) -> list[dict[str, Any]]:
    return [row for table in iter_packed_tables(packed) for row in table.to_pylist()]


def test_images_without_regions_have_no_table() -> None:
    builder = RegionTableBuilder(CLASS_NAMES, image_columns([9]))
    builder.add(make_regions(1.0, 1.0).take(np.arange(0)), make_image(), SIZES, 0)
    assert builder.finish() == b""


def test_tables_hold_whole_images_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(region_table, "PACKED_REGION_ROWS", 4)
    builder = RegionTableBuilder(CLASS_NAMES, image_columns([9] * 5) | {"site": ["x"] * 5}, ("site",))
    for image in range(5):
        builder.add(make_regions(*[1.0] * 3), make_image(), SIZES, image)
    tables = list(iter_packed_tables(builder.finish()))
    assert [table["index"].to_pylist() for table in tables] == [[0] * 3 + [1] * 3, [2] * 3 + [3] * 3, [4] * 3]
    assert all(table.schema == scored_regions_schema(("site",)) for table in tables)


def test_image_with_many_regions_keeps_those_of_highest_priority_in_order() -> None:
    evidence = [*(float(7 * x % 101) for x in range(99)), 0.0]  # the last one is an omission
    builder = RegionTableBuilder(CLASS_NAMES, image_columns([100]))
    builder.add(make_regions(*evidence), make_image(), SIZES, 0)
    assert int(max_image_regions(9)) == 64
    highest = sorted(range(100), key=lambda x: -evidence[x])[:64]
    assert [row["x0"] for row in rows_of(builder.finish())] == sorted(highest)


def test_image_keeps_a_region_for_512_pixels_within_limits() -> None:
    pixels = np.array([1, 64 * 512 - 1, 65 * 512, 1 << 24, 1 << 30])
    assert max_image_regions(pixels).tolist() == [64, 64, 65, 1 << 15, 1 << 18]


def region_row(x: int, **changes: Any) -> dict[str, Any]:
    fields = {"image_id": "a/0", "source": "a", "index": 0, "kind": "label", "given": 1, "suggested": 0, "area": 1}
    fields |= {"given_name": "sky", "suggested_name": "road", "y0": 0, "x0": x, "y1": 1, "x1": x + 1, "centroid_y": 0.0}
    fields |= {"centroid_x": 0.0, "priority": 6.0, "class_priority": 12.0, "evidence": 4.0, "suggested_z": 0.0}
    fields |= {"mean_self_confidence": 0.1, "mean_predicted_confidence": 0.9, "given_z": 0.0, "height": 1, "width": 9}
    fields |= {"given_pixels": 10, "suggested_pixels": 4, "rle": [0, 1, 8], "pair_evidence": 5.0}
    return fields | changes


def compared(*rows: dict[str, Any], is_other_run: bool = False) -> list[dict[str, Any]]:
    evidence = np.zeros((3, 3))
    evidence[1, 0] = 35.0
    totals = PairTotals(evidence, np.array([50, 109, 7]), np.array([23, 80, 90]), is_other_run)
    regions = compare_regions(table_from_rows(rows, scored_regions_schema(("site",))), totals, ("site",))
    assert regions.schema == unranked_regions_schema(("site",))
    found: list[dict[str, Any]] = regions.to_pylist()
    return found


def test_usual_evidence_is_that_of_the_pair_in_the_other_images() -> None:
    """Elsewhere 30 in 19 pixels predicted as road and 99 labeled as sky: 4 * 30 / 20 = 6 and 10 * 30 / 100 = 3."""
    (row,) = compared(region_row(0))
    assert (row["usual_evidence"], row["evidence"]) == (6.0, 4.0)
    assert (row["priority"], row["class_priority"]) == (6.0 / math.sqrt(7), 12.0 / math.sqrt(7))


def test_totals_of_another_run_are_compared_whole() -> None:
    """35 in 23 pixels predicted as road: 4 * 35 / 24."""
    (row,) = compared(region_row(0), is_other_run=True)
    assert row["usual_evidence"] == 4 * 35 / 24


def test_omission_and_pair_of_one_image_keep_their_priority() -> None:
    nothing = {"given": None, "given_pixels": None, "pair_evidence": 0.0, "kind": "omission"}
    omission, alone = compared(region_row(0, **nothing), region_row(1, pair_evidence=35.0))
    for row in (omission, alone):
        assert (row["usual_evidence"], row["priority"], row["class_priority"]) == (0.0, 6.0, 12.0)


@pytest.mark.parametrize(("by", "first"), [("priority", 3), ("class_priority", 4), ("evidence", 2)])
def test_worst_region_is_the_first_by_the_order_of_the_regions(by: str, first: int) -> None:
    images = pa.table({"index": pa.array([5, 6, 7, 8], pa.int64()), "status": ["scored"] * 3 + ["all_ignored"]})
    values = {2: (1.0, 2.0, 9.0), 3: (3.0, 3.0, 8.0), 4: (2.0, 4.0, 8.0), 8: (3.0, 1.0, 1.0)}
    rows = [
        region_row(x, index=6, priority=priority, class_priority=class_priority, evidence=evidence)
        for x, (priority, class_priority, evidence) in values.items()
    ]
    rows += [region_row(0, index=7, given=None, given_pixels=None, priority=1e9, class_priority=1e9, evidence=1e9)]
    found = add_worst_regions(images, [worst_regions(compare_nothing(rows), by)]).to_pylist()
    priority, _, evidence = values[first]
    assert [[row[name] for name in WORST_REGION_COLUMNS.names] for row in found] == [
        [None] * 6,
        [0, first, 1, first + 1, priority, evidence],
        [0, 0, 1, 1, 1e9, 1e9],
        [None] * 6,
    ]
    assert [row["worst_region"] for row in found] == [1.0, 1 / (1 + 3.0), 1.0, None], "omissions do not count"


def test_images_without_regions_have_no_worst_one() -> None:
    images = pa.table({"index": pa.array([5, 6], pa.int64()), "status": ["scored", "bad_labels"]})
    table = add_worst_regions(images, [])
    assert table.schema.names == ["index", "status", *WORST_REGION_COLUMNS.names, "worst_region"]
    assert table["worst_region"].to_pylist() == [1.0, None]
    assert all(table[name].null_count == 2 for name in WORST_REGION_COLUMNS.names)


def compare_nothing(rows: list[dict[str, Any]]) -> pa.Table:
    totals = PairTotals(np.zeros((2, 2)), np.zeros(2, np.int64), np.zeros(2, np.int64), is_other_run=True)
    return compare_regions(table_from_rows(rows, scored_regions_schema()), totals)


@a_few
@given(
    evidence=st.lists(st.floats(0, 1e9), min_size=9, max_size=9),
    labeled=st.lists(st.integers(0, 1 << 40), min_size=3, max_size=3),
    own=st.floats(0, 1e6),
    pixels=st.tuples(st.integers(0, 1 << 20), st.integers(0, 1 << 20)),
)
def test_usual_evidence_grows_with_that_of_the_other_images(
    evidence: list[float], labeled: list[int], own: float, pixels: tuple[int, int]
) -> None:
    one = np.array(evidence).reshape(3, 3)
    counts = np.array(labeled) + max(pixels)

    def usual(more: float) -> float:
        totals = PairTotals(one + own + more, counts, counts)
        arguments = (np.array([value]) for value in (1, 0, own, *pixels))
        return float(totals.usual_evidence(*arguments)[0])

    assert 0 <= usual(0.0) <= usual(1.0)
