"""Two pictures: precision over recall, and recall over the effort of review."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from masksift.evaluation.evaluate.score_evaluation import Curve
from masksift.review.rendering.panels import figure_of, png_of

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Those of Okabe and Ito, which colour-blind readers tell apart, without the yellow, which nobody sees on white."""
_DASHES = ("-", "--", "-.", ":")
CHANCE = "#8c8c8c"


def precision_recall(curves: Mapping[str, Curve], areas: Mapping[str, float], share: float) -> bytes:
    """The PNG of precision over recall of every score, in percent. ``areas``: average precision of each; ``share`` of
    wrong images: what chance is."""
    figure, axes = _figure("Precision: which share of the images reviewed is wrong")
    for name, style in _styles(curves, areas):
        curve = curves[name]
        axes.plot(100 * curve.recall, 100 * curve.precision, label=f"{name} (AUPRC {areas[name]:.3f})", **style)
    axes.axhline(100 * share, color=CHANCE, linewidth=1.2, zorder=1, label=f"chance ({share:.3f})")
    axes.set_xlabel("recall: wrong images found (% of all wrong images)")
    axes.set_ylabel("precision (% of the images reviewed)")
    return _png(figure, axes)


def recall_over_effort(curves: Mapping[str, Curve], areas: Mapping[str, float], share: float) -> bytes:
    """The PNG of recall over the images reviewed of every score, in percent; ``areas``, ``share``: as above."""
    figure, axes = _figure("Recall over review effort: what one has found after so many images")
    for name, style in _styles(curves, areas):
        curve = curves[name]
        axes.plot(np.append(0, 100 * curve.effort), np.append(0, 100 * curve.recall), label=name, **style)
    axes.plot([0, 100], [0, 100], color=CHANCE, linewidth=1.2, zorder=1, label="chance")
    axes.plot(
        [0, 100 * share, 100],
        [0, 100, 100],
        color=CHANCE,
        linewidth=1.2,
        linestyle=":",
        zorder=3,
        label="perfect order",
    )
    axes.set_xlabel("images reviewed, worst first (% of all ranked images)")
    axes.set_ylabel("recall: wrong images found (% of all wrong images)")
    return _png(figure, axes)


def _styles(curves: Mapping[str, Curve], areas: Mapping[str, float]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The scores, the best first, each with its look, which is the same in both pictures. Lines become thinner, so that
    one shows where another lies under it."""
    names = list(curves)
    for rank, name in enumerate(sorted(names, key=lambda name: -areas[name])):
        yield name, {**look(names.index(name)), "linewidth": max(1.4, 3.4 - 0.3 * rank)}


def look(place: int) -> dict[str, Any]:
    """Colour and dashes of the line of that number, which no other of the first 28 has."""
    dash = _DASHES[(place % len(_COLORS) + place // len(_COLORS)) % len(_DASHES)]
    return {"color": _COLORS[place % len(_COLORS)], "linestyle": dash}


def _figure(title: str) -> tuple[Any, Any]:
    figure = figure_of(8.0, 5.0)
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 103)
    tidy(axes)
    return figure, axes


def tidy(axes: Any) -> None:
    """A light grid below the lines, and no frame."""
    axes.grid(color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _png(figure: Any, axes: Any) -> bytes:
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, handlelength=3.0)
    return png_of(figure)
