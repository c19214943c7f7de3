"""Datumaro's own reader of a format: FOLDER FORMAT."""

from __future__ import annotations

import os
import sys

from common import answer, packed
from datumaro import AnnotationType, Dataset

folder, form = sys.argv[1:]
data = Dataset.import_from(folder, form)
labels = [label.name for label in data.categories()[AnnotationType.label]]
items = []
for item in data:
    media = item.media
    items.append(
        {
            "id": item.id,
            "attributes": item.attributes,
            "size": None if media is None else list(media.size),
            "picture": media is not None and os.path.isfile(getattr(media, "path", "") or ""),
            "pixels": int(media.data.sum())
            if media is not None and os.path.isfile(getattr(media, "path", ""))
            else None,
            "regions": [
                {"label": labels[one.label], "mask": packed(one.image), "attributes": one.attributes, "id": one.id}
                for one in item.annotations
                if one.type == AnnotationType.mask
            ],
        }
    )
answer({"labels": labels, "items": items})
