"""Report page (Markdown) and console text of an evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from masksift.evaluation.evaluate.bootstrap import CONFIDENCE_PERCENT
from masksift.evaluation.evaluate.config import EvaluateConfig
from masksift.evaluation.evaluate.result_rows import Totals, best_score
from masksift.evaluation.evaluate.score_evaluation import RECALLS

Row = Mapping[str, Any]
Column = tuple[str, str, str | None]
"""Title, metric and position of a table column."""
_WHOLE_ORDER_METRICS = {"auroc": "AUROC", "average_precision": "AUPRC", "kendall_tau": "Kendall tau"}
_EFFORT_RECALLS = [f"{recall:.0%}" for recall in RECALLS]

_SCORE_LEGEND = f"""
Images are reviewed in ascending order of a score; equal scores are one step. **AUROC**: probability that a wrong image
comes before a right one. **AUPRC**: average precision. **precision, recall, lift** after a number of images: share of
wrong images among them, share of all wrong images found, and precision over the share of wrong images in all. **images
to find**: number of images to review until that share of the wrong ones is found. **Kendall tau**: tau-b of `1 - score`
and the share of wrong pixels. In brackets: the middle {CONFIDENCE_PERCENT} % of bootstrap resamples of the images. All
figures, with notes on missing ones: `measures.parquet`.
"""
_PIXEL_LEGEND = """
Over the valid pixels of all ranked images together. The issue mask is compared as it is, and as an order of two steps
(average precision); `self_confidence` orders all pixels. Regions are 8-connected components of the issue mask and of
the wrong pixels, matched greedily by IoU; their average precision ranks them by size, largest first.
"""


@dataclass(frozen=True)
class EvaluationSummary:
    """Content of the texts: description of the known errors, caveats, and rows of the table of metrics."""

    config: EvaluateConfig
    truth: str
    totals: Totals
    notes: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def scores(self) -> list[str]:
        """Names of the scores, in the run's order."""
        return list(dict.fromkeys(row["score"] for row in self.rows if row["measure"] in _WHOLE_ORDER_METRICS))

    def row(self, score: str, metric: str, at: str | None = None) -> Row:
        """Row of a metric."""
        return next(r for r in self.rows if (r["score"], r["measure"], r["at"]) == (score, metric, at))


def console_text(summary: EvaluationSummary) -> str:
    """Summarize an evaluation in a few lines."""
    totals, best = summary.totals, best_score(summary.rows)
    lines = [f"truth: {summary.truth}", f"{totals.errors:,} of {totals.images:,} ranked images are wrong"]
    if best is not None:
        auprc, auroc = (_format_value(summary.row(best, metric)) for metric in ("average_precision", "auroc"))
        lines.append(f"best score by AUPRC: {best}, {auprc}; AUROC {auroc}")
        efforts = [f"{summary.row(best, 'effort', at)['value']:,.0f} images find {at}" for at in _EFFORT_RECALLS]
        lines.append(f"reviewing in its order, {' and '.join(efforts)} of the wrong ones")
    elif summary.scores:
        lines.append(f"nothing is measured: {summary.row(summary.scores[0], 'auroc')['note']}")
    return "\n".join([*lines, *summary.notes, f"results: {summary.config.out}"])


def report_text(summary: EvaluationSummary, *, plots: bool) -> str:
    """Write the report page; ``plots`` tells whether to embed the two plots."""
    totals = summary.totals
    columns: list[Column] = [(title, metric, None) for metric, title in _WHOLE_ORDER_METRICS.items()]
    columns += [(f"images to find {recall}", "effort", recall) for recall in _EFFORT_RECALLS]
    lines = [
        f"# How well the scores of {summary.config.run} find known errors",
        "",
        f"Truth: {summary.truth}. {totals.errors:,} of {totals.images:,} ranked images are wrong "
        f"({100 * totals.errors / max(1, totals.images):.3g} %).",
        *summary.notes,
        "",
        *_score_table(summary, columns),
    ]
    if plots:
        lines += ["", "![Precision over recall](precision_recall.png)"]
        lines += ["", "![Recall over review effort](recall_over_effort.png)"]
    for metric in ("precision", "lift", "recall"):
        amounts = [
            ("number of wrong images" if amount == "errors" else str(amount), metric, str(amount))
            for amount in summary.config.at
        ]
        lines += ["", f"## {metric.capitalize()} after a number of images", "", *_score_table(summary, amounts)]
    lines += [*_pixel_table(summary), "", "## Legend", _SCORE_LEGEND.strip()]
    return "\n".join(lines) + "\n"


def _score_table(summary: EvaluationSummary, columns: Sequence[Column]) -> list[str]:
    """Table of one row per score, followed by the reasons for missing values."""
    lines = [f"| score | {' | '.join(title for title, _, _ in columns)} |", "|---" * (len(columns) + 1) + "|"]
    rows = [[summary.row(score, metric, at) for _, metric, at in columns] for score in summary.scores]
    for score, cells in zip(summary.scores, rows, strict=True):
        lines.append(f"| `{score}` | {' | '.join(map(_format_value, cells))} |")
    return lines + _missing_reasons(cell for cells in rows for cell in cells)


def _pixel_table(summary: EvaluationSummary) -> list[str]:
    rows = [row for row in summary.rows if row["measure"].startswith(("pixel_", "region_"))]
    if not rows:
        return []
    lines = ["", "## Pixels and regions", "", "| order | metric | value | wrong |", "|---|---|---|---|"]
    for row in rows:
        name = row["measure"].replace("_", " ").replace("iou", "IoU") + (f", {row['at']}" if row["at"] else "")
        lines.append(f"| `{row['score']}` | {name} | {_format_value(row)} | {row['errors']:,} |")
    return [*lines, *_missing_reasons(rows), "", _PIXEL_LEGEND.strip()]


def _missing_reasons(rows: Iterable[Row]) -> list[str]:
    """Reasons for missing values, each once."""
    reasons = list(dict.fromkeys(row["note"] for row in rows if row["value"] is None))
    return ["", f"none: {'; '.join(reasons)}."] if reasons else []


def _format_value(row: Row) -> str:
    """Value with its interval."""
    if row["value"] is None:
        return "none"
    digits = {"effort": 0, "lift": 2}.get(row["measure"], 3)
    interval = "" if row["low"] is None else f" [{row['low']:,.{digits}f}, {row['high']:,.{digits}f}]"
    return f"{row['value']:,.{digits}f}{interval}"
