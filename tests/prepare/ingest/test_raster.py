"""Pictures come as red, green and blue of 8 bits, whatever they were stored as."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from masksift.prepare.ingest.raster import read_picture, resize_bilinear, size_of, stored_as

DRAWN = np.random.default_rng(1).integers(0, 256, (6, 9, 3), dtype=np.uint8)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
def test_a_picture_of_any_mode(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(DRAWN).convert(mode)
    image.save(tmp_path / "a.png", **({"transparency": bytes(range(256))} if mode == "P" else {}))
    shown = read_picture(str(tmp_path / "a.png"), {})
    np.testing.assert_array_equal(shown, np.asarray(image.convert("RGB")))
    assert size_of(str(tmp_path / "a.png"), {}) == (6, 9)


def test_a_picture_of_16_bits_keeps_its_upper_ones(tmp_path: Path) -> None:
    Image.fromarray(DRAWN[..., 0].astype(np.uint16) * 256 + 77).save(tmp_path / "a.png")
    shown = read_picture(str(tmp_path / "a.png"), {})
    np.testing.assert_array_equal(shown, np.repeat(DRAWN[..., :1], 3, axis=2))
    assert stored_as(str(tmp_path / "a.png"), {}) == ((6, 9), "uint16")


def test_a_picture_at_another_size_is_smooth() -> None:
    flat = np.full((4, 4, 3), 100, np.uint8)
    np.testing.assert_array_equal(resize_bilinear(flat, (8, 2)), np.full((8, 2, 3), 100, np.uint8))
    ramp = np.arange(4, dtype=np.float32).reshape(1, 4)
    assert resize_bilinear(ramp, (1, 8))[0].tolist() == [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]
