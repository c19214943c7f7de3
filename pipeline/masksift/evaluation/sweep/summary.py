"""A sweep in words: a page of tables, and a few lines for the console."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from masksift.evaluation.sweep.config import Column
from masksift.evaluation.sweep.result_table import Table, shown

_MEANINGS = """
Images are reviewed in ascending order of a score; equal scores are one step. **AUROC**: the chance that a wrong image
comes before a right one. **AUPRC**: average precision, which chance makes the share of wrong images. A share is one of
the images that are chosen for an error; those that allow none stay right. All figures, with the notes on those that are
missing, precision, lift, recall and Kendall's tau: `sweep.parquet`.
"""


def console_text(table: Table) -> str:
    """The end of a sweep, but for where its results lie."""
    counts = len(table.kinds), len(table.shares), len(table.rows) // (len(table.kinds) * len(table.shares))
    lines = [
        f"{len(table.rows):,} settings of {table.images:,} ranked images: {counts[0]} kinds of errors x {counts[1]} "
        f"shares x {counts[2]} scores"
    ]
    softmins: list[Column] = [("softmin", t) for t in table.temperatures]
    for name, scores in (("best score", table.scores), ("best temperature of softmin", softmins)):
        best = [(kind, _best(table, kind, scores)) for kind in table.kinds] if len(scores) > 1 else []
        told = [f"{kind} {_called(score, name)} ({area:.3f})" for kind, (score, area) in best if math.isfinite(area)]
        lines += [f"{name}, by AUPRC (mean over the shares): {', '.join(told)}"] if told else []
    return "\n".join(lines)


def _called(score: Column, name: str) -> str:
    return f"{score[1]:g}" if "temperature" in name else shown(score)


def _best(table: Table, kind: str, scores: Sequence[Column]) -> tuple[Column, float]:
    """The score of the greatest mean AUPRC, the first one of several, and that mean."""
    areas = [(score, table.mean("auprc", kind, score)) for score in scores]
    return max(areas, key=lambda one: -math.inf if math.isnan(one[1]) else round(one[1], 12))


def report_text(table: Table, plots: Sequence[str]) -> str:
    """The page, as Markdown; ``plots``: names of the pictures, relative to it."""
    kinds, shares = table.kinds, table.shares
    lines = [
        "# How well the scores find known errors",
        "",
        f"{table.images:,} ranked images, {len(table.rows):,} settings.",
        "AUROC / AUPRC of each.",
    ]
    for kind in kinds:
        lines += ["", f"## {kind}: share of images with an error", ""]
        cells = {shown(s): [table.row(kind, share, s) for share in shares] for s in table.scores}
        lines += _grid("score", [_share(table, kind, share) for share in shares], cells)
    if len(table.temperatures) > 1:
        lines += ["", f"## Temperature of softmin, {100 * table.middle:g} % of the images chosen", ""]
        rows = {f"{t:g}": [table.row(kind, table.middle, ("softmin", t)) for kind in kinds] for t in table.temperatures}
        lines += _grid("T", kinds, rows)
    for name in plots:
        lines += ["", f"![{name.rpartition('/')[2].removesuffix('.png').replace('_', ' ')}]({name})"]
    reasons = dict.fromkeys(row["note"] for row in table.rows if row["auroc"] is None)
    lines += ["", f"none: {'; '.join(filter(None, reasons))}."] if reasons else []
    return "\n".join([*lines, "", "## What the numbers mean", _MEANINGS.strip()]) + "\n"


def _share(table: Table, kind: str, share: float) -> str:
    errors = table.row(kind, share, table.scores[0])["errors"]
    return f"{100 * share:g} % ({errors:,} wrong)"


def _grid(title: str, columns: Sequence[str], rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    lines = [f"| {title} | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    return lines + [f"| {name} | {' | '.join(map(_cell, cells))} |" for name, cells in rows.items()]


def _cell(row: Mapping[str, Any]) -> str:
    return "none" if row["auroc"] is None else f"{row['auroc']:.3f} / {row['auprc']:.3f}"
