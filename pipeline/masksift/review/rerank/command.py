"""Fit a model to the decisions on regions, and write the regions that remain in its order.

Memory grows with the listed regions: some hundred bytes each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from masksift.core.errors import DataError, UsageError
from masksift.engine.completed_run import CompletedRun, open_completed_run
from masksift.review.decisions import ACCEPT, REJECT, RERANKED, UNSURE, load_decisions
from masksift.review.rerank.config import RerankConfig
from masksift.review.rerank.features import FEATURE_COLUMNS, Floats, image_scores, region_features
from masksift.review.rerank.list_decisions import ListDecisions, match_decisions
from masksift.review.rerank.model import (
    ExpectedErrors,
    Positions,
    ReviewedRegions,
    cross_validate,
    expect_errors,
    fit_model,
    make_background,
)
from masksift.storage.locations import check_separate, source_urls
from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.arrow import table_from_columns
from masksift.storage.tables.parquet import write_table
from masksift.storage.tables.schemas import reranked_schema
from masksift.storage.tables.segments import join_tables
from masksift.storage.urls import join, split_url

MIN_DECISIONS = 10
"""Accepted and rejected regions that a fit needs, each.

With fewer, the order of simulated errors still improves (`PYTHONPATH=tests python -m benchmarks.study_rerank`), but a
few mistakes of the reviewer, which no simulation has, would decide it.
"""
AHEAD = (100, 1000)
"""Numbers of first regions of the new order whose expected errors are reported."""


@dataclass(frozen=True)
class OrderQuality:
    """Quality on the reviewed regions."""

    average_precision: float
    log_loss: float


@dataclass(frozen=True)
class FittedOrder:
    """New order with its model.

    Attributes:
        coefficients: Change of the log-odds per standard deviation of each feature.
        present: Quality of the run's order; its log loss is that of one probability for all regions.
        fitted: Quality of the model on the regions that it was fitted to.
        validated: Quality on regions of images that the model did not see; None if it cannot be measured.
        ahead: Expected errors among the first regions of the new order, by their number.
        expected: Expected errors among all remaining regions.
    """

    coefficients: Mapping[str, float]
    present: OrderQuality
    fitted: OrderQuality
    validated: OrderQuality | None
    ahead: Mapping[int, float]
    expected: ExpectedErrors


@dataclass(frozen=True)
class RerankResult:
    """Result of `rerank`.

    Attributes:
        url: URL of the table that was written.
        regions: Number of listed regions.
        counts: Number of decisions by kind; one on an image counts once.
        images: Number of images with any decision on a listed region.
        remaining: Number of rows of the table: regions that are neither accepted nor rejected.
        order: The new order; None if there are too few decisions, or no regions to reorder.
        first: First rows of the table.
    """

    url: str
    regions: int
    counts: Mapping[str, int]
    images: int
    remaining: int
    order: FittedOrder | None
    first: Sequence[Mapping[str, Any]]


def rerank(config: RerankConfig) -> RerankResult:
    """Reorder the remaining regions of a run; raises UsageError or DataError if the decisions do not fit it."""
    run = open_completed_run(config.run, config.storage, [url for url in (config.verdicts, config.out) if url])
    directory, name = _check_out(config, run)
    decisions = load_decisions(config.verdicts, run.context.options)
    table = _read_regions(run)
    matched = match_decisions(run, decisions, table)
    counts, positions = matched.counts(), np.flatnonzero(~matched.is_decided)
    order, probabilities = None, None
    if min(counts[ACCEPT], counts[REJECT]) >= MIN_DECISIONS and len(positions):
        order, log_odds = _fit(run, table, matched, config.seed)
        new_order = np.argsort(-log_odds, kind="stable")
        positions, probabilities = positions[new_order], expit(log_odds[new_order])
    rows = _reranked_table(run, table, positions, probabilities, matched)
    write_table(ObjectDirectory(directory, run.context.options), name, rows, run.class_names)
    return RerankResult(
        join(directory, name),
        len(table),
        counts,
        matched.reviewed_images,
        len(positions),
        order,
        rows.slice(0, config.top).to_pylist(),
    )


def _check_out(config: RerankConfig, run: CompletedRun) -> tuple[str, str]:
    """Return directory and name of the output. One in an input, or without the ending, raises UsageError."""
    default = split_url(join(run.context.out, RERANKED))
    out = default if config.out is None else split_url(config.out)
    if not out[1].endswith(".parquet"):
        raise UsageError(f"--out {config.out} must be a file that ends in .parquet", "Pass the URL of such a file")
    inputs = [*source_urls(run.tasks.sources), config.verdicts]
    check_separate(join(*out), inputs if out == default else [*inputs, config.run])
    return out


def _read_regions(run: CompletedRun) -> Any:
    """Read the table of regions without the masks."""
    added = {"old_rank", "probability", "decision"}
    columns = [name for name in reranked_schema(run.context.path_columns).names if name not in added]
    tables = list(run.region_tables(columns))
    if not tables:
        raise DataError(f"{run.directory.url} has no regions/part-*.parquet", "Run `masksift score RUN --out URL`")
    if missing := [name for name in columns if name not in tables[0].column_names]:
        raise DataError(
            f"The regions of {run.directory.url} have no {missing[0]!r}: an earlier version of masksift wrote them",
            "Run `masksift score RUN --out URL`, and review the regions of the new run",
        )
    return join_tables(tables)


def _fit(run: CompletedRun, table: Any, matched: ListDecisions, seed: int) -> tuple[FittedOrder, Floats]:
    """Fit the model, and return its description and the log-odds of a wrong label of the remaining regions, (R,)."""
    from threadpoolctl import threadpool_limits

    columns = {name: table[name].to_numpy() for name in FEATURE_COLUMNS}
    by_name = region_features(columns, image_scores(run, matched.images))
    features, decided = np.stack(list(by_name.values()), axis=1), matched.is_decided
    reviewed = ReviewedRegions(
        features[decided], matched.is_accepted[decided], matched.weights[decided], matched.images[decided]
    )
    remaining = features[~decided]
    with threadpool_limits(1):  # a sum depends on the number of threads
        background = make_background(remaining, len(features))
        model = fit_model(reviewed, background)
        log_odds = model.log_odds(remaining)
        validated = cross_validate(reviewed, background)
        order = FittedOrder(
            dict(zip(by_name, model.coefficients.tolist(), strict=True)),
            _present_quality(reviewed),
            _quality(reviewed, model.log_odds(reviewed.features)),
            None if validated is None else _quality(reviewed, validated),
            _errors_ahead(log_odds),
            expect_errors(model, reviewed, background, remaining, seed),
        )
    return order, log_odds


def _quality(reviewed: ReviewedRegions, log_odds: Floats) -> OrderQuality:
    from sklearn.metrics import average_precision_score, log_loss

    wrong, weights = reviewed.wrong, reviewed.weights
    return OrderQuality(
        float(average_precision_score(wrong, log_odds, sample_weight=weights)),
        float(log_loss(wrong, expit(log_odds), sample_weight=weights)),
    )


def _present_quality(reviewed: ReviewedRegions) -> OrderQuality:
    count, share = len(reviewed.wrong), np.average(reviewed.wrong, weights=reviewed.weights)
    in_order = _quality(reviewed, -np.arange(count, dtype=float))
    constant = _quality(reviewed, np.full(count, np.log(share / (1 - share))))
    return OrderQuality(in_order.average_precision, constant.log_loss)


def _errors_ahead(log_odds: Floats) -> dict[int, float]:
    probabilities = np.sort(expit(log_odds))[::-1]
    return {count: float(probabilities[:count].sum()) for count in AHEAD if count < len(probabilities)}


def _reranked_table(
    run: CompletedRun, table: Any, positions: Positions, probabilities: Floats | None, matched: ListDecisions
) -> Any:
    """Return the regions at some positions with their probabilities (R,), null without a model."""
    rows = table.take(positions)
    columns = {name: rows[name].combine_chunks() for name in rows.column_names}
    columns["old_rank"], columns["rank"] = columns["rank"], np.arange(1, len(rows) + 1)
    columns["probability"] = [None] * len(rows) if probabilities is None else probabilities
    columns["decision"] = [UNSURE if unsure else None for unsure in matched.is_unsure[positions].tolist()]
    return table_from_columns(columns, reranked_schema(run.context.path_columns))
