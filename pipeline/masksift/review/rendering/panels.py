"""Panels of one image (RGB, given labels, prediction, flagged pixels), region outlines and captions.

matplotlib is imported inside functions, because only drawing needs it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import UsageError
from masksift.core.specs import Color
from masksift.core.status import SCORED
from masksift.core.text import escape_unprintable, truncate
from masksift.engine.image_views import ImageView
from masksift.review.rendering.palette import class_colors

PANEL_SIDE_PIXELS = 640
"""Default for the longer side of a panel; larger images are reduced."""
MAX_OUTLINED_REGIONS = 8

DPI = 144
FONT_SIZE_POINTS = 8
_MAX_NAME_WIDTH = 40
_OTHER_COLORS = (0, 0, 0), (255, 255, 255), (127, 127, 127), (63, 63, 63)
"""Colors of pixels without a label and of invalid values: the first two that no class has."""
_FLAGGED_COLOR, _BACKGROUND_COLOR = (255, 70, 40), (64, 64, 64)


def require_matplotlib() -> None:
    """Raise UsageError if matplotlib is not installed."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as e:
        raise UsageError("matplotlib is not installed", "Run `pip install 'masksift[show]'`") from e


def new_figure(width: float, height: float, *, constrained: bool = True) -> Any:
    """Create a figure (inches) without a display and outside of pyplot; a notebook shows it as the value of a cell."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(width, height), dpi=DPI, layout="constrained" if constrained else None)
    FigureCanvasAgg(figure)
    figure._repr_png_ = partial(figure_png, figure)
    return figure


def figure_png(figure: Any) -> bytes:
    """Encode a figure as PNG without date and version, so that equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def colorize(plane: NDArray[np.unsignedinteger], classes: int, colors: Sequence[Color] = ()) -> NDArray[np.uint8]:
    """Color class numbers (h, w) as (h, w, 3), with two further colors for no label and for values without a class."""
    no_label, invalid = _other_colors(colors)
    table = np.concatenate([class_colors(classes, colors), np.array([invalid, no_label], np.uint8)])
    number = np.minimum(plane, classes).astype(np.intp)
    number[plane == np.iinfo(plane.dtype).max] = classes + 1
    colored: NDArray[np.uint8] = table[number]
    return colored


def _other_colors(colors: Sequence[Color]) -> tuple[Color, Color]:
    """Return the colors of pixels without a label and of values that are not a class."""
    no_label, invalid, *_ = [color for color in _OTHER_COLORS if color not in colors] + [*_OTHER_COLORS]
    return no_label, invalid


def make_panels(view: ImageView, classes: int, colors: Sequence[Color] = ()) -> dict[str, NDArray[np.uint8]]:
    """Make the panels (h, w, 3) of an image by caption, without those whose data are missing."""
    panels = {} if view.rgb is None else {"picture": view.rgb}
    for caption, plane in (("given labels", view.given), ("predicted", view.predicted)):
        if plane is not None:
            panels[caption] = colorize(plane, classes, colors)
    if view.flagged is not None:
        dark = view.rgb // 3 if view.rgb is not None else np.array(_BACKGROUND_COLOR, np.uint8)
        panels["flagged"] = np.where(view.flagged[..., np.newaxis], np.array(_FLAGGED_COLOR, np.uint8), dark)
    return panels


def region_outline(region: Mapping[str, Any], factor: int = 1) -> NDArray[np.int64]:
    """Trace the outline of a region along pixel edges.

    Args:
        region: Row of the region table.
        factor: Reduction factor of the image. The region mask is reduced too: a reduced pixel is set if any of its
            pixels is.

    Returns:
        Line segments (n, 2, 2) between points (x, y), in pixels of the full image.
    """
    mask, top, left = _reduced_mask(region, factor)
    padded = np.pad(mask, 1)
    y, x = np.nonzero(padded[1:, 1:-1] != padded[:-1, 1:-1])
    horizontal = np.stack([np.stack([x, y], axis=1), np.stack([x + 1, y], axis=1)], axis=1)
    y, x = np.nonzero(padded[1:-1, 1:] != padded[1:-1, :-1])
    vertical = np.stack([np.stack([x, y], axis=1), np.stack([x, y + 1], axis=1)], axis=1)
    lines = (np.concatenate([horizontal, vertical]) + np.array([left, top])) * factor
    clipped: NDArray[np.int64] = np.minimum(lines, np.array([region["width"], region["height"]]))
    return clipped


def _reduced_mask(region: Mapping[str, Any], factor: int) -> tuple[NDArray[np.bool_], int, int]:
    """Decode a region within its box into reduced pixels; returns the mask and the first row and column of the box."""
    # memory grows with the box: a full image may have a billion pixels
    height = region["height"]
    ends = np.cumsum(np.asarray(region["rle"], np.int64))
    starts, stops = ends[0::2][: len(ends) // 2], ends[1::2]
    first, last = starts // height, (stops - 1) // height  # columns: a run may continue at the top of the next
    run = np.repeat(np.arange(len(starts)), last - first + 1)
    x = first[run] + np.arange(len(run)) - np.searchsorted(run, run)
    y0 = np.where(x == first[run], starts[run] % height, 0) // factor
    y1 = np.where(x == last[run], (stops[run] - 1) % height, height - 1) // factor + 1
    top, left = region["y0"] // factor, region["x0"] // factor
    shape = (region["y1"] - 1) // factor + 1 - top, (region["x1"] - 1) // factor + 1 - left
    steps = np.zeros((shape[0] + 1, shape[1]), np.int32)
    np.add.at(steps, (y0 - top, x // factor - left), 1)
    np.add.at(steps, (y1 - top, x // factor - left), -1)
    return np.cumsum(steps[:-1], axis=0) > 0, int(top), int(left)


def region_text(region: Mapping[str, Any]) -> str:
    """Describe a row of the region table: "given road, suggested sidewalk, 4,120 px"."""
    given = "no label given" if region["given"] is None else f"given {_short(region['given_name'])}"
    return f"{given}, suggested {_short(region['suggested_name'])}, {region['area']:,} px"


def more_regions_text(regions: int) -> str:
    """Describe the number of regions that are not outlined; empty for zero."""
    return f"and {regions:,} {'regions' if regions > 1 else 'region'} of lower rank" if regions > 0 else ""


def image_title(row: Mapping[str, Any], by: str, rank: int | None, ranked: int) -> list[str]:
    """Describe a row of the image table in lines: id, rank and score ``by``, or the reason of its quarantine."""
    name = escape_unprintable(row["image_id"])
    if row["status"] != SCORED:
        reason = [escape_unprintable(row["reason"])] if row["reason"] else []
        return [f"{name} · not scored: {row['status']}", *reason]
    position = "" if rank is None else f" · rank {rank:,} of {ranked:,}"
    score = "" if row[by] is None else f" · {by} {row[by]:.4f}"
    pixels = f"{row['flagged_pixels']:,} of {row['valid_pixels']:,} pixels flagged"
    return [f"{name}{position}{score} · {pixels}"]


def _short(name: str) -> str:
    return truncate(escape_unprintable(name), _MAX_NAME_WIDTH)


def make_legend(
    view: ImageView, class_names: Sequence[str], colors: Sequence[Color] = ()
) -> dict[str, tuple[float, ...]]:
    """Map the name of each class in an image to its color, most pixels first, then the values without a class."""
    classes = len(class_names)
    counts = np.zeros(1 << 16, np.int64)
    unlabeled = invalid = 0
    for plane in (view.given, view.predicted):
        if plane is not None:
            no_label = int(np.iinfo(plane.dtype).max)
            plane_counts = np.bincount(plane.reshape(-1), minlength=len(counts))
            unlabeled += int(plane_counts[no_label])
            invalid += int(plane_counts[classes:no_label].sum())
            counts[:classes] += plane_counts[:classes]
    palette, (no_label_color, invalid_color) = class_colors(classes, colors), _other_colors(colors)
    order = [int(k) for k in np.argsort(-counts, kind="stable") if counts[k]]
    names = [_short(class_names[k]) for k in order]
    # names may repeat, also because they are truncated
    unique = [name if names.count(name) == 1 else f"{k} {name}" for k, name in zip(order, names, strict=True)]
    legend = {name: _to_unit(palette[k]) for k, name in zip(order, unique, strict=True)}
    if unlabeled:
        legend["(no label)"] = _to_unit(no_label_color)
    if invalid:
        legend["(no class)"] = _to_unit(invalid_color)
    return legend


def _to_unit(color: Sequence[int] | NDArray[np.uint8]) -> tuple[float, ...]:
    return tuple(int(channel) / 255 for channel in color)


def draw_outline(axes: Any, region: Mapping[str, Any], factor: int = 1, number: str = "") -> None:
    """Draw the outline of a region, black on white to be visible on every color, and a number at its center."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path
    from matplotlib.patheffects import withStroke

    lines = region_outline(region, factor)
    path = Path(lines.reshape(-1, 2), np.tile([Path.MOVETO, Path.LINETO], len(lines)))
    for width, color in ((1.8, "white"), (0.7, "black")):
        axes.add_artist(PathPatch(path, fill=False, edgecolor=color, linewidth=width, capstyle="projecting"))
    if number:
        axes.text(
            region["centroid_x"] + 0.5,
            region["centroid_y"] + 0.5,
            number,
            color="black",
            fontsize=FONT_SIZE_POINTS,
            fontweight="bold",
            ha="center",
            va="center",
            clip_on=True,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )
