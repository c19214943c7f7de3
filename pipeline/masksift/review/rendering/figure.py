"""Figure of one image: title, panels, region list, notes and legend.

matplotlib is imported inside functions, because only drawing needs it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from masksift.core.specs import Color
from masksift.engine.image_views import ImageView
from masksift.review.rendering.panels import (
    DPI,
    FONT_SIZE_POINTS,
    PANEL_SIDE_PIXELS,
    draw_outline,
    make_legend,
    make_panels,
    new_figure,
    region_text,
)

_MIN_PANEL_INCHES = 1.6, 0.4
"""Smallest width and height of a panel: its caption needs room."""
_MIN_WIDTH_INCHES = 5.0
_GAP_INCHES, _MARGIN_INCHES, _LINE_INCHES, _CAPTION_INCHES = 0.12, 0.15, 0.185, 0.22
_SWATCH_INCHES = 0.2, 0.12
_TITLE_POINTS, _CAPTION_POINTS = 10, 9


def draw_figure(
    view: ImageView,
    class_names: Sequence[str],
    title: Sequence[str],
    regions: Sequence[Mapping[str, Any]] = (),
    notes: Sequence[str] = (),
    side: int = PANEL_SIDE_PIXELS,
    class_colors: Sequence[Color] = (),
) -> Any:
    """Draw an image with all of its panels.

    Args:
        view: Image and planes.
        class_names: Names of the classes.
        title: Lines above the panels.
        regions: Rows of the region table to outline, number and list.
        notes: Lines below the region list.
        side: Longer side of a panel, pixels.
        class_colors: Colors of the classes; default: generated ones.

    Returns:
        A matplotlib figure.
    """
    from matplotlib import style

    with style.context("default"):  # colors stand for classes: the user's style must not change them
        return _Layout(view, class_names, title, regions, notes, side, class_colors).figure()


class _Layout:
    """Positions of all parts of the figure, in inches from the upper left corner."""

    def __init__(
        self,
        view: ImageView,
        class_names: Sequence[str],
        title: Sequence[str],
        regions: Sequence[Mapping[str, Any]],
        notes: Sequence[str],
        side: int,
        class_colors: Sequence[Color],
    ) -> None:
        self._view, self._regions = view, regions
        self._panels = make_panels(view, len(class_names), class_colors)
        height, width = view.size
        scale = max(1, side // -(-max(height, width) // view.factor))  # figure pixels per panel pixel, an integer
        self._unit = scale / view.factor / DPI
        self._slot = max(self._unit * width, _MIN_PANEL_INCHES[0]), max(self._unit * height, _MIN_PANEL_INCHES[1])
        count = max(1, len(self._panels))
        self._columns = 2 if 2 * width >= height and count > 2 else count
        panels_width = self._columns * (self._slot[0] + _GAP_INCHES) - _GAP_INCHES
        self._width = max(_MIN_WIDTH_INCHES, 2 * _MARGIN_INCHES + panels_width)
        self._text_width = self._width - 2 * _MARGIN_INCHES
        region_lines = [f"{number}  {region_text(region)}" for number, region in enumerate(regions, 1)]
        self._legend = make_legend(view, class_names, class_colors)
        self._families, self._missing = _select_fonts("".join([*title, *region_lines, *notes, *self._legend]))
        self._renderer: Any = _new_renderer()
        self._title, self._notes = self._wrap(title, _TITLE_POINTS), self._wrap(notes)
        if any(self._measure(text) > self._text_width for text in region_lines):
            region_lines = self._wrap(region_lines)
        self._region_grid = self._grid(region_lines, 0.2)
        self._legend_grid = self._grid(list(self._legend), _SWATCH_INCHES[0] + 0.16)

    def _measure(self, text: str, size: int = FONT_SIZE_POINTS) -> float:
        """Width of a text in inches."""
        width, _, _ = self._renderer.get_text_width_height_descent(self._printable(text), self._font(size), False)
        return float(width) / DPI

    def _wrap(self, paragraphs: Iterable[str], size: int = FONT_SIZE_POINTS) -> list[str]:
        """Break paragraphs into lines that fit the figure; longer words are broken too."""
        lines = []
        for paragraph in paragraphs:
            line = ""
            for word in re.findall(r"\s*\S+", paragraph):
                if line and self._measure(line + word, size) > self._text_width:
                    lines.append(line)
                    line, word = "", word.strip()
                while (width := self._measure(line + word, size)) > self._text_width:
                    cut = max(1, int(len(word) * self._text_width / width) - 1)
                    lines.append(word[:cut])
                    word = word[cut:]
                line += word
            lines.append(line)
        return lines

    def _grid(self, texts: Sequence[str], padding: float) -> _Grid:
        """Arrange texts in as many columns as the longest allows; ``padding`` inches are added to each width."""
        texts = [self._truncate(text, self._text_width - padding) for text in texts]
        longest = max(map(self._measure, texts), default=0) + padding
        columns = max(1, int(self._text_width / longest))
        return _Grid(texts, columns, self._text_width / columns)

    def _truncate(self, text: str, width: float) -> str:
        if self._measure(text) <= width:
            return text
        length = next(n for n in range(len(text) - 1, -1, -1) if self._measure(f"{text[:n]}…") <= width)
        return f"{text[:length]}…"

    def figure(self) -> Any:
        top = _MARGIN_INCHES + _CAPTION_INCHES * len(self._title)
        pitch = self._slot[0] + _GAP_INCHES, self._slot[1] + _CAPTION_INCHES + _GAP_INCHES
        below = top + math.ceil(len(self._panels) / self._columns) * pitch[1]
        rows = self._region_grid.rows + len(self._notes) + self._legend_grid.rows
        self._height = below + _LINE_INCHES * rows + 0.08 + _MARGIN_INCHES
        figure = new_figure(self._width, self._height, constrained=False)
        for number, text in enumerate(self._title):
            self._add_text(figure, text, _MARGIN_INCHES, _MARGIN_INCHES + number * _CAPTION_INCHES, _TITLE_POINTS)
        for number, (caption, panel) in enumerate(self._panels.items()):
            row, column = divmod(number, self._columns)
            x, y = _MARGIN_INCHES + column * pitch[0], top + row * pitch[1]
            self._add_text(figure, caption, x, y, _CAPTION_POINTS)
            self._add_panel(figure, panel, x, y + _CAPTION_INCHES)
        for text, x, y in self._region_grid.positions(below):
            self._add_text(figure, text, x, y)
        below += _LINE_INCHES * self._region_grid.rows
        for number, text in enumerate(self._notes):
            self._add_text(figure, text, _MARGIN_INCHES, below + number * _LINE_INCHES)
        below += _LINE_INCHES * len(self._notes) + 0.08
        for (text, x, y), color in zip(self._legend_grid.positions(below), self._legend.values(), strict=True):
            self._add_swatch(figure, color, x, y)
            self._add_text(figure, text, x + _SWATCH_INCHES[0] + 0.06, y)
        return figure

    def _box(self, x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
        """Convert a box in inches to matplotlib's figure fractions (left, bottom, width, height)."""
        return x / self._width, 1 - (y + height) / self._height, width / self._width, height / self._height

    def _add_panel(self, figure: Any, panel: NDArray[np.uint8], x: float, y: float) -> None:
        rows, columns = self._view.size
        axes = figure.add_axes(self._box(x, y, self._unit * columns, self._unit * rows))
        axes.set_axis_off()
        height, width = panel.shape[:2]
        factor = self._view.factor
        extent = (0, width * factor, height * factor, 0)
        axes.imshow(panel, interpolation="nearest", origin="upper", extent=extent, aspect="equal")
        axes.set_xlim(0, columns)
        axes.set_ylim(rows, 0)
        for number, region in enumerate(self._regions, 1):
            draw_outline(axes, region, factor, str(number))

    def _add_text(self, figure: Any, text: str, x: float, y: float, size: int = FONT_SIZE_POINTS) -> None:
        figure.text(
            x / self._width,
            1 - y / self._height,
            self._printable(text),
            fontproperties=self._font(size),
            va="top",
            ha="left",
            parse_math=False,
        )

    def _font(self, size: int) -> Any:
        from matplotlib.font_manager import FontProperties

        return FontProperties(family=self._families, size=size)

    def _printable(self, text: str) -> str:
        """Escape the characters that no font has."""
        return "".join(char.encode("unicode_escape").decode() if char in self._missing else char for char in text)

    def _add_swatch(self, figure: Any, color: tuple[float, ...], x: float, y: float) -> None:
        from matplotlib.patches import Rectangle

        left, bottom, width, height = self._box(x, y, *_SWATCH_INCHES)
        figure.add_artist(
            Rectangle(
                (left, bottom),
                width,
                height,
                facecolor=color,
                edgecolor="#808080",
                linewidth=0.5,
                transform=figure.transFigure,
            )
        )


class _Grid(NamedTuple):
    """Short texts in rows and columns; ``column_width`` in inches."""

    texts: Sequence[str]
    columns: int
    column_width: float

    @property
    def rows(self) -> int:
        return math.ceil(len(self.texts) / self.columns)

    def positions(self, y: float) -> Iterator[tuple[str, float, float]]:
        """Yield each text with its position (x, y)."""
        for number, text in enumerate(self.texts):
            row, column = divmod(number, self.columns)
            yield text, _MARGIN_INCHES + column * self.column_width, y + row * _LINE_INCHES


def _new_renderer() -> Any:
    """Create a renderer to measure texts with."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    canvas: Any = FigureCanvasAgg(Figure(figsize=(1, 1), dpi=DPI))
    return canvas.get_renderer()


def _select_fonts(text: str) -> tuple[list[str], set[str]]:
    """Select font families that cover a text; also returns the characters that no font has."""
    from matplotlib import font_manager

    families, missing = ["DejaVu Sans"], set(text)
    missing -= _covered(font_manager.findfont("DejaVu Sans"), missing)
    if missing:
        upright = [f for f in font_manager.fontManager.ttflist if (f.style, f.variant) == ("normal", "normal")]
        for font in sorted(upright, key=lambda font: (font.weight != 400, font.name, font.fname)):
            covered = _covered(font.fname, missing)
            if covered:
                families.append(font.name)
                missing -= covered
    return families, missing


def _covered(font_file: str, characters: Iterable[str]) -> set[str]:
    """Return the characters that a font has; none if it cannot be read."""
    from matplotlib import font_manager

    try:
        charmap = font_manager.get_font(font_file).get_charmap()
    except (OSError, RuntimeError):
        return set()
    return {char for char in characters if ord(char) in charmap}
