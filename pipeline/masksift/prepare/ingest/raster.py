"""Read and resize PNG, TIFF and RGB images with Pillow, without loss of stored numbers."""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, PHOTOMETRIC_INTERPRETATION, TiffImageFile

from masksift.core.errors import DataError, MasksiftError
from masksift.storage.files import open_file

LOSSLESS_EXTENSIONS = (".png", ".tif", ".tiff")
OTHER_EXTENSIONS = (".bmp", ".webp", ".jpg", ".jpeg", ".jp2", ".avif")
RGB_EXTENSIONS = (*LOSSLESS_EXTENSIONS, *OTHER_EXTENSIONS)

_DECODERS = ("PNG", "TIFF", "JPEG", "BMP", "WEBP", "JPEG2000", *(["AVIF"] if find_spec("PIL.AvifImagePlugin") else []))
"""Decoders that Pillow may try. By default it goes by content, and starts Ghostscript for PostScript named `.png`."""
_LOSSLESS_TIFF = (
    *("raw", "tiff_raw_16", "packbits", "tiff_ccitt", "group3", "group4"),
    *("tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "lzma", "zstd"),
)
"""Pillow's names of the compressions of TIFF that keep every value."""
_GEO_TAGS = {33550, 33922, 34264, 34735, 42113}
"""Tags of a TIFF: pixel scale, tie points, transform and keys of GeoTIFF, and GDAL's nodata value."""
_MIN_IS_WHITE = 0
"""Value of a TIFF's photometric interpretation."""

Image.MAX_IMAGE_PIXELS = None  # the files are the user's own: a mask of 20,000 x 20,000 pixels is not an attack

warnings.filterwarnings("ignore", "(Corrupt|Possibly corrupt) EXIF data")  # of RGB images, whose EXIF data are not used

_SCALE_FACTORS = {"L;2": 85, "L;4": 17}
"""Factors by which Pillow scales values of 2 and 4 bits to the range of 8 bits."""


def image_size(url: str, options: Mapping[str, Any]) -> tuple[tuple[int, int], bool]:
    """Read (H, W) of an upright image from its header, and whether its EXIF orientation differs from the stored one."""
    with _open(url, options) as (image, _):
        orientation, height, width = _orientation(image), image.height, image.width
        if isinstance(image, TiffImageFile):  # some versions of Pillow have swapped its size already
            height, width = image.tag_v2[IMAGELENGTH], image.tag_v2[IMAGEWIDTH]
        return ((width, height) if orientation >= 5 else (height, width)), orientation != 1


def needs_rasterio(url: str, options: Mapping[str, Any]) -> bool:
    """Return whether a TIFF has a georeference, a nodata value, or numbers that Pillow cannot read."""
    try:
        with _open(url, options) as (image, _):
            tags = set(image.tag_v2) if isinstance(image, TiffImageFile) else set()
            return bool(tags & _GEO_TAGS) or image.mode in ("F", "I;32S")
    except DataError as e:
        if isinstance(e.__cause__, UnidentifiedImageError):
            return True
        raise


def raster_header(url: str, options: Mapping[str, Any], *, lossy: bool) -> tuple[tuple[int, int], np.dtype[Any]]:
    """Read (H, W), and the dtype of a grayscale image, from a header; DataError as for `read_raster`."""
    with _open_exact(url, options, lossy) as image:
        return (image.height, image.width), np.dtype("uint16" if image.mode.startswith("I;16") else "uint8")


def read_raster(
    url: str, options: Mapping[str, Any], *, lossy: bool = False, gray: bool = False, use_palette: bool = False
) -> NDArray[Any]:
    """Read stored numbers.

    Args:
        url: URL of a file in any format of the decoders, whatever its name ends with.
        options: Storage options.
        lossy: Accept a compression that changes values.
        gray: Read an RGB image whose channels are equal, opaque if it has alpha, as one channel.
        use_palette: Read the colors of a palette image instead of its indices.

    Returns:
        Integers (H, W), for a palette image its indices, or colors (H, W, 3) uint8 or uint16 without alpha.

    Raises:
        DataError: The file is damaged, or its numbers differ from those written, or have two possible meanings.
    """
    with _open_exact(url, options, lossy) as image:
        if use_palette and image.mode == "P":
            values: NDArray[Any] = _palette_colors(image)
            _refuse_orientation(image, url)
            return values
        if getattr(image, "n_frames", 1) > 1:
            raise DataError(f"{url} holds several pages", "Use one page per file")
        mode = _raw_mode(image)  # known until the pixels are read
        if mode == "RGB;16B" and image.format == "PNG":
            values = _read_rgb16(image, url, options)
            return equal_channel(values) if gray else values
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
        _refuse_orientation(image, url)  # a PNG may store it after its pixels
        values = values.astype(np.uint8) if values.dtype == bool else values
        values = values // _SCALE_FACTORS[mode] if mode in _SCALE_FACTORS else values
    if values.ndim == 3 and gray:
        values = equal_channel(values)
    if values.ndim == 3:
        values = values[..., 0] if values.shape[2] == 2 else values[..., :3]
    return values


def equal_channel(values: NDArray[Any]) -> NDArray[Any]:
    """Return the first channel (H, W) of colors (H, W, 3 or 4) that are opaque and gray, other colors unchanged."""
    is_gray = values.shape[2] >= 3 and bool((values[..., 1:3] == values[..., :1]).all())
    is_opaque = values.shape[2] != 4 or bool((values[..., 3] == np.iinfo(values.dtype).max).all())
    return values[..., 0] if is_gray and is_opaque else values


def _palette_colors(image: Image.Image) -> NDArray[np.uint8]:
    """Return the colors (H, W, 3) of a palette image."""
    palette = np.zeros((256, 3), np.uint8)
    stored = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    palette[: len(stored)] = stored
    return np.array(palette[np.asarray(image)])


def read_rgb(url: str, options: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Read an image of any mode, upright by its EXIF orientation, as RGB (H, W, 3) uint8."""
    with _open(url, options) as (stored, _):
        stored.load()
        image = ImageOps.exif_transpose(stored) if _orientation(stored) != 1 else stored
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
def _open(url: str, options: Mapping[str, Any]) -> Iterator[tuple[Image.Image, BinaryIO]]:
    """Open an image and read its header; errors of the format become a DataError with the URL."""
    try:
        with open_file(url, options) as file, Image.open(file, formats=_DECODERS) as image:
            yield image, file
    except MasksiftError:
        raise
    except (OSError, SyntaxError, ValueError) as e:
        raise DataError(
            f"{url} cannot be read as an image ({str(e).rstrip('.')})",
            "Write it again, or remove it from the directory",
        ) from e


@contextmanager
def _open_exact(url: str, options: Mapping[str, Any], lossy: bool) -> Iterator[Image.Image]:
    """Open an image whose numbers count, which has exactly one meaning; DataError otherwise."""
    with _open(url, options) as (image, file):
        if not lossy and not _is_lossless(image, file):
            compression = str(image.info.get("compression") if image.format == "TIFF" else image.format)
            raise DataError(
                f"{url} is compressed as {compression.removeprefix('tiff_').upper()}, which changes values",
                "Class numbers near the borders of objects are not those that were written",
                "Use the original PNG or TIFF files, or pass --allow_lossy to read it anyway",
            )
        if isinstance(image, TiffImageFile) and image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == _MIN_IS_WHITE:
            raise DataError(
                f"{url} is a min-is-white TIFF (photometric interpretation 0)",
                "Some programs invert its values and others do not",
                "Write it as min-is-black, with 0 for the class 0",
            )
        _refuse_orientation(image, url)
        yield image


def _is_lossless(image: Image.Image, file: BinaryIO) -> bool:
    """Return whether the compression of an image, by its header, keeps every value."""
    if image.format == "TIFF":
        return image.info.get("compression") in _LOSSLESS_TIFF
    if image.format == "WEBP":
        file.seek(12)
        chunks = set()
        while len(head := file.read(8)) == 8:
            chunks.add(head[:4])
            size = int.from_bytes(head[4:], "little")
            file.seek(size + size % 2, os.SEEK_CUR)
        return b"VP8L" in chunks and b"VP8 " not in chunks
    return image.format in ("PNG", "BMP")


def _orientation(image: Image.Image) -> int:
    """Read the EXIF orientation, 1 for upright; that of a PNG behind its pixels only once these are read."""
    unread = image.format == "PNG" and getattr(image, "tile", None)  # Pillow would read its pixels first
    if unread and not {"exif", "Raw profile type exif", "XML:com.adobe.xmp"} & image.info.keys():
        return 1
    try:
        tags: Any = image.tag_v2 if isinstance(image, TiffImageFile) else image.getexif()
        orientation = tags.get(ExifTags.Base.Orientation)
    except (SyntaxError, ValueError, KeyError, OSError, struct.error):  # damaged: viewers ignore it, too
        return 1
    return orientation if orientation in range(2, 9) else 1


def _refuse_orientation(image: Image.Image, url: str) -> None:
    if (orientation := _orientation(image)) != 1:
        raise DataError(
            f"{url} has the EXIF orientation {orientation}",
            "Viewers turn the labels, but most programs for training do not",
            "Turn the pixels themselves, and write the file without an orientation",
        )


def _raw_mode(image: Image.Image) -> str:
    """Look up the encoding of the stored numbers, in Pillow's terms."""
    tiles: Any = getattr(image, "tile", None)
    args = tiles[0][3] if tiles else ""
    return str(args[0] if isinstance(args, tuple) and args else args)


def _read_rgb16(image: Any, url: str, options: Mapping[str, Any]) -> NDArray[np.uint16]:
    """Read (H, W, 3) uint16 of a PNG with 16 bits per channel, of which Pillow keeps the upper 8."""
    upper = np.asarray(image).astype(np.uint16)
    # a second pass decodes the file as if its bytes were in the opposite order, which yields the lower 8
    with _open(url, options) as (swapped, _):
        lower: Any = swapped
        lower.tile = [(*tile[:3], "RGB;16L") for tile in lower.tile]
        return np.array(upper << 8 | np.asarray(lower))
