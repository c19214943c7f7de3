"""Label images of every format become planes of class numbers; unknown values are refused with the file."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from masksift.core.errors import DataError, UsageError
from masksift.prepare.ingest.labels import IGNORED, InputPair, LabelReader, color_code, read_color_table, value_map
from prepare.ingest.helpers import save_image, save_png16
from support.datasets import Array
from support.errors import raises

VALUES = {0: 0, 1: 1, 2: 2, 255: IGNORED}
COLORS = {(128, 64, 128): 0, (70, 130, 180): 1, (0, 0, 142): 2, (0, 0, 0): IGNORED}
COLOR_CODES = {color_code(color): k for color, k in COLORS.items()}
PLANE = np.array([[0, 1, 2, 255], [2, 2, 0, 1]])


def read(path: Path, **changes: Any) -> Array:
    settings: dict[str, Any] = {"classes": 3, "values": VALUES, "colors": {}} | changes
    return LabelReader(**settings).read(InputPair("a", str(path), ""), {})


@pytest.fixture
def colored() -> Array:
    """`PLANE` as colors."""
    colors = {255 if k == IGNORED else k: color for color, k in COLORS.items()}
    return np.array([[colors[k] for k in row] for row in PLANE.tolist()], np.uint8)


# ---------------------------------------------------------------------------------------------------- one channel


@pytest.mark.parametrize(
    ("extension", "dtype"),
    [("png", "uint8"), ("png", "uint16"), ("tif", "uint8"), ("tiff", "uint16"), ("tif", "int32")],
)
def test_single_channel_of_any_width_holds_values(tmp_path: Path, extension: str, dtype: str) -> None:
    save_image(tmp_path / f"a.{extension}", PLANE.astype(dtype))
    np.testing.assert_array_equal(read(tmp_path / f"a.{extension}"), PLANE)


def test_values_above_8_bits_are_distinguished(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", np.array([[1, 257, 70]], np.uint16))
    np.testing.assert_array_equal(read(tmp_path / "a.png", values={1: 0, 257: 1, 70: 2}), [[0, 1, 2]])
    save_image(tmp_path / "b.tif", np.array([[-1, 70000, 3]], np.int32))
    np.testing.assert_array_equal(read(tmp_path / "b.tif", values={-1: IGNORED, 70000: 1, 3: 2}), [[255, 1, 2]])


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_narrow_png_holds_stored_values(tmp_path: Path, bits: int) -> None:
    plane = (np.arange(12).reshape(3, 4) % 2**bits).astype(np.uint8)
    image = Image.fromarray(plane != 0) if bits == 1 else Image.fromarray(plane)
    image.save(tmp_path / "a.png", **({} if bits == 1 else {"bits": bits}))
    np.testing.assert_array_equal(read(tmp_path / "a.png", classes=16, values={k: k for k in range(16)}), plane)


def test_palette_image_holds_indices(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", PLANE.astype(np.uint8), palette=[9, 9, 9] * 256)
    np.testing.assert_array_equal(read(tmp_path / "a.png"), PLANE)


def test_palette_image_with_a_color_table_holds_colors(tmp_path: Path) -> None:
    indices = np.array([[7, 8, 9], [9, 7, 7]], np.uint8)
    palette = np.zeros((256, 3), np.uint8)
    palette[7:10] = list(COLORS)[:3]
    save_image(tmp_path / "a.png", indices, palette=palette.ravel().tolist())
    np.testing.assert_array_equal(read(tmp_path / "a.png", use_palette=True, colors=COLOR_CODES), indices - 7)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        (
            "a.png",
            np.array([[0, 1], [9, 9]], np.uint8),
            r"value 9 at row 1, column 0 \(pixels: 2\), which is not a class \(0 to 2\).* --ignore 9",
        ),
        ("b.tif", np.array([[0, -7]], np.int32), r"value -7 at row 0, column 1 \(pixels: 1\)"),
        ("from-1.png", np.array([[0, 1, 2, 3]], np.uint8), r"value 3 at .* Pass --label_offset 1\.$"),
        (
            "noise.png",
            np.array([range(3, 20)], np.uint8),
            r"value 3 at .* lossy compression such as JPEG or interpolation",
        ),
    ],
)
def test_unknown_value_is_refused(tmp_path: Path, name: str, values: Array, message: str) -> None:
    save_image(tmp_path / name, values)
    with raises(DataError, f"{name} holds the {message}"):
        read(tmp_path / name)


def test_more_than_254_classes_are_read_as_16_bits(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", np.array([[299, 0, 1000]], np.uint16))
    plane = read(tmp_path / "a.png", classes=300, values={k: k for k in range(300)} | {1000: IGNORED})
    assert plane.dtype == np.uint16
    assert plane.tolist() == [[299, 0, 65535]]


# --------------------------------------------------------------------------------------------------------- colors


@pytest.mark.parametrize("alpha", [False, True])
def test_colors_are_classes_by_table(tmp_path: Path, colored: Array, alpha: bool) -> None:
    values = np.dstack([colored, np.full(PLANE.shape, 200, np.uint8)]) if alpha else colored
    save_image(tmp_path / "a.png", values)
    np.testing.assert_array_equal(read(tmp_path / "a.png", colors=COLOR_CODES), PLANE)


def test_unknown_color_is_refused(tmp_path: Path, colored: Array) -> None:
    colored[1, 1:3] = (1, 2, 3)
    save_image(tmp_path / "mask_17.png", colored)
    message = r"mask_17.png holds the color \(1, 2, 3\) at row 1, column 1 \(pixels: 2\).* --colors FILE"
    with raises(DataError, message):
        read(tmp_path / "mask_17.png", colors=COLOR_CODES)


def test_colors_without_a_table_are_refused(tmp_path: Path, colored: Array) -> None:
    save_image(tmp_path / "a.png", colored)
    with raises(DataError, r"a.png is a color image, and there is no color table. .*--colors FILE"):
        read(tmp_path / "a.png")


def test_colors_with_equal_channels_are_values_unless_a_table_gives_colors(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", np.repeat(PLANE.astype(np.uint8)[..., None], 3, axis=2))
    np.testing.assert_array_equal(read(tmp_path / "a.png"), PLANE)
    with raises(DataError, r"a.png holds the color \(1, 1, 1\) at row 0, column 1"):
        read(tmp_path / "a.png", colors=COLOR_CODES)
    save_png16(tmp_path / "b.png", np.repeat(PLANE.astype(np.uint16)[..., None], 3, axis=2))
    np.testing.assert_array_equal(read(tmp_path / "b.png"), PLANE)


def test_transparent_colors_with_equal_channels_are_refused(tmp_path: Path) -> None:
    values = np.repeat(PLANE.astype(np.uint8)[..., None], 4, axis=2)
    save_image(tmp_path / "a.png", values)
    with raises(DataError, r"a.png is a color image, and there is no color table"):
        read(tmp_path / "a.png")


def test_channel_of_16_bits_holds_class_numbers(tmp_path: Path) -> None:
    stored = np.random.default_rng(3).integers(0, 65536, (2, 4, 3)).astype(np.uint16)
    stored[..., 0] = PLANE
    save_png16(tmp_path / "a.png", stored)
    np.testing.assert_array_equal(read(tmp_path / "a.png", class_channel=0), PLANE)


# -------------------------------------------------------------------------------------------------- invalid files


def test_16_bit_channels_that_pillow_truncates_are_refused(tmp_path: Path) -> None:
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
    with raises(DataError, "a.tif has several channels of 16 bits, of which Pillow would drop the lower 8"):
        read(tmp_path / "a.tif", class_channel=0)


def test_files_that_are_not_label_images_are_refused(tmp_path: Path) -> None:
    save_image(tmp_path / "floats.tif", np.zeros((2, 2), np.float32))
    with raises(DataError, "floats.tif is an image of mode F, but labels are integers"):
        read(tmp_path / "floats.tif")
    (tmp_path / "text.png").write_text("no image")
    with raises(DataError, "text.png cannot be read as an image"):
        read(tmp_path / "text.png")
    save_image(tmp_path / "cut.png", np.random.default_rng(0).integers(0, 3, (90, 90)).astype(np.uint8))
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:800])
    with raises(DataError, "cut.png cannot be read as an image"):
        read(tmp_path / "cut.png")
    pages = [Image.fromarray(PLANE.astype(np.uint8))] * 2
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    with raises(DataError, "pages.tif holds several pages"):
        read(tmp_path / "pages.tif")
    with raises(DataError, "gone.png"):
        read(tmp_path / "gone.png")


# --------------------------------------------------------------------------------------------------------- tables


def test_value_map_prefers_remap_to_known_values() -> None:
    assert value_map(2, None, None, [255]) == {0: 0, 1: 1, 255: IGNORED}
    assert value_map(2, None, {7: 0, 8: 1, 9: IGNORED}, []) == {7: 0, 8: 1, 9: IGNORED}
    assert value_map(2, {7: 1, 3: 255}, {8: 1}, [255]) == {7: 1, 3: IGNORED, 255: IGNORED}
    message = r"remap turns label 7 into 5, which is neither a class \(0 to 1\) nor an ignore value \(255\)"
    with raises(UsageError, message):
        value_map(2, {7: 5}, None, [255])


def test_value_map_with_an_offset_ignores_smaller_values() -> None:
    assert value_map(2, None, None, [255, 4], 3) == {0: IGNORED, 1: IGNORED, 2: IGNORED, 3: 0, 4: IGNORED, 255: IGNORED}


@pytest.fixture
def table(tmp_path: Path) -> Any:
    """A function that writes a color table and reads it."""

    def write_and_read(text: str, classes: tuple[str, ...] | None = None) -> Any:
        (tmp_path / "colors.csv").write_text(text)
        return read_color_table(str(tmp_path / "colors.csv"), {}, classes)

    return write_and_read


def test_color_table_names_classes_in_its_order(table: Any) -> None:
    text = "name,r,g,b\nroad,128,64,128\nsky, 70, 130, 180\nroad,128,0,192\n\nignore,0,0,0\n"
    names, colors = table(text)
    assert names == ("road", "sky")
    assert colors == {(128, 64, 128): 0, (70, 130, 180): 1, (128, 0, 192): 0, (0, 0, 0): IGNORED}
    assert table(text, ("sky", "road"))[1][(70, 130, 180)] == 0


@pytest.mark.parametrize(
    ("text", "classes", "message"),
    [
        ("road,128,64\n", None, r"colors.csv has the row 'road,128,64', .*road,128,64,128"),
        ("road,a,b,c\n", None, "has the row 'road,a,b,c'"),
        ("raod,1,2,3\n", ("road", "sky"), "has a color for 'raod', which is not one of the classes road, sky"),
        ("road,1,2,3\nsky,1,2,3\n", None, r"gives the color \(1, 2, 3\) to two classes"),
    ],
)
def test_invalid_color_table_is_refused(table: Any, text: str, classes: tuple[str, ...] | None, message: str) -> None:
    with raises(UsageError, message):
        table(text, classes)
