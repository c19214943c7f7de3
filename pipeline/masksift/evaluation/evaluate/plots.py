"""Plots of precision over recall, of recall over review effort, and of precision over reviewed regions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from masksift.evaluation.evaluate.score_evaluation import Curve
from masksift.review.rendering.panels import figure_png, new_figure

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe-Ito palette for color-blind readers, without yellow, which is invisible on white."""
_DASHES = ("-", "--", "-.", ":")
CHANCE_COLOR = "#8c8c8c"


def plot_precision_recall(curves: Mapping[str, Curve], areas: Mapping[str, float], share: float) -> bytes:
    """Plot precision over recall as PNG, given the average precision of each score and the share of wrong images."""
    figure, axes = _make_figure("Precision: share of the reviewed images that are wrong")
    for name, style in _styles(curves, areas):
        curve = curves[name]
        axes.plot(100 * curve.recall, 100 * curve.precision, label=f"{name} (AUPRC {areas[name]:.3f})", **style)
    axes.axhline(100 * share, color=CHANCE_COLOR, linewidth=1.2, zorder=1, label=f"chance ({share:.3f})")
    axes.set_xlabel("recall: wrong images found (% of all wrong images)")
    axes.set_ylabel("precision (% of the images reviewed)")
    return _render(figure, axes)


def plot_recall_effort(curves: Mapping[str, Curve], areas: Mapping[str, float], share: float) -> bytes:
    """Plot recall over reviewed images as PNG; arguments as for `plot_precision_recall`."""
    figure, axes = _make_figure("Recall over review effort: errors found after a number of images")
    for name, style in _styles(curves, areas):
        curve = curves[name]
        axes.plot(np.append(0, 100 * curve.effort), np.append(0, 100 * curve.recall), label=name, **style)
    line: dict[str, Any] = {"color": CHANCE_COLOR, "linewidth": 1.2}
    axes.plot([0, 100], [0, 100], zorder=1, label="chance", **line)
    axes.plot([0, 100 * share, 100], [0, 100, 100], linestyle=":", zorder=3, label="perfect order", **line)
    axes.set_xlabel("images reviewed, worst first (% of all ranked images)")
    axes.set_ylabel("recall: wrong images found (% of all wrong images)")
    return _render(figure, axes)


def plot_region_precision(curves: Mapping[str, Curve], regions: Mapping[str, int]) -> bytes:
    """Plot precision over the number of reviewed regions as PNG, given the number of regions in each order."""
    figure, axes = _make_figure("Precision: share of the reviewed regions that are true positives")
    for number, (name, curve) in enumerate(curves.items()):
        reviewed = np.rint(curve.effort * regions[name])
        axes.plot(reviewed, 100 * curve.precision, label=name, linewidth=2.0, **line_style(number))
    axes.set_xscale("log")
    axes.set_xlim(1, max(2, *regions.values()))
    axes.set_xlabel("regions reviewed, worst first")
    axes.set_ylabel("precision (% of the regions reviewed)")
    return _render(figure, axes)


def _styles(curves: Mapping[str, Curve], areas: Mapping[str, float]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield scores and line styles, best score first; later lines are thinner, so that hidden lines stay visible."""
    names = list(curves)
    for rank, name in enumerate(sorted(names, key=lambda name: -areas[name])):
        yield name, {**line_style(names.index(name)), "linewidth": max(1.4, 3.4 - 0.3 * rank)}


def line_style(number: int) -> dict[str, Any]:
    """Color and dashes of a line, unique for the first 28 numbers."""
    dash = _DASHES[(number % len(_COLORS) + number // len(_COLORS)) % len(_DASHES)]
    return {"color": _COLORS[number % len(_COLORS)], "linestyle": dash}


def _make_figure(title: str) -> tuple[Any, Any]:
    figure = new_figure(8.0, 5.0)
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 103)
    simplify_axes(axes)
    return figure, axes


def simplify_axes(axes: Any) -> None:
    """Draw a light grid below the lines, and no frame at the top and on the right."""
    axes.grid(color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _render(figure: Any, axes: Any) -> bytes:
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, handlelength=3.0)
    return figure_png(figure)
