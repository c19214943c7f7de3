"""Percentiles of ranks."""

from __future__ import annotations

import numpy as np
import pytest

from masksift.scoring.ranking import percentiles


@pytest.mark.parametrize("count", [*range(1, 120), 12_345])
def test_percentiles_go_up_to_exactly_100(count: int) -> None:
    found = percentiles(np.arange(1, count + 1), count)
    assert (found.shape, found.dtype) == ((count,), np.float64)
    assert found[-1] == 100.0
    assert (np.diff(found, prepend=0.0) > 0).all()
    assert found.tolist() == pytest.approx([100 * rank / count for rank in range(1, count + 1)])


def test_percentiles_of_a_slice_equal_those_of_the_whole() -> None:
    assert percentiles(np.array([7, 8]), 10).tolist() == [70.0, 80.0]
    assert percentiles(np.arange(1, 1), 0).tolist() == []
