"""Words for the class of an image that agrees less than usual."""

from __future__ import annotations

import pytest

from masksift.review.class_agreement import agreement_text, class_below_usual


@pytest.mark.parametrize(
    ("z", "expected"),
    [
        (None, ""),
        (1.99, ""),
        (2.0, "pole agrees less than in the other images"),
        (3.99, "pole agrees less than in the other images"),
        (4.0, "pole agrees much less than in the other images"),
    ],
)
def test_text_names_the_class_from_two_spreads_on(z: float | None, expected: str) -> None:
    row = {"worst_class": None if z is None else 1, "worst_class_z": z}
    assert agreement_text(row, ["road", "pole"]) == expected
    assert (class_below_usual(row) is None) == (expected == "")


def test_text_escapes_unprintable_characters_of_a_name() -> None:
    assert "\x1b" not in agreement_text({"worst_class": 0, "worst_class_z": 9.0}, ["\x1b[31mroad"])
