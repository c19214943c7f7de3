"""CVAT's own decoder of masks, of its SDK: lists of [points, width, height] on the standard input."""

from __future__ import annotations

import json
import sys

from common import answer, packed
from cvat_sdk.masks import decode_mask, encode_mask

told = json.load(sys.stdin)
masks = [decode_mask(points, image_width=width, image_height=height) for points, width, height in told]
answer({"masks": [packed(mask) for mask in masks], "again": [encode_mask(mask) for mask in masks]})
