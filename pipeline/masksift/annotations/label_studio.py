"""Read Label Studio's exports JSON and JSON-MIN: brush masks, polygons, rectangles and ellipses of each task."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np

from masksift.annotations.shapes import ClassNumbers, Shape, ShapeFiles, ShapeLabels, exported_key, parse_rank
from masksift.core.errors import DataError

UNKNOWN_SIZE = 0
"""Height and width of a task without shapes: only shapes have the size of their image."""
CHANNELS = 4
"""Values of a pixel of a brush mask: red, green, blue, alpha. Alpha decides."""
_ELLIPSE_POINTS = 64
_TYPES = {
    "brushlabels": "brush",
    "polygonlabels": "polygon",
    "rectanglelabels": "rectangle",
    "ellipselabels": "ellipse",
}
_IMAGE = re.compile(r"\.(png|jpe?g|tiff?|bmp|webp)$", re.IGNORECASE)
_UPLOAD_PREFIX = re.compile(r"(?<=/)[0-9a-f]{8}-(?=[^/]+$)")


def is_label_studio(tree: Any) -> bool:
    """Return whether parsed JSON is a list of Label Studio's tasks."""
    if not isinstance(tree, list) or not tree or not isinstance(tree[0], dict):
        return False
    return ("data" in tree[0] and "annotations" in tree[0]) or "annotation_id" in tree[0]


def parse_label_studio(tree: Any, url: str, classes: Sequence[str] | None, background: str | None) -> ShapeFiles:
    """Read the shapes of each annotated task in the order of its results, later ones over earlier ones.

    Of several annotations of a task, the ground truth counts, otherwise the last change. Canceled annotations,
    predictions and tasks without an annotation are left out.

    Args:
        tree: Parsed JSON.
        url: URL of the file.
        classes: Class names of the configuration; by default all labels, sorted.
        background: Class of pixels without a shape.

    Returns:
        One label per annotated task; one without shapes has `UNKNOWN_SIZE`. Key points cover no pixel.

    Raises:
        DataError: The file is not as Label Studio writes it, or an image was rotated in the editor.
    """
    found: list[tuple[str, list[Mapping[str, Any]], tuple[str, int] | None]] = []
    try:
        for task in tree:
            if (results := _results(task)) is not None:
                data = task.get("data", task)
                found.append((_image_name(data), results, exported_key(data)))
        found.sort(key=lambda item: item[0])
        stored = sorted({name for _, results, _ in found for result in results for name in _names(result)})
        numbers = ClassNumbers(stored, classes, background, url)
        labels = tuple(_labels(results, numbers, name) for name, results, _ in found)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as e:
        raise DataError(
            f"{url} is not an export of Label Studio ({type(e).__name__}: {e})",
            "Export the project again as JSON",
        ) from e
    names, keys = tuple(name for name, *_ in found), tuple(key for *_, key in found)
    return ShapeFiles(numbers.names, names, labels, (url,) * len(found), background=numbers.background, keys=keys)


def _results(task: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """Return the results of the annotation that counts; None without one."""
    if "annotations" not in task:  # JSON-MIN: the values of one annotation, with their sizes
        lists = [value for value in task.values() if isinstance(value, list)]
        return [{**one, "value": one} for values in lists for one in values if "original_width" in one]
    annotations = [one for one in task["annotations"] if not one.get("was_cancelled")]
    if not annotations:
        return None
    order = sorted(annotations, key=lambda one: (bool(one.get("ground_truth")), str(one.get("updated_at") or "")))
    return list(order[-1]["result"])


def _image_name(data: Mapping[str, Any]) -> str:
    """Return the name of a task's image: the path in its URL, without the prefix of an upload."""
    texts = [data["image"]] if isinstance(data.get("image"), str) else [v for v in data.values() if isinstance(v, str)]
    urls = [text for text in texts if _IMAGE.search(urlsplit(text).query or urlsplit(text).path)]
    if not urls:
        raise ValueError("a task has no image")
    parts = urlsplit(urls[0])
    path = parts.query.partition("d=")[2].partition("&")[0] if parts.query.startswith("d=") else parts.path
    return _UPLOAD_PREFIX.sub("", f"/{unquote(path).lstrip('/')}").lstrip("/")


def _names(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the labels of a shape: one, or none."""
    value = result.get("value", {})
    for key in _TYPES:
        yield from map(str, value.get(key, ())[:1])


def _labels(results: Sequence[Mapping[str, Any]], numbers: ClassNumbers, name: str) -> ShapeLabels:
    shapes, size = list[Shape](), (UNKNOWN_SIZE, UNKNOWN_SIZE)
    for result in results:
        if not (labels := list(_names(result))):
            continue
        size = int(result["original_height"]), int(result["original_width"])
        if result.get("image_rotation"):
            raise ValueError(f"{name} was rotated by {result['image_rotation']} degrees in the editor")
        kind = next(kind for key, kind in _TYPES.items() if key in result["value"])
        shapes.append(_shape(kind, result, numbers[labels[0]], size))
    return ShapeLabels(*size, tuple(shapes))


def _shape(kind: str, result: Mapping[str, Any], number: int, size: tuple[int, int]) -> Shape:
    value, (height, width) = result["value"], size
    rank = parse_rank((result.get("meta") or {}).get("rank"))
    if kind == "brush":
        counts = brush_run_lengths(bytes(value["rle"]), height, width)
        return Shape(number, rows=counts, box=(0, 0, width, height), rank=rank)
    if kind == "polygon":
        points = [(float(x), float(y)) for x, y in value["points"]]
        pixels = tuple(v for x, y in points for v in (x * width / 100, y * height / 100))
        return Shape(number, (pixels,), rank=rank)
    x, y = float(value["x"]) * width / 100, float(value["y"]) * height / 100
    if kind == "rectangle":
        w, h = float(value["width"]) * width / 100, float(value["height"]) * height / 100
        corners = [(0.0, 0.0), (w, 0.0), (w, h), (0.0, h)]
    else:
        a, b = float(value["radiusX"]) * width / 100, float(value["radiusY"]) * height / 100
        angles = (2 * math.pi * i / _ELLIPSE_POINTS for i in range(_ELLIPSE_POINTS))
        corners = [(a * math.cos(angle), b * math.sin(angle)) for angle in angles]
    # turned clockwise about the upper left corner of a rectangle, or the center of an ellipse
    turn = math.radians(float(value.get("rotation") or 0))
    cos, sin = math.cos(turn), math.sin(turn)
    pixels = tuple(v for dx, dy in corners for v in (x + dx * cos - dy * sin, y + dx * sin + dy * cos))
    return Shape(number, (pixels,), rank=rank)


def brush_run_lengths(code: bytes, height: int, width: int) -> tuple[int, ...]:
    """Decode a brush mask.

    The header holds the number of values (32 bits), the bits of a value (5) and the possible bits of a length (four of
    4), each minus 1 except the first. Then follow groups: a bit, the index of the bits of its length (2), the length
    minus 1, and one value for all of the group (bit 1) or one value for each of it (bit 0).

    Args:
        code: The bytes.
        height: Rows of the image.
        width: Columns of the image.

    Returns:
        Alternating numbers of pixels outside and inside of the mask, row by row, outside first.

    Raises:
        ValueError: The code is damaged or of another size.
    """
    bits = _Bits(code)
    total, value_bits = bits.take(32), bits.take(5) + 1
    length_bits = [bits.take(4) + 1 for _ in range(4)]
    if total != height * width * CHANNELS:
        raise ValueError(f"a brush mask has {total:,} values, for an image of {height} x {width}")
    ends, inside, position = list[int](), list[bool](), 0
    while position < total:
        is_run = bits.take(1)
        length = bits.take(length_bits[bits.take(2)]) + 1
        for count in (length,) if is_run else (1,) * min(length, total - position):
            position += count
            ends.append(position)
            inside.append(bits.take(value_bits) > 0)
    # the alpha of pixel k is value 4 k + 3, so values before position p hold the alpha of p // 4 pixels
    pixels = np.minimum(np.array(ends, np.int64), total) // CHANNELS
    flags = np.array(inside, bool)
    holds_alpha = np.diff(pixels, prepend=0) > 0
    pixels, flags = pixels[holds_alpha], flags[holds_alpha]
    is_last = np.append(flags[1:] != flags[:-1], True)
    lengths: list[int] = np.diff(pixels[is_last], prepend=0).tolist()
    return tuple([0, *lengths] if len(flags) and flags[0] else lengths)


class _Bits:
    """Reader of bits, most significant first."""

    def __init__(self, data: bytes) -> None:
        self._data, self._position = data, 0

    def take(self, count: int) -> int:
        """Return the next bits as a number. Raises ValueError at the end."""
        start, end = self._position, self._position + count
        if end > 8 * len(self._data):
            raise ValueError("a brush mask ends too early")
        self._position = end
        number = int.from_bytes(self._data[start >> 3 : (end + 7) >> 3])
        return number >> (-end % 8) & ((1 << count) - 1)
