"""Run-length encoders of exports: any mask is restored by the decoding rules of the tools."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from masksift.review.export.coco import compress_rle
from masksift.review.export.run_length import box_mask, label_studio_rle, row_run_lengths
from review.export.helpers import coco_run_lengths
from support.datasets import Array

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

masks = hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))).filter(lambda mask: mask.any())


def bounding_box(mask: Array) -> tuple[int, int, int, int]:
    y, x = np.nonzero(mask)
    return int(y.min()), int(x.min()), int(y.max()) + 1, int(x.max()) + 1


def decode_label_studio(code: list[int]) -> Array:
    """Decode by the rules of Label Studio's decoder, bit by bit."""
    bits = "".join(f"{byte:08b}" for byte in code)
    position = 0

    def read_number(size: int) -> int:
        nonlocal position
        position += size
        return int(bits[position - size : position], 2)

    total, word_size = read_number(32), read_number(5) + 1
    length_sizes = [read_number(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < total:
        repeated = read_number(1)
        length = read_number(length_sizes[read_number(2)]) + 1
        values += [read_number(word_size)] * length if repeated else [read_number(word_size) for _ in range(length)]
    assert len(values) == total
    assert len(bits) - position < 8, "only padding of the last byte remains"
    return np.array(values)


@given(masks)
def test_box_mask_holds_the_pixels_of_the_region(mask: Array) -> None:
    y0, x0, y1, x1 = bounding_box(mask)
    box = box_mask(np.array(coco_run_lengths(mask), np.int32), mask.shape[0], bounding_box(mask))
    np.testing.assert_array_equal(box, mask[y0:y1, x0:x1])
    assert box.flags.c_contiguous


def test_box_mask_memory_does_not_grow_with_the_image() -> None:
    side = 40_000
    start = 30_000 * side + 7
    counts = np.array([start, 2, side - 2, 2, side * side - start - side - 2], np.int32)
    np.testing.assert_array_equal(box_mask(counts, side, (7, 30_000, 9, 30_002)), np.ones((2, 2), bool))


@given(masks)
def test_row_run_lengths_start_outside_and_sum_to_the_area(mask: Array) -> None:
    counts = row_run_lengths(mask)
    assert sum(counts) == mask.size
    assert all(count > 0 for count in counts[1:])
    np.testing.assert_array_equal(np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(mask.shape), mask)


@given(masks)
def test_pycocotools_decodes_compressed_run_lengths(mask: Array) -> None:
    code = compress_rle(np.array(coco_run_lengths(mask), np.int32), mask.shape)
    np.testing.assert_array_equal(coco.decode(code).astype(bool), mask)


@given(masks)
def test_label_studio_code_holds_the_mask_in_four_channels(mask: Array) -> None:
    y0, x0, y1, x1 = bounding_box(mask)
    values = decode_label_studio(label_studio_rle(mask[y0:y1, x0:x1], (y0, x0), mask.shape)).reshape(*mask.shape, 4)
    np.testing.assert_array_equal(values, np.repeat(mask[..., None] * 255, 4, axis=2))


@pytest.mark.parametrize("size", [(1, 1 << 14), (300, 400), (1 << 14, 1), (1, (1 << 14) + 1), (2, 3 << 14)])
def test_long_runs_are_split(size: tuple[int, int]) -> None:
    mask = np.ones(size, bool)
    assert (decode_label_studio(label_studio_rle(mask, (0, 0), size)) == 255).all()
    last_pixel = np.zeros(size, bool)
    last_pixel[-1, -1] = True
    assert decode_label_studio(label_studio_rle(last_pixel[-1:, -1:], (size[0] - 1, size[1] - 1), size)).tolist()[
        -5:
    ] == [0, *[255] * 4]


def test_too_large_image_is_rejected() -> None:
    with pytest.raises(ValueError, match="32768 x 32768 pixels exceed the limit of a brush mask"):
        label_studio_rle(np.ones((1, 1), bool), (0, 0), (1 << 15, 1 << 15))
