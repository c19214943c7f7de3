"""What a run takes over from an earlier one: the evidence of the sources that have not changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from masksift.core.errors import UsageError
from masksift.core.specs import EvidenceLocation, SourceSpec
from masksift.engine.planning.layout import Layout, Settings, choose_evidence_dtype
from masksift.scoring.statistics.thresholds import Thresholds

ReusedEvidence = tuple[EvidenceLocation, Layout]
"""Where the evidence of a source is at home, and how it is cut."""

_OF_THE_RUN = ("index", "name", "class_names", "partitions")
"""What of a source is not the source's own: its place among others, and what the classes are called."""


def evidence_from_record(record: Mapping[str, Any]) -> list[ReusedEvidence]:
    """What the record of a complete run says of each of its sources. Raises UsageError where its evidence cannot be
    taken over."""
    base, made_by = record["configuration"]["out"], record["versions"]["masksift"]
    if made_by != version("masksift"):
        raise UsageError(
            f"{base} was made by masksift {made_by}, this is {version('masksift')}",
            "its evidence could differ",
            "Use that version, or run it again",
        )
    if not record["configuration"]["evidence"]["keep"]:
        raise UsageError(
            f"{base} was run with evidence.keep = false",
            "there is no evidence to score",
            "Run it again with --evidence.keep true, into a new --out",
        )
    return [_kept(tree) for tree in record["condensed"]]


def _kept(tree: Mapping[str, Any]) -> ReusedEvidence:
    layout: dict[str, Any] = {name: tuple(x) if isinstance(x, list) else x for name, x in tree["layout"].items()}
    return EvidenceLocation(**tree["location"]), Layout(**layout)


def sources_from_record(record: Mapping[str, Any]) -> list[tuple[SourceSpec, ReusedEvidence]]:
    """Every source of a complete run, with what is kept of it."""
    return list(zip(map(SourceSpec.from_json, record["sources"]), evidence_from_record(record), strict=True))


def reusable_evidence(
    record: Mapping[str, Any] | None, sources: Sequence[SourceSpec], settings: Settings
) -> list[ReusedEvidence | None]:
    """What of the sources is condensed already: by writers at inference time, or by the complete run of the ``record``,
    as they are now, by their metadata and the contents of their chunks, by the same version, and with the same
    precision and lattice. None for all others."""
    known: dict[str, ReusedEvidence] = {}
    if (
        record is not None
        and record["versions"]["masksift"] == version("masksift")
        and record["configuration"]["tccp"]["lattice"] == settings.lattice
    ):
        known = {_source_key(spec): kept for spec, kept in sources_from_record(record)}
    found: list[ReusedEvidence | None] = []
    for spec in sources:
        if spec.stored_evidence:
            found.append(_by_writers(spec, settings))
            continue
        kept = known.get(_source_key(spec))
        fits = kept is not None and kept[1].evidence_dtype == choose_evidence_dtype(spec, settings.evidence_dtype)
        found.append(kept if fits else None)
    return found


def _by_writers(spec: SourceSpec, settings: Settings) -> ReusedEvidence:
    made_by, lattice = spec.stored_evidence["masksift"], spec.stored_evidence["lattice"]
    if lattice != settings.lattice:
        raise UsageError(
            f"the evidence of {spec.url} was written with a lattice of {lattice}, this run has {settings.lattice}",
            "there are no predictions to count it again",
            f"Give --tccp.lattice {lattice}",
        )
    if made_by != version("masksift"):
        raise UsageError(
            f"{spec.url} was written by masksift {made_by}, this is {version('masksift')}",
            "its evidence could differ",
            "Use that version, or write it again",
        )
    return _kept(spec.stored_evidence)


def _source_key(spec: SourceSpec) -> str:
    return json.dumps({k: v for k, v in spec.as_json().items() if k not in _OF_THE_RUN}, sort_keys=True)


def thresholds_from_record(
    record: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], class_names: Sequence[str]
) -> Thresholds:
    """The thresholds of a complete run, by its record and the rows of its table of thresholds. Raises UsageError where
    its classes are others."""
    theirs = [row["class_name"] for row in rows]
    if theirs != list(class_names):
        raise UsageError(
            f"{record['configuration']['out']} has the classes {', '.join(theirs[:8])}, this run "
            f"{', '.join(class_names[:8])}",
            "its thresholds are of other classes",
            "Give --classes as that run had them",
        )

    def column(name: str) -> Any:
        return np.array([np.inf if row[name] is None else row[name] for row in rows], np.float64)

    return Thresholds(
        column("confident_threshold"),
        column("decision_threshold"),
        record["estimated_issues"],
        record["cut"],
        column("ignored_share"),
    )
