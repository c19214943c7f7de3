"""Write a brush mask of 8 x 10 pixels with Label Studio's SDK, as JSON and converted to JSON-MIN: DIRECTORY."""

from __future__ import annotations

import json
import sys

import numpy as np
from label_studio_sdk.converter import Converter
from label_studio_sdk.converter.brush import mask2rle

directory = sys.argv[1]
config = (
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="tag" toName="image"><Label value="car"/><Label value="tree"/></BrushLabels></View>'
)
mask = np.zeros((8, 10), np.uint8)
mask[1:4, 1:5] = 255
value = {"format": "rle", "rle": mask2rle(mask), "brushlabels": ["tree"]}
result = {
    "id": "a1",
    "from_name": "tag",
    "to_name": "image",
    "type": "brushlabels",
    "original_width": 10,
    "original_height": 8,
    "image_rotation": 0,
    "value": value,
}
outdated = {**result, "value": {**value, "brushlabels": ["car"]}}
facts = {"completed_by": 1, "lead_time": 1.5, "was_cancelled": False}
annotations = [
    {"id": 1, "created_at": "2026-11-30T09:00:00Z", "updated_at": "2026-11-30T11:00:00Z", "result": [result], **facts},
    {
        "id": 2,
        "created_at": "2026-11-30T10:00:00Z",
        "updated_at": "2026-11-30T10:00:00Z",
        "result": [outdated],
        **facts,
    },
]
task = {"id": 5, "data": {"image": "/data/upload/1/0a1b2c3d-a.png"}, "annotations": annotations, "predictions": []}
empty = {"id": 6, "data": {"image": "/data/upload/1/0a1b2c3e-b.png"}, "annotations": [], "predictions": []}
with open(f"{directory}/export.json", "w", encoding="utf-8") as file:
    json.dump([task, empty], file)
Converter(config, directory).convert_to_json_min(f"{directory}/export.json", f"{directory}/min", is_dir=False)
