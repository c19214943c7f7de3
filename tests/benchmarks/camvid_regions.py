"""Draw the worst label regions of CamVid: `PYTHONPATH=tests python -m benchmarks.camvid_regions FILE.png [ORDER] [N]`.

Runs masksift on the original annotations of the sample next to the checkout, with the predictions that come with it,
and draws the surroundings of the first N (10) label regions by ORDER (priority): image, given labels, prediction.
Prints their rows of the table of regions.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from masksift.config.load import build_run_config
from masksift.config.sections import StorageSection
from masksift.engine.completed_run import CompletedRun, open_completed_run
from masksift.engine.image_views import ImageView, ImageViewReader
from masksift.engine.region_table import LABEL
from masksift.review.rendering.palette import class_colors
from masksift.review.rendering.panels import colorize, draw_outline, figure_png, new_figure, region_text
from masksift.runner import run
from masksift.runtime.progress import ProgressReporter

CAMVID = Path(__file__).resolve().parents[3] / "shared" / "camvid" / "camvid.zarr"
PANEL, GAP, LINE = 1.45, 0.06, 0.22
"""Inches: side of a panel, gap between panels, height of a text line."""
MIN_PIXELS = 112
"""Least height and width of the shown area in pixels, for context."""


def main(file: str, order: str = "priority", count: str = "10") -> None:
    with tempfile.TemporaryDirectory(prefix="masksift-") as folder:
        options = {
            "sources": [str(CAMVID)],
            "out": folder,
            "executor": {"kind": "serial"},
            "regions": {"rank_by": order},
        }
        run(build_run_config(options, {}), ProgressReporter("quiet"))
        completed = open_completed_run(folder, StorageSection())
        regions = list(
            islice(
                (row for table in completed.region_tables() for row in table.to_pylist() if row["kind"] == LABEL),
                int(count),
            )
        )
        Path(file).write_bytes(_reduce_colors(figure_png(_figure(completed, regions))))
    for number, region in enumerate(regions, 1):
        box = f"rows {region['y0']}:{region['y1']}, columns {region['x0']}:{region['x1']}"
        print(
            f"{number:>2}  {region['image_id']}  {region_text(region)}, priority {region['priority']:,.1f}, "
            f"evidence {region['evidence']:,.0f}, {box}"
        )
    print(f"{file}: {Path(file).stat().st_size:,} bytes")


def _figure(completed: CompletedRun, regions: list[dict[str, Any]]) -> Any:
    width, tile = 2 * 3 * (PANEL + GAP) + 2 * GAP + 0.15, PANEL + LINE + 2 * GAP
    height = LINE + tile * -(-len(regions) // 2) + 2 * LINE
    figure = new_figure(width, height, constrained=False)
    figure.text(GAP / width, 1 - 0.05 / height, "image · given labels · prediction", fontsize=8, va="top")
    for number, region in enumerate(regions):
        row, column = divmod(number, 2)
        x, y = GAP + column * (width - GAP) / 2, LINE + row * tile
        caption = f"{number + 1}  {region['image_id']}: {region_text(region)}"
        figure.text(x / width, 1 - y / height, caption, fontsize=8, va="top")
        for place, panel in enumerate(_panels(completed, region)):
            left, down = x + place * (PANEL + GAP), y + LINE - 0.04
            axes = figure.add_axes((left / width, 1 - (down + PANEL) / height, PANEL / width, PANEL / height))
            axes.set_axis_off()
            axes.imshow(
                panel,
                interpolation="antialiased" if place == 0 else "nearest",
                extent=(0, region["width"], region["height"], 0),
            )
            if place != 1:  # the region has the shape of the label, and a pole is hardly wider than an outline
                draw_outline(axes, region)
            _frame(axes, region)
    _legend(figure, completed.class_names, 1.4 * LINE / height)
    return figure


def _panels(completed: CompletedRun, region: Mapping[str, Any]) -> list[Any]:
    viewer = ImageViewReader(
        completed.context, completed.find_task(region["source"], region["index"]), "images", predicted=True
    )
    view: ImageView = viewer.view(region["index"])
    assert view.given is not None
    assert view.predicted is not None
    classes = len(completed.class_names)
    return [view.rgb, colorize(view.given, classes), colorize(view.predicted, classes)]


def _frame(axes: Any, region: Mapping[str, Any]) -> None:
    """Limit the axes to a square around the region, inside the image."""
    extent = max(region["y1"] - region["y0"], region["x1"] - region["x0"])
    side = min(max(MIN_PIXELS, round(1.5 * extent)), region["height"], region["width"])
    first = [
        int(np.clip((region[f"{axis}0"] + region[f"{axis}1"] - side) // 2, 0, region[size] - side))
        for axis, size in (("y", "height"), ("x", "width"))
    ]
    axes.set_ylim(first[0] + side, first[0])
    axes.set_xlim(first[1], first[1] + side)


def _legend(figure: Any, names: tuple[str, ...], y: float) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(color=color / 255, label=name) for name, color in zip(names, class_colors(len(names)), strict=True)
    ]
    handles.append(Patch(color="black", label="(no label)"))
    figure.legend(
        handles=handles,
        loc="center",
        bbox_to_anchor=(0.5, y),
        ncols=len(handles),
        frameon=False,
        fontsize=7,
        handlelength=1.2,
        columnspacing=1.1,
        handletextpad=0.4,
    )


def _reduce_colors(data: bytes) -> bytes:
    """Reduce a PNG to 256 colors."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
        buffer, format="png", optimize=True
    )
    return buffer.getvalue()


if __name__ == "__main__":
    main(*sys.argv[1:])
