"""The line of a check: open the run, hold what its record and its tables say against each limit.

Everything is answered as plain values: what `--json` prints, and what is told in words (`told`). Shares are compared
as fractions of whole numbers, so that a limit of 2 % is 2 %, whatever its binary digits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from masksift.core.errors import UsageError
from masksift.core.status import SCORED
from masksift.core.units import parse_amount
from masksift.engine.completed_run import CompletedRun, open_completed_run
from masksift.review.check.config import CheckConfig
from masksift.review.class_changes import class_changes
from masksift.storage.tables.parquet import iter_tables, read_table

Row = dict[str, Any]

_FACTS = ("fingerprint", "started", "finished", "seconds", "images", "flagged_pixels", "bytes_read", "retries")
"""What a workflow notes down of a run, from its record."""


def check(config: CheckConfig) -> Row:
    """What each limit allows and what the run has; ``passed``: whether it keeps all of them. Raises UsageError where
    there is no complete run, or nothing that its class quality can be held against."""
    run = open_completed_run(config.run, config.storage)
    classes = read_table(run.folder, "class_quality.parquet").to_pylist()
    found: Row = {"run": config.run, **{name: run.record[name] for name in _FACTS}}
    limits: list[Row] = []
    if config.max_flagged is not None:
        limits.append(_flagged(config.max_flagged, run, classes))
    if config.max_quarantined is not None:
        limits.append(_quarantined(config.max_quarantined, run))
    if config.max_drop_in_class_quality is not None:
        limit, found["base"], found["classes"] = _dropped(config, run, classes)
        limits.append(limit)
    passed = all(limit["passed"] for limit in limits)
    return {
        **found,
        "passed": passed,
        "limits": limits,
        "counts": dict(sorted(run.record["counts"].items())),
        "quarantined": _first_quarantined(run, config.top),
    }


def _limit(name: str, allowed: str | int, found: Fraction, of: int | None, most: Fraction) -> Row:
    """One limit: what is allowed as it was typed, and what was found as a number (of ``of`` things, or a share)."""
    number = float(found) if of is None else int(found)
    return {"limit": name, "allowed": str(allowed), "found": number, "of": of, "passed": found <= most}


def _flagged(allowed: str | int, run: CompletedRun, classes: Sequence[Mapping[str, Any]]) -> Row:
    pixels, flagged = sum(row["pixels"] for row in classes), run.record["flagged_pixels"]
    return _limit(
        "max_flagged", allowed, Fraction(flagged), pixels, parse_amount("max_flagged", allowed, pixels, "pixels")
    )


def _left_out(run: CompletedRun) -> int:
    images: int = run.record["images"]
    return images - int(run.record["counts"].get(SCORED, 0))


def _quarantined(allowed: str | int, run: CompletedRun) -> Row:
    most = parse_amount("max_quarantined", allowed, run.record["images"], "images")
    return _limit("max_quarantined", allowed, Fraction(_left_out(run)), run.record["images"], most)


def _dropped(config: CheckConfig, run: CompletedRun, classes: Sequence[Row]) -> tuple[Row, str, list[Row]]:
    """The limit of the class that lost most, the run that it is held against, and the classes that lost more than is
    allowed, first the one that lost most."""
    url = config.base or run.record["configuration"]["base"]
    if url is None:
        raise UsageError(
            f"the run at {config.run} has no base",
            "what its class quality was before is not known",
            "Give --base URL of an earlier complete run",
        )
    base = open_completed_run(url, config.storage)
    before = read_table(base.folder, "class_quality.parquet").to_pylist()
    both = [(_drop(row), row) for row in class_changes(before, classes) if row["change"] is not None]
    if not both:
        raise UsageError(
            f"no class has labelled pixels in both {url} and {config.run}",
            "no quality can be held against another",
            "Give the --base of a run with the same classes",
        )
    both.sort(key=lambda one: -one[0])
    allowed, most = config.max_drop_in_class_quality, config.drop()
    assert allowed is not None
    limit = _limit("max_drop_in_class_quality", allowed, both[0][0], None, most) | {"class": both[0][1]["class"]}
    return limit, url, [row for drop, row in both if drop > most][: config.top]


def _drop(row: Mapping[str, Any]) -> Fraction:
    """How much quality a class has lost: the share of its pixels that is flagged now over that of before."""
    new, old = (Fraction(row[f"flagged_{side}"], row[f"pixels_{side}"]) for side in ("new", "old"))
    return new - old


def _first_quarantined(run: CompletedRun, top: int) -> list[Row]:
    """The first images that are not scored, in the order of the sources; reads no further than they lie."""
    wanted = min(top, _left_out(run))
    rows: list[Row] = []
    if wanted:
        columns = ["image_id", "source", "index", "status", "reason"]
        for table in iter_tables(run.folder, run.image_parts, columns):
            rows += [row for row in table.to_pylist() if row["status"] != SCORED]
            if len(rows) >= wanted:
                break
    return rows[:wanted]
