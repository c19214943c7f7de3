"""Reuse of an earlier run: evidence of unchanged sources, and thresholds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain
from typing import Any

import numpy as np

from masksift.core.errors import UsageError
from masksift.core.specs import SourceSpec
from masksift.engine.planning.layout import Settings, choose_evidence_dtype
from masksift.engine.source_table import ReusedEvidence, evidence_from_json, read_source_table
from masksift.scoring.methods import COMBINED_SCORES
from masksift.scoring.ranking import PlaceKnots
from masksift.scoring.region_priority import PairTotals
from masksift.scoring.statistics.agreement import AgreementScale
from masksift.scoring.statistics.thresholds import Thresholds
from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.schemas import AGREEMENT_COLUMNS

_RUN_FIELDS = ("index", "name", "class_names", "partitions")
"""Fields of a source that depend on the run and not on its data."""


def check_reusable(record: Mapping[str, Any]) -> None:
    """Raise UsageError if the evidence of a complete run cannot be reused."""
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


def reusable_evidence(
    base: tuple[Mapping[str, Any], ObjectDirectory] | None, sources: Sequence[SourceSpec], settings: Settings
) -> list[ReusedEvidence | None]:
    """Find existing evidence of each source.

    Evidence exists if a writer made it at inference time, or if the base run condensed a source with the same metadata
    and chunk contents, by the same version, with the same precision and lattice.

    Args:
        base: Content of the base's run.json, and its directory; None without a base.
        sources: Sources of the run.
        settings: Options that decide the amount of work.

    Returns:
        Evidence of each source, or None for a source to condense.

    Raises:
        UsageError: An evidence source was made with another lattice or version.
    """
    known: dict[str, ReusedEvidence] = {}
    if (
        base is not None
        and base[0]["versions"]["masksift"] == version("masksift")
        and base[0]["configuration"]["tccp"]["lattice"] == settings.lattice
    ):
        check_reusable(base[0])
        known = {_source_key(spec): evidence for spec, evidence in read_source_table(base[1])}
    reused: list[ReusedEvidence | None] = []
    for spec in sources:
        if spec.stored_evidence:
            reused.append(_writer_evidence(spec, settings))
            continue
        evidence = known.get(_source_key(spec)) if known else None
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
    return json.dumps({k: v for k, v in spec.identity().items() if k not in _RUN_FIELDS}, sort_keys=True)


@dataclass(frozen=True)
class FrozenStatistics:
    """Results of another run, with which the images of a run are scored as if they had been in that one.

    Attributes:
        thresholds: Its thresholds.
        totals: Its totals, with which regions are compared.
        knots: Places in its rankings, by which scores are combined; None if it has no combined score.
    """

    thresholds: Thresholds
    totals: PairTotals
    knots: tuple[PlaceKnots, ...] | None


def frozen_statistics(
    record: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    pairs: Sequence[Mapping[str, Any]],
    knots: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
) -> FrozenStatistics:
    """Rebuild the results of a run with which images of another one are scored.

    Args:
        record: Its record.
        rows: Rows of its thresholds.
        pairs: Rows of its class pairs.
        knots: Rows of its place knots.
        class_names: Names of the classes of the new run.

    Returns:
        The results.

    Raises:
        UsageError: If the run has other classes, or an older version made it.
    """
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

    if not {"predicted_pixels", *chain(*AGREEMENT_COLUMNS)} <= {*rows[0]}:
        raise UsageError(
            f"{record['configuration']['out']} was made by masksift {record['versions']['masksift']}",
            "It lacks the usual agreement of classes and the totals with which regions are compared",
            f"Run it again with masksift {version('masksift')}",
        )
    center, spread = (
        np.array([[np.nan if row[name] is None else row[name] for row in rows] for name in names], np.float64)
        for names in zip(*AGREEMENT_COLUMNS, strict=True)
    )
    thresholds = Thresholds(
        column("confident_threshold"),
        column("decision_threshold"),
        record["estimated_issues"],
        record["cut"],
        column("ignored_share"),
        AgreementScale(center, spread),
    )
    evidence = np.zeros((len(rows), len(rows)))
    for pair in pairs:
        evidence[pair["given"], pair["suggested"]] = pair["evidence"]
    labeled, predicted = (np.array([row[name] for row in rows], np.int64) for name in ("pixels", "predicted_pixels"))
    totals = PairTotals(evidence, labeled, predicted, is_other_run=True)
    return FrozenStatistics(thresholds, totals, _place_knots(knots) if knots else None)


def _place_knots(rows: Sequence[Mapping[str, Any]]) -> tuple[PlaceKnots, ...]:
    scores = [[row for row in rows if row["score"] == name] for name in COMBINED_SCORES]
    columns = ([np.array([row[name] for row in own]) for name in ("value", "place")] for own in scores)
    return tuple(PlaceKnots(*column) for column in columns)
