"""The pixels of a run-length code, as pycocotools has them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from masksift.review.corrections.accepted_regions import AcceptedRegion
from masksift.review.corrections.tasks import decode_rle, regions_between
from support.condensed import a_few
from support.datasets import Array

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9))


def code_of(mask: Array) -> Array:
    """Runs of pixels outside and inside in turn, columns one after the other."""
    counts, inside = [0], False
    for pixel in mask.T.reshape(-1).tolist():
        if pixel != inside:
            inside = pixel
            counts.append(0)
        counts[-1] += 1
    return np.array(counts, np.int32)


@a_few
@given(mask=MASKS)
def test_decode_rle_restores_any_mask(mask: Array) -> None:
    found = np.zeros_like(mask)
    rows, columns = decode_rle(code_of(mask), mask.shape[0])
    found[rows, columns] = True
    np.testing.assert_array_equal(found, mask)
    assert len(rows) == mask.sum(), "each once"


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools, in numpy 2
@a_few
@given(mask=MASKS)
def test_decode_rle_equals_pycocotools(mask: Array) -> None:
    code = coco.frPyObjects({"size": list(mask.shape), "counts": code_of(mask).tolist()}, *mask.shape)
    found = np.zeros_like(mask)
    found[decode_rle(code_of(mask), mask.shape[0])] = True
    np.testing.assert_array_equal(found, coco.decode(code).astype(bool))


def test_decode_rle_counts_beyond_32_bits() -> None:
    """Two columns of two thousand million rows: places are counted in 64 bits."""
    rows, columns = decode_rle(np.array([2_000_000_000, 1, 1_999_999_998, 2], np.int32), 2_000_000_000)
    assert rows.tolist() == [0, 1_999_999_999, 0]
    assert columns.tolist() == [1, 1, 2]


def test_regions_between_selects_by_image() -> None:
    regions = [
        AcceptedRegion(rank, index, 0, 1, (1, 1), np.array([0, 1], np.int32)) for rank, index in enumerate([0, 2, 2, 5])
    ]
    assert [one.rank for one in regions_between(regions, 0, 2)] == [0]
    assert [one.rank for one in regions_between(regions, 2, 5)] == [1, 2]
    assert regions_between(regions, 3, 5) == ()
