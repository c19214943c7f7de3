"""Report page (Markdown) and console text of an evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from masksift.evaluation.evaluate.bootstrap import CONFIDENCE_PERCENT
from masksift.evaluation.evaluate.config import EvaluateConfig
from masksift.evaluation.evaluate.region_orders import REVIEWED_REGIONS
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
_ORDER_LEGEND = """
The regions that the run lists, in each order. A region is a true positive if at least half of its pixels are wrong.
**AUPRC**: average precision over the listed true positives. **precision**: share of true positives among the first
regions. **wrong images**: number of different images with a true positive among the first regions.
"""
_PLOT_TITLES = {
    "precision_recall.png": "Precision over recall",
    "recall_over_effort.png": "Recall over review effort",
    "region_precision.png": "Precision over reviewed regions",
}
_CONSOLE_REGIONS = 50
"""Number of regions for which the console text tells the precision."""


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

    @property
    def orders(self) -> list[str]:
        """Names of the orders of regions."""
        return list(dict.fromkeys(row["score"] for row in self.rows if row["measure"] == "region_wrong_images"))

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
    lines += _best_order_line(summary)
    return "\n".join([*lines, *summary.notes, f"results: {summary.config.out}"])


def _best_order_line(summary: EvaluationSummary) -> list[str]:
    """Line on the order of regions with the highest average precision; empty if none is defined."""
    rows = [summary.row(name, "region_average_precision") for name in summary.orders]
    defined = [row for row in rows if row["value"] is not None]
    if not defined:
        return []
    best = max(defined, key=lambda row: round(row["value"], 12))
    text = f"best order of regions by AUPRC: {best['score'].removeprefix('regions by ')}, {_format_value(best)}"
    hits = summary.row(best["score"], "region_precision", str(_CONSOLE_REGIONS))["value"]
    images = summary.row(best["score"], "region_wrong_images", str(_CONSOLE_REGIONS))["value"]
    if hits is not None:
        text += f"; of its first {_CONSOLE_REGIONS} regions {hits * _CONSOLE_REGIONS:,.0f} are true positives"
        text += f", in {images:,.0f} images"
    return [text]


def report_text(summary: EvaluationSummary, plots: Sequence[str]) -> str:
    """Write the report page; ``plots`` are paths of pictures relative to it."""
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
    for name in plots:
        lines += ["", f"![{_PLOT_TITLES[name]}]({name})"]
    for metric in ("precision", "lift", "recall"):
        amounts = [
            ("number of wrong images" if amount == "errors" else str(amount), metric, str(amount))
            for amount in summary.config.at
        ]
        lines += ["", f"## {metric.capitalize()} after a number of images", "", *_score_table(summary, amounts)]
    lines += [*_pixel_table(summary), *_order_tables(summary), "", "## Legend", _SCORE_LEGEND.strip()]
    return "\n".join(lines) + "\n"


def _score_table(
    summary: EvaluationSummary, columns: Sequence[Column], title: str = "score", scores: Sequence[str] | None = None
) -> list[str]:
    """Table of one row per score, by default of images, followed by the reasons for missing values."""
    scores = summary.scores if scores is None else scores
    lines = [f"| {title} | {' | '.join(column for column, _, _ in columns)} |", "|---" * (len(columns) + 1) + "|"]
    rows = [[summary.row(score, metric, at) for _, metric, at in columns] for score in scores]
    for score, cells in zip(scores, rows, strict=True):
        lines.append(f"| `{score}` | {' | '.join(map(_format_value, cells))} |")
    return lines + _missing_reasons(cell for cells in rows for cell in cells)


def _order_tables(summary: EvaluationSummary) -> list[str]:
    if not summary.orders:
        return []
    precision: list[Column] = [("AUPRC", "region_average_precision", None)]
    precision += [(f"precision of {count}", "region_precision", str(count)) for count in REVIEWED_REGIONS]
    images: list[Column] = [
        (f"wrong images in {count}", "region_wrong_images", str(count)) for count in REVIEWED_REGIONS
    ]
    errors = summary.row(summary.orders[0], "region_average_precision")["errors"]
    cap = summary.config.per_image
    reviewed = "listed regions" if cap is None else f"first {cap} regions of each image"
    return [
        "",
        "## Orders of the listed regions",
        "",
        f"{errors:,} of the {reviewed} are true positives.",
        "",
        *_score_table(summary, precision, "order", summary.orders),
        "",
        *_score_table(summary, images, "order", summary.orders),
        "",
        _ORDER_LEGEND.strip(),
    ]


def _pixel_table(summary: EvaluationSummary) -> list[str]:
    measures = ("pixel_", "region_")
    rows = [r for r in summary.rows if r["measure"].startswith(measures) and r["score"] not in summary.orders]
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
    digits = {"effort": 0, "lift": 2, "region_wrong_images": 0}.get(row["measure"], 3)
    interval = "" if row["low"] is None else f" [{row['low']:,.{digits}f}, {row['high']:,.{digits}f}]"
    return f"{row['value']:,.{digits}f}{interval}"
