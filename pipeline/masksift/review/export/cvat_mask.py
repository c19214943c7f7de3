"""CVAT Segmentation mask 1.1 (docs.cvat.ai, "Segmentation mask"): full-size given labels to correct.

The archive has the layout of Pascal VOC with custom class colors. VOC's palette has 255 object colors. If an image has
more connected components of one class, each class becomes one object; with more than 255 classes there are no objects,
and readers make one annotation per class.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from masksift.review.export.cvat import raw_labels
from masksift.review.export.export_writer import ExportWriter, encode_png, open_zip, to_json
from masksift.review.export.run_length import Box, box_mask
from masksift.review.file_names import label_map_names
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.kernels.regions import find_regions

MAX_OBJECTS = 255
Pixels = NDArray[np.uint8]


def write(export: ExportWriter) -> None:
    """Write labels.json, and dataset.zip with labels, objects and RGB images; unreadable labels are left out."""
    classes = label_map_names(export.classes)
    colors, object_colors = distinct_colors(export.class_colors), _voc_palette()
    export.directory.write("labels.json", to_json(_labels(classes, colors), indent=1))
    names: list[str] = []
    with open_zip(export.directory, "dataset.zip") as archive:
        archive.write("labelmap.txt", _label_map(classes, colors).encode())
        for image in export.iter_images():
            view = export.load_view(image)
            if view.given is None:
                continue
            class_ids = export.class_ids(view.given)
            archive.write(f"SegmentationClass/{image.name}.png", encode_png(colors[class_ids]))
            objects = object_ids(class_ids)
            if objects is not None:
                archive.write(f"SegmentationObject/{image.name}.png", encode_png(object_colors[objects]))
            png = export.encode_rgb(view)
            if png is not None:
                archive.write(f"JPEGImages/{image.name}.png", png)
            names.append(image.name)
        archive.write("ImageSets/Segmentation/default.txt", "".join(f"{name}\n" for name in names).encode())


def _label_map(classes: tuple[str, ...], colors: Pixels) -> str:
    lines = [
        f"{name}:{red},{green},{blue}::\n"
        for name, (red, green, blue) in zip(("background", *classes), colors.tolist(), strict=True)
    ]
    return "# label:color_rgb:parts:actions\n" + "".join(lines)


def _labels(classes: tuple[str, ...], colors: Pixels) -> list[dict[str, object]]:
    return raw_labels(classes, ["#{:02x}{:02x}{:02x}".format(*color) for color in colors[1:].tolist()])


def distinct_colors(palette: Pixels) -> Pixels:
    """Make the colors (classes, 3) of classes distinct, because a label map tells classes by them.

    Returns:
        Black for no label, then the color of each class, (classes + 1, 3). A class whose color is black, or that of an
        earlier class, gets the darkest color that no other class has.
    """
    wanted = (palette.astype(np.int64) << np.array([16, 8, 0])).sum(axis=1).tolist()
    reserved = {0, *wanted}
    unused = (number for number in range(1, 1 << 24) if number not in reserved)
    numbers = dict.fromkeys([0])
    for number in wanted:
        numbers[next(unused) if number in numbers else number] = None
    return np.array([[number >> 16, number >> 8 & 255, number & 255] for number in numbers], np.uint8)


def object_ids(class_ids: NDArray[np.unsignedinteger]) -> Pixels | None:
    """Number the objects of an image.

    Args:
        class_ids: Class ids (H, W) from 1 on, 0 without a label.

    Returns:
        Object ids (H, W) from 1 on: 8-connected components of one class, or classes if there are more than 255
        components. None for more than 255 classes.
    """
    given = class_ids[np.newaxis]
    codes, labeled = np.zeros(given.shape, np.uint8), (given > 0).astype(np.uint8)
    regions = find_regions(
        given, np.zeros_like(given), codes, codes, labeled, Encoding("uint8", 1 / 255), int(class_ids.max()) + 1
    )
    if len(regions) <= MAX_OBJECTS:
        boxes: list[Box] = [(y0, x0, y1, x1) for y0, x0, y1, x1 in regions.box.tolist()]
        masks = [(box, box_mask(rle, len(class_ids), box)) for rle, box in zip(regions.rle, boxes, strict=True)]
        masks.sort(key=lambda pair: (pair[0][0], pair[0][1] + int(pair[1][0].argmax())))  # first pixel, row by row
        objects = np.zeros(class_ids.shape, np.uint8)
        for number, ((y0, x0, y1, x1), mask) in enumerate(masks, 1):
            objects[y0:y1, x0:x1][mask] = number
        return objects
    classes, positions = np.unique(class_ids, return_inverse=True)
    by_class = positions.reshape(class_ids.shape) + int(classes[0] > 0)
    return None if by_class.max() > MAX_OBJECTS else by_class.astype(np.uint8)


def _voc_palette() -> Pixels:
    """Return Pascal VOC's (256, 3) colors, which distribute the bits of a number over red, green and blue in turn."""
    numbers = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= ((numbers >> (3 * bit + channel) & 1) << (7 - bit)).astype(np.uint8)
    return palette
