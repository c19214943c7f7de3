"""PNG and JPEG files of the page: lossless planes, reproducible bytes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from masksift.review.rendering.palette import class_colors
from masksift.review.report.tasks import FLAGGED_COLOR, encode_jpeg, encode_planes, palette_indices
from masksift.scoring.kernels.condense import class_dtype
from support.condensed import a_few
from support.datasets import Array


def decode(data: bytes) -> Any:
    return Image.open(io.BytesIO(data))


def make_planes(seed: int, classes: int, height: int, width: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    given = rng.integers(0, classes, (height, width)).astype(class_dtype(classes))
    given[rng.random((height, width)) < 0.2] = int(np.iinfo(class_dtype(classes)).max)
    given[rng.random((height, width)) < 0.1] = int(np.iinfo(class_dtype(classes)).max) - 1  # not a class
    return {"g": given, "p": given[::-1].copy(), "i": rng.random((height, width)) < 0.3}


def encode_stacked(planes: dict[str, Array], classes: int) -> bytes:
    return encode_planes(np.concatenate([palette_indices(plane, classes) for plane in planes.values()]), classes)


@a_few
@given(
    seed=st.integers(0, 99),
    classes=st.sampled_from([2, 19, 150, 253, 254]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    letters=st.sets(st.sampled_from("gpi"), min_size=1),
)
def test_png_of_up_to_254_classes_holds_indices(
    seed: int, classes: int, height: int, width: int, letters: set[str]
) -> None:
    planes = {letter: plane for letter, plane in make_planes(seed, classes, height, width).items() if letter in letters}
    data = encode_stacked(planes, classes)
    image = decode(data)
    assert image.mode == "P"
    assert image.info["transparency"] == 0
    for decoded, (letter, plane) in zip(np.split(np.asarray(image), len(planes)), planes.items(), strict=True):
        if letter == "i":
            np.testing.assert_array_equal(decoded, np.where(plane, 255, 0))
        else:
            known = plane < classes
            np.testing.assert_array_equal(decoded, np.where(known, plane.astype(int) + 1, 0))
            rgba = np.asarray(image.convert("RGBA"))[: len(decoded)] if letter == next(iter(planes)) else None
            if rgba is not None:
                np.testing.assert_array_equal(rgba[known][:, :3], class_colors(classes)[plane[known]])
                assert (rgba[~known][:, 3] == 0).all()
                assert (rgba[known][:, 3] == 255).all()
    assert encode_stacked(planes, classes) == data


@pytest.mark.parametrize("classes", [255, 256, 300, 1000])
def test_png_of_more_than_254_classes_holds_colors(classes: int) -> None:
    planes = make_planes(1, classes, 7, 5)
    image = decode(encode_stacked(planes, classes))
    assert image.mode == "RGBA"
    given, _, flagged = np.split(np.asarray(image), 3)
    known = planes["g"] < classes
    np.testing.assert_array_equal(given[known][:, :3], class_colors(classes)[planes["g"][known]])
    np.testing.assert_array_equal(given[..., 3], np.where(known, 255, 0))
    np.testing.assert_array_equal(flagged[planes["i"]], np.tile([*FLAGGED_COLOR, 255], (planes["i"].sum(), 1)))
    np.testing.assert_array_equal(flagged[..., 3], np.where(planes["i"], 255, 0))


def test_no_class_has_the_color_of_flagged_pixels() -> None:
    assert list(FLAGGED_COLOR) not in class_colors(254).tolist()


def test_equal_images_give_equal_bytes() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    assert encode_jpeg(rgb) == encode_jpeg(rgb.copy())
    assert decode(encode_jpeg(rgb)).size == (30, 20)
