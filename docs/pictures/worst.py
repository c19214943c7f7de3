"""Draw the worst image of each error type of the demo, for README.md.

    python docs/pictures/worst.py demo-run docs/assets/worst.png

Each row shows the RGB image, the given labels with their known error, the prediction and the flagged pixels.
"""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import zarr
from PIL import Image

from masksift.review.rendering.palette import class_colors
from masksift.review.rendering.panels import figure_png, new_figure

ERROR_TYPES = ("swap", "drop", "shift")
FLAGGED_COLOR = (255, 70, 40)
PANEL_INCHES = (2.64, 1.32)
ROW_INCHES = 1.52
COLORS_OF_FILE = 256


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        sys.stderr.write("usage: worst.py DEMO_RUN OUT.png\n")
        return 2
    demo, out = map(Path, arguments)
    with (demo / "truth.csv").open(newline="") as file:
        errors = {row["image_id"]: row for row in csv.DictReader(file)}
    ranking = pq.read_table(demo / "results/ranking", columns=["rank", "image_id", "index"]).to_pylist()
    worst = pq.read_table(
        demo / "results/images", columns=["image_id", "worst_given", "worst_suggested", "worst_pixels"]
    ).to_pylist()
    pairs = {row["image_id"]: row for row in worst}
    source = zarr.open_group(demo / "source.zarr", mode="r")
    evidence = zarr.open_group(demo / "results/evidence/source.zarr", mode="r")
    names = list(source.attrs["class_names"])
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(names)] = class_colors(len(names))
    rows = [
        next(row for row in ranking if errors.get(row["image_id"], {}).get("kind") == error_type)
        for error_type in ERROR_TYPES
    ]
    figure = new_figure(4 * PANEL_INCHES[0], len(rows) * ROW_INCHES)
    axes = figure.subplots(len(rows), 4)
    for row, line in zip(rows, axes, strict=True):
        image_id, index = row["image_id"], row["index"]
        rgb, pair = np.asarray(source["images"][index]), pairs[image_id]
        error = f"{errors[image_id]['kind']}: {', '.join(errors[image_id]['classes'].split('|'))}"
        flagged = np.asarray(evidence["issue_mask"][index]).astype(bool)
        classes = f"{names[pair['worst_given']]} -> {names[pair['worst_suggested']]}"
        panels = {
            f"rank {row['rank']}: {image_id}": rgb,
            f"given labels ({error})": colors[np.asarray(source["labels"][index])],
            "prediction": colors[np.asarray(evidence["predicted_class"][index])],
            f"flagged: {classes}, {pair['worst_pixels']:,} px": np.where(
                flagged[..., np.newaxis], np.array(FLAGGED_COLOR, np.uint8), rgb // 3
            ),
        }
        for axis, (title, panel) in zip(line, panels.items(), strict=True):
            axis.set_axis_off()
            axis.imshow(panel, interpolation="antialiased")
            axis.set_title(title, fontsize=7, loc="left", pad=3)
    picture = Image.open(io.BytesIO(figure_png(figure))).convert("RGB")
    picture.quantize(COLORS_OF_FILE).save(out, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
