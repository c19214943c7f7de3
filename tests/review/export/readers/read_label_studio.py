"""Decode brush masks and validate the labeling interface with Label Studio's SDK: argument DIRECTORY."""

from __future__ import annotations

import json
import sys

from common import encode_mask, write_result
from label_studio_sdk.converter.brush import decode_rle, encode_rle
from label_studio_sdk.label_interface import LabelInterface

directory = sys.argv[1]
with open(f"{directory}/tasks.json", encoding="utf-8") as file:
    tasks = json.load(file)
with open(f"{directory}/label_config.xml", encoding="utf-8") as file:
    interface = LabelInterface(file.read())
regions = []
for task in tasks:
    for result in task["predictions"][0]["result"]:
        values = decode_rle(result["value"]["rle"])
        pixels = values.reshape(result["original_height"], result["original_width"], 4)
        regions.append(
            {
                "id": result["id"],
                "mask": encode_mask(pixels[..., 3] > 0),
                "values": sorted({*values.tolist()}),
                "channels_equal": bool((pixels == pixels[..., :1]).all()),
                # encode_rle appends a zero byte if the bits fill whole bytes
                "encoding_equal": encode_rle(values)[: len(result["value"]["rle"])] == result["value"]["rle"],
            }
        )
labels = list(interface.get_control("label").labels)
valid = [interface.validate_prediction(prediction) for task in tasks for prediction in task["predictions"]]
valid += [interface.validate_task({"data": task["data"]}) for task in tasks]
write_result({"regions": regions, "labels": labels, "valid": valid})
