"""The rows of the table of measures: what was measured, with its interval or the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.evaluation.evaluate.bootstrap import Samples, interval_of
from masksift.evaluation.evaluate.kendall import MOST_ERRORS
from masksift.evaluation.evaluate.metrics import CumulativeCounts, average_precision, ratio
from masksift.evaluation.evaluate.pixel_tasks import COLUMNS, Counts
from masksift.evaluation.evaluate.region_matching import IOUS, steps_of_regions
from masksift.evaluation.evaluate.score_evaluation import ScoreEvaluation

Floats = NDArray[np.float64]
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Facts:
    """What an evaluation is of: ranked images, how many of them are wrong, and resamples."""

    images: int
    errors: int
    resamples: int


def score_rows(name: str, review: ScoreEvaluation, samples: Samples, facts: Facts) -> Rows:
    """The rows of one score."""
    drawn = samples.scores.get(name, {})
    rows = []
    for (measure, at), value in review.values.items():
        note = review.reasons.get((measure, at))
        if measure == "kendall_tau" and note is None and facts.errors > MOST_ERRORS:
            note = f"no interval: more than {MOST_ERRORS:,} images are wrong"
        rows.append(_row(name, measure, at, value, drawn.get((measure, at)), facts, facts.errors, note))
    return rows


def pixel_rows(counts: Counts, ranked: NDArray[np.bool_], samples: Samples, facts: Facts, confident: bool) -> Rows:
    """The rows of pixels and of regions, over the ``ranked`` images (N,). ``samples.totals``: of `COLUMNS`."""
    total = dict(zip(COLUMNS, counts.images[ranked].sum(axis=0).tolist(), strict=True))
    drawn = dict(zip(COLUMNS, samples.totals.T, strict=True))
    wrong, regions = total["wrong"], total["wrong_regions"]
    union, drawn_union = (x["wrong"] + x["flagged"] - x["both"] for x in (total, drawn))
    mask = CumulativeCounts(
        np.array([0.0, total["flagged"], total["valid"]]), np.array([0.0, total["both"], total["wrong"]])
    )

    def shared(measure: str, part: str, whole: str, errors: int, at: str = "") -> dict[str, Any]:
        samples = _ratios(drawn[part], drawn[whole])
        note = None if total[whole] else f"there are no {whole.replace('_', ' ')}{' pixels' * ('_' not in whole)}"
        return _row("issue_mask", measure, at, ratio(total[part], total[whole]), samples, facts, errors, note)

    rows = [
        shared("pixel_precision", "both", "flagged", wrong),
        shared("pixel_recall", "both", "wrong", wrong),
        _row(
            "issue_mask",
            "pixel_iou",
            "",
            ratio(total["both"], union),
            _ratios(drawn["both"], drawn_union),
            facts,
            wrong,
            None if union else "no pixel is wrong or flagged",
        ),
        _whole("issue_mask", "pixel_average_precision", "", average_precision(mask), facts, wrong, _no_wrong(wrong)),
    ]
    steps = counts.steps() if confident else None
    rows.append(
        _whole(
            "self_confidence",
            "pixel_average_precision",
            "",
            average_precision(steps) if steps else math.nan,
            facts,
            wrong,
            _no_wrong(wrong) if steps else _NOT_KEPT,
        )
    )
    for level, iou in enumerate(IOUS):
        at, found = f"IoU {iou}", f"found_regions_{iou}"
        rows.append(shared("region_precision", found, "flagged_regions", regions, at))
        rows.append(shared("region_recall", found, "wrong_regions", regions, at))
        review = steps_of_regions(counts.sizes, level)
        # what is never found has a precision of 0
        value = average_precision(review) * review.errors / regions if review.errors else ratio(0.0, regions)
        note = None if regions else "there are no wrong regions"
        rows.append(_whole("issue_mask", "region_average_precision", at, value, facts, regions, note))
    return rows


_NOT_KEPT = "the run kept no evidence: pixels cannot be ranked"


def _no_wrong(wrong: int) -> str | None:
    return None if wrong else "no pixel is wrong"


def curve_rows(reviews: Mapping[str, ScoreEvaluation]) -> Rows:
    """The rows of the table of curves."""
    rows: Rows = []
    for name, review in reviews.items():
        if review.curve is not None:
            points = zip(review.curve.effort, review.curve.recall, review.curve.precision, strict=True)
            rows += [
                {"score": name, "effort": float(e), "recall": float(r), "precision": float(p)} for e, r, p in points
            ]
    return rows


def _ratios(parts: Floats, wholes: Floats) -> Floats:
    shares: Floats = np.divide(parts, wholes, out=np.full(len(parts), np.nan), where=wholes > 0)
    return shares


def _whole(
    score: str, measure: str, at: str, value: float, facts: Facts, errors: int, note: str | None
) -> dict[str, Any]:
    """A row that is measured once, over everything."""
    note = note or ("no interval: it is not counted image by image" if facts.resamples else None)
    return _row(score, measure, at, value, None, facts, errors, note)


def _row(
    score: str,
    measure: str,
    at: str,
    value: float,
    samples: Floats | None,
    facts: Facts,
    errors: int,
    note: str | None,
) -> dict[str, Any]:
    known = math.isfinite(value)
    interval = interval_of(samples) if known and samples is not None else None
    if interval is not None and interval.used < facts.resamples:
        note = note or f"interval of the {interval.used:,} of {facts.resamples:,} resamples that give a number"
    return {
        "score": score,
        "measure": measure,
        "at": at or None,
        "value": value if known else None,
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        "images": facts.images,
        "errors": errors,
        "note": note or (None if known else "it is not defined here"),
    }


def best_of(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """The score of the greatest average precision, the first one of several."""
    known = [row for row in rows if row["measure"] == "average_precision" and row["value"] is not None]
    return max(known, key=lambda row: round(row["value"], 12))["score"] if known else None
