"""One image drawn: its picture, the classes given and predicted, and what is flagged, with its regions outlined.

matplotlib is imported where something is drawn: nothing else needs it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len, set_cell_size

from masksift.core.errors import UsageError
from masksift.core.status import SCORED
from masksift.core.text import escape_unprintable
from masksift.engine.image_views import ImageView
from masksift.review.rendering.palette import class_colors

PANEL_SIDE_PIXELS = 640
"""Pixels of the longer side of a panel, where nothing is said: what is larger is reduced."""
MAX_OUTLINED_REGIONS = 8
"""Regions of an image that are outlined and told, those with most evidence."""

DPI = 144
"""Pixels of a figure an inch."""
FONT_SIZE_POINTS = 8
"""Size of its letters, points."""
_LONGEST = 40
"""Widths of a letter that are shown of a class name."""
_NO_LABEL, _NO_CLASS = (0, 0, 0), (255, 255, 255)
"""Colours of pixels that are ignored, and of labels that are no class: no class has one like them."""
_FLAGGED, _PLAIN = (255, 70, 40), (64, 64, 64)
"""Colours of flagged pixels, and of all others where there is no picture."""


def require_matplotlib() -> None:
    """Raises UsageError where matplotlib is missing."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as e:
        raise UsageError(
            "the package matplotlib is not there",
            "nothing can be drawn",
            "Install it: pip install 'masksift[show]'",
        ) from e


def new_figure(width: float, height: float, *, constrained: bool = True) -> Any:
    """A figure of so many inches without a display, which no other figure of the process knows of. A notebook shows it
    where it is a cell's last value."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(width, height), dpi=DPI, layout="constrained" if constrained else None)
    FigureCanvasAgg(figure)
    figure._repr_png_ = partial(figure_png, figure)
    return figure


def figure_png(figure: Any) -> bytes:
    """The same figure gives the same bytes: no date, no version in them."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


# ------------------------------------------------------------------------------------------------- what is drawn


def colorize(plane: NDArray[np.unsignedinteger], classes: int) -> NDArray[np.uint8]:
    """Class numbers (h, w) in their colours (h, w, 3): black where there is no label, white where it is no class."""
    table = np.concatenate([class_colors(classes), np.array([_NO_CLASS, _NO_LABEL], np.uint8)])
    none = int(np.iinfo(plane.dtype).max)
    number = np.minimum(plane, classes).astype(np.intp)
    number[plane == none] = classes + 1
    colour: NDArray[np.uint8] = table[number]
    return colour


def make_panels(view: ImageView, classes: int) -> dict[str, NDArray[np.uint8]]:
    """What there is to see of an image, (h, w, 3) each, by its caption, in order: nothing in place of what is lost."""
    found = {} if view.picture is None else {"picture": view.picture}
    for caption, plane in (("given labels", view.given), ("predicted", view.predicted)):
        if plane is not None:
            found[caption] = colorize(plane, classes)
    if view.flagged is not None:
        dark = np.full((*view.flagged.shape, 3), _PLAIN, np.uint8) if view.picture is None else view.picture // 3
        found["flagged"] = np.where(view.flagged[..., np.newaxis], np.array(_FLAGGED, np.uint8), dark)
    return found


def region_outline(region: Mapping[str, Any], factor: int = 1) -> NDArray[np.int64]:
    """The outline of a region as n lines (n, 2, 2) of x, y, in pixels of the whole image: the sides of the pixels that
    part it from what is outside. ``region``: a row of the table of regions; ``factor``: by which the image is reduced,
    and the region's mask with it, whose pixels are set where any is."""
    mask, top, left = _reduced_mask(region, factor)
    framed = np.pad(mask, 1)
    y, x = np.nonzero(framed[1:, 1:-1] != framed[:-1, 1:-1])
    across = np.stack([np.stack([x, y], axis=1), np.stack([x + 1, y], axis=1)], axis=1)
    y, x = np.nonzero(framed[1:-1, 1:] != framed[1:-1, :-1])
    down = np.stack([np.stack([x, y], axis=1), np.stack([x, y + 1], axis=1)], axis=1)
    lines = (np.concatenate([across, down]) + np.array([left, top])) * factor
    inside: NDArray[np.int64] = np.minimum(lines, np.array([region["width"], region["height"]]))
    return inside


def _reduced_mask(region: Mapping[str, Any], factor: int) -> tuple[NDArray[np.bool_], int, int]:
    """The pixels of a region within its box, reduced, and where the box begins, in reduced pixels: row, column. The
    whole image is never held, which may have a thousand million pixels."""
    height = region["height"]
    ends = np.cumsum(np.asarray(region["rle"], np.int64))
    starts, stops = ends[0::2][: len(ends) // 2], ends[1::2]
    first, last = starts // height, (stops - 1) // height  # columns: a run may go on at the top of the next
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


# --------------------------------------------------------------------------------------------------- what is said


def region_text(region: Mapping[str, Any]) -> str:
    """What a row of the table of regions says: "given road, suggested sidewalk, 4,120 px"."""
    given = "no label given" if region["given"] is None else f"given {_short(region['given_name'])}"
    return f"{given}, suggested {_short(region['suggested_name'])}, {region['area']:,} px"


def more_regions_text(regions: int) -> str:
    """How many are not outlined; nothing where all are."""
    return f"and {regions:,} {'regions' if regions > 1 else 'region'} with less evidence" if regions > 0 else ""


def image_title(row: Mapping[str, Any], by: str, rank: int | None, ranked: int) -> list[str]:
    """What stands above an image: what it is called and, if it is scored, its rank and score; else why not. ``row``: of
    the table of images; ``rank``: among ``ranked`` by the score ``by``."""
    name = escape_unprintable(row["image_id"])
    if row["status"] != SCORED:
        return [
            f"{name} · not scored: {row['status']}",
            *([escape_unprintable(row["reason"])] if row["reason"] else []),
        ]
    place = "" if rank is None else f" · rank {rank:,} of {ranked:,}"
    score = "" if row[by] is None else f" · {by} {row[by]:.4f}"
    pixels = f"{row['flagged_pixels']:,} of {row['valid_pixels']:,} pixels flagged"
    return [f"{name}{place}{score} · {pixels}"]


def _short(name: str) -> str:
    text = escape_unprintable(name)
    return text if cell_len(text) <= _LONGEST else f"{set_cell_size(text, _LONGEST - 1).rstrip()}…"


def make_legend(view: ImageView, class_names: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """What the colours of an image mean: the classes that occur, those with most pixels first, and what is none."""
    classes = len(class_names)
    planes = [plane for plane in (view.given, view.predicted) if plane is not None]
    counts = np.zeros(1 << 16, np.int64)
    nones = bad = 0
    for plane in planes:
        none = int(np.iinfo(plane.dtype).max)
        found = np.bincount(plane.reshape(-1), minlength=len(counts))
        nones, bad = nones + int(found[none]), bad + int(found[classes:none].sum())
        counts[:classes] += found[:classes]
    palette = class_colors(classes)
    order = [int(k) for k in np.argsort(-counts, kind="stable") if counts[k]]
    names = [_short(class_names[k]) for k in order]
    # two classes may be cut to one name, or have one
    told = [name if names.count(name) == 1 else f"{k} {name}" for k, name in zip(order, names, strict=True)]
    legend = {name: _of_unit(palette[k]) for k, name in zip(order, told, strict=True)}
    if nones:
        legend["(no label)"] = _of_unit(_NO_LABEL)
    if bad:
        legend["(no class)"] = _of_unit(_NO_CLASS)
    return legend


def _of_unit(colour: Sequence[int] | NDArray[np.uint8]) -> tuple[float, ...]:
    return tuple(int(part) / 255 for part in colour)


# ------------------------------------------------------------------------------------------------------- drawing it


def draw_outline(axes: Any, region: Mapping[str, Any], factor: int = 1, number: str = "") -> None:
    """Draw the outline of a region into a panel that has the pixels of the whole image as its units, black in white, so
    that it shows on every colour; a ``number`` at its middle."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path
    from matplotlib.patheffects import withStroke

    lines = region_outline(region, factor)
    path = Path(lines.reshape(-1, 2), np.tile([Path.MOVETO, Path.LINETO], len(lines)))
    for width, colour in ((1.8, "white"), (0.7, "black")):
        axes.add_artist(PathPatch(path, fill=False, edgecolor=colour, linewidth=width, capstyle="projecting"))
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
