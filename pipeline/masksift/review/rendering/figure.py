"""The sheet that shows one image: panels beside each other, what is said of them above and below.

matplotlib is imported where something is drawn: nothing else needs it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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

_LEAST = 1.6, 0.4
"""Inches that a panel has at least, across and down: there are words above it."""
_NARROWEST = 5.0
"""Inches that the figure is wide at least."""
_GAP, _MARGIN, _LINE, _CAPTION = 0.12, 0.15, 0.185, 0.22
"""Inches between panels, around them, of a line of words, and of one above a panel or of the title."""
_SWATCH = 0.2, 0.12
"""Inches of the colour of a class, across and down."""
_TITLE, _CAPTIONS = 10, 9
"""Sizes of the letters of the title and above the panels, points."""


def draw_figure(
    view: ImageView,
    class_names: Sequence[str],
    title: Sequence[str],
    regions: Sequence[Mapping[str, Any]] = (),
    notes: Sequence[str] = (),
    side: int = PANEL_SIDE_PIXELS,
) -> Any:
    """A figure of an image: a panel for each of `make_panels`, whose longer side has so many pixels, in every one the
    ``regions`` outlined and numbered; below, what is said of them, the ``notes``, and the classes that occur."""
    from matplotlib import style

    with style.context("default"):  # colours mean classes here, whatever else the user's pictures look like
        return _Sheet(view, class_names, title, regions, notes, side).figure()


class _Sheet:
    """Where everything stands, in inches from the upper left corner."""

    def __init__(
        self,
        view: ImageView,
        class_names: Sequence[str],
        title: Sequence[str],
        regions: Sequence[Mapping[str, Any]],
        notes: Sequence[str],
        side: int,
    ) -> None:
        self._view, self._regions = view, regions
        self._panels = make_panels(view, len(class_names))
        height, width = view.size
        enlarged = max(1, side // -(-max(height, width) // view.factor))  # a pixel is a whole number of the figure's
        self._unit = enlarged / view.factor / DPI
        self._slot = max(self._unit * width, _LEAST[0]), max(self._unit * height, _LEAST[1])
        count = max(1, len(self._panels))
        self._across = 2 if 2 * width >= height and count > 2 else count
        self._width = max(_NARROWEST, 2 * _MARGIN + self._across * (self._slot[0] + _GAP) - _GAP)
        self._room = self._width - 2 * _MARGIN
        told = [f"{number}  {region_text(region)}" for number, region in enumerate(regions, 1)]
        self._legend = make_legend(view, class_names)
        self._families, self._missing = _families("".join([*title, *told, *notes, *self._legend]))
        self._scale: Any = _renderer()
        self._title, self._notes = self._wrapped(title, _TITLE), self._wrapped(notes)
        if any(self._wide(text) > self._room for text in told):
            told = self._wrapped(told)
        self._told, self._classes = self._grid(told, 0.2), self._grid(list(self._legend), _SWATCH[0] + 0.16)

    def _wide(self, text: str, size: int = FONT_SIZE_POINTS) -> float:
        """Inches that a text takes across."""
        width, _, _ = self._scale.get_text_width_height_descent(self._plain(text), self._font(size), False)
        return float(width) / DPI

    def _wrapped(self, sentences: Iterable[str], size: int = FONT_SIZE_POINTS) -> list[str]:
        """Lines that are as wide as the figure at most; a word that is wider is cut."""
        lines = []
        for sentence in sentences:
            line = ""
            for word in re.findall(r"\s*\S+", sentence):
                if line and self._wide(line + word, size) > self._room:
                    lines.append(line)
                    line, word = "", word.strip()
                while (wide := self._wide(line + word, size)) > self._room:
                    cut = max(1, int(len(word) * self._room / wide) - 1)
                    lines.append(word[:cut])
                    word = word[cut:]
                line += word
            lines.append(line)
        return lines

    def _grid(self, texts: Sequence[str], beside: float) -> _Grid:
        """Texts in rows, as many beside each other as the longest lets; what is wider than the figure is cut.
        ``beside``: inches that each needs besides its letters."""
        cut = [self._cut(text, self._room - beside) for text in texts]
        longest = max(map(self._wide, cut), default=0) + beside
        columns = max(1, int(self._room / longest))
        return _Grid(cut, columns, self._room / columns)

    def _cut(self, text: str, room: float) -> str:
        if self._wide(text) <= room:
            return text
        letters = next(n for n in range(len(text) - 1, -1, -1) if self._wide(f"{text[:n]}…") <= room)
        return f"{text[:letters]}…"

    def figure(self) -> Any:
        top = _MARGIN + _CAPTION * len(self._title)
        pitch = self._slot[0] + _GAP, self._slot[1] + _CAPTION + _GAP
        below = top + math.ceil(len(self._panels) / self._across) * pitch[1]
        rows = self._told.rows + len(self._notes) + self._classes.rows
        self._height = below + _LINE * rows + 0.08 + _MARGIN
        figure = new_figure(self._width, self._height, constrained=False)
        for number, text in enumerate(self._title):
            self._write(figure, text, _MARGIN, _MARGIN + number * _CAPTION, _TITLE)
        for number, (caption, picture) in enumerate(self._panels.items()):
            row, column = divmod(number, self._across)
            x, y = _MARGIN + column * pitch[0], top + row * pitch[1]
            self._write(figure, caption, x, y, _CAPTIONS)
            self._panel(figure, picture, x, y + _CAPTION)
        for text, x, y in self._told.places(below):
            self._write(figure, text, x, y)
        below += _LINE * self._told.rows
        for number, text in enumerate(self._notes):
            self._write(figure, text, _MARGIN, below + number * _LINE)
        below += _LINE * len(self._notes) + 0.08
        for (text, x, y), colour in zip(self._classes.places(below), self._legend.values(), strict=True):
            self._swatch(figure, colour, x, y)
            self._write(figure, text, x + _SWATCH[0] + 0.06, y)
        return figure

    def _panel(self, figure: Any, picture: NDArray[np.uint8], x: float, y: float) -> None:
        down, across = (self._unit * size for size in self._view.size)
        axes = figure.add_axes(
            (x / self._width, 1 - (y + down) / self._height, across / self._width, down / self._height)
        )
        axes.set_axis_off()
        height, width = picture.shape[:2]
        factor = self._view.factor
        axes.imshow(
            picture,
            interpolation="nearest",
            origin="upper",
            extent=(0, width * factor, height * factor, 0),
            aspect="equal",
        )
        axes.set_xlim(0, self._view.size[1])
        axes.set_ylim(self._view.size[0], 0)
        for number, region in enumerate(self._regions, 1):
            draw_outline(axes, region, factor, str(number))

    def _write(self, figure: Any, text: str, x: float, y: float, size: int = FONT_SIZE_POINTS) -> None:
        figure.text(
            x / self._width,
            1 - y / self._height,
            self._plain(text),
            fontproperties=self._font(size),
            va="top",
            ha="left",
            parse_math=False,
        )

    def _font(self, size: int) -> Any:
        from matplotlib.font_manager import FontProperties

        return FontProperties(family=self._families, size=size)

    def _plain(self, text: str) -> str:
        """The text, with the letters that no font has as Python writes them."""
        return "".join(
            letter.encode("unicode_escape").decode() if letter in self._missing else letter for letter in text
        )

    def _swatch(self, figure: Any, colour: tuple[float, ...], x: float, y: float) -> None:
        from matplotlib.patches import Rectangle

        across, down = _SWATCH
        figure.add_artist(
            Rectangle(
                (x / self._width, 1 - (y + down) / self._height),
                across / self._width,
                down / self._height,
                facecolor=colour,
                edgecolor="#808080",
                linewidth=0.5,
                transform=figure.transFigure,
            )
        )


class _Grid(NamedTuple):
    """Short texts in rows and columns; ``across``: inches of a column."""

    texts: Sequence[str]
    columns: int
    across: float

    @property
    def rows(self) -> int:
        return math.ceil(len(self.texts) / self.columns)

    def places(self, y: float) -> Iterator[tuple[str, float, float]]:
        """Each text, and where it stands."""
        for number, text in enumerate(self.texts):
            row, column = divmod(number, self.columns)
            yield text, _MARGIN + column * self.across, y + row * _LINE


def _renderer() -> Any:
    """What knows how wide a text is."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    canvas: Any = FigureCanvasAgg(Figure(figsize=(1, 1), dpi=DPI))
    return canvas.get_renderer()


def _families(text: str) -> tuple[list[str], set[str]]:
    """The families of fonts that have the letters of a text between them, and those letters that none has."""
    from matplotlib import font_manager

    families, missing = ["DejaVu Sans"], set(text)
    missing -= _letters(font_manager.findfont("DejaVu Sans"), missing)
    if missing:
        plain = [f for f in font_manager.fontManager.ttflist if (f.style, f.variant) == ("normal", "normal")]
        for font in sorted(plain, key=lambda font: (font.weight != 400, font.name, font.fname)):
            found = _letters(font.fname, missing)
            if found:
                families.append(font.name)
                missing -= found
    return families, missing


def _letters(file: str, wanted: Iterable[str]) -> set[str]:
    """Those letters that a font has; none of one that cannot be read."""
    from matplotlib import font_manager

    try:
        has = font_manager.get_font(file).get_charmap()
    except (OSError, RuntimeError):
        return set()
    return {letter for letter in wanted if ord(letter) in has}
