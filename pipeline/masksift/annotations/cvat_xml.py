"""Read CVAT for images 1.1: one XML file, or an archive with it, of polygons, boxes, ellipses and masks."""

from __future__ import annotations

import xml.etree.ElementTree as ET
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from masksift.annotations.shapes import (
    ClassNumbers,
    Shape,
    ShapeFiles,
    ShapeLabels,
    box_polygon,
    ellipse_polygon,
    parse_rank,
)
from masksift.core.errors import DataError
from masksift.storage.files import open_file

ANNOTATIONS = "annotations.xml"
"""Name of the file in an archive."""
MAX_BYTES = 1 << 32
"""Largest file in an archive: a small archive can hold one that no memory holds."""
_KINDS = ("polygon", "box", "ellipse", "mask")


def read_cvat(
    url: str, options: Mapping[str, Any], classes: Sequence[str] | None, background: str | None
) -> ShapeFiles:
    """Read the shapes of each image by ``z_order``, those of equal order as in the file.

    Args:
        url: URL of the file.
        options: Storage options.
        classes: Class names of the configuration; by default the labels of the task.
        background: Class of pixels without a shape.

    Returns:
        One label per image, also of images without shapes. Points and lines cover no pixel.

    Raises:
        DataError: The file is not as CVAT writes it.
    """
    try:
        root = _parse(url, options)
        images = sorted(root.iter("image"), key=lambda image: image.attrib["name"])
        stored = [name.text or "" for name in root.findall("meta//label/name")]
        stored = stored or sorted({shape.attrib["label"] for image in images for shape in image if shape.tag in _KINDS})
        numbers = ClassNumbers(stored, classes, background, url)
        labels = tuple(
            ShapeLabels(int(image.attrib["height"]), int(image.attrib["width"]), _shapes(image, numbers))
            for image in images
        )
        files = _names(images)
        return ShapeFiles(numbers.names, files, labels, (url,) * len(images), background=numbers.background)
    except (ET.ParseError, zipfile.BadZipFile, KeyError, ValueError) as e:
        raise DataError(
            f"{url} is not an export of `CVAT for images 1.1` ({type(e).__name__}: {e})",
            "Export the task again in this format",
        ) from e


def _parse(url: str, options: Mapping[str, Any]) -> ET.Element:
    """Parse an .xml file, or the one in a .zip archive. Raises KeyError if the archive has none."""
    with open_file(url, options) as file:
        if not url.lower().endswith(".zip"):
            return ET.parse(file).getroot()
        with zipfile.ZipFile(file) as archive:
            if (size := archive.getinfo(ANNOTATIONS).file_size) > MAX_BYTES:  # which bounds what is read of it
                raise ValueError(f"{ANNOTATIONS} has {size:,} bytes, more than {MAX_BYTES:,}")
            with archive.open(ANNOTATIONS) as member:
                return ET.parse(member).getroot()


def _names(images: Sequence[ET.Element]) -> tuple[str, ...]:
    """Return the names of images; those that several tasks of a project share follow their subset."""
    counts = Counter(image.attrib["name"] for image in images)
    names = tuple(
        image.attrib["name"] if counts[image.attrib["name"]] == 1 else "/".join((_subset(image), image.attrib["name"]))
        for image in images
    )
    if len(set(names)) < len(names):
        name = Counter(names).most_common(1)[0][0]
        raise ValueError(f"two images have the name {name}")
    return names


def _subset(image: ET.Element) -> str:
    return image.get("subset") or image.get("task_id") or ""


def _shapes(image: ET.Element, numbers: ClassNumbers) -> tuple[Shape, ...]:
    elements = [element for element in image if element.tag in _KINDS]
    elements.sort(key=lambda element: int(element.attrib.get("z_order", 0)))  # stable
    return tuple(_shape(element, numbers[element.attrib["label"]]) for element in elements)


def _shape(element: ET.Element, number: int) -> Shape:
    facts, rank = element.attrib, _rank(element)
    if element.tag == "mask":
        left, top, width, height = (int(facts[name]) for name in ("left", "top", "width", "height"))
        counts = tuple(int(text) for text in facts["rle"].split(","))
        return Shape(number, rows=counts, box=(left, top, width, height), rank=rank)
    degrees = float(facts.get("rotation", 0))
    if element.tag == "box":
        x0, y0, x1, y1 = (float(facts[name]) for name in ("xtl", "ytl", "xbr", "ybr"))
        return Shape(number, (box_polygon((x0, y0, x1, y1), degrees),), rank=rank)
    if element.tag == "ellipse":
        x, y, a, b = (float(facts[name]) for name in ("cx", "cy", "rx", "ry"))
        return Shape(number, (ellipse_polygon((x, y), (a, b), degrees),), rank=rank)
    points = [tuple(map(float, point.split(","))) for point in facts["points"].split(";")]
    return Shape(number, (tuple(value for point in points for value in point),), rank=rank)


def _rank(element: ET.Element) -> int | None:
    """Return the attribute `rank`, which `masksift export cvat` writes."""
    texts = (attribute.text for attribute in element.iter("attribute") if attribute.get("name") == "rank")
    return parse_rank(next(texts, None))
