"""Sheets: all images in order, within the bounds of a file; cells repeat the edges of their image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.engine.planning import report_plan
from masksift.engine.planning.report_plan import MAX_SHEET_ROWS, SHEET_PIXELS, images_per_sheet, view_shape
from masksift.review.report.sheets import ImageRef, make_sheets, place
from support.condensed import a_few


@a_few
@given(sizes=st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 3000)), max_size=40))
def test_sheets_hold_all_images_in_order_within_their_bounds(sizes: list[tuple[int, int]]) -> None:
    images = [ImageRef(number, number, size, True) for number, size in enumerate(sizes, 7)]
    sheets = list(make_sheets(images))
    assert [image for sheet in sheets for image in sheet.images] == images
    places = dict(place for sheet in sheets for place in sheet.places())
    for image in images:
        shape = view_shape(image.size, report_plan.MAX_SIDE_PIXELS)
        _, position, count, rows, columns = places[image.number]
        assert position < count
        assert shape[0] <= rows
        assert shape[1] <= columns
        if count == 1:
            assert shape == (rows, columns), "a large image has a file without margins"
        else:
            assert rows % 16 == 0
            assert rows > shape[0]
            assert count * rows * columns <= SHEET_PIXELS
            assert count * rows <= MAX_SHEET_ROWS


@pytest.mark.parametrize(("shape", "images"), [((640, 640), 1), ((256, 512), 1), ((128, 256), 7), ((32, 32), 170)])
def test_number_of_images_in_a_sheet_follows_from_their_size(shape: tuple[int, int], images: int) -> None:
    assert images_per_sheet(shape) == images
    refs = [ImageRef(number, number, shape, True) for number in range(2 * images + 1)]
    assert [len(sheet.images) for sheet in make_sheets(refs)] == [images, images, 1]


def test_cell_repeats_the_edges_of_its_picture() -> None:
    cell = np.zeros((6, 5), np.uint8)
    place(cell, np.array([[1, 2, 3], [4, 5, 6]], np.uint8))
    np.testing.assert_array_equal(cell[:3], [[1, 2, 3, 3, 3]] * 3)
    np.testing.assert_array_equal(cell[3:], [[4, 5, 6, 6, 6]] * 3)
