"""Decoding of run-length masks, compared with pycocotools, and selection of regions by image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from masksift.review.corrections.accepted_regions import AcceptedRegion
from masksift.review.label_edits import decode_rle, edits_between
from support.condensed import a_few
from support.datasets import Array

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9))


def encode_rle(mask: Array) -> Array:
    """Encode a mask as alternating lengths of outside and inside pixels, column by column."""
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
    decoded = np.zeros_like(mask)
    rows, columns = decode_rle(encode_rle(mask), mask.shape[0])
    decoded[rows, columns] = True
    np.testing.assert_array_equal(decoded, mask)
    assert len(rows) == mask.sum(), "each pixel occurs once"


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # raised by pycocotools with numpy 2
@a_few
@given(mask=MASKS)
def test_decode_rle_equals_pycocotools(mask: Array) -> None:
    code = coco.frPyObjects({"size": list(mask.shape), "counts": encode_rle(mask).tolist()}, *mask.shape)
    decoded = np.zeros_like(mask)
    decoded[decode_rle(encode_rle(mask), mask.shape[0])] = True
    np.testing.assert_array_equal(decoded, coco.decode(code).astype(bool))


def test_decode_rle_of_positions_beyond_32_bits_is_exact() -> None:
    """Two columns of two billion rows need 64-bit positions."""
    rows, columns = decode_rle(np.array([2_000_000_000, 1, 1_999_999_998, 2], np.int32), 2_000_000_000)
    assert rows.tolist() == [0, 1_999_999_999, 0]
    assert columns.tolist() == [1, 1, 2]


def test_edits_between_selects_by_image() -> None:
    regions = [
        AcceptedRegion(rank, index, 0, 1, (1, 1), np.array([0, 1], np.int32)) for rank, index in enumerate([0, 2, 2, 5])
    ]
    assert [region.rank for region in edits_between(regions, 0, 2)] == [0]
    assert [region.rank for region in edits_between(regions, 2, 5)] == [1, 2]
    assert edits_between(regions, 3, 5) == ()
