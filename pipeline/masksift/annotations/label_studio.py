"""Read Label Studio's exports JSON and JSON-MIN: brush masks, polygons, rectangles and ellipses of each task."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from masksift.annotations.shapes import (
    ClassNumbers,
    Shape,
    ShapeFiles,
    ShapeLabels,
    box_polygon,
    ellipse_polygon,
    exported_key,
    parse_rank,
)
from masksift.core.errors import DataError

UNKNOWN_SIZE = 0
"""Height and width of a task without shapes: only shapes have the size of their image."""
CHANNELS = 4
"""Values of a pixel of a brush mask: red, green, blue, alpha. Alpha decides."""
_LABELS = ("brushlabels", "polygonlabels", "rectanglelabels", "ellipselabels", "labels")
"""Keys of a shape's label; `labels` is that of the tag Labels, for shapes of Brush, Polygon, Rectangle or Ellipse."""
_GEOMETRY = ("rle", "points", "radiusX", "height")
"""Keys of which a shape that covers pixels has one."""
_IMAGE = re.compile(r"\.(png|jpe?g|tiff?|bmp|webp|gif|jp2|avif)$", re.IGNORECASE)
_UPLOAD_PREFIX = re.compile(r"(^|/)(upload/(?:[^/]+/)*)[0-9a-f]{8}-(?=[^/]+$)")
_RANK_ID = re.compile(r"region-(\d{1,15})")


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
        for task in _latest(tree):
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
            "Export the project again as JSON, or correct this task",
        ) from e
    names, keys = tuple(name for name, *_ in found), tuple(key for *_, key in found)
    return ShapeFiles(numbers.names, names, labels, (url,) * len(found), background=numbers.background, keys=keys)


def _latest(tasks: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the tasks; of JSON-MIN, which has an entry per annotation, the last change of each task."""
    latest: dict[Any, Mapping[str, Any]] = {}
    for position, task in enumerate(tasks):
        key = position if "annotations" in task else str(task.get("id"))
        if key not in latest or _changed(latest[key]) <= _changed(task):
            latest[key] = task
    return list(latest.values())


def _changed(annotation: Mapping[str, Any]) -> str:
    return str(annotation.get("updated_at") or annotation.get("created_at") or "")


def _results(task: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """Return the results of the annotation that counts; None without one."""
    if "annotations" not in task:  # JSON-MIN: the values of one annotation, with their sizes
        if task["annotation_id"] is None:
            return None
        lists = [value for value in task.values() if isinstance(value, list)]
        found = [one for values in lists for one in values if isinstance(one, dict) and "original_width" in one]
        return [{**one, "value": one} for one in found]
    annotations = [one for one in task["annotations"] if not one.get("was_cancelled")]
    if not annotations:
        return None
    return list(max(annotations, key=lambda one: (bool(one.get("ground_truth")), _changed(one)))["result"])


def _image_name(data: Mapping[str, Any]) -> str:
    """Return the name of a task's image: the path in its URL, without the prefix of an upload."""
    if isinstance(data.get("image"), str):
        paths = {_path(data["image"])}
    else:
        paths = {path for value in data.values() if isinstance(value, str) and _IMAGE.search(path := _path(value))}
    if len(paths) != 1:
        raise ValueError(f"a task has {len(paths)} images in its data ({', '.join(sorted(data))}), none named `image`")
    return _UPLOAD_PREFIX.sub(r"\1\2", paths.pop())


def _path(url: str) -> str:
    """Return the path in a URL: that of the file for Label Studio's local files, else without a signature."""
    parts = urlsplit(url)
    if parts.scheme == "data":
        raise ValueError("a task holds the pixels of its image, which then has no name")
    query = parse_qs(parts.query)
    path = query["d"][0] if parts.path.endswith("local-files/") and "d" in query else unquote(parts.path)
    return path.replace("\\", "/").lstrip("/")


def _names(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the label of a shape; none for results of other kinds, and for shapes without a label."""
    value = result.get("value")
    if not isinstance(value, dict):
        return
    if "original_width" in result:
        unknown = [key for key in value if key.endswith("labels") and key not in (*_LABELS, "keypointlabels")]
        if unknown:
            raise ValueError(f"shapes with {unknown[0]} are not supported")
    if not any(key in value for key in _GEOMETRY):  # key points, choices, texts
        return
    for key in _LABELS:
        names = value.get(key) or ()
        if len(names) > 1:
            raise ValueError(f"a shape has the labels {', '.join(map(str, names))}")
        yield from map(str, names)


def _labels(results: Sequence[Mapping[str, Any]], numbers: ClassNumbers, name: str) -> ShapeLabels:
    shapes, sizes = list[Shape](), set[tuple[int, int]]()
    for result in results:
        if not (labels := list(_names(result))):
            continue
        size = int(result["original_height"]), int(result["original_width"])
        sizes.add(size)
        if result.get("image_rotation"):
            raise ValueError(f"{name} was rotated by {result['image_rotation']} degrees in the editor")
        shapes += [_shape(result, numbers[label], size) for label in labels]
    if len(sizes) > 1:
        raise ValueError(f"{name} has shapes of images of {' and '.join(f'{h} x {w}' for h, w in sorted(sizes))}")
    height, width = sizes.pop() if sizes else (UNKNOWN_SIZE, UNKNOWN_SIZE)
    return ShapeLabels(height, width, tuple(shapes))


def _shape(result: Mapping[str, Any], number: int, size: tuple[int, int]) -> Shape:
    value, (height, width), rank = result["value"], size, _rank(result)
    if "rle" in value:
        counts = brush_run_lengths(bytes(value["rle"]), height, width)
        return Shape(number, rows=counts, box=(0, 0, width, height), rank=rank)
    if "points" in value:
        points = [(float(x), float(y)) for x, y in value["points"]]
        return Shape(number, (tuple(v for x, y in points for v in (x * width / 100, y * height / 100)),), rank=rank)
    x, y, degrees = float(value["x"]) * width / 100, float(value["y"]) * height / 100, float(value.get("rotation") or 0)
    if "radiusX" in value:
        radii = float(value["radiusX"]) * width / 100, float(value["radiusY"]) * height / 100
        return Shape(number, (ellipse_polygon((x, y), radii, degrees),), rank=rank)
    right, bottom = x + float(value["width"]) * width / 100, y + float(value["height"]) * height / 100
    return Shape(number, (box_polygon((x, y, right, bottom), degrees, (x, y)),), rank=rank)


def _rank(result: Mapping[str, Any]) -> int | None:
    """Return the rank of an exported region: in its `meta`, or in its id."""
    found = _RANK_ID.fullmatch(str(result.get("id")))
    stored = parse_rank((result.get("meta") or {}).get("rank"))
    return int(found[1]) if stored is None and found else stored


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
