"""Words for labels that seem misplaced as a whole."""

from __future__ import annotations

import pytest

from masksift.review.label_transforms import transform_text


@pytest.mark.parametrize(
    ("transform", "text"),
    [
        (None, ""),
        ("roll(dy=-30, dx=90)", "labels look rolled by about 30 rows up and 90 columns right"),
        ("roll(dy=1, dx=0)", "labels look rolled by about 1 row down"),
        ("roll(dy=0, dx=-1250)", "labels look rolled by about 1,250 columns left"),
        ("flip(lr)", "labels look mirrored left to right"),
        ("flip(ud)", "labels look mirrored top to bottom"),
        ("rotate(180)", "labels look rotated by 180 degrees"),
        ("neighbor(+1)", "labels look like those of image 17"),
        ("neighbor(-2)", "labels look like those of image 14"),
    ],
)
def test_text_says_where_the_labels_seem_to_come_from(transform: str | None, text: str) -> None:
    assert transform_text({"suspected_transform": transform, "index": 16}) == text
