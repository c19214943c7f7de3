"""COCO instances (cocodataset.org/#format-data): one annotation per region, in the order of the region table.

Masks are compressed run-length codes from pycocotools. ``score`` is the mean confidence in the suggested class, like
the score of a detector; ``attributes`` holds the other columns, as CVAT and Datumaro read and write them. All ids start
at 1, because readers take 0 for no id.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.review.export.export_writer import ExportWriter, to_json
from masksift.review.export.selection import ExportImage, ExportRegion


def write(export: ExportWriter) -> None:
    """Write annotations/instances_default.json, and RGB images in images/."""
    images, annotations = [], []
    for image_id, image in enumerate(export.iter_images(), 1):
        height, width = image.size
        entry = {"id": image_id, "file_name": f"{image.name}.png", "height": height, "width": width}
        images.append({**entry, "attributes": dict(image.columns)})
        annotations += [_annotation(region, image_id, image, export.classes) for region in image.regions]
        png = export.load_png(image)
        if png is not None:
            export.directory.write(f"images/{image.name}.png", png)
    if not export.rgb_images:  # readers require the directory
        export.directory.write("images/README.txt", b"The pictures belong here, under their names in file_name.\n")
    annotations.sort(key=lambda annotation: int(annotation["id"]))
    tree = {
        "info": {"description": f"masksift, run {export.run.context.fingerprint}"},
        "licenses": [],
        "categories": [{"id": k + 1, "name": name, "supercategory": ""} for k, name in enumerate(export.classes)],
        "images": images,
        "annotations": annotations,
    }
    export.directory.write("annotations/instances_default.json", to_json(tree))


def _annotation(region: ExportRegion, image_id: int, image: ExportImage, classes: tuple[str, ...]) -> dict[str, Any]:
    y0, x0, y1, x1 = region.box
    return {
        "id": region.rank,
        "image_id": image_id,
        "category_id": region.suggested + 1,
        "segmentation": compress_rle(region.run_lengths, image.size),
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": region.area,
        "iscrowd": 0,
        "score": region.mean_predicted_confidence,
        "attributes": region.attributes(classes),
    }


def compress_rle(run_lengths: NDArray[np.int32], size: tuple[int, int]) -> dict[str, Any]:
    """Compress COCO run lengths of an image (rows, columns) to text, about two bytes per number."""
    from pycocotools import mask

    compressed = mask.frPyObjects({"counts": run_lengths, "size": list(size)}, *size)
    return {"size": list(size), "counts": compressed["counts"].decode("ascii")}
