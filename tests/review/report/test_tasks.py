"""Planes as PNG: indices and colours that come out again, the same bytes each time."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from masksift.review.rendering.palette import class_colors
from masksift.review.report.tasks import FLAGGED, jpeg, png
from masksift.scoring.kernels.condense import class_dtype
from support.condensed import a_few
from support.datasets import Array


def decoded(data: bytes) -> Any:
    return Image.open(io.BytesIO(data))


def drawn(seed: int, classes: int, height: int, width: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    given = rng.integers(0, classes, (height, width)).astype(class_dtype(classes))
    given[rng.random((height, width)) < 0.2] = int(np.iinfo(class_dtype(classes)).max)
    given[rng.random((height, width)) < 0.1] = int(np.iinfo(class_dtype(classes)).max) - 1  # a label that is no class
    return {"g": given, "p": given[::-1].copy(), "i": rng.random((height, width)) < 0.3}


@a_few
@given(
    seed=st.integers(0, 99),
    classes=st.sampled_from([2, 19, 150, 253, 254]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    letters=st.sets(st.sampled_from("gpi"), min_size=1),
)
def test_up_to_254_classes_indices_come_out_again(
    seed: int, classes: int, height: int, width: int, letters: set[str]
) -> None:
    planes = {letter: plane for letter, plane in drawn(seed, classes, height, width).items() if letter in letters}
    data = png(planes, classes)
    image = decoded(data)
    assert image.mode == "P"
    assert image.info["transparency"] == 0
    for band, (letter, plane) in zip(np.split(np.asarray(image), len(planes)), planes.items(), strict=True):
        if letter == "i":
            np.testing.assert_array_equal(band, np.where(plane, 255, 0))
        else:
            known = plane < classes
            np.testing.assert_array_equal(band, np.where(known, plane.astype(int) + 1, 0))
            shown = np.asarray(image.convert("RGBA"))[: len(band)] if letter == next(iter(planes)) else None
            if shown is not None:
                np.testing.assert_array_equal(shown[known][:, :3], class_colors(classes)[plane[known]])
                assert (shown[~known][:, 3] == 0).all()
                assert (shown[known][:, 3] == 255).all()
    assert png(planes, classes) == data


@pytest.mark.parametrize("classes", [255, 256, 300, 1000])
def test_of_more_classes_colours_come_out_again(classes: int) -> None:
    planes = drawn(1, classes, 7, 5)
    image = decoded(png(planes, classes))
    assert image.mode == "RGBA"
    given, _, flagged = np.split(np.asarray(image), 3)
    known = planes["g"] < classes
    np.testing.assert_array_equal(given[known][:, :3], class_colors(classes)[planes["g"][known]])
    np.testing.assert_array_equal(given[..., 3], np.where(known, 255, 0))
    np.testing.assert_array_equal(flagged[planes["i"]], np.tile([*FLAGGED, 255], (planes["i"].sum(), 1)))
    np.testing.assert_array_equal(flagged[..., 3], np.where(planes["i"], 255, 0))


def test_flagged_pixels_have_a_colour_of_their_own() -> None:
    assert list(FLAGGED) not in class_colors(254).tolist()


def test_a_picture_is_the_same_bytes_each_time() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    assert jpeg(picture) == jpeg(picture.copy())
    assert decoded(jpeg(picture)).size == (30, 20)
