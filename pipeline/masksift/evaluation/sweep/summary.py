"""Report page (Markdown) and console text of a sweep."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from masksift.evaluation.sweep.config import ScoreColumn
from masksift.evaluation.sweep.result_table import SweepTable, score_name

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
    return "\n".join(lines)


def _best_scores(
    table: SweepTable, title: str, scores: Sequence[ScoreColumn], name: Callable[[ScoreColumn], str]
) -> list[str]:
    """Line with the score of the highest mean AUPRC for each error type; empty with fewer than two scores."""
    best = []
    for error_type in table.error_types if len(scores) > 1 else ():
        areas = [(score, table.mean("auprc", error_type, score)) for score in scores]
        score, area = max(areas, key=lambda item: -math.inf if math.isnan(item[1]) else round(item[1], 12))
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
    return "\n".join([*lines, "", "## Legend", _LEGEND.strip()]) + "\n"


def _share_title(table: SweepTable, error_type: str, share: float) -> str:
    errors = table.row(error_type, share, table.scores[0])["errors"]
    return f"{100 * share:g} % ({errors:,} wrong)"


def _format_grid(title: str, columns: Sequence[str], rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    lines = [f"| {title} | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    return lines + [f"| {name} | {' | '.join(map(_format_cell, cells))} |" for name, cells in rows.items()]


def _format_cell(row: Mapping[str, Any]) -> str:
    return "none" if row["auroc"] is None else f"{row['auroc']:.3f} / {row['auprc']:.3f}"
