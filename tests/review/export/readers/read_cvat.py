"""Decode masks with CVAT's SDK: JSON list of [points, width, height] on standard input."""

from __future__ import annotations

import json
import sys

import common
from cvat_sdk.masks import decode_mask, encode_mask

encoded_masks = json.load(sys.stdin)
masks = [decode_mask(points, image_width=width, image_height=height) for points, width, height in encoded_masks]
common.write_result(
    {"masks": [common.encode_mask(mask) for mask in masks], "encoded": [encode_mask(mask) for mask in masks]}
)
