"""Check a completed run against limits.

Shares are compared as fractions of integers, so that a limit of 2 % is exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from masksift.core.errors import UsageError
from masksift.core.units import parse_amount
from masksift.engine.completed_run import CompletedRun, open_completed_run
from masksift.review.check.config import CheckConfig
from masksift.review.class_changes import class_changes
from masksift.storage.tables.parquet import read_table

Row = dict[str, Any]

_RECORD_FIELDS = (
    "fingerprint",
    "started",
    "finished",
    "seconds",
    "images",
    "flagged_pixels",
    "bytes_read",
    "retries",
)
_QUARANTINED_COLUMNS = ("image_id", "source", "index", "status", "reason")


def check(config: CheckConfig) -> Row:
    """Check a run against every configured limit and return plain values, as `--json` prints them."""
    run = open_completed_run(config.run, config.storage)
    classes = read_table(run.directory, "class_quality.parquet").to_pylist()
    result: Row = {"run": config.run, **{name: run.record[name] for name in _RECORD_FIELDS}}
    limits: list[Row] = []
    if (allowed := config.max_flagged) is not None:
        pixels, flagged = sum(row["pixels"] for row in classes), run.record["flagged_pixels"]
        limit = parse_amount("max_flagged", allowed, pixels, "pixels")
        limits.append(_limit("max_flagged", allowed, Fraction(flagged), pixels, limit))
    if (allowed := config.max_quarantined) is not None:
        images = run.record["images"]
        quarantined = Fraction(images - run.scored_images)
        limit = parse_amount("max_quarantined", allowed, images, "images")
        limits.append(_limit("max_quarantined", allowed, quarantined, images, limit))
    if config.max_drop_in_class_quality is not None:
        quality_limit, result["base"], result["classes"] = _check_class_quality(config, run, classes)
        limits.append(quality_limit)
    return {
        **result,
        "passed": all(limit["passed"] for limit in limits),
        "limits": limits,
        "counts": dict(sorted(run.record["counts"].items())),
        "quarantined": run.quarantined_rows(config.top, _QUARANTINED_COLUMNS),
    }


def _limit(name: str, allowed: str | int, actual: Fraction, total: int | None, limit: Fraction) -> Row:
    """Describe one limit; ``actual`` is a count out of ``total``, or a share without a total."""
    value = float(actual) if total is None else int(actual)
    return {"limit": name, "allowed": str(allowed), "found": value, "of": total, "passed": actual <= limit}


def _check_class_quality(config: CheckConfig, run: CompletedRun, classes: Sequence[Row]) -> tuple[Row, str, list[Row]]:
    """Return the limit for the class with the largest drop, the URL of the base, and the classes over the limit."""
    url = config.base or run.record["configuration"]["base"]
    if url is None:
        raise UsageError(
            f"The run at {config.run} has no base to compare class quality with",
            "Pass --base URL of an earlier completed run",
        )
    base = open_completed_run(url, config.storage)
    base_classes = read_table(base.directory, "class_quality.parquet").to_pylist()
    drops = [(_drop(row), row) for row in class_changes(base_classes, classes) if row["change"] is not None]
    if not drops:
        raise UsageError(
            f"No class has labeled pixels in both {url} and {config.run}",
            "Class quality cannot be compared",
            "Pass --base URL of a run with the same classes",
        )
    drops.sort(key=lambda drop_and_row: -drop_and_row[0])
    largest, row = drops[0]
    assert config.max_drop_in_class_quality is not None
    max_drop = config.max_drop()
    limit = _limit("max_drop_in_class_quality", config.max_drop_in_class_quality, largest, None, max_drop)
    return limit | {"class": row["class"]}, url, [row for drop, row in drops if drop > max_drop][: config.top]


def _drop(row: Mapping[str, Any]) -> Fraction:
    """Drop in the quality of a class: increase of the share of its pixels that are flagged."""
    new, old = (Fraction(row[f"flagged_{side}"], row[f"pixels_{side}"]) for side in ("new", "old"))
    return new - old
