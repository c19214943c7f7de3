"""Read a data set with Datumaro: arguments DIRECTORY FORMAT."""

from __future__ import annotations

import os
import sys

from common import encode_mask, write_result
from datumaro import AnnotationType, Dataset

directory, form = sys.argv[1:]
data = Dataset.import_from(directory, form)
labels = [label.name for label in data.categories()[AnnotationType.label]]
items = []
for item in data:
    media = item.media
    has_image = media is not None and os.path.isfile(getattr(media, "path", "") or "")
    items.append(
        {
            "id": item.id,
            "attributes": item.attributes,
            "size": None if media is None else list(media.size),
            "has_image": has_image,
            "pixel_sum": int(media.data.sum()) if has_image else None,
            "regions": [
                {
                    "label": labels[annotation.label],
                    "mask": encode_mask(annotation.image),
                    "attributes": annotation.attributes,
                    "id": annotation.id,
                }
                for annotation in item.annotations
                if annotation.type == AnnotationType.mask
            ],
        }
    )
write_result({"labels": labels, "items": items})
