"""Read COCO instances and stuff: one JSON file of images, annotations with polygons or run-length codes, categories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from masksift.annotations.shapes import (
    ClassNumbers,
    Shape,
    ShapeFiles,
    ShapeLabels,
    exported_key,
    parse_counts,
    parse_rank,
)
from masksift.core.errors import DataError


def is_instances(tree: Any) -> bool:
    """Return whether parsed JSON holds instances or stuff, rather than panoptic segments."""
    annotations = tree.get("annotations") if isinstance(tree, dict) else None
    if not isinstance(annotations, list) or "images" not in tree:
        return False
    return not any(isinstance(one, dict) and "segments_info" in one for one in annotations)


def parse_instances(tree: Any, url: str, classes: Sequence[str] | None, background: str | None) -> ShapeFiles:
    """Read the annotations of each image, the largest first, so that small objects stay visible.

    Args:
        tree: Parsed JSON.
        url: URL of the file.
        classes: Class names of the configuration, matched with the categories by name.
        background: Class of pixels without an annotation.

    Returns:
        One label per image of the file, also of images without annotations.

    Raises:
        DataError: The file is not as COCO describes it.
    """
    try:
        names = {int(category["id"]): str(category["name"]) for category in tree["categories"]}
        numbers = ClassNumbers(names.values(), classes, background, url)
        images = sorted(tree["images"], key=lambda image: str(image["file_name"]))
        found: dict[int, list[tuple[float, int, Shape]]] = {int(image["id"]): [] for image in images}
        for position, one in enumerate(tree["annotations"]):
            shape = _shape(one, numbers[names[int(one["category_id"])]])
            found[int(one["image_id"])].append((-float(one.get("area", 0)), position, shape))
        labels = tuple(
            ShapeLabels(
                int(image["height"]),
                int(image["width"]),
                tuple(shape for _, _, shape in sorted(found[int(image["id"])], key=lambda item: item[:2])),
            )
            for image in images
        )
        ids = tuple(str(image["id"]) for image in images)
        files = tuple(str(image["file_name"]) for image in images)
        keys = tuple(exported_key(image.get("attributes")) for image in images)
        return ShapeFiles(numbers.names, files, labels, (url,) * len(images), ids, numbers.background, keys)
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise DataError(
            f"{url} is not a COCO annotation of instances or stuff ({type(e).__name__}: {e})",
            "Use a .json file with images, categories, and annotations with image_id, category_id and segmentation",
        ) from e


def _shape(annotation: Any, number: int) -> Shape:
    stored, attributes = annotation["segmentation"], annotation.get("attributes")
    rank = parse_rank(attributes.get("rank")) if isinstance(attributes, dict) else None
    if isinstance(stored, dict):
        return Shape(number, rle=parse_counts(stored["counts"]), rank=rank)
    return Shape(number, tuple(tuple(map(float, polygon)) for polygon in stored), rank=rank)
