"""Summary of reordered regions for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from masksift.core.text import escape_unprintable, format_table, pluralize
from masksift.review.decisions import ACCEPT, REJECT, UNSURE
from masksift.review.rerank.command import MIN_DECISIONS, FittedOrder, OrderQuality, RerankResult
from masksift.review.rerank.model import LEVEL


def format_text(result: RerankResult) -> str:
    """Format the result of `rerank`."""
    paragraphs = [_decisions(result), _model(result), _expected(result), _first(result)]
    return "\n\n".join("\n".join(lines) for paragraph in paragraphs if (lines := list(paragraph)))


def _decisions(result: RerankResult) -> Iterator[str]:
    counts = result.counts
    yield (
        f"decisions: {counts[ACCEPT]:,} accepted, {counts[REJECT]:,} rejected, {counts[UNSURE]:,} unsure, "
        f"on regions of {pluralize(result.images, 'image')}"
    )
    if min(counts[ACCEPT], counts[REJECT]) < MIN_DECISIONS:
        yield (
            f"fewer than {MIN_DECISIONS} of a kind: the order does not change. "
            f"Decide on regions until {MIN_DECISIONS} are accepted and {MIN_DECISIONS} rejected."
        )


def _model(result: RerankResult) -> Iterator[str]:
    if (order := result.order) is None:
        return
    weights = sorted(order.coefficients.items(), key=lambda item: -abs(item[1]))
    yield "logistic regression, log-odds of a wrong label per standard deviation:"
    yield "  " + ", ".join(f"{name} {weight:+.2f}" for name, weight in weights)
    yield "quality on the regions with a decision (average precision: higher is better; log loss: lower is better):"
    yield from format_table(
        [
            ("", "average precision", "log loss"),
            _quality_row("present order, and no model", order.present),
            _quality_row("model on regions that it was fitted to", order.fitted),
            _quality_row("model on images that it did not see", order.validated),
        ]
    )


def _quality_row(name: str, quality: OrderQuality | None) -> tuple[str, str, str]:
    if quality is None:
        return name, "-", "-"
    return name, f"{quality.average_precision:.3f}", f"{quality.log_loss:.3f}"


def _expected(result: RerankResult) -> Iterator[str]:
    if (order := result.order) is None:
        return
    yield "expected wrong labels:"
    yield from format_table([*_ahead(order), _remaining(result.remaining, order)])


def _ahead(order: FittedOrder) -> Iterator[tuple[str, str, str]]:
    for count, errors in order.ahead.items():
        yield f"first {count:,} of the new order", f"{errors:,.0f}", ""


def _remaining(count: int, order: FittedOrder) -> tuple[str, str, str]:
    expected = order.expected
    interval = f"{LEVEL:.0%}".replace("%", " %") + f" interval {expected.low:,.0f} to {expected.high:,.0f}"
    return f"all {count:,} that remain", f"{expected.count:,.0f}", interval


def _first(result: RerankResult) -> Iterator[str]:
    if result.first:
        yield "first to review:"
        head = ("image", "given -> suggested", "rank", "before", "probability", "px", "rows", "columns")
        yield from format_table([head, *map(_region_row, result.first)], left=2)
    yield f"{pluralize(result.remaining, 'region')} of {result.regions:,} to review: {result.url}"


def _region_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    given = row["given_name"] or "no label"
    return (
        escape_unprintable(f"{row['image_id']}"),
        escape_unprintable(f"{given} -> {row['suggested_name']}"),
        f"{row['rank']:,}",
        f"{row['old_rank']:,}",
        "" if row["probability"] is None else f"{row['probability']:.3f}",
        f"{row['area']:,}",
        f"{row['y0']}:{row['y1']}",
        f"{row['x0']}:{row['x1']}",
    )
