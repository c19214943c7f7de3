"""Change pixels of a label file and keep everything else: format, mode, palette, georeference and other pixels."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from masksift.core.errors import DataError
from masksift.storage.files import open_file
from masksift.storage.georeference import rasterio
from masksift.storage.zarr.origin import LabelEncoding

IGNORED = -1
_FORMATS = ("PNG", "TIFF", "BMP", "WEBP")
_STEPS = {"L;2": 85, "L;4": 17}
"""Factors by which Pillow multiplies gray values of few bits, by raw mode."""
_LAYOUT_TAGS = {256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 320, 338, 339}
"""TIFF tags that describe the stored bytes, which Pillow writes itself (TIFF 6.0); all others are kept."""


def change_file(data: bytes, name: str, encoding: LabelEncoding, before: NDArray[Any], after: NDArray[Any]) -> bytes:
    """Change the pixels of a label file whose class changes.

    Args:
        data: Content of the file.
        name: URL of the file, for errors.
        encoding: Classes of its values or colors.
        before: Classes when it was ingested, (H, W) int64; -1 without a class.
        after: New classes, (H, W) int64.

    Returns:
        Content of the new file, in which pixels without a change have the same value or color.

    Raises:
        DataError: The file is damaged, has changed since, or has no value for a class.
    """
    try:
        if name.lower().endswith(".npy"):
            array = np.load(io.BytesIO(data), allow_pickle=False)
            buffer = io.BytesIO()
            np.save(buffer, _change(array, name, encoding, before, after), allow_pickle=False)
            return buffer.getvalue()
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            return _change_image(image, name, encoding, before, after)
    except (OSError, SyntaxError, ValueError) as e:
        raise DataError(f"{name} cannot be read as a label file ({e})", "Restore the file that was ingested") from e


@dataclass(frozen=True)
class Window:
    """Changed window of a raster: first row and column, rows and columns, and classes (h, w) before and after."""

    place: tuple[int, ...]
    before: NDArray[Any]
    after: NDArray[Any]


@contextmanager
def changed_raster(
    url: str, encoding: LabelEncoding, windows: Sequence[Window], options: Mapping[str, Any]
) -> Iterator[str]:
    """Copy a raster to a temporary file, change windows of it, and return the path of the copy.

    Args:
        url: URL of the raster.
        encoding: Classes of its values or colors.
        windows: The windows.
        options: Storage options.

    Yields:
        Path of the new file, which is removed at the end.

    Raises:
        UsageError: rasterio is not installed.
        DataError: The file has changed since it was ingested, or has no value for a class.
    """
    module = rasterio()
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "mask.tif")
        with open_file(url, options) as source, open(path, "wb") as copy:
            shutil.copyfileobj(source, copy)
        with module.open(path, "r+") as raster:
            for window in windows:
                row, column, height, width = window.place
                area = module.windows.Window(column, row, width, height)
                stored = np.moveaxis(raster.read(window=area), 0, -1)
                stored = stored[..., 0] if stored.shape[2] == 1 else stored
                name = f"{url} (the window at row {row}, column {column})"
                changed = _change(stored, name, encoding, window.before, window.after)
                raster.write(np.moveaxis(np.atleast_3d(changed), -1, 0), window=area)
        yield path


def _change_image(image: Any, name: str, encoding: LabelEncoding, before: NDArray[Any], after: NDArray[Any]) -> bytes:
    tile = image.tile[0][3] if image.tile else ""  # known until the pixels are read
    raw_mode = str(tile[0] if isinstance(tile, tuple) else tile)
    if encoding.channel is not None:
        raise DataError(
            f"{name} stores classes in a channel of 16-bit colors, which are not written again",
            "Use the labels as arrays",
        )
    is_palette = image.mode == "P" and not encoding.use_palette
    values = np.asarray(image.convert("RGB") if image.mode == "P" and encoding.use_palette else image)
    values = values.astype(np.uint8) if image.mode == "1" else values // _STEPS.get(raw_mode, 1)
    changed = _change(values, name, encoding, before, after)
    new = Image.fromarray(changed * np.uint8(255)).convert("1") if image.mode == "1" else Image.fromarray(changed)
    if is_palette:
        new = Image.frombytes("P", image.size, changed.tobytes())
        new.putpalette(image.getpalette("RGB"), "RGB")
    keywords: dict[str, Any] = {}
    if isinstance(image, TiffImageFile):
        keywords["compression"] = image.info.get("compression", "raw")
        keywords["tiffinfo"] = {tag: value for tag, value in image.tag_v2.items() if tag not in _LAYOUT_TAGS}
    elif image.format == "WEBP":
        keywords["lossless"] = True
    buffer = io.BytesIO()
    new.save(buffer, image.format or "PNG", **keywords)
    return buffer.getvalue()


def _change(
    stored: NDArray[Any], name: str, encoding: LabelEncoding, before: NDArray[Any], after: NDArray[Any]
) -> NDArray[Any]:
    """Return values (H, W) or colors (H, W, 3 or 4) with the changed pixels."""
    if stored.shape[:2] != before.shape or stored.ndim not in (2, 3):
        raise DataError(
            f"{name} has the shape {stored.shape}, its labels have {before.shape[0]} x {before.shape[1]} pixels",
            "Labels that were resized by the ingest cannot be written as files again",
        )
    codes, table = encoding.codes(stored)
    present, positions, counts = np.unique(codes, return_inverse=True, return_counts=True)
    classes = np.array([table.get(code, IGNORED) for code in present.tolist()], np.int64)
    if (wrong := classes[positions.reshape(codes.shape)] != before).any():
        y, x = np.unravel_index(int(wrong.argmax()), wrong.shape)
        raise DataError(
            f"{name} has changed since it was ingested: the pixel at row {y}, column {x} has another class",
            "Restore the file, or ingest it again and import the corrections into a run over it",
        )
    frequent = dict(zip(present[np.argsort(counts)].tolist(), classes[np.argsort(counts)].tolist(), strict=True))
    rows, columns = np.nonzero(before != after)
    changed = stored.copy()
    for k in np.unique(after[rows, columns]).tolist():
        code = _code(k, frequent, table, stored.dtype, name)
        chosen = after[rows, columns] == k
        if table is encoding.colors:
            changed[rows[chosen], columns[chosen], :3] = (code >> 32, code >> 16 & 0xFFFF, code & 0xFFFF)
        else:
            changed[rows[chosen], columns[chosen], ...] = code
    return changed


def _code(number: int, frequent: Mapping[int, int], table: Mapping[int, int], dtype: np.dtype[Any], name: str) -> int:
    """Choose the value or color of a class: the most frequent one in the file, else the first one of the encoding."""
    found = [code for code, k in frequent.items() if k == number]
    if found:
        return found[-1]
    greatest = 1 if dtype.kind == "b" else int(np.iinfo(dtype).max)
    code = next((code for code, k in table.items() if k == number and 0 <= code & 0xFFFF <= greatest), None)
    if code is None:
        what = "ignored pixels" if number == IGNORED else f"class {number}"
        raise DataError(f"{name} has no value or color for {what}", "Ingest the files again with one for it")
    return code
