"""Read the Datumaro format: JSON files of items with polygons, boxes, ellipses and run-length masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from masksift.annotations.shapes import (
    ClassNumbers,
    Shape,
    ShapeFiles,
    ShapeLabels,
    box_polygon,
    ellipse_polygon,
    exported_key,
    parse_counts,
    parse_rank,
)
from masksift.core.errors import DataError
from masksift.storage.files import Files, read_json

_KINDS = ("mask", "polygon", "bbox", "ellipse")
UNKNOWN_SIZE = (0, 0)
"""Height and width of an item without a size: Datumaro writes it only if it has opened the image."""


def is_datumaro(tree: Any) -> bool:
    """Return whether parsed JSON is a file of the Datumaro format."""
    return isinstance(tree, dict) and isinstance(tree.get("items"), list) and "categories" in tree


def read_datumaro(
    files: Files, options: Mapping[str, Any], classes: Sequence[str] | None, background: str | None
) -> ShapeFiles:
    """Read the shapes of each item by ``z_order``, those of equal order as in the file.

    Args:
        files: The .json files, one per subset.
        options: Storage options.
        classes: Class names of the configuration; by default the labels of the files.
        background: Class of pixels without a shape.

    Returns:
        One label per item; one without a size has `UNKNOWN_SIZE`. Points and lines cover no pixel.

    Raises:
        DataError: A file is not as Datumaro writes it.
    """
    trees = {files.url(name): read_json(files.url(name), options) for name in files.names}
    stored: list[str] = []
    names, ids, labels, urls, keys = (
        list[str](),
        list[str](),
        list[ShapeLabels](),
        list[str](),
        list[tuple[str, int] | None](),
    )
    for url, tree in trees.items():
        stored += _label_names(tree, url)
    numbers = ClassNumbers(stored, classes, background, files.place)
    for url, tree in trees.items():
        own, subset = _label_names(tree, url), url.rpartition("/")[2].removesuffix(".json")
        for position, item in enumerate(tree["items"]):
            try:
                height, width = (int(side) for side in (item.get("image") or {}).get("size") or UNKNOWN_SIZE)
                shapes = tuple(_shape(one, own, numbers) for one in _in_order(item.get("annotations", ())))
                names.append(str(item["id"]))
                ids.append(f"{subset}/{item['id']}")
                keys.append(exported_key(item.get("attr")))
            except (KeyError, TypeError, ValueError, IndexError) as e:
                raise DataError(
                    f"Item {position} of {url} is not one of the Datumaro format ({type(e).__name__}: {e})",
                    "Export the project again in the Datumaro format",
                ) from e
            labels.append(ShapeLabels(height, width, shapes))
            urls.append(url)
    # the images of a project are in directories of the subsets, which may have images of the same names
    return ShapeFiles(
        numbers.names, tuple(names), tuple(labels), tuple(urls), tuple(ids), numbers.background, tuple(keys)
    )


def _label_names(tree: Any, url: str) -> list[str]:
    try:
        return [str(label["name"]) for label in tree["categories"]["label"]["labels"]]
    except (KeyError, TypeError) as e:
        raise DataError(
            f"{url} is not a file of the Datumaro format ({type(e).__name__}: {e})",
            "Use a .json file with items, and labels in categories",
        ) from e


def _in_order(annotations: Sequence[Any]) -> list[Any]:
    shapes = [one for one in annotations if one["type"] in _KINDS]
    return sorted(shapes, key=lambda one: int(one.get("z_order", 0)))


def _shape(annotation: Mapping[str, Any], names: Sequence[str], numbers: ClassNumbers) -> Shape:
    number = numbers[names[int(annotation["label_id"])]]
    rank = parse_rank((annotation.get("attributes") or {}).get("rank"))
    if annotation["type"] == "mask":
        return Shape(number, rle=parse_counts(annotation["rle"]["counts"]), rank=rank)
    if annotation["type"] == "bbox":
        x, y, width, height = (float(value) for value in annotation["bbox"])
        return Shape(number, (box_polygon((x, y, x + width, y + height)),), rank=rank)
    if annotation["type"] == "ellipse":
        x0, y0, x1, y1 = (float(value) for value in annotation["points"])
        return Shape(
            number, (ellipse_polygon(((x0 + x1) / 2, (y0 + y1) / 2), ((x1 - x0) / 2, (y1 - y0) / 2)),), rank=rank
        )
    return Shape(number, (tuple(map(float, annotation["points"])),), rank=rank)
