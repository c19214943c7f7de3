"""Points of the budget curve."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from masksift.review.report.run_summary import MAX_BUDGET_POINTS, budget_points
from support.condensed import a_few


@a_few
@given(scored=st.integers(1, 1 << 40))
def test_budget_points_include_the_first_and_the_last_image(scored: int) -> None:
    points = budget_points(scored)
    assert (points[0], points[-1]) == (1, scored)
    assert (np.diff(points) > 0).all()
    assert len(points) <= MAX_BUDGET_POINTS
    if scored <= MAX_BUDGET_POINTS:
        assert len(points) == scored


def test_budget_points_without_images_are_empty() -> None:
    assert budget_points(0).tolist() == []
