"""Read LabelMe: a JSON file per image with polygons, rectangles and circles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from masksift.annotations.shapes import ClassNumbers, Shape, ShapeFiles, ShapeLabels, ellipse_polygon
from masksift.core.errors import DataError
from masksift.core.limits import MAX_CONCURRENT_REQUESTS
from masksift.storage.files import Files, find_files, read_json


def find_labelme(place: str, options: Mapping[str, Any]) -> Files | None:
    """List the .json files of a directory or a glob if the first one is LabelMe's."""
    try:
        files = find_files(place, options, (".json",))
        tree = read_json(files.url(files.names[0]), options)
    except DataError:  # other files, next to labels of another format
        return None
    return files if isinstance(tree, dict) and {"shapes", "imageHeight", "imageWidth"} <= tree.keys() else None


def read_labelme(
    files: Files, options: Mapping[str, Any], classes: Sequence[str] | None, background: str | None
) -> ShapeFiles:
    """Read the shapes of each image in the order of its file, later ones over earlier ones, as LabelMe draws them.

    Args:
        files: Files that `find_labelme` found.
        options: Storage options.
        classes: Class names of the configuration; by default all names, sorted.
        background: Class of pixels without a shape.

    Returns:
        One label per file. Lines and points cover no pixel.

    Raises:
        DataError: A file is not as LabelMe writes it.
    """
    urls = tuple(files.url(name) for name in files.names)
    with ThreadPoolExecutor(MAX_CONCURRENT_REQUESTS) as pool:
        trees = list(pool.map(lambda url: read_json(url, options), urls))
    stored = sorted({name for tree, url in zip(trees, urls, strict=True) for name in _names(tree, url)})
    numbers = ClassNumbers(stored, classes, background, files.place)
    labels = tuple(_parse(tree, url, numbers) for tree, url in zip(trees, urls, strict=True))
    return ShapeFiles(numbers.names, files.names, labels, urls, background=numbers.background)


def _names(tree: Any, url: str) -> list[str]:
    try:
        return [str(shape["label"]) for shape in tree["shapes"]]
    except (KeyError, TypeError) as e:
        raise _invalid(url, e) from e


def _parse(tree: Any, url: str, numbers: ClassNumbers) -> ShapeLabels:
    try:
        shapes = tuple(_shape(shape, numbers[str(shape["label"])]) for shape in tree["shapes"])
        return ShapeLabels(int(tree["imageHeight"]), int(tree["imageWidth"]), shapes)
    except (KeyError, TypeError, ValueError) as e:
        raise _invalid(url, e) from e


def _invalid(url: str, error: Exception) -> DataError:
    return DataError(
        f"{url} is not an annotation of LabelMe ({type(error).__name__}: {error})",
        "Remove it from the directory, or save it with LabelMe again",
    )


def _shape(shape: Mapping[str, Any], number: int) -> Shape:
    kind, points = shape.get("shape_type") or "polygon", [tuple(map(float, point)) for point in shape["points"]]
    if kind == "rectangle":
        (x0, y0), (x1, y1) = points
        points = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    elif kind == "circle":
        (x, y), edge = points
        radius = math.dist((x, y), edge)
        return Shape(number, (ellipse_polygon((x, y), (radius, radius)),))
    elif kind in ("point", "points", "line", "linestrip"):
        points = []
    elif kind != "polygon":
        raise ValueError(f"shapes of type {kind!r} are not supported")
    return Shape(number, (tuple(value for point in points for value in point),))
