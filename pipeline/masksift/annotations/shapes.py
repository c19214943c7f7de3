"""Labels that are stored as shapes: polygons and run-length codes with a class, drawn into planes of class numbers."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError, UsageError
from masksift.core.text import closest_match

MAX_COORDINATE = 1 << 24
"""Greatest distance of a polygon's corner from the origin, and longest outline of a polygon, pixels."""
_OUTLINE_MARGIN = 1 << 16
"""Outline that a polygon in an image of few pixels may have, pixels."""
_CURVE_POINTS = 64
"""Corners of the polygon that is drawn for an ellipse."""


@dataclass(frozen=True)
class Shape:
    """One object of an image: polygons, or a mask.

    Attributes:
        number: Class number.
        polygons: Each as x0, y0, x1, y1, ...; pixels of any of them belong to the shape.
        holes: Polygons whose pixels do not belong to the shape.
        rle: COCO's run lengths, column by column from the first column on: compressed text or counts; or None.
        rows: Run lengths of CVAT, row by row within ``box``, outside first; or None.
        box: Left, top, width and height of the mask ``rows``.
        rank: Rank of the region of a run that was exported as this shape; None for others.
    """

    number: int
    polygons: tuple[tuple[float, ...], ...] = ()
    holes: tuple[tuple[float, ...], ...] = ()
    rle: str | tuple[int, ...] | None = None
    rows: tuple[int, ...] | None = None
    box: tuple[int, int, int, int] = (0, 0, 0, 0)
    rank: int | None = None


@dataclass(frozen=True)
class ShapeLabels:
    """Labels of one image. Shapes are drawn in order, later ones over earlier ones.

    Attributes:
        height: Rows of the image; 0 if only the image file has its size.
        width: Columns of the image, or 0.
        shapes: The shapes.
        relative: Coordinates are shares of width and height.
    """

    height: int
    width: int
    shapes: tuple[Shape, ...]
    relative: bool = False

    def with_size(self, height: int, width: int) -> ShapeLabels:
        """Return the labels of an image whose file has this size."""
        if not self.relative:
            return ShapeLabels(height, width, self.shapes)
        shapes = tuple(
            replace(shape, polygons=tuple(_scale(polygon, height, width) for polygon in shape.polygons))
            for shape in self.shapes
        )
        return ShapeLabels(height, width, shapes)


@dataclass(frozen=True)
class ShapeFiles:
    """Labels of a data set as shapes.

    Attributes:
        classes: Names of the classes.
        names: Name of the image of each label, with or without extension.
        ids: Other names of the images, such as COCO's image ids; () without any.
        background: Class of pixels without a shape; None ignores them.
        labels: Labels of each image.
        urls: File of the labels of each image.
        keys: Source and index of each image in the run that was exported, None without; () for none at all.
    """

    classes: tuple[str, ...]
    names: tuple[str, ...]
    labels: tuple[ShapeLabels, ...]
    urls: tuple[str, ...]
    ids: tuple[str, ...] = ()
    background: int | None = None
    keys: tuple[tuple[str, int] | None, ...] = ()


def _scale(polygon: tuple[float, ...], height: int, width: int) -> tuple[float, ...]:
    return tuple(value * (height if i % 2 else width) for i, value in enumerate(polygon))


class ClassNumbers:
    """Numbers of class names: those of the configuration, else those that the files define.

    Args:
        stored: Names in the files, in their order.
        classes: Names of the configuration, which may leave out stored ones only if no shape has them.
        background: Class of pixels without a shape, or None to ignore them; added as class 0 if it is new.
        url: File, for errors.
    """

    def __init__(self, stored: Iterable[str], classes: Sequence[str] | None, background: str | None, url: str) -> None:
        names = tuple(dict.fromkeys(_normal(name) for name in stored)) if classes is None else tuple(classes)
        if background is not None and _normal(background) not in map(_normal, names):
            if classes is not None:
                raise UsageError(
                    f"background is {background!r}, which is not one of the classes {', '.join(classes)}",
                    f"Add it to --classes. Did you mean {closest_match(background, classes)!r}?",
                )
            names = (background, *names)
        self.names, self._url = names, url
        self._numbers = {_normal(name): k for k, name in enumerate(names)}
        self.background = None if background is None else self._numbers[_normal(background)]

    def __getitem__(self, name: str) -> int:
        """Return the number of a class. Raises DataError for an unknown name."""
        number = self._numbers.get(_normal(name))
        if number is None:
            raise DataError(
                f"{self._url} has a shape of {name!r}, which is not one of the classes {', '.join(self.names)}",
                "Add it to --classes, or correct the file",
            )
        return number


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name.strip())


def box_polygon(
    corners: tuple[float, float, float, float], degrees: float = 0.0, pivot: tuple[float, float] | None = None
) -> tuple[float, ...]:
    """Return the polygon of a box.

    Args:
        corners: x0, y0, x1, y1.
        degrees: Rotation, clockwise.
        pivot: Point that the box is turned about; None for its center.

    Returns:
        Four corners as x0, y0, x1, y1, ...
    """
    x0, y0, x1, y1 = corners
    center = ((x0 + x1) / 2, (y0 + y1) / 2) if pivot is None else pivot
    return _turned([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], degrees, center)


def ellipse_polygon(center: tuple[float, float], radii: tuple[float, float], degrees: float = 0.0) -> tuple[float, ...]:
    """Return a polygon that approximates an ellipse, turned clockwise, with radii along x and y."""
    (x, y), (a, b) = center, radii
    angles = (2 * math.pi * i / _CURVE_POINTS for i in range(_CURVE_POINTS))
    return _turned([(x + a * math.cos(angle), y + b * math.sin(angle)) for angle in angles], degrees, center)


def _turned(points: Sequence[tuple[float, float]], degrees: float, pivot: tuple[float, float]) -> tuple[float, ...]:
    """Turn points about a pivot; clockwise as y points down."""
    if not degrees:
        return tuple(value for point in points for value in point)
    (x, y), turn = pivot, math.radians(degrees)
    cos, sin = math.cos(turn), math.sin(turn)
    return tuple(
        v for px, py in points for v in (x + (px - x) * cos - (py - y) * sin, y + (px - x) * sin + (py - y) * cos)
    )


def mask_shape(mask: NDArray[np.bool_], corner: tuple[int, int], number: int, rank: int | None = None) -> Shape:
    """Make a shape of a mask (h, w) whose upper left pixel is at ``corner``, row and column."""
    flat = mask.reshape(-1)
    edges = [0, *(np.flatnonzero(flat[1:] != flat[:-1]) + 1).tolist(), flat.size]
    lengths = np.diff(edges).tolist()
    counts = tuple([0, *lengths] if flat[0] else lengths)
    return Shape(number, rows=counts, box=(corner[1], corner[0], mask.shape[1], mask.shape[0]), rank=rank)


def parse_rank(value: Any) -> int | None:
    """Return the rank of an exported region, None for other values: tools keep attributes as numbers or as text."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def exported_key(attributes: Any) -> tuple[str, int] | None:
    """Return source and index of an exported image, None if its attributes lack them."""
    if not isinstance(attributes, Mapping) or not {"source", "index"} <= attributes.keys():
        return None
    index = parse_rank(attributes["index"])
    return None if index is None else (str(attributes["source"]), index)


def parse_counts(counts: Any) -> str | tuple[int, ...]:
    """Return COCO's run lengths, compressed or as numbers, in the form of ``Shape.rle``."""
    return counts if isinstance(counts, str) else tuple(map(int, counts))


def draw_shapes(labels: ShapeLabels, background: int | None, dtype: str, file: str) -> NDArray[Any]:
    """Draw a plane of class numbers (H, W).

    Polygons cover the pixels that pycocotools gives them.

    Args:
        labels: The shapes.
        background: Class of pixels without a shape; None ignores them.
        dtype: Dtype of the plane, whose greatest value means ignored.
        file: Their file, for errors.

    Returns:
        The plane.

    Raises:
        UsageError: pycocotools is not installed.
        DataError: A polygon or a run-length code does not fit the image.
    """
    plane = np.full((labels.height, labels.width), np.iinfo(dtype).max if background is None else background, dtype)
    for position, shape in enumerate(labels.shapes):
        try:
            plane[shape_mask(shape, labels.height, labels.width)] = shape.number
        except (ValueError, TypeError, IndexError) as e:
            raise DataError(
                f"Shape {position} of {file} does not fit its image of {labels.height} x {labels.width} ({e})",
                "Correct the annotation",
            ) from e
    return plane


def shape_mask(shape: Shape, height: int, width: int) -> NDArray[np.bool_]:
    """Return the mask (H, W) of a shape. Raises ValueError for a damaged code."""
    if shape.rows is not None:
        return _rows_mask(shape.rows, shape.box, height, width)
    if shape.rle is None:
        mask = _polygon_mask(shape.polygons, height, width)
        return mask & ~_polygon_mask(shape.holes, height, width) if shape.holes else mask
    return _columns_mask(_unpack_counts(shape.rle.encode()) if isinstance(shape.rle, str) else shape.rle, height, width)


def _polygon_mask(polygons: tuple[tuple[float, ...], ...], height: int, width: int) -> NDArray[np.bool_]:
    areas = [list(polygon) for polygon in polygons if len(polygon) >= 6]
    if not areas:  # a line or a point covers nothing
        return np.zeros((height, width), bool)
    for polygon in areas:
        _check_outline(polygon, height, width)
    coco = _pycocotools()
    return _columns_mask(_unpack_counts(coco.merge(coco.frPyObjects(areas, height, width))["counts"]), height, width)


def _check_outline(polygon: Sequence[float], height: int, width: int) -> None:
    """Raise ValueError for coordinates that no tool writes: pycocotools would exhaust the memory or end the process."""
    points = np.array(polygon, float).reshape(-1, 2)
    edges = np.abs(points - np.roll(points, 1, axis=0)).max(axis=1)  # it takes five steps per pixel
    length, distance = float(edges.sum()), float(np.abs(points).max())
    if not (length <= min(4 * height * width + _OUTLINE_MARGIN, MAX_COORDINATE) and distance <= MAX_COORDINATE):
        raise ValueError(f"a polygon has coordinates up to {distance:,.0f} and an outline of {length:,.0f} pixels")


def _columns_mask(counts: Sequence[int], height: int, width: int) -> NDArray[np.bool_]:
    if sum(counts) != height * width or min(counts) < 0:
        raise ValueError(f"its run lengths cover {sum(counts):,} pixels")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T


def _unpack_counts(text: bytes) -> Sequence[int]:
    """Unpack COCO's compressed run lengths: differences to the run before the last, in groups of 5 bits."""
    counts: list[int] = []
    value = bits = 0
    for byte in text:
        group = byte - 48
        value |= (group & 0x1F) << bits
        bits += 5
        if group & 0x20:  # more groups follow
            continue
        value -= (group & 0x10) << (bits - 4)  # the sign
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = bits = 0
    return counts


def _rows_mask(counts: Sequence[int], box: tuple[int, int, int, int], height: int, width: int) -> NDArray[np.bool_]:
    left, top, columns, rows = box
    if min(box) < 0 or left + columns > width or top + rows > height or sum(counts) != rows * columns:
        raise ValueError(f"its box is {box}, and its run lengths cover {sum(counts):,} pixels")
    inside = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(rows, columns)
    mask = np.zeros((height, width), bool)
    mask[top : top + rows, left : left + columns] = inside
    return mask


def _pycocotools() -> Any:
    try:
        from pycocotools import mask
    except ImportError as e:
        raise UsageError("pycocotools is not installed", "Run `pip install 'masksift[export]'`") from e
    return mask
