"""Read Supervisely projects: a JSON file per image with polygons, bitmaps and rectangles, and meta.json."""

from __future__ import annotations

import base64
import io
import re
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from masksift.annotations.shapes import (
    MAX_COORDINATE,
    ClassNumbers,
    Shape,
    ShapeFiles,
    ShapeLabels,
    box_polygon,
    mask_shape,
    shape_mask,
)
from masksift.core.errors import DataError
from masksift.core.limits import MAX_CONCURRENT_REQUESTS
from masksift.storage.files import Files, find_files, read_json

META = "meta.json"


def find_supervisely(place: str, options: Mapping[str, Any]) -> Files | None:
    """List the annotations `DATASET/ann/NAME.json` of a project directory, None for other directories."""
    try:
        files = find_files(place, options, (".json",))
    except DataError:
        return None
    names = tuple(name for name in files.names if "/ann/" in f"/{name}")
    return Files(files.place, files.root, names) if META in files.names and names else None


def read_supervisely(
    files: Files, options: Mapping[str, Any], classes: Sequence[str] | None, background: str | None
) -> ShapeFiles:
    """Read the shapes of each image in the order of its file, later ones over earlier ones.

    Coordinates are pixels. Those on the outline of a polygon belong to it, as Supervisely draws them.

    Args:
        files: Files that `find_supervisely` found.
        options: Storage options.
        classes: Class names of the configuration; by default those of meta.json.
        background: Class of pixels without a shape.

    Returns:
        One label per image, named DATASET/NAME. Lines and points cover no pixel.

    Raises:
        DataError: A file is not as Supervisely writes it.
    """
    meta = read_json(files.url(META), options)
    numbers = ClassNumbers(_class_names(meta, files.url(META)), classes, background, files.place)
    urls = tuple(files.url(name) for name in files.names)
    with ThreadPoolExecutor(MAX_CONCURRENT_REQUESTS) as pool:
        trees = list(pool.map(lambda url: read_json(url, options), urls))
    labels = tuple(parse_supervisely(tree, url, numbers) for tree, url in zip(trees, urls, strict=True))
    names = tuple(f"/{name}".replace("/ann/", "/").lstrip("/").removesuffix(".json") for name in files.names)
    # paths of the images in the project, of whose data sets several may have images of one name
    ids = tuple(f"/{name}".replace("/ann/", "/img/").lstrip("/").removesuffix(".json") for name in files.names)
    ids = tuple(re.sub(r"\.[^./]+$", "", name) for name in ids)
    return ShapeFiles(numbers.names, names, labels, urls, ids, numbers.background)


def _class_names(meta: Any, url: str) -> list[str]:
    try:
        return [str(entry["title"]) for entry in meta["classes"]]
    except (KeyError, TypeError) as e:
        raise _invalid(url, e) from e


def _invalid(url: str, error: Exception) -> DataError:
    return DataError(
        f"{url} is not a file of a Supervisely project ({type(error).__name__}: {error})",
        "Download the project again as JSON annotations",
    )


def parse_supervisely(tree: Any, url: str, numbers: ClassNumbers) -> ShapeLabels:
    """Read the shapes of one image from parsed JSON. Raises DataError if it is not as Supervisely writes it."""
    try:
        size = int(tree["size"]["height"]), int(tree["size"]["width"])
        shapes = (_shape(one, numbers[str(one["classTitle"])], size) for one in tree["objects"])
        return ShapeLabels(*size, tuple(shape for shape in shapes if shape is not None))
    except (KeyError, TypeError, ValueError, IndexError, OSError, zlib.error) as e:
        raise _invalid(url, e) from e


def _shape(entry: Mapping[str, Any], number: int, size: tuple[int, int]) -> Shape | None:
    kind = entry["geometryType"]
    if kind == "bitmap":
        return _bitmap(entry["bitmap"], number, size)
    if kind in ("polygon", "rectangle"):
        exterior = [tuple(map(float, point)) for point in entry["points"]["exterior"]]
        if kind == "rectangle":  # its last row and column belong to it
            (x0, y0), (x1, y1) = exterior
            x0, y0, x1, y1 = min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)
            return Shape(number, (box_polygon((x0, y0, x1 + 1, y1 + 1)),))
        return _polygon(exterior, entry["points"].get("interior", ()), number, size)
    if kind in ("line", "point", "graph"):
        return None
    raise ValueError(f"objects of type {kind!r} are not supported")


def _polygon(exterior: Sequence[Any], holes: Sequence[Any], number: int, size: tuple[int, int]) -> Shape | None:
    """Draw a polygon as Supervisely does: the pixels on its outline belong to it, and those on a hole's to the hole."""
    points = _pixels(exterior)
    left, top = (max(0, int(first)) for first in points.min(axis=0))
    right, bottom = (min(side, int(last) + 1) for side, last in zip(size[::-1], points.max(axis=0), strict=True))
    if right <= left or bottom <= top:  # outside of the image
        return None
    mask = _filled(points - (left, top), bottom - top, right - left)
    for hole in holes:
        mask &= ~_filled(_pixels(hole) - (left, top), bottom - top, right - left)
    return mask_shape(mask, (top, left), number)


def _pixels(points: Sequence[Any]) -> NDArray[np.int64]:
    """Return the pixels (n, 2) of points, x and y."""
    values = np.array([tuple(map(float, point)) for point in points]).reshape(-1, 2)
    if not len(values) or not np.abs(values).max() <= MAX_COORDINATE:
        raise ValueError(f"a polygon has {len(values)} points, or one that is far outside of the image")
    pixels: NDArray[np.int64] = np.rint(values).astype(np.int64)
    return pixels


def _filled(points: NDArray[np.int64], height: int, width: int) -> NDArray[np.bool_]:
    """Return the pixels (height, width) of a polygon and its outline, those that OpenCV's `fillPoly` draws."""
    inside = shape_mask(Shape(0, (tuple((points + 0.5).reshape(-1).tolist()),)), height, width)
    mask = np.array(inside, order="C")
    for one, other in zip(points.tolist(), np.roll(points, -1, axis=0).tolist(), strict=True):
        (x0, y0), (x1, y1) = sorted((one, other))  # from left to right: ties are rounded to the start
        run, rise = x1 - x0, y1 - y0
        length = max(run, abs(rise))
        steps = np.arange(length + 1)
        far, near = (run, abs(rise)) if run >= abs(rise) else (abs(rise), run)
        minor = -((far - 2 * near * steps) // (2 * far or 1))
        x, y = (steps, minor) if run >= abs(rise) else (minor, steps)
        x, y = x0 + x, y0 + (y if rise >= 0 else -y)
        is_in = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        mask[y[is_in], x[is_in]] = True
    return mask


def _bitmap(bitmap: Mapping[str, Any], number: int, size: tuple[int, int]) -> Shape:
    """Decode a PNG, compressed and in base64, whose alpha or only channel is the mask."""
    unpacker, limit = zlib.decompressobj(), 8 * size[0] * size[1] + (1 << 16)
    data = unpacker.decompress(base64.b64decode(bitmap["data"]), limit)
    if unpacker.unconsumed_tail:
        raise ValueError("a bitmap is larger than its image")
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        left, top = (int(value) for value in bitmap["origin"])
        if image.width > size[1] or image.height > size[0]:
            raise ValueError(f"a bitmap has {image.height} x {image.width} pixels, its image {size[0]} x {size[1]}")
        has_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
        values = np.asarray(image.convert("RGBA"))[..., 3] if has_alpha else np.asarray(image.convert("L"))
    return mask_shape(values > 0, (top, left), number)
