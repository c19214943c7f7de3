"""Label images of every kind become planes of class numbers; what has no class is refused with the file."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from masksift.core.errors import DataError, UsageError
from masksift.prepare.ingest.labels import IGNORED, InputPair, LabelReader, code_of, color_table, value_table
from prepare.ingest.helpers import save_image, save_wide_png
from support.datasets import Array
from support.sources import refuses

PLAIN = {0: 0, 1: 1, 2: 2, 255: IGNORED}
COLORS = {(128, 64, 128): 0, (70, 130, 180): 1, (0, 0, 142): 2, (0, 0, 0): IGNORED}
PLANE = np.array([[0, 1, 2, 255], [2, 2, 0, 1]])


def read(path: Path, **how: Any) -> Array:
    told: dict[str, Any] = {"classes": 3, "values": PLAIN, "colors": {}} | how
    return LabelReader(**told).read(InputPair("a", str(path), ""), {})


def coloured(plane: Array = PLANE) -> Array:
    colors = {255 if k == IGNORED else k: color for color, k in COLORS.items()}
    return np.array([[colors[k] for k in row] for row in plane.tolist()], np.uint8)


def codes() -> dict[int, int]:
    return {code_of(color): k for color, k in COLORS.items()}


# ---------------------------------------------------------------------------------------------------- one channel


@pytest.mark.parametrize(
    ("ending", "dtype"),
    [("png", "uint8"), ("png", "uint16"), ("tif", "uint8"), ("tiff", "uint16"), ("tif", "int32")],
)
def test_one_channel_of_any_width_holds_values(tmp_path: Path, ending: str, dtype: str) -> None:
    save_image(tmp_path / f"a.{ending}", PLANE.astype(dtype))
    np.testing.assert_array_equal(read(tmp_path / f"a.{ending}"), PLANE)


def test_values_beyond_8_bits_are_told_apart(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", np.array([[1, 257, 70]], np.uint16))
    np.testing.assert_array_equal(read(tmp_path / "a.png", values={1: 0, 257: 1, 70: 2}), [[0, 1, 2]])
    save_image(tmp_path / "b.tif", np.array([[-1, 70000, 3]], np.int32))
    np.testing.assert_array_equal(read(tmp_path / "b.tif", values={-1: IGNORED, 70000: 1, 3: 2}), [[255, 1, 2]])


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_narrow_pngs_hold_what_was_stored(tmp_path: Path, bits: int) -> None:
    plane = (np.arange(12).reshape(3, 4) % 2**bits).astype(np.uint8)
    image = Image.fromarray(plane != 0) if bits == 1 else Image.fromarray(plane)
    image.save(tmp_path / "a.png", **({} if bits == 1 else {"bits": bits}))
    np.testing.assert_array_equal(read(tmp_path / "a.png", classes=16, values={k: k for k in range(16)}), plane)


def test_the_indices_of_a_palette_image_are_its_values(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", PLANE.astype(np.uint8), palette=[9, 9, 9] * 256)
    np.testing.assert_array_equal(read(tmp_path / "a.png"), PLANE)


def test_where_colours_are_told_those_of_a_palette_count(tmp_path: Path) -> None:
    indices = np.array([[7, 8, 9], [9, 7, 7]], np.uint8)
    palette = np.zeros((256, 3), np.uint8)
    palette[7:10] = list(COLORS)[:3]
    save_image(tmp_path / "a.png", indices, palette=palette.ravel().tolist())
    np.testing.assert_array_equal(read(tmp_path / "a.png", palette=True, colors=codes()), indices - 7)


def test_a_value_without_a_class_is_refused_with_the_file(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", np.array([[0, 1], [9, 9]], np.uint8))
    with refuses(
        DataError, r"a.png holds the value 9 at row 1, column 0 \(2 pixels of it\); .*3 classes, .*--ignore 9"
    ):
        read(tmp_path / "a.png")
    save_image(tmp_path / "b.tif", np.array([[0, -7]], np.int32))
    with refuses(DataError, r"b.tif holds the value -7 at row 0, column 1 \(1 pixels"):
        read(tmp_path / "b.tif")


def test_more_than_254_classes_are_written_in_16_bits(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", np.array([[299, 0, 1000]], np.uint16))
    plane = read(tmp_path / "a.png", classes=300, values={k: k for k in range(300)} | {1000: IGNORED})
    assert plane.dtype == np.uint16
    assert plane.tolist() == [[299, 0, 65535]]


# -------------------------------------------------------------------------------------------------------- colours


@pytest.mark.parametrize("alpha", [False, True])
def test_colours_are_classes_by_their_table(tmp_path: Path, alpha: bool) -> None:
    values = coloured()
    values = np.dstack([values, np.full(PLANE.shape, 200, np.uint8)]) if alpha else values
    save_image(tmp_path / "a.png", values)
    np.testing.assert_array_equal(read(tmp_path / "a.png", colors=codes()), PLANE)


def test_an_unknown_colour_is_refused_with_the_colour_and_the_file(tmp_path: Path) -> None:
    values = coloured()
    values[1, 1:3] = (1, 2, 3)
    save_image(tmp_path / "mask_17.png", values)
    said = r"mask_17.png holds the colour \(1, 2, 3\) at row 1, column 1 \(2 pixels of it\); no class .*--colors FILE"
    with refuses(DataError, said):
        read(tmp_path / "mask_17.png", colors=codes())


def test_colours_without_a_table_are_refused(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", coloured())
    with refuses(DataError, r"a.png is an image of colours, and no colour table is given; .*--colors FILE"):
        read(tmp_path / "a.png")


def test_a_channel_of_16_bits_may_hold_class_numbers(tmp_path: Path) -> None:
    stored = np.random.default_rng(3).integers(0, 65536, (2, 4, 3)).astype(np.uint16)
    stored[..., 0] = PLANE
    save_wide_png(tmp_path / "a.png", stored)
    np.testing.assert_array_equal(read(tmp_path / "a.png", channel=0), PLANE)


# -------------------------------------------------------------------------------------------- files that are none


def test_channels_of_16_bits_that_would_be_halved_are_refused(tmp_path: Path) -> None:
    entries = [
        (256, 3, 1, 2),
        (257, 3, 1, 2),
        (258, 3, 3, 8 + 2 + 10 * 12 + 4),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 140),
        (277, 3, 1, 3),
        (278, 3, 1, 2),
        (279, 4, 1, 24),
        (284, 3, 1, 1),
    ]
    head = struct.pack("<2sHIH", b"II", 42, 8, len(entries))
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries) + struct.pack("<I", 0)
    (tmp_path / "a.tif").write_bytes(head + body + struct.pack("<3H", 16, 16, 16) + bytes(24))
    with refuses(DataError, "a.tif has several channels of 16 bits; half of each number would be lost"):
        read(tmp_path / "a.tif", channel=0)


def test_what_is_no_image_of_labels_is_refused_with_the_file(tmp_path: Path) -> None:
    save_image(tmp_path / "floats.tif", np.zeros((2, 2), np.float32))
    with refuses(DataError, "floats.tif is an image of mode F; labels are whole numbers"):
        read(tmp_path / "floats.tif")
    (tmp_path / "text.png").write_text("no image")
    with refuses(DataError, "text.png cannot be read as an image"):
        read(tmp_path / "text.png")
    save_image(tmp_path / "cut.png", np.random.default_rng(0).integers(0, 3, (90, 90)).astype(np.uint8))
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:800])
    with refuses(DataError, "cut.png cannot be read as an image"):
        read(tmp_path / "cut.png")
    pages = [Image.fromarray(PLANE.astype(np.uint8))] * 2
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    with refuses(DataError, "pages.tif holds several pages"):
        read(tmp_path / "pages.tif")
    with refuses(DataError, "there is no file .*gone.png"):
        read(tmp_path / "gone.png")


# --------------------------------------------------------------------------------------------------------- tables


def test_values_stand_for_classes_by_what_is_said_of_them() -> None:
    assert value_table(2, None, None, [255]) == {0: 0, 1: 1, 255: IGNORED}
    assert value_table(2, None, {7: 0, 8: 1, 9: IGNORED}, []) == {7: 0, 8: 1, 9: IGNORED}
    assert value_table(2, {7: 1, 3: 255}, {8: 1}, [255]) == {7: 1, 3: IGNORED, 255: IGNORED}
    with refuses(UsageError, r"remap makes 5 of label 7, and there are the classes 0 to 1 and the ignore values 255"):
        value_table(2, {7: 5}, None, [255])


def table(tmp_path: Path, text: str, classes: tuple[str, ...] | None = None) -> Any:
    (tmp_path / "colors.csv").write_text(text)
    return color_table(str(tmp_path / "colors.csv"), {}, classes)


def test_a_colour_table_names_classes_in_their_order(tmp_path: Path) -> None:
    text = "name,r,g,b\nroad,128,64,128\nsky, 70, 130, 180\nroad,128,0,192\n\nignore,0,0,0\n"
    names, colors = table(tmp_path, text)
    assert names == ("road", "sky")
    assert colors == {(128, 64, 128): 0, (70, 130, 180): 1, (128, 0, 192): 0, (0, 0, 0): IGNORED}
    assert table(tmp_path, text, ("sky", "road"))[1][(70, 130, 180)] == 0


@pytest.mark.parametrize(
    ("text", "classes", "said"),
    [
        ("road,128,64\n", None, r"a row of .*colors.csv is 'road,128,64'; .*road,128,64,128"),
        ("road,a,b,c\n", None, "a row of .* is 'road,a,b,c'"),
        ("raod,1,2,3\n", ("road", "sky"), "has a colour of 'raod', and the classes are road, sky"),
        ("road,1,2,3\nsky,1,2,3\n", None, r"has the colour \(1, 2, 3\) twice"),
    ],
)
def test_a_colour_table_that_is_none_is_refused(
    tmp_path: Path, text: str, classes: tuple[str, ...] | None, said: str
) -> None:
    with refuses(UsageError, said):
        table(tmp_path, text, classes)
