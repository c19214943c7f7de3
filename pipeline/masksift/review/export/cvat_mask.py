"""CVAT's Segmentation mask 1.1 (docs.cvat.ai, "Segmentation mask"): the given labels of the images that hold the
regions, at full size, for an annotator to correct.

It is Pascal VOC's layout with colours of one's own. VOC's palette of objects has 255 colours: where an image has more
connected sets of one class than that, an object is a class, and with more classes than that there are none, and readers
make an annotation a class.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from masksift.review.export.cvat import raw_labels
from masksift.review.export.export_writer import ExportWriter, open_zip, png, to_json
from masksift.review.export.file_names import xml_safe
from masksift.review.export.run_length import Box, box_mask
from masksift.review.rendering.palette import MAX_COLORS, class_colors
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.kernels.regions import find_regions

OBJECTS = 255
Pixels = NDArray[np.uint8]


def write(export: ExportWriter) -> None:
    """labels.json, and dataset.zip: labelmap.txt, ImageSets, SegmentationClass, SegmentationObject and, where there are
    pictures, JPEGImages. An image whose labels cannot be read is left out."""
    classes = label_map_names(export.classes)
    export.folder.write("labels.json", to_json(_labels(classes), indent=1))
    listed: list[str] = []
    paint, objects = class_colors_with_background(len(classes)), _voc_palette()
    with open_zip(export.folder, "dataset.zip") as archive:
        archive.put("labelmap.txt", _label_map(classes).encode())
        for image in export.each():
            view = export.load_view(image)
            if view.given is None:
                continue
            numbers = export.numbered(view.given)
            archive.put(f"SegmentationClass/{image.name}.png", png(paint[numbers]))
            found = object_ids(numbers)
            if found is not None:
                archive.put(f"SegmentationObject/{image.name}.png", png(objects[found]))
            picture = export.encoded(view)
            if picture is not None:
                archive.put(f"JPEGImages/{image.name}.png", picture)
            listed.append(image.name)
        archive.put("ImageSets/Segmentation/default.txt", "".join(f"{name}\n" for name in listed).encode())


def label_map_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of classes as a label map can hold them: it has a line a class, parts that colons separate, and comments.
    The name `background` is that of pixels without a label, which are no annotation."""
    plain = xml_safe(tuple(name.replace(":", "_") for name in names))
    told = (f"_{name[1:]}" if name.startswith("#") else name for name in plain)
    return xml_safe(tuple(f"{name} (class)" if name == "background" else name for name in told))


def _label_map(classes: tuple[str, ...]) -> str:
    names = ("background", *classes)
    lines = [
        f"{name}:{red},{green},{blue}::\n"
        for name, (red, green, blue) in zip(names, class_colors_with_background(len(classes)).tolist(), strict=True)
    ]
    return "# label:color_rgb:parts:actions\n" + "".join(lines)


def _labels(classes: tuple[str, ...]) -> list[dict[str, object]]:
    told = zip(raw_labels(classes), class_colors_with_background(len(classes))[1:].tolist(), strict=True)
    return [{**label, "color": "#{:02x}{:02x}{:02x}".format(*colour)} for label, colour in told]


def class_colors_with_background(classes: int) -> Pixels:
    """(classes + 1, 3): black for no label, then a colour a class, each once: beyond those of the palette, which are as
    far apart as can be, the darkest that are left."""
    first = class_colors(min(classes, MAX_COLORS))
    taken = {0, *_numbers(first).tolist()}
    more = (number for number in range(1, 1 << 24) if number not in taken)
    rest = [next(more) for _ in range(classes - len(first))]
    added = np.array([[number >> 16, number >> 8 & 255, number & 255] for number in rest], np.uint8).reshape(-1, 3)
    return np.concatenate([np.zeros((1, 3), np.uint8), first, added])


def _numbers(pixels: Pixels) -> NDArray[np.int64]:
    numbers: NDArray[np.int64] = (pixels.astype(np.int64) << np.array([16, 8, 0])).sum(axis=1)
    return numbers


def object_ids(numbers: NDArray[np.unsignedinteger]) -> Pixels | None:
    """(H, W): objects from 1 on, at most 255: the 8-connected sets of one class, else the classes of the image, else
    None. ``numbers``: classes from 1 on, 0 where there is no label."""
    codes = np.zeros(numbers.shape, np.uint8)
    labeled = (numbers > 0).astype(np.uint8)
    regions = find_regions(
        numbers, np.zeros_like(numbers), codes, codes, labeled, Encoding("uint8", 1 / 255), int(numbers.max()) + 1
    )
    if len(regions) <= OBJECTS:
        boxes: list[Box] = [(y0, x0, y1, x1) for y0, x0, y1, x1 in regions.box.tolist()]
        masks = [(box, box_mask(rle, len(numbers), box)) for rle, box in zip(regions.rle, boxes, strict=True)]
        masks.sort(key=lambda one: (one[0][0], one[0][1] + int(one[1][0].argmax())))  # by the first pixel, row by row
        objects = np.zeros(numbers.shape, np.uint8)
        for number, ((y0, x0, y1, x1), mask) in enumerate(masks, 1):
            objects[y0:y1, x0:x1][mask] = number
        return objects
    classes, positions = np.unique(numbers, return_inverse=True)
    by_class = positions.reshape(numbers.shape) + int(classes[0] > 0)
    return None if by_class.max() > OBJECTS else by_class.astype(np.uint8)


def _voc_palette() -> Pixels:
    """(256, 3): Pascal VOC's colours by number, whose bits are dealt out to red, green and blue in turn."""
    numbers = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= ((numbers >> (3 * bit + channel) & 1) << (7 - bit)).astype(np.uint8)
    return palette
