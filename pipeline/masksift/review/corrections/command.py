"""Write corrected labels of the sources with accepted regions, block by block; see `review.label_edits`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from typing import Any

from masksift.core.errors import DataError
from masksift.core.specs import SourceSpec
from masksift.core.versions import package_versions
from masksift.engine.completed_run import CompletedRun, open_completed_run
from masksift.engine.label_io import NO_VALUE, label_values
from masksift.review.corrections.accepted_regions import AcceptedRegions, select_accepted_regions
from masksift.review.corrections.config import CorrectionsConfig
from masksift.review.corrections.summary import format_text
from masksift.review.decisions import ReviewDecisions, load_decisions
from masksift.review.label_edits import EditResult, labels_left, summarize_source, write_edited_labels
from masksift.runtime.progress import ProgressReporter
from masksift.storage.locations import check_output, source_urls


def correct(config: CorrectionsConfig, progress: ProgressReporter) -> str:
    """Write the labels with all accepted regions, and return the text to print; the same command continues."""
    run = open_completed_run(config.run, config.storage, [config.verdicts, config.out])
    check_output(config.out, [*source_urls(run.tasks.sources), config.verdicts])
    decisions = load_decisions(config.verdicts, run.context.options)
    accepted = select_accepted_regions(run, decisions)
    _check_label_values([run.tasks.sources[number] for number in accepted.regions], accepted)
    record = write_edited_labels(
        run,
        accepted.regions,
        {"verdicts": _digest(decisions)},
        config.out,
        config.executor,
        progress,
        "export",
        partial(_make_record, run, accepted),
    )
    return format_text(record, run.record["configuration"], config)


def _check_label_values(sources: Sequence[SourceSpec], accepted: AcceptedRegions) -> None:
    """Raise DataError if a suggested class has no label value."""
    for spec in sources:
        values = label_values(spec)
        for region in accepted.regions[spec.index]:
            if values[region.suggested] == NO_VALUE:
                raise DataError(
                    f"No label value of {spec.url} ({spec.labels.dtype}) stands for class "
                    f"{spec.class_names[region.suggested]!r}, the suggestion for region {region.rank:,}",
                    "Reject that region, or run with a --remap that includes a value for the class",
                )


def _digest(decisions: ReviewDecisions) -> str:
    """Hash the decisions, which with the run decide the labels."""
    entries = [
        sorted((*key, decision) for key, decision in decisions.images.items()),
        sorted((*key, *item) for key, by_rank in decisions.regions.items() for item in by_rank.items()),
    ]
    return hashlib.sha256(json.dumps(entries).encode()).hexdigest()


def _make_record(
    run: CompletedRun, accepted: AcceptedRegions, results: Sequence[EditResult], array: str
) -> dict[str, Any]:
    sources = run.tasks.sources
    return {
        "format": 1,
        "run": run.record["fingerprint"],
        "verdicts": {
            "regions": {name: accepted.counts.get(name, 0) for name in ("accept", "reject", "unsure")}
            | {"none": accepted.undecided},
            "accepted_images_without_regions": accepted.images_without_regions,
        },
        "labels": array,
        "sources": [summarize_source(sources[number], results, "regions") for number in accepted.regions],
        "left": labels_left(run, accepted.regions, array),
        "versions": package_versions(),
    }
