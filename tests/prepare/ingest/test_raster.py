"""RGB images of any stored mode, and resizing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from masksift.core.errors import DataError
from masksift.prepare.ingest.raster import (
    image_size,
    raster_header,
    read_raster,
    read_rgb,
    resize_bilinear,
    resize_nearest,
)
from support.datasets import Array
from support.errors import raises

RGB = np.random.default_rng(1).integers(0, 256, (6, 9, 3), dtype=np.uint8)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
def test_read_rgb_converts_any_mode(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(RGB).convert(mode)
    image.save(tmp_path / "a.png", **({"transparency": bytes(range(256))} if mode == "P" else {}))
    np.testing.assert_array_equal(read_rgb(str(tmp_path / "a.png"), {}), np.asarray(image.convert("RGB")))
    assert image_size(str(tmp_path / "a.png"), {}) == ((6, 9), False)


def test_read_rgb_of_16_bits_keeps_the_upper_8(tmp_path: Path) -> None:
    Image.fromarray(RGB[..., 0].astype(np.uint16) * 256 + 77).save(tmp_path / "a.png")
    image = read_rgb(str(tmp_path / "a.png"), {})
    np.testing.assert_array_equal(image, np.repeat(RGB[..., :1], 3, axis=2))
    assert raster_header(str(tmp_path / "a.png"), {}, lossy=False) == ((6, 9), "uint16")


def test_resize_bilinear_interpolates_between_pixel_centers() -> None:
    flat = np.full((4, 4, 3), 100, np.uint8)
    np.testing.assert_array_equal(resize_bilinear(flat, (8, 2)), np.full((8, 2, 3), 100, np.uint8))
    ramp = np.arange(4, dtype=np.float32).reshape(1, 4)
    assert resize_bilinear(ramp, (1, 8))[0].tolist() == [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]


def test_resize_nearest_takes_the_pixel_at_the_center() -> None:
    plane = np.arange(6).reshape(1, 6)
    assert resize_nearest(plane, (1, 3)).tolist() == [[1, 3, 5]]
    assert resize_nearest(plane, (2, 9))[0].tolist() == [0, 1, 1, 2, 3, 3, 4, 5, 5]
    assert resize_nearest(plane, (1, 6)).tolist() == plane.tolist()


LABELS = RGB[..., 0] // 16
LOSSY = {
    "JPEG": {"format": "JPEG"},
    "TIFF with JPEG": {"format": "TIFF", "compression": "jpeg"},
    "WebP": {"format": "WEBP"},
    "JPEG 2000": {"format": "JPEG2000", "irreversible": True, "quality_layers": [20]},
    "AVIF": {"format": "AVIF"},
}
LOSSLESS = {
    "PNG": {"format": "PNG"},
    "BMP": {"format": "BMP"},
    "WebP": {"format": "WEBP", "lossless": True, "exact": True},
    "WebP with metadata": {"format": "WEBP", "lossless": True, "exact": True, "xmp": b"<x/>"},
    **{
        f"TIFF {name}": {"format": "TIFF", "compression": name}
        for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits", "lzma", "zstd")
    },
}


def save(path: Path, values: Array, **options: object) -> str:
    Image.fromarray(values).save(path, **options)  # type: ignore[arg-type]
    return str(path)


@pytest.mark.parametrize("ending", ["png", "tif", "jpg"])
@pytest.mark.parametrize("name", LOSSY)
def test_lossy_file_is_refused_by_its_content_unless_allowed(tmp_path: Path, name: str, ending: str) -> None:
    values = np.repeat(LABELS[..., None], 3, axis=2) if name in ("WebP", "AVIF") else LABELS
    url = save(tmp_path / f"a.{ending}", values, **LOSSY[name])
    for read in (raster_header, read_raster):
        with raises(DataError, rf"a\.{ending} is compressed as \w+, which changes values.*--allow_lossy"):
            read(url, {}, lossy=False)
    assert read_raster(url, {}, lossy=True).shape[:2] == (6, 9)
    assert read_rgb(url, {}).shape == (6, 9, 3), "pictures may be lossy"


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_file_keeps_its_values_whatever_its_ending(tmp_path: Path, name: str) -> None:
    values = np.repeat(LABELS[..., None], 3, axis=2) if "WebP" in name else LABELS
    url = save(tmp_path / "a.jpg", values, **LOSSLESS[name])
    np.testing.assert_array_equal(read_raster(url, {}, gray=True), LABELS)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_turns_a_picture_and_refuses_labels(tmp_path: Path, file_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if file_format == "JPEG" else {}
    lossless = {"lossless": True} if file_format == "WEBP" else {}
    gray = np.repeat(np.kron(LABELS * 16, np.ones((8, 8), np.uint8))[..., None], 3, axis=2)
    url = save(tmp_path / "a.png", gray, format=file_format, exif=exif, **options, **lossless)
    turned = {
        1: gray,
        2: gray[:, ::-1],
        3: gray[::-1, ::-1],
        4: gray[::-1],
        5: gray.swapaxes(0, 1),
        6: gray.swapaxes(0, 1)[:, ::-1],
        7: gray.swapaxes(0, 1)[::-1, ::-1],
        8: gray.swapaxes(0, 1)[::-1],
    }[orientation]
    image = read_rgb(url, {})
    assert image_size(url, {}) == (turned.shape[:2], orientation != 1)
    assert image.shape == turned.shape
    assert np.abs(image.astype(int) - turned).max() <= 4, "JPEG changes values a little"
    if orientation == 1:
        assert raster_header(url, {}, lossy=True)[0] == gray.shape[:2]
        return
    for read in (raster_header, read_raster):
        with raises(DataError, rf"a\.png has the EXIF orientation {orientation}\. Viewers turn the labels"):
            read(url, {}, lossy=True)


def test_orientation_behind_the_pixels_of_a_png_is_found_when_they_are_read(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    url = save(tmp_path / "a.png", RGB, exif=exif)
    chunks = (tmp_path / "a.png").read_bytes()
    start = chunks.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(chunks[start : start + 4], "big")
    last = chunks.index(b"IEND") - 4
    (tmp_path / "a.png").write_bytes(chunks[:start] + chunks[end:last] + chunks[start:end] + chunks[last:])
    np.testing.assert_array_equal(read_rgb(url, {}), RGB.swapaxes(0, 1)[:, ::-1])
    with raises(DataError, "has the EXIF orientation 6"):
        read_raster(url, {})


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize(
    "exif", [b"", b"Exif\0\0", b"Exif\0\0II*\0\x08\0\0\0\x09\0", b"Exif\0\0not a header", bytes(40)]
)
def test_damaged_exif_is_ignored(tmp_path: Path, exif: bytes) -> None:
    url = save(tmp_path / "a.jpg", RGB, exif=exif, quality=100)
    assert image_size(url, {}) == ((6, 9), False)
    assert read_rgb(url, {}).shape == (6, 9, 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_min_is_white_tiff_is_refused_by_name(tmp_path: Path, dtype: type) -> None:
    url = save(tmp_path / "a.tif", LABELS.astype(dtype), tiffinfo={262: 0})
    data = bytearray((tmp_path / "a.tif").read_bytes())
    at = data.index(b"\x06\x01\x03\x00\x01\x00\x00\x00")
    data[at + 8 : at + 10] = b"\x00\x00"
    (tmp_path / "a.tif").write_bytes(data)
    for read in (raster_header, read_raster):
        with raises(
            DataError, r"a\.tif is a min-is-white TIFF \(photometric interpretation 0\)\. .*Write it as min-is-black"
        ):
            read(url, {}, lossy=False)
    assert read_rgb(url, {}).shape == (6, 9, 3)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_equal_channels_are_read_as_gray_if_wanted(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(LABELS).convert(mode)
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_raster(str(tmp_path / "a.png"), {}, gray=True), LABELS)
    np.testing.assert_array_equal(read_raster(str(tmp_path / "a.png"), {})[..., 2], LABELS)


def test_colors_and_transparent_gray_are_no_gray(tmp_path: Path) -> None:
    gray = np.asarray(Image.fromarray(LABELS).convert("RGBA")).copy()
    gray[0, 0, 3] = 254
    for values in (gray, RGB):
        assert read_raster(save(tmp_path / "a.png", values), {}, gray=True).shape == (6, 9, 3)
