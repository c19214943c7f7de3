"""Read and resize PNG, TIFF and RGB images with Pillow, without loss of stored numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from masksift.core.errors import DataError, MasksiftError
from masksift.storage.files import open_file

LOSSLESS_EXTENSIONS = (".png", ".tif", ".tiff")
RGB_EXTENSIONS = (*LOSSLESS_EXTENSIONS, ".jpg", ".jpeg", ".bmp", ".webp")

_DECODERS = ("PNG", "TIFF", "JPEG", "BMP", "WEBP")
"""Decoders that Pillow may try. By default it goes by content, and starts Ghostscript for PostScript named `.png`."""

Image.MAX_IMAGE_PIXELS = None  # the files are the user's own: a mask of 20,000 x 20,000 pixels is not an attack

_SCALE_FACTORS = {"L;2": 85, "L;4": 17}
"""Factors by which Pillow scales values of 2 and 4 bits to the range of 8 bits."""


def image_size(url: str, options: Mapping[str, Any]) -> tuple[int, int]:
    """Read (H, W) from the header of an image."""
    with _open(url, options) as image:
        return image.height, image.width


def gray_header(url: str, options: Mapping[str, Any]) -> tuple[tuple[int, int], np.dtype[Any]]:
    """Read (H, W) and the dtype from the header of a grayscale image."""
    with _open(url, options) as image:
        return (image.height, image.width), np.dtype("uint16" if image.mode.startswith("I;16") else "uint8")


def read_raster(url: str, options: Mapping[str, Any]) -> NDArray[Any]:
    """Read integers (H, W), for a palette image its indices, or colors (H, W, 3) uint8 or uint16 without alpha."""
    with _open(url, options) as image:
        if getattr(image, "n_frames", 1) > 1:
            raise DataError(f"{url} holds several pages", "Use one page per file")
        mode = _raw_mode(image)  # known until the pixels are read
        if mode == "RGB;16B" and image.format == "PNG":
            return _read_rgb16(image, url, options)
        if ";16" in mode and image.mode not in ("I;16", "I;16B", "I;16L", "I"):
            raise DataError(
                f"{url} has several channels of 16 bits, of which Pillow would drop the lower 8",
                "Write it as a PNG of red, green and blue, or with one channel",
            )
        if image.mode in ("F", "CMYK", "YCbCr", "LAB", "HSV"):
            raise DataError(
                f"{url} is an image of mode {image.mode}, but labels are integers or RGB colors",
                "Write it as one channel of integers, with a palette, or as RGB",
            )
        values = np.asarray(image)
        values = values.astype(np.uint8) if values.dtype == bool else values
        values = values // _SCALE_FACTORS[mode] if mode in _SCALE_FACTORS else values
    if values.ndim == 3:
        values = values[..., 0] if values.shape[2] == 2 else values[..., :3]
    return values


def read_colors(url: str, options: Mapping[str, Any]) -> NDArray[Any]:
    """Read an image as `read_raster` does, but replace the indices of a palette image by their colors."""
    with _open(url, options) as image:
        if image.mode == "P":
            palette = np.zeros((256, 3), np.uint8)
            stored = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
            palette[: len(stored)] = stored
            return np.array(palette[np.asarray(image)])
    return read_raster(url, options)


def read_rgb(url: str, options: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Read an image of any mode as RGB (H, W, 3) uint8."""
    with _open(url, options) as image:
        if image.mode.startswith("I;16"):  # Pillow would clip values above 255
            return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
        expanded = image.convert("RGBA") if image.mode == "P" else image  # a palette may have transparent colors
        return np.array(expanded.convert("RGB"))


def resize_nearest(plane: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Resize a plane (h, w) to ``size`` by nearest neighbor, at pixel centers."""
    rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip(size, plane.shape, strict=True))
    resized: NDArray[Any] = plane[rows[:, None], columns]
    return resized


def resize_bilinear(plane: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Resize a plane (h, w) of floats, or an RGB image (h, w, 3) uint8, to ``size`` bilinearly."""
    image = Image.fromarray(np.ascontiguousarray(plane))
    return np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR))


@contextmanager
def _open(url: str, options: Mapping[str, Any]) -> Iterator[Image.Image]:
    """Open an image and read its header; errors of the format become a DataError with the URL."""
    try:
        with open_file(url, options) as file, Image.open(file, formats=_DECODERS) as image:
            yield image
    except MasksiftError:
        raise
    except (OSError, SyntaxError, ValueError) as e:
        raise DataError(
            f"{url} cannot be read as an image ({str(e).rstrip('.')})",
            "Write it again, or remove it from the directory",
        ) from e


def _raw_mode(image: Image.Image) -> str:
    """Look up the encoding of the stored numbers, in Pillow's terms."""
    tiles: Any = getattr(image, "tile", None)
    args = tiles[0][3] if tiles else ""
    return str(args[0] if isinstance(args, tuple) and args else args)


def _read_rgb16(image: Any, url: str, options: Mapping[str, Any]) -> NDArray[np.uint16]:
    """Read (H, W, 3) uint16 of a PNG with 16 bits per channel, of which Pillow keeps the upper 8."""
    upper = np.asarray(image).astype(np.uint16)
    # a second pass decodes the file as if its bytes were in the opposite order, which yields the lower 8
    with _open(url, options) as swapped:
        lower: Any = swapped
        lower.tile = [(*tile[:3], "RGB;16L") for tile in lower.tile]
        return np.array(upper << 8 | np.asarray(lower))
