"""Reuse of an earlier run: evidence of unchanged sources, and thresholds."""

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

_RUN_FIELDS = ("index", "name", "class_names", "partitions")
"""Fields of a source that depend on the run and not on its data."""


def evidence_from_record(record: Mapping[str, Any]) -> list[ReusedEvidence]:
    """Return location and layout of the evidence of each source of a run. Raises UsageError if it cannot be reused."""
    base, recorded_version = record["configuration"]["out"], record["versions"]["masksift"]
    if recorded_version != version("masksift"):
        raise UsageError(
            f"{base} was made by masksift {recorded_version}, this is {version('masksift')}",
            "Its evidence could differ",
            "Use that version, or run it again",
        )
    if not record["configuration"]["evidence"]["keep"]:
        raise UsageError(
            f"{base} was run with evidence.keep = false",
            "There is no evidence to score",
            "Run it again with --evidence.keep true and a new --out",
        )
    return [evidence_from_json(tree) for tree in record["condensed"]]


def evidence_from_json(tree: Mapping[str, Any]) -> ReusedEvidence:
    """Return the location and layout that run.json or an evidence source stores."""
    layout: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in tree["layout"].items()}
    return EvidenceLocation(**tree["location"]), Layout(**layout)


def sources_from_record(record: Mapping[str, Any]) -> list[tuple[SourceSpec, ReusedEvidence]]:
    """Return every source of a complete run with its evidence. Raises UsageError as `evidence_from_record`."""
    return list(zip(map(SourceSpec.from_json, record["sources"]), evidence_from_record(record), strict=True))


def reusable_evidence(
    record: Mapping[str, Any] | None, sources: Sequence[SourceSpec], settings: Settings
) -> list[ReusedEvidence | None]:
    """Find existing evidence of each source.

    Evidence exists if a writer made it at inference time, or if the base run condensed a source with the same metadata
    and chunk contents, by the same version, with the same precision and lattice.

    Args:
        record: Content of the base's run.json, or None without a base.
        sources: Sources of the run.
        settings: Options that decide the amount of work.

    Returns:
        Evidence of each source, or None for a source to condense.

    Raises:
        UsageError: An evidence source was made with another lattice or version.
    """
    known: dict[str, ReusedEvidence] = {}
    if (
        record is not None
        and record["versions"]["masksift"] == version("masksift")
        and record["configuration"]["tccp"]["lattice"] == settings.lattice
    ):
        known = {_source_key(spec): evidence for spec, evidence in sources_from_record(record)}
    reused: list[ReusedEvidence | None] = []
    for spec in sources:
        if spec.stored_evidence:
            reused.append(_writer_evidence(spec, settings))
            continue
        evidence = known.get(_source_key(spec))
        dtype = choose_evidence_dtype(spec, settings.evidence_dtype)
        reused.append(evidence if evidence is not None and evidence[1].evidence_dtype == dtype else None)
    return reused


def _writer_evidence(spec: SourceSpec, settings: Settings) -> ReusedEvidence:
    writer_version, lattice = spec.stored_evidence["masksift"], spec.stored_evidence["lattice"]
    if lattice != settings.lattice:
        raise UsageError(
            f"The evidence of {spec.url} was written with a lattice of {lattice}, this run has {settings.lattice}",
            "There are no predictions to condense again",
            f"Pass --tccp.lattice {lattice}",
        )
    if writer_version != version("masksift"):
        raise UsageError(
            f"{spec.url} was written by masksift {writer_version}, this is {version('masksift')}",
            "Its evidence could differ",
            "Use that version, or write it again",
        )
    return evidence_from_json(spec.stored_evidence)


def _source_key(spec: SourceSpec) -> str:
    return json.dumps({k: v for k, v in spec.as_json().items() if k not in _RUN_FIELDS}, sort_keys=True)


def thresholds_from_record(
    record: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], class_names: Sequence[str]
) -> Thresholds:
    """Rebuild the thresholds of a run from its record and table. Raises UsageError for other class names."""
    base_names = [row["class_name"] for row in rows]
    if base_names != list(class_names):
        raise UsageError(
            f"{record['configuration']['out']} has the classes {', '.join(base_names[:8])}, this run "
            f"{', '.join(class_names[:8])}",
            "Its thresholds belong to other classes",
            "Pass --classes as in that run",
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
