"""Write two images of 8 x 10 pixels and their annotations with Datumaro: OUT FORMAT."""

from __future__ import annotations

import sys

import numpy as np
from datumaro import AnnotationType, Bbox, Dataset, DatasetItem, Ellipse, Image, LabelCategories, Mask, Polygon
from datumaro.components.annotation import MaskCategories

out, form = sys.argv[1:]
picture = Image.from_numpy(np.zeros((8, 10, 3), np.uint8), ext=".png")
inside = np.zeros((8, 10), bool)
inside[1:4, 1:5] = True
if form == "voc_segmentation":
    first = [Mask(inside, label=1)]
    second = [Mask(~inside, label=0)]
else:
    polygon = Polygon([1, 1, 5, 1, 5, 4, 1, 4], label=1, z_order=1, attributes={"rank": 7})
    first = (
        [polygon, Bbox(2, 2, 6, 5, label=0, z_order=0)] if form != "yolo_ultralytics" else [Bbox(1, 1, 4, 3, label=1)]
    )
    second = [Mask(inside, label=1), Ellipse(6, 0, 9, 3, label=0)] if form == "datumaro" else []
items = [
    DatasetItem("a", subset="train", media=picture, annotations=first),
    DatasetItem("b", subset="val", media=picture, annotations=second),
]
colors = {0: (9, 9, 200), 1: (20, 160, 20)}
names = ["car", "tree"]
if form == "voc_segmentation":  # the number 0 is that of pixels without a label
    names, colors = ["background", *names], {0: (0, 0, 0), 1: colors[0], 2: colors[1]}
    for item in items:
        for annotation in item.annotations:
            annotation.label += 1
categories = {
    AnnotationType.label: LabelCategories.from_iterable(names),
    AnnotationType.mask: MaskCategories(colormap=colors),
}
Dataset.from_iterable(items, categories=categories).export(out, form, save_media=True)
