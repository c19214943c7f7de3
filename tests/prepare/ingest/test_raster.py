"""RGB images of any stored mode, and resizing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from masksift.prepare.ingest.raster import gray_header, image_size, read_rgb, resize_bilinear, resize_nearest

RGB = np.random.default_rng(1).integers(0, 256, (6, 9, 3), dtype=np.uint8)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
def test_read_rgb_converts_any_mode(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(RGB).convert(mode)
    image.save(tmp_path / "a.png", **({"transparency": bytes(range(256))} if mode == "P" else {}))
    np.testing.assert_array_equal(read_rgb(str(tmp_path / "a.png"), {}), np.asarray(image.convert("RGB")))
    assert image_size(str(tmp_path / "a.png"), {}) == (6, 9)


def test_read_rgb_of_16_bits_keeps_the_upper_8(tmp_path: Path) -> None:
    Image.fromarray(RGB[..., 0].astype(np.uint16) * 256 + 77).save(tmp_path / "a.png")
    image = read_rgb(str(tmp_path / "a.png"), {})
    np.testing.assert_array_equal(image, np.repeat(RGB[..., :1], 3, axis=2))
    assert gray_header(str(tmp_path / "a.png"), {}) == ((6, 9), "uint16")


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
