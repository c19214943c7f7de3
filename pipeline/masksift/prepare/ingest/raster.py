"""PNG and TIFF as the numbers that were stored in them, and pictures as pictures: all that Pillow is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from masksift.core.errors import DataError, MasksiftError
from masksift.storage.files import open_file

RASTERS = (".png", ".tif", ".tiff")
"""Formats that keep every number."""
PICTURES = (*RASTERS, ".jpg", ".jpeg", ".bmp", ".webp")

_DECODERS = ("PNG", "TIFF", "JPEG", "BMP", "WEBP")
"""Who may look at a file. Pillow goes by its content, and starts Ghostscript for PostScript that is called `.png`."""

Image.MAX_IMAGE_PIXELS = None  # the files are the user's own: a mask of 20,000 x 20,000 is no attack

_WIDENED = {"L;2": 85, "L;4": 17}
"""Pillow widens numbers of 2 and 4 bits to the whole range of 8: by these factors."""


def size_of(url: str, options: Mapping[str, Any]) -> tuple[int, int]:
    """(H, W) of an image, from its header."""
    with _opened(url, options) as image:
        return image.height, image.width


def stored_as(url: str, options: Mapping[str, Any]) -> tuple[tuple[int, int], str]:
    """(H, W) of a grey image, and the dtype of its numbers, from its header."""
    with _opened(url, options) as image:
        return (image.height, image.width), "uint16" if image.mode.startswith("I;16") else "uint8"


def read_raster(url: str, options: Mapping[str, Any]) -> NDArray[Any]:
    """(H, W) integers, of a palette image its indices; or (H, W, 3) uint8 or uint16, where it has colours. Alpha is
    left out. Raises DataError where the file is no image, holds floats or several pages."""
    with _opened(url, options) as image:
        if getattr(image, "n_frames", 1) > 1:
            raise DataError(f"{url} holds several pages", "which of them is meant is not known", "Give one page a file")
        stored = _stored(image)  # known until it is read
        if stored == "RGB;16B" and image.format == "PNG":
            return _wide_colors(image, url, options)
        if ";16" in stored and image.mode not in ("I;16", "I;16B", "I;16L", "I"):
            raise DataError(
                f"{url} has several channels of 16 bits",
                "half of each number would be lost",
                "Write it as a PNG of red, green and blue, or with one channel",
            )
        if image.mode == "F" or image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
            raise DataError(
                f"{url} is an image of mode {image.mode}",
                "labels are whole numbers, or colours of three parts",
                "Write it as one channel of integers, with a palette, or as RGB",
            )
        values = np.asarray(image)
        values = values.astype(np.uint8) if values.dtype == bool else values
        values = values // _WIDENED[stored] if stored in _WIDENED else values
    if values.ndim == 3:
        values = values[..., 0] if values.shape[2] == 2 else values[..., :3]
    return values


def read_colors(url: str, options: Mapping[str, Any]) -> NDArray[Any]:
    """As `read_raster`, with the colours of a palette image in place of its indices."""
    with _opened(url, options) as image:
        if image.mode == "P":
            palette = np.zeros((256, 3), np.uint8)
            told = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
            palette[: len(told)] = told
            return np.array(palette[np.asarray(image)])
    return read_raster(url, options)


def read_picture(url: str, options: Mapping[str, Any]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8."""
    with _opened(url, options) as image:
        if image.mode.startswith("I;16"):  # Pillow would cut off what is brighter than 255
            return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
        whole = image.convert("RGBA") if image.mode == "P" else image  # a palette may have transparent colours
        return np.array(whole.convert("RGB"))


def resize_nearest(plane: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """A plane (h, w) of numbers that must not mix, at another size: each pixel's centre says which one it takes."""
    rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip(size, plane.shape, strict=True))
    found: NDArray[Any] = plane[rows[:, None], columns]
    return found


def resize_bilinear(plane: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """A plane (h, w) of floats, or a picture (h, w, 3) uint8, at another size: bilinear."""
    image = Image.fromarray(np.ascontiguousarray(plane))
    return np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR))


@contextmanager
def _opened(url: str, options: Mapping[str, Any]) -> Iterator[Image.Image]:
    """An image of which nothing but the header is read yet; what cannot be decoded is said with the file."""
    try:
        with open_file(url, options) as file, Image.open(file, formats=_DECODERS) as image:
            yield image
    except MasksiftError:
        raise
    except (OSError, SyntaxError, ValueError) as e:
        raise DataError(
            f"{url} cannot be read as an image ({str(e).rstrip('.')})",
            "its pixels are not known",
            "Write it again, or take it out of the folder",
        ) from e


def _stored(image: Image.Image) -> str:
    """How numbers lie in the file, in Pillow's words."""
    tiles: Any = getattr(image, "tile", None)
    args = tiles[0][3] if tiles else ""
    return str(args[0] if isinstance(args, tuple) and args else args)


def _wide_colors(image: Any, url: str, options: Mapping[str, Any]) -> NDArray[np.uint16]:
    """(H, W, 3) uint16 of a PNG with 16 bits a channel, of which Pillow keeps the upper 8: it is read a second time as
    if its bytes lay the other way round, which gives the lower ones."""
    upper = np.asarray(image).astype(np.uint16)
    with _opened(url, options) as again:
        lower: Any = again
        lower.tile = [(*tile[:3], "RGB;16L") for tile in lower.tile]
        return np.array(upper << 8 | np.asarray(lower))
