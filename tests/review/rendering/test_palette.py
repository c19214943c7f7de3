"""Class colors: stable, distinct, and distinguishable with color blindness."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from masksift.review.rendering.palette import MAX_COLORS, class_colors, hex_colors


@given(st.integers(1, 300))
def test_color_of_a_class_is_independent_of_the_number_of_classes(classes: int) -> None:
    np.testing.assert_array_equal(class_colors(classes), class_colors(2 * MAX_COLORS)[:classes])
    assert len(hex_colors(classes)) == classes


def test_colors_repeat_only_after_all_are_used() -> None:
    assert len(np.unique(class_colors(MAX_COLORS), axis=0)) == MAX_COLORS
    np.testing.assert_array_equal(class_colors(MAX_COLORS + 3)[MAX_COLORS:], class_colors(3))


def test_first_colors_are_from_okabe_and_ito() -> None:
    assert hex_colors(2) == ["#0072b2", "#e69f00"]


def test_twenty_classes_are_distinguishable_with_color_blindness() -> None:
    from masksift.review.rendering.palette import (
        _CONE_MATRICES,
        _lab,
        _linear,
    )

    for matrix in _CONE_MATRICES:
        lab = _lab(_linear(class_colors(20)) @ matrix.T)
        distances = np.linalg.norm(lab[:, None] - lab[None], axis=2)[~np.eye(20, dtype=bool)]
        assert distances.min() > 10, "a just noticeable difference is 2.3"
