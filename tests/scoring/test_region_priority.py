"""Laws of the priority of regions, on whole audits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import masksift
from masksift.scoring.region_priority import priority_alone
from reference import audit as reference
from support import datasets as drawn
from support.condensed import a_few
from support.datasets import Data

COMPARED = ("priority", "class_priority", "evidence", "usual_evidence", "given_z", "suggested_z")


def regions(data: Data, **options: Any) -> list[dict[str, Any]]:
    audit = masksift.audit(data.labels, data.predictions, ignore=data.ignore, min_area=1, **options)
    found: list[dict[str, Any]] = audit.regions.to_pylist()
    return found


def by_place(rows: list[dict[str, Any]], images: list[int], classes: list[int]) -> dict[Any, list[Any]]:
    """Return the compared values by image, pair and box, with images and classes renamed."""
    return {
        (
            images[row["index"]],
            None if row["given"] is None else classes[row["given"]],
            classes[row["suggested"]],
            row["y0"],
            row["x0"],
            row["y1"],
            row["x1"],
            row["centroid_y"],
            row["centroid_x"],
        ): [row[name] for name in COMPARED]
        for row in rows
    }


@a_few
@given(order=st.permutations(range(6)), renamed=st.permutations(range(4)))
def test_order_of_images_and_names_of_classes_change_no_priority(order: list[int], renamed: list[int]) -> None:
    data = drawn.make_dataset(1, images=6, classes=4, height=11, width=12, dtype="float32", error_share=0.3)
    rows = regions(data)
    assert max(row["usual_evidence"] for row in rows) > 1
    moved = regions(Data(data.predictions[order], data.labels[order], data.ignore))
    assert by_place(moved, order, [*range(4)]) == by_place(rows, [*range(6)], [*range(4)])
    names = np.append(np.argsort(renamed), [255] * 252).astype(np.uint8)
    other = regions(Data(np.ascontiguousarray(data.predictions[:, renamed]), names[data.labels], data.ignore))
    expected = by_place(rows, [*range(6)], np.argsort(renamed).tolist())
    found = by_place(other, [*range(6)], [*range(4)])
    assert found.keys() == expected.keys()
    for key, values in found.items():
        assert values == [None if value is None else pytest.approx(value, rel=1e-12) for value in expected[key]]


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("classes", [2, 150])
def test_few_and_many_classes_equal_the_reference(dtype: str, classes: int) -> None:
    data = drawn.make_dataset(
        3, images=6, classes=classes, height=7, width=9, dtype=dtype, ignored_image=5, error_share=0.2
    )
    expected = reference.audit(*data[:2], ignore=data.ignore, sum_tolerance=0.4).regions
    found = [row for row in regions(data, sum_tolerance=0.4) if row["kind"] == "label"]
    assert len(found) == len(expected) > 10
    near = sorted(one.priority for one in expected)
    assert sorted(row["priority"] for row in found) == pytest.approx(near, rel=1e-3)


def test_region_of_a_single_image_has_no_usual_evidence() -> None:
    data = drawn.make_dataset(1, images=1, classes=4, height=11, width=12, dtype="float32", error_share=0.3)
    rows = regions(data)
    assert len(rows) > 1
    assert {row["usual_evidence"] for row in rows} == {0.0}


def test_pair_that_every_image_confuses_has_less_priority_than_one_seen_once() -> None:
    """Ten images take class 0 for 1 in the same six pixels; one takes 2 for 1, with the same evidence."""
    predictions = np.full((10, 3, 8, 9), 0.05, np.float32)
    labels = np.zeros((10, 8, 9), np.uint8)
    labels[:, 4:] = 2
    labels[:, 7] = 1
    np.put_along_axis(predictions, labels[:, None].astype(np.int64), np.float32(0.9), axis=1)
    predictions[:, :2, 0, :6] = np.array([0.05, 0.9], np.float32)[:, None]
    predictions[3, 1:, 5, :6] = np.array([0.9, 0.05], np.float32)[:, None]
    predictions[3, 0, 5, :6] = 0.05
    first, *others = regions(Data(predictions, labels, (255,)))
    assert (first["index"], first["given"], first["suggested"]) == (3, 2, 1)
    assert len(others) == 10
    assert {row["evidence"] for row in others} == {first["evidence"]}
    assert max(row["priority"] for row in others) < 0.9 * first["priority"]


@a_few
@given(evidence=st.floats(1e-3, 1e9), own=st.floats(0, 1), confidence=st.floats(0, 1), more=st.floats(1.01, 4))
def test_priority_grows_with_evidence_and_with_the_distance_of_the_confidences(
    evidence: float, own: float, confidence: float, more: float
) -> None:
    own, confidence = sorted([own, confidence])

    def priority(evidence: float, own: float) -> float:
        return float(priority_alone(*(np.array([value]) for value in (evidence, own, confidence)))[0])

    assert priority(evidence * more, own) >= priority(evidence, own) >= 0
    assert priority(evidence, own / more) >= priority(evidence, own)
