"""COCO instances (cocodataset.org/#format-data): an annotation a region, in the order of the regions.

The masks are COCO's compressed run-length codes, made by pycocotools. ``score`` is the mean confidence in the suggested
class, as detectors give it; what else is known stands in ``attributes``, as CVAT and Datumaro read and write them. All
numbers begin with 1: readers take 0 for none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.review.export.export_writer import ExportWriter, to_json
from masksift.review.export.selection import ExportImage, ExportRegion


def write(export: ExportWriter) -> None:
    """annotations/instances_default.json, and the pictures in images/."""
    images, annotations = [], []
    for number, image in enumerate(export.each(), 1):
        images.append(_image(number, image))
        annotations += [_annotation(region, number, image, export.classes) for region in image.regions]
        picture = export.picture(image)
        if picture is not None:
            export.folder.write(f"images/{image.name}.png", picture)
    if not export.pictures:  # readers look for the folder
        export.folder.write("images/README.txt", b"The pictures belong here, under their names in file_name.\n")
    annotations.sort(key=lambda one: int(one["id"]))
    tree = {
        "info": {"description": f"masksift, run {export.run.context.fingerprint}"},
        "licenses": [],
        "categories": [{"id": k + 1, "name": name, "supercategory": ""} for k, name in enumerate(export.classes)],
        "images": images,
        "annotations": annotations,
    }
    export.folder.write("annotations/instances_default.json", to_json(tree))


def _image(number: int, image: ExportImage) -> dict[str, Any]:
    height, width = image.size
    own = {"id": number, "file_name": f"{image.name}.png", "height": height, "width": width}
    return {**own, "attributes": dict(image.facts)}


def _annotation(
    region: ExportRegion, image_number: int, image: ExportImage, classes: tuple[str, ...]
) -> dict[str, Any]:
    y0, x0, y1, x1 = region.box
    return {
        "id": region.rank,
        "image_id": image_number,
        "category_id": region.suggested + 1,
        "segmentation": compress_rle(region.counts, image.size),
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": region.area,
        "iscrowd": 0,
        "score": region.mean_predicted_confidence,
        "attributes": region.attributes(classes),
    }


def compress_rle(counts: NDArray[np.int32], size: tuple[int, int]) -> dict[str, Any]:
    """A run-length code as COCO's files have it: of text, some two bytes a number."""
    from pycocotools import mask

    packed = mask.frPyObjects({"counts": counts, "size": list(size)}, *size)
    return {"size": list(size), "counts": packed["counts"].decode("ascii")}
