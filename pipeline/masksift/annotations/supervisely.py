"""Read Supervisely projects: a JSON file per image with polygons, bitmaps and rectangles, and meta.json."""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from masksift.annotations.shapes import ClassNumbers, Shape, ShapeFiles, ShapeLabels, mask_shape
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

    Coordinates are pixels, whose center is at whole numbers.

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
    labels = tuple(_parse(tree, url, numbers) for tree, url in zip(trees, urls, strict=True))
    names = tuple(f"/{name}".replace("/ann/", "/").lstrip("/").removesuffix(".json") for name in files.names)
    return ShapeFiles(numbers.names, names, labels, urls, background=numbers.background)


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


def _parse(tree: Any, url: str, numbers: ClassNumbers) -> ShapeLabels:
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
            return Shape(number, ((x0, y0, x1 + 1, y0, x1 + 1, y1 + 1, x0, y1 + 1),))
        holes = tuple(_centers(points) for points in entry["points"].get("interior", ()))
        return Shape(number, (_centers(exterior),), holes=holes)
    if kind in ("line", "point", "graph"):
        return None
    raise ValueError(f"objects of type {kind!r} are not supported")


def _centers(points: Sequence[Any]) -> tuple[float, ...]:
    return tuple(float(value) + 0.5 for point in points for value in point)


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
