"""Give one region another label and export the data set again with Datumaro: DIRECTORY OUT FORMAT RANK LABEL."""

from __future__ import annotations

import sys

from datumaro import AnnotationType, Dataset

directory, out, form, rank, label = sys.argv[1:]
data = Dataset.import_from(directory, form)
number, _ = data.categories()[AnnotationType.label].find(label)
for item in data:
    for annotation in item.annotations:
        if annotation.attributes.get("rank") == int(rank):
            annotation.label = number
    data.put(item)
data.export(out, {"coco": "coco_instances"}.get(form, form), save_media=False)
