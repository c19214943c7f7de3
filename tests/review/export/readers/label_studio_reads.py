"""Label Studio's own decoder of brush masks, and its reader of labelling interfaces: FOLDER."""

from __future__ import annotations

import json
import sys

from common import answer, packed
from label_studio_sdk.converter.brush import decode_rle, encode_rle
from label_studio_sdk.label_interface import LabelInterface

folder = sys.argv[1]
with open(f"{folder}/tasks.json", encoding="utf-8") as file:
    tasks = json.load(file)
with open(f"{folder}/label_config.xml", encoding="utf-8") as file:
    interface = LabelInterface(file.read())
found = []
for task in tasks:
    for result in task["predictions"][0]["result"]:
        values = decode_rle(result["value"]["rle"])
        pixels = values.reshape(result["original_height"], result["original_width"], 4)
        found.append(
            {
                "id": result["id"],
                "mask": packed(pixels[..., 3] > 0),
                "values": sorted({*values.tolist()}),
                "alike": bool((pixels == pixels[..., :1]).all()),
                # theirs ends with a byte of zeros more where the bits are whole bytes
                "again": encode_rle(values)[: len(result["value"]["rle"])] == result["value"]["rle"],
            }
        )
labels = list(interface.get_control("label").labels)
valid = [interface.validate_prediction(one) for task in tasks for one in task["predictions"]]
valid += [interface.validate_task({"data": task["data"]}) for task in tasks]
answer({"regions": found, "labels": labels, "valid": valid})
