"""Three pictures: softmin over its temperature, and all scores over the share of errors, by AUROC and by precision."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from masksift.evaluation.evaluate.config import ERRORS
from masksift.evaluation.evaluate.plots import CHANCE_COLOR, line_style, simplify_axes
from masksift.evaluation.simulate.error_types import ERROR_TYPES
from masksift.evaluation.sweep.result_table import Table, shown
from masksift.review.rendering.panels import figure_png, new_figure
from masksift.scoring.methods import METHODS

_ACROSS = 3
"""Panels beside each other at most."""


def over_temperature(table: Table) -> bytes | None:
    """The PNG of AUROC and AUPRC of softmin over its temperature, a line a kind of error; None where there are not
    several temperatures."""
    if len(table.temperatures) < 2 or _empty(table, "auroc"):
        return None
    figure = new_figure(9.0, 4.2)
    panels = figure.subplots(1, 2)
    for axes, measure in zip(panels, ("auroc", "auprc"), strict=True):
        for kind in table.kinds:
            rows = [table.row(kind, table.middle, ("softmin", t)) for t in table.temperatures]
            _line(axes, table.temperatures, rows, measure, kind, list(ERROR_TYPES).index(kind))
        axes.set_xscale("log")
        axes.set_xticks(table.temperatures, [f"{t:g}" for t in table.temperatures])
        axes.minorticks_off()
        axes.tick_params(axis="x", labelrotation=45)
        axes.set_xlabel("temperature of softmin")
        axes.set_ylabel(measure.upper())
        simplify_axes(axes)
    figure.suptitle(
        f"softmin over its temperature ({100 * table.middle:g} % of the images chosen for an error)", fontsize=11
    )
    _legend(figure, panels[0])
    return figure_png(figure)


def auroc_over_share(table: Table) -> bytes | None:
    """The PNG of AUROC over the share of images that are chosen for an error: a panel a kind, a line a score; None
    where there are not several shares."""
    return _over_share(table, "auroc", "AUROC", "AUROC: is a wrong image reviewed before a right one?")


def precision_over_share(table: Table) -> bytes | None:
    """The same of precision after as many images as the table says."""
    at = table.rows[0]["at"]
    amount = "as many images as are wrong" if at == ERRORS else f"{at} of the images" if "%" in at else f"{at} images"
    return _over_share(table, "precision", "precision", f"Precision after {amount}")


PLOTS: Mapping[str, Callable[[Table], bytes | None]] = {
    "temperature.png": over_temperature,
    "auroc_over_share.png": auroc_over_share,
    "precision_over_share.png": precision_over_share,
}


def _over_share(table: Table, measure: str, label: str, title: str) -> bytes | None:
    if len(table.shares) < 2 or _empty(table, measure):
        return None
    kinds, order = table.kinds, list(METHODS)
    across = min(_ACROSS, len(kinds))
    down = math.ceil(len(kinds) / across)
    figure = new_figure(1.6 + 3.2 * across, 1.0 + 3.2 * down)
    panels = figure.subplots(down, across, sharey=True, squeeze=False).reshape(-1)
    percent = [100 * share for share in table.shares]
    for axes, kind in zip(panels, kinds, strict=False):
        for score in table.scores:
            rows = [table.row(kind, share, score) for share in table.shares]
            _line(axes, percent, rows, measure, shown(score), order.index(score[0]))
        rows = [table.row(kind, share, table.scores[0]) for share in table.shares]
        chance = [0.5 if measure == "auroc" else row["errors"] / row["images"] for row in rows]
        axes.plot(percent, chance, color=CHANCE_COLOR, linewidth=1.2, zorder=1, label="chance")
        axes.set_title(kind, loc="left", fontsize=10)
        axes.set_xlabel("images chosen for an error (%)")
        axes.set_xlim(left=0)
        simplify_axes(axes)
    for axes in panels[::across]:
        axes.set_ylabel(label)
    for axes in panels[len(kinds) :]:
        axes.remove()
    figure.suptitle(title, fontsize=11)
    _legend(figure, panels[0])
    return figure_png(figure)


def _line(
    axes: Any, places: Sequence[float], rows: Sequence[Mapping[str, Any]], measure: str, label: str, place: int
) -> None:
    """One line, with a gap where there is no figure."""
    values = [math.nan if row[measure] is None else row[measure] for row in rows]
    axes.plot(places, values, label=label, marker="o", markersize=3.5, linewidth=1.8, **line_style(place))


def _legend(figure: Any, axes: Any) -> None:
    """One legend of all panels, beside them."""
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", frameon=False, handlelength=3.0)


def _empty(table: Table, measure: str) -> bool:
    return all(row[measure] is None for row in table.rows)
