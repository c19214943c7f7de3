"""Import a data set with FiftyOne, whose database is simulated in memory: argument DIRECTORY."""

from __future__ import annotations

import os
import sys

from common import encode_mask, write_result
from in_memory_fiftyone import fiftyone

data = fiftyone.Dataset.from_dir(dataset_dir=sys.argv[1], dataset_type=fiftyone.types.FiftyOneDataset)
samples = []
for sample in data.iter_samples():
    fields = {
        name: sample[name] for name in data.get_field_schema() if isinstance(sample[name], str | int | float | None)
    }
    regions = []
    for detection in sample.regions.detections:
        size = (sample.metadata.width, sample.metadata.height)
        mask = detection.to_segmentation(frame_size=size, target=1).mask
        attributes = {
            name: detection[name]
            for name in detection.field_names
            if isinstance(detection[name], str | int | float | None)
        }
        regions.append({"mask": encode_mask(mask > 0), **attributes})
    given = None if sample.given is None else sample.given.get_mask().tolist()
    samples.append(
        {
            "fields": fields,
            "regions": regions,
            "given": given,
            "has_image": os.path.isfile(sample.filepath),
        }
    )
write_result(
    {
        "samples": samples,
        "targets": {str(k): v for k, v in data.mask_targets["given"].items()},
        "schema": {name: type(field).__name__ for name, field in data.get_field_schema().items()},
        "classes": data.classes["regions"],
    }
)
