"""Report page (Markdown) and console text of a sweep."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from masksift.evaluation.sweep.config import ScoreColumn
from masksift.evaluation.sweep.result_table import SweepTable, score_name

Score = TypeVar("Score")

_REGION_COLUMNS = (("region_average_precision", None), ("region_precision", "50"), ("region_wrong_images", "50"))
"""Metrics and positions in a cell of the tables of region orders."""
_REGION_LEGEND = """
The regions that a run with default options lists, in each order: **AUPRC** / **precision of the first 50** / **number
of different wrong images among them**. A region is a true positive if at least half of its pixels have an error. All
figures: `sweep_regions.parquet`.
"""
_LEGEND = """
Images are reviewed in ascending order of a score; equal scores are one step. **AUROC**: probability that a wrong image
comes before a right one. **AUPRC**: average precision; for a random order it equals the share of wrong images. A share
is the share of images chosen for an error; images that allow no error stay right. All figures, with notes on missing
ones, precision, lift, recall and Kendall's tau: `sweep.parquet`.
"""


def console_text(table: SweepTable) -> str:
    """Summarize a sweep in a few lines."""
    settings = len(table.error_types) * len(table.shares)
    lines = [
        f"{len(table.rows):,} settings of {table.images:,} ranked images: {len(table.error_types)} error types x "
        f"{len(table.shares)} shares x {len(table.rows) // settings} scores"
    ]
    temperatures: list[ScoreColumn] = [("softmin", t) for t in table.temperatures]
    lines += _best_scores(table, "best score", table.scores, score_name)
    lines += _best_scores(table, "best temperature of softmin", temperatures, lambda score: f"{score[1]:g}")
    areas = {kind: {order: table.mean_order(kind, order) for order in table.orders} for kind in table.error_types}
    lines += _best_line("best order", areas, lambda order: order)
    return "\n".join(lines)


def _best_scores(
    table: SweepTable, title: str, scores: Sequence[ScoreColumn], name: Callable[[ScoreColumn], str]
) -> list[str]:
    """Line with the score of the highest mean AUPRC for each error type; empty with fewer than two scores."""
    kinds = table.error_types if len(scores) > 1 else ()
    areas = {kind: {score: table.mean("auprc", kind, score) for score in scores} for kind in kinds}
    return _best_line(title, areas, name)


def _best_line(title: str, areas: Mapping[str, Mapping[Score, float]], name: Callable[[Score], str]) -> list[str]:
    """Line with the score of the highest area for each error type; empty without any."""
    best = []
    for error_type, by_score in areas.items():
        score, area = max(by_score.items(), key=lambda item: -math.inf if math.isnan(item[1]) else round(item[1], 12))
        if math.isfinite(area):
            best.append(f"{error_type} {name(score)} ({area:.3f})")
    return [f"{title}, by AUPRC (mean over the shares): {', '.join(best)}"] if best else []


def report_text(table: SweepTable, plots: Sequence[str]) -> str:
    """Write the report page; ``plots`` are paths relative to it."""
    lines = [
        "# How well the scores find known errors",
        "",
        f"{table.images:,} ranked images, {len(table.rows):,} settings.",
        "AUROC / AUPRC of each.",
    ]
    for name in table.error_types:
        lines += ["", f"## {name}: share of images with an error", ""]
        cells = {score_name(score): [table.row(name, share, score) for share in table.shares] for score in table.scores}
        lines += _format_grid("score", [_share_title(table, name, share) for share in table.shares], cells)
        if table.orders:
            shares = [f"{100 * share:g} %" for share in table.shares]
            lines += ["", *_grid("order", shares, _order_texts(table, name))]
    if len(table.temperatures) > 1:
        lines += ["", f"## Temperature of softmin, {100 * table.middle_share:g} % of the images chosen", ""]
        cells = {
            f"{t:g}": [table.row(name, table.middle_share, ("softmin", t)) for name in table.error_types]
            for t in table.temperatures
        }
        lines += _format_grid("T", table.error_types, cells)
    for path in plots:
        lines += ["", f"![{path.rpartition('/')[2].removesuffix('.png').replace('_', ' ')}]({path})"]
    reasons = dict.fromkeys(row["note"] for row in table.rows if row["auroc"] is None)
    lines += ["", f"none: {'; '.join(filter(None, reasons))}."] if reasons else []
    legend = [_LEGEND.strip(), *(["", _REGION_LEGEND.strip()] if table.orders else [])]
    return "\n".join([*lines, "", "## Legend", *legend]) + "\n"


def _share_title(table: SweepTable, error_type: str, share: float) -> str:
    errors = table.row(error_type, share, table.scores[0])["errors"]
    return f"{100 * share:g} % ({errors:,} wrong)"


def _format_grid(title: str, columns: Sequence[str], rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    return _grid(title, columns, {name: list(map(_format_cell, cells)) for name, cells in rows.items()})


def _grid(title: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> list[str]:
    lines = [f"| {title} | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    return lines + [f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()]


def _order_texts(table: SweepTable, error_type: str) -> dict[str, list[str]]:
    """Cells of an error type by order of regions, one per share."""

    def text(share: float, order: str) -> str:
        values = [table.region_row(error_type, share, order, *column)["value"] for column in _REGION_COLUMNS]
        return " / ".join("none" if v is None else f"{v:.{n}f}" for v, n in zip(values, (3, 2, 0), strict=True))

    return {order: [text(share, order) for share in table.shares] for order in table.orders}


def _format_cell(row: Mapping[str, Any]) -> str:
    return "none" if row["auroc"] is None else f"{row['auroc']:.3f} / {row['auprc']:.3f}"
