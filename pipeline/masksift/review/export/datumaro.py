"""Datumaro format 1.0 (the "Datumaro format" of its documentation): one item per image, one mask per region.

It is written without the library, which requires older pandas, Pillow and pyarrow than masksift and half a gigabyte.
"""

from __future__ import annotations

from typing import Any

from masksift.review.export.coco import compress_rle
from masksift.review.export.export_writer import ExportWriter, to_json
from masksift.review.export.selection import ExportImage, ExportRegion

SUBSET = "default"
IMAGE_MEDIA_TYPE = 2


def write(export: ExportWriter) -> None:
    """Write annotations/default.json, and RGB images in images/default/."""
    items = []
    for image in export.iter_images():
        items.append(_item(image, export.classes))
        png = export.load_png(image)
        if png is not None:
            export.directory.write(f"images/{SUBSET}/{image.name}.png", png)
    tree = {
        "dm_format_version": "1.0",
        "media_type": IMAGE_MEDIA_TYPE,
        "infos": {"masksift_run": export.run.context.fingerprint},
        "categories": _categories(export),
        "items": items,
    }
    export.directory.write(f"annotations/{SUBSET}.json", to_json(tree))


def _categories(export: ExportWriter) -> dict[str, Any]:
    classes, colors = export.classes, enumerate(export.class_colors.tolist())
    return {
        "label": {"labels": [{"name": name, "parent": "", "attributes": []} for name in classes], "attributes": []},
        "mask": {"colormap": [{"label_id": k, "r": r, "g": g, "b": b} for k, (r, g, b) in colors]},
    }


def _item(image: ExportImage, classes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "id": image.name,
        "annotations": [_mask(region, image.size, classes) for region in image.regions],
        "attr": dict(image.columns),
        "image": {"path": f"{image.name}.png", "size": list(image.size)},
    }


def _mask(region: ExportRegion, size: tuple[int, int], classes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "id": region.rank,
        "type": "mask",
        "attributes": {**region.attributes(classes), "score": region.mean_predicted_confidence},
        "group": 0,
        "label_id": region.suggested,
        "rle": compress_rle(region.run_lengths, size),
        "z_order": 0,
    }
