"""A colour for each class: the same whatever the number of classes, and all apart for all kinds of eyes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from masksift.review.rendering.palette import MAX_COLORS, class_colors, hex_colors


@given(st.integers(1, 300))
def test_a_class_has_its_colour_whatever_the_number_of_classes(classes: int) -> None:
    np.testing.assert_array_equal(class_colors(classes), class_colors(2 * MAX_COLORS)[:classes])
    assert len(hex_colors(classes)) == classes


def test_no_two_of_them_are_the_same_until_all_are_used() -> None:
    assert len(np.unique(class_colors(MAX_COLORS), axis=0)) == MAX_COLORS
    np.testing.assert_array_equal(class_colors(MAX_COLORS + 3)[MAX_COLORS:], class_colors(3))


def test_the_first_are_those_of_okabe_and_ito() -> None:
    assert hex_colors(2) == ["#0072b2", "#e69f00"]


def test_eyes_without_red_or_green_cones_tell_twenty_classes_apart() -> None:
    from masksift.review.rendering.palette import (  # the distances by which they were chosen
        _CONE_MATRICES,
        _lab,
        _linear,
    )

    for matrix in _CONE_MATRICES:
        seen = _lab(_linear(class_colors(20)) @ matrix.T)
        apart = np.linalg.norm(seen[:, None] - seen[None], axis=2)[~np.eye(20, dtype=bool)]
        assert apart.min() > 10, "of CIELAB, where 2.3 can just be told apart"
