"""Give one region another label and export the data set again with FiftyOne: DIRECTORY OUT FORMAT RANK LABEL."""

from __future__ import annotations

import sys

from in_memory_fiftyone import fiftyone

directory, out, _, rank, label = sys.argv[1:]
data = fiftyone.Dataset.from_dir(dataset_dir=directory, dataset_type=fiftyone.types.FiftyOneDataset)
for sample in data.iter_samples():
    for detection in sample.regions.detections:
        if detection["rank"] == int(rank):
            detection.label = label
    sample.save()
data.export(export_dir=out, dataset_type=fiftyone.types.FiftyOneDataset, export_media=False)
