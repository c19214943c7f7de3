"""Datumaro's own format, version 1.0 (the "Datumaro format" of its documentation): an item an image, a mask a region.

It is written here: the library wants older pandas, Pillow and pyarrow than masksift's own, and half a gigabyte.
"""

from __future__ import annotations

from typing import Any

from masksift.review.export.coco import compress_rle
from masksift.review.export.export_writer import ExportWriter, to_json
from masksift.review.export.selection import ExportImage, ExportRegion
from masksift.review.rendering.palette import class_colors

SUBSET = "default"
IMAGES = 2
"""What Datumaro calls pictures among the kinds of media."""


def write(export: ExportWriter) -> None:
    """annotations/default.json, and the pictures in images/default/."""
    items = []
    for image in export.each():
        items.append(_item(image, export.classes))
        picture = export.picture(image)
        if picture is not None:
            export.folder.write(f"images/{SUBSET}/{image.name}.png", picture)
    tree = {
        "dm_format_version": "1.0",
        "media_type": IMAGES,
        "infos": {"masksift_run": export.run.context.fingerprint},
        "categories": _categories(export.classes),
        "items": items,
    }
    export.folder.write(f"annotations/{SUBSET}.json", to_json(tree))


def _categories(classes: tuple[str, ...]) -> dict[str, Any]:
    painted = enumerate(class_colors(len(classes)).tolist())
    return {
        "label": {"labels": [{"name": name, "parent": "", "attributes": []} for name in classes], "attributes": []},
        "mask": {"colormap": [{"label_id": k, "r": r, "g": g, "b": b} for k, (r, g, b) in painted]},
    }


def _item(image: ExportImage, classes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "id": image.name,
        "annotations": [_mask(region, image.size, classes) for region in image.regions],
        "attr": dict(image.facts),
        "image": {"path": f"{image.name}.png", "size": list(image.size)},
    }


def _mask(region: ExportRegion, size: tuple[int, int], classes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "id": region.rank,
        "type": "mask",
        "attributes": {**region.attributes(classes), "score": region.mean_predicted_confidence},
        "group": 0,
        "label_id": region.suggested,
        "rle": compress_rle(region.counts, size),
        "z_order": 0,
    }
