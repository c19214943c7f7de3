"""Plots of a sweep: softmin over its temperature, and all scores over the share of errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from masksift.evaluation.evaluate.config import ERRORS
from masksift.evaluation.evaluate.plots import CHANCE_COLOR, line_style, simplify_axes
from masksift.evaluation.simulate.error_types import ERROR_TYPES
from masksift.evaluation.sweep.result_table import SweepTable, score_name
from masksift.review.rendering.panels import figure_png, new_figure
from masksift.scoring.methods import score_names

_MAX_COLUMNS = 3


def plot_temperatures(table: SweepTable) -> bytes | None:
    """Plot AUROC and AUPRC of softmin over its temperature; returns None with fewer than two or without values."""
    if len(table.temperatures) < 2 or _is_empty(table, "auroc"):
        return None
    figure = new_figure(9.0, 4.2)
    panels = figure.subplots(1, 2)
    for axes, metric in zip(panels, ("auroc", "auprc"), strict=True):
        for name in table.error_types:
            rows = [table.row(name, table.middle_share, ("softmin", t)) for t in table.temperatures]
            _plot_line(axes, table.temperatures, rows, metric, name, list(ERROR_TYPES).index(name))
        axes.set_xscale("log")
        axes.set_xticks(table.temperatures, [f"{t:g}" for t in table.temperatures])
        axes.minorticks_off()
        axes.tick_params(axis="x", labelrotation=45)
        axes.set_xlabel("temperature of softmin")
        axes.set_ylabel(metric.upper())
        simplify_axes(axes)
    figure.suptitle(
        f"softmin over its temperature ({100 * table.middle_share:g} % of the images chosen for an error)", fontsize=11
    )
    return _render(figure, panels[0])


def plot_auroc(table: SweepTable) -> bytes | None:
    """Plot AUROC over the share of errors; returns None with fewer than two shares or without values."""
    return _plot_over_share(table, "auroc", "AUROC", "AUROC: is a wrong image reviewed before a right one?")


def plot_precision(table: SweepTable) -> bytes | None:
    """Plot precision over the share of errors; returns None with fewer than two shares or without values."""
    at = table.rows[0]["at"]
    amount = "as many images as are wrong" if at == ERRORS else f"{at} of the images" if "%" in at else f"{at} images"
    return _plot_over_share(table, "precision", "precision", f"Precision after {amount}")


PLOTS: Mapping[str, Callable[[SweepTable], bytes | None]] = {
    "temperature.png": plot_temperatures,
    "auroc_over_share.png": plot_auroc,
    "precision_over_share.png": plot_precision,
}


def _plot_over_share(table: SweepTable, metric: str, label: str, title: str) -> bytes | None:
    """Plot one panel per error type and one line per score."""
    if len(table.shares) < 2 or _is_empty(table, metric):
        return None
    names, methods = table.error_types, score_names()
    columns = min(_MAX_COLUMNS, len(names))
    rows_of_panels = math.ceil(len(names) / columns)
    figure = new_figure(1.6 + 3.2 * columns, 1.0 + 3.2 * rows_of_panels)
    panels = figure.subplots(rows_of_panels, columns, sharey=True, squeeze=False).reshape(-1)
    percent = [100 * share for share in table.shares]
    for axes, name in zip(panels, names, strict=False):
        for score in table.scores:
            rows = [table.row(name, share, score) for share in table.shares]
            _plot_line(axes, percent, rows, metric, score_name(score), methods.index(score[0]))
        rows = [table.row(name, share, table.scores[0]) for share in table.shares]
        chance = [0.5 if metric == "auroc" else row["errors"] / row["images"] for row in rows]
        axes.plot(percent, chance, color=CHANCE_COLOR, linewidth=1.2, zorder=1, label="chance")
        axes.set_title(name, loc="left", fontsize=10)
        axes.set_xlabel("images chosen for an error (%)")
        axes.set_xlim(left=0)
        simplify_axes(axes)
    for axes in panels[::columns]:
        axes.set_ylabel(label)
    for axes in panels[len(names) :]:
        axes.remove()
    figure.suptitle(title, fontsize=11)
    return _render(figure, panels[0])


def _plot_line(
    axes: Any, x: Sequence[float], rows: Sequence[Mapping[str, Any]], metric: str, label: str, number: int
) -> None:
    """Plot one line, with gaps for missing values."""
    values = [math.nan if row[metric] is None else row[metric] for row in rows]
    axes.plot(x, values, label=label, marker="o", markersize=3.5, linewidth=1.8, **line_style(number))


def _render(figure: Any, axes: Any) -> bytes:
    """Add one legend for all panels and render the figure as PNG."""
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", frameon=False, handlelength=3.0)
    return figure_png(figure)


def _is_empty(table: SweepTable, metric: str) -> bool:
    return all(row[metric] is None for row in table.rows)
