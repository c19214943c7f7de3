"""An evaluation in words: a page of tables, and a few lines for the console."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from masksift.evaluation.evaluate.bootstrap import LEVEL
from masksift.evaluation.evaluate.config import EvaluateConfig
from masksift.evaluation.evaluate.result_rows import Facts, best_of
from masksift.evaluation.evaluate.score_evaluation import RECALLS

Row = Mapping[str, Any]
_AREAS = ("auroc", "average_precision", "kendall_tau")
_NAMES = {"auroc": "AUROC", "average_precision": "AUPRC", "kendall_tau": "Kendall tau", "effort": "images to find"}

_MEANINGS = f"""
Images are reviewed in ascending order of a score; equal scores are one step. **AUROC**: the chance that a wrong image
comes before a right one. **AUPRC**: average precision. **precision, recall, lift** after so many images: the share of
wrong ones among them, the share of all wrong ones found, and precision over the share of wrong images in all. **images
to find**: how many one reviews until so many of the wrong ones are found. **Kendall tau**: tau-b of `1 - score` and the
share of wrong pixels. In brackets: the middle {LEVEL} % of bootstrap resamples of the images. All figures, with the
notes on those that are missing: `measures.parquet`.
"""
_PIXELS = """
Over the valid pixels of all ranked images together. The issue mask is compared as it is, and as an order of two steps
(average precision); `self_confidence` orders all pixels. Regions are 8-connected components of the issue mask and of
the wrong pixels, matched greedily by IoU; their average precision ranks them by size, the largest first.
"""


@dataclass(frozen=True)
class EvaluationSummary:
    """All that is told. ``truth``: its form in words; ``notes``: sentences; ``rows``: of the table of measures."""

    config: EvaluateConfig
    truth: str
    facts: Facts
    notes: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def scores(self) -> list[str]:
        """The scores of images, in the run's order."""
        return list(dict.fromkeys(row["score"] for row in self.rows if row["measure"] in _AREAS))

    def row(self, score: str, measure: str, at: str | None = None) -> Row:
        """The row of a measure."""
        return next(r for r in self.rows if (r["score"], r["measure"], r["at"]) == (score, measure, at))


def console_text(told: EvaluationSummary) -> str:
    """The end of an evaluation, in words."""
    facts, best = told.facts, best_of(told.rows)
    lines = [f"truth: {told.truth}", f"{facts.errors:,} of {facts.images:,} ranked images are wrong"]
    if best is None:
        lines += [f"nothing is measured: {told.row(told.scores[0], 'auroc')['note']}"] if told.scores else []
    else:
        auroc, auprc = (told.row(best, measure) for measure in _AREAS[:2])
        lines.append(f"best score by AUPRC: {best}, {_shown(auprc)}; AUROC {_shown(auroc)}")
        some = [f"{told.row(best, 'effort', at)['value']:,.0f} images find {at}" for at in _recalls()]
        lines.append(f"reviewing in its order, {' and '.join(some)} of the wrong ones")
    return "\n".join([*lines, *told.notes, f"results: {told.config.out}"])


def report_text(told: EvaluationSummary, *, plots: bool) -> str:
    """The page, as Markdown."""
    facts, at = told.facts, [str(amount) for amount in told.config.at]
    first: list[tuple[str, str, str | None]] = [(_NAMES[name], name, None) for name in _AREAS]
    first += [(f"{_NAMES['effort']} {recall}", "effort", recall) for recall in _recalls()]
    lines = [
        f"# How well the scores of {told.config.run} find known errors",
        "",
        f"Truth: {told.truth}. {facts.errors:,} of {facts.images:,} ranked images are wrong "
        f"({100 * facts.errors / max(1, facts.images):.3g} %).",
        *told.notes,
        "",
        *_table(told, first),
        *(
            [
                "",
                "![Precision over recall](precision_recall.png)",
                "",
                "![Recall over review effort](recall_over_effort.png)",
            ]
            if plots
            else []
        ),
    ]
    for measure in ("precision", "lift", "recall"):
        lines += ["", f"## {measure.capitalize()} after so many images", ""]
        lines += _table(told, [(_amount(amount), measure, amount) for amount in at])
    lines += [*_pixels(told), "", "## What the numbers mean", _MEANINGS.strip()]
    return "\n".join(lines) + "\n"


def _table(told: EvaluationSummary, columns: Sequence[tuple[str, str, str | None]]) -> list[str]:
    """A row a score, a column a (title, measure, place); below it why there is nothing where there is nothing."""
    lines = [f"| score | {' | '.join(title for title, _, _ in columns)} |", "|---" * (len(columns) + 1) + "|"]
    reasons: dict[str, None] = {}
    for score in told.scores:
        rows = [told.row(score, measure, at) for _, measure, at in columns]
        reasons |= {row["note"]: None for row in rows if row["value"] is None}
        lines.append(f"| `{score}` | {' | '.join(map(_shown, rows))} |")
    return lines + _said(reasons)


def _pixels(told: EvaluationSummary) -> list[str]:
    rows = [row for row in told.rows if row["measure"].startswith(("pixel_", "region_"))]
    if not rows:
        return []
    lines = ["", "## Pixels and regions", "", "| of | measure | | to be found |", "|---|---|---|---|"]
    for row in rows:
        name = row["measure"].replace("_", " ").replace("iou", "IoU") + (f", {row['at']}" if row["at"] else "")
        lines.append(f"| `{row['score']}` | {name} | {_shown(row)} | {row['errors']:,} |")
    return [*lines, *_said(row["note"] for row in rows if row["value"] is None), "", _PIXELS.strip()]


def _said(reasons: Iterable[str]) -> list[str]:
    """Why cells are empty, each reason once."""
    some = list(dict.fromkeys(reasons))
    return ["", f"none: {'; '.join(some)}."] if some else []


def _recalls() -> list[str]:
    return [f"{recall:.0%}" for recall in RECALLS]


def _amount(amount: str) -> str:
    return "as many as are wrong" if amount == "errors" else amount


def _shown(row: Row) -> str:
    """A value with its interval."""
    if row["value"] is None:
        return "none"
    places = 0 if row["measure"] == "effort" else 2 if row["measure"] == "lift" else 3
    interval = "" if row["low"] is None else f" [{row['low']:,.{places}f}, {row['high']:,.{places}f}]"
    return f"{row['value']:,.{places}f}{interval}"
