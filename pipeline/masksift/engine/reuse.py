"""What a run takes over from an earlier one: the evidence of the sources that have not changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from masksift.core.errors import UsageError
from masksift.core.specs import DataSpec, Home
from masksift.engine.planning.layout import Layout, Settings, evidence_dtype
from masksift.scoring.statistics.thresholds import Thresholds

__all__ = ["Kept", "condensed_by", "frozen_thresholds", "of_run", "take_over"]

Kept = tuple[Home, Layout]
"""Where the evidence of a source is at home, and how it is cut."""

_OF_THE_RUN = ("index", "name", "class_names", "partitions")
"""What of a source is not the source's own: its place among others, and what the classes are called."""


def of_run(record: Mapping[str, Any]) -> list[Kept]:
    """What the record of a complete run says of each of its sources. Raises UsageError where its evidence cannot be
    taken over."""
    base, made_by = record["configuration"]["out"], record["versions"]["masksift"]
    if made_by != version("masksift"):
        raise UsageError(
            f"{base} was made by masksift {made_by}, this is {version('masksift')}", "its evidence could differ",
            "Use that version, or run it again",
        )  # fmt: skip
    if not record["configuration"]["evidence"]["keep"]:
        raise UsageError(
            f"{base} was run with evidence.keep = false", "there is no evidence to score",
            "Run it again with --evidence.keep true, into a new --out",
        )  # fmt: skip
    return [_kept(tree) for tree in record["condensed"]]


def _kept(tree: Mapping[str, Any]) -> Kept:
    layout: dict[str, Any] = {name: tuple(x) if isinstance(x, list) else x for name, x in tree["layout"].items()}
    return Home(**tree["home"]), Layout(**layout)


def condensed_by(record: Mapping[str, Any]) -> list[tuple[DataSpec, Kept]]:
    """Every source of a complete run, with what is kept of it."""
    return list(zip(map(DataSpec.from_json, record["sources"]), of_run(record), strict=True))


def take_over(
    record: Mapping[str, Any] | None, sources: Sequence[DataSpec], settings: Settings
) -> list[Kept | None]:  # fmt: skip
    """What of the sources is condensed already: by writers at inference time, or by the complete run of the ``record``,
    as they are now, by their metadata and the contents of their chunks, by the same version, and with the same
    precision and lattice. None for all others."""
    known: dict[str, Kept] = {}
    if (
        record is not None
        and record["versions"]["masksift"] == version("masksift")
        and record["configuration"]["tccp"]["lattice"] == settings.lattice
    ):
        known = {_essence(spec): kept for spec, kept in condensed_by(record)}
    found: list[Kept | None] = []
    for spec in sources:
        if spec.written:
            found.append(_by_writers(spec, settings))
            continue
        kept = known.get(_essence(spec))
        fits = kept is not None and kept[1].evidence == evidence_dtype(spec, settings.evidence_dtype)
        found.append(kept if fits else None)
    return found


def _by_writers(spec: DataSpec, settings: Settings) -> Kept:
    made_by, lattice = spec.written["masksift"], spec.written["lattice"]
    if lattice != settings.lattice:
        raise UsageError(
            f"the evidence of {spec.url} was written with a lattice of {lattice}, this run has {settings.lattice}",
            "there are no predictions to count it again", f"Give --tccp.lattice {lattice}",
        )  # fmt: skip
    if made_by != version("masksift"):
        raise UsageError(
            f"{spec.url} was written by masksift {made_by}, this is {version('masksift')}", "its evidence could differ",
            "Use that version, or write it again",
        )  # fmt: skip
    return _kept(spec.written)


def _essence(spec: DataSpec) -> str:
    return json.dumps({k: v for k, v in spec.as_json().items() if k not in _OF_THE_RUN}, sort_keys=True)


def frozen_thresholds(
    record: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], class_names: Sequence[str]
) -> Thresholds:
    """The thresholds of a complete run, by its record and the rows of its table of thresholds. Raises UsageError where
    its classes are others."""
    theirs = [row["class_name"] for row in rows]
    if theirs != list(class_names):
        raise UsageError(
            f"{record['configuration']['out']} has the classes {', '.join(theirs[:8])}, this run "
            f"{', '.join(class_names[:8])}",
            "its thresholds are of other classes", "Give --classes as that run had them",
        )  # fmt: skip

    def column(name: str) -> Any:
        return np.array([np.inf if row[name] is None else row[name] for row in rows], np.float64)

    return Thresholds(
        column("confident_threshold"), column("decision_threshold"), record["estimated_issues"], record["cut"],
        column("ignored_share"),
    )  # fmt: skip
