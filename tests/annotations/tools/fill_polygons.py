"""Draw polygons of standard input, each in an image of 40 x 40 pixels, with OpenCV, as Supervisely's SDK does."""

from __future__ import annotations

import json
import sys

import cv2
import numpy as np

planes = []
for polygon in json.load(sys.stdin):
    plane = np.zeros((40, 40), np.uint8)
    cv2.fillPoly(plane, [np.array(polygon, np.int32)], 1)
    planes.append("".join(map(str, plane.ravel().tolist())))
sys.stdout.write(json.dumps(planes) + "\n")
