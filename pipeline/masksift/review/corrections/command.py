"""Write corrected labels of the sources with accepted regions, block by block.

A run over the same sources takes their labels from here (`labels_from`), the labels of other sources from where the
reviewed run had them, and the evidence of other sources from that run (`base`).

The output directory holds `<source>.zarr` (labels, stored like those of the source) and, written last,
`corrections.json`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from typing import Any

from masksift.config.sections import ExecutorSection
from masksift.core.errors import DataError
from masksift.core.specs import SourceSpec
from masksift.core.versions import package_versions
from masksift.engine.completed_run import CompletedRun, open_completed_run
from masksift.engine.label_io import NO_VALUE, label_blocks, label_values
from masksift.engine.planning.plan import estimate_seconds
from masksift.engine.resumable_job import ResumableJob, for_each_source, make_plan_record
from masksift.review.corrections.accepted_regions import AcceptedRegions, select_accepted_regions
from masksift.review.corrections.config import CorrectionsConfig
from masksift.review.corrections.summary import format_text
from masksift.review.corrections.tasks import (
    ClassPair,
    CorrectionResult,
    CorrectionsContext,
    CorrectionTask,
    correct_block,
    regions_between,
    worker_memory,
)
from masksift.review.decisions import ReviewDecisions, load_decisions
from masksift.runtime.progress import ProgressReporter
from masksift.storage.locations import check_output, source_urls
from masksift.storage.objects import ObjectDirectory
from masksift.storage.sources.corrected_labels import RECORD
from masksift.storage.sources.overrides import copied_label_name
from masksift.storage.urls import local_path


def correct(config: CorrectionsConfig, progress: ProgressReporter) -> str:
    """Write the labels with all accepted regions, and return the text to print; the same command continues."""
    run = open_completed_run(config.run, config.storage, [config.verdicts, config.out])
    check_output(config.out, [*source_urls(run.tasks.sources), config.verdicts])
    decisions = load_decisions(config.verdicts, run.context.options)
    accepted = select_accepted_regions(run, decisions)
    sources = [run.tasks.sources[number] for number in accepted.regions]
    _check_label_values(sources, accepted)
    plan = make_plan_record(_identity(run, decisions))
    out = local_path(config.out) or config.out.rstrip("/")
    array = copied_label_name(run.record["configuration"]["arrays"]["labels"])
    context = CorrectionsContext(out, plan["fingerprint"], array, run.context.options)
    job = ResumableJob(ObjectDirectory(out, context.options), plan, RECORD, "export", config.out, progress)
    record = job.finished_record()
    if record is None:
        tasks = _make_tasks(context, sources, accepted)
        executor = config.executor if tasks else ExecutorSection(kind="serial")  # no worker without a task
        memory = worker_memory(context, sources)
        images, pixels = sum(s.images for s in sources), sum(s.images * s.pixels for s in sources)
        seconds = estimate_seconds(images, pixels, pixels)
        with job.open_executor(executor, len(tasks), memory, seconds, "correcting these labels") as opened:
            for_each_source(lambda spec: context.copy(spec).create(), sources)
            results = job.run_tasks(opened, partial(correct_block, context), tasks, "correct", images)
            record = _record(run, accepted, results, context)
            job.write_record(record)
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


def _identity(run: CompletedRun, decisions: ReviewDecisions) -> dict[str, Any]:
    """Return everything that decides the labels, as plain values."""
    entries = [
        sorted((*key, decision) for key, decision in decisions.images.items()),
        sorted((*key, *item) for key, by_rank in decisions.regions.items() for item in by_rank.items()),
    ]
    digest = hashlib.sha256(json.dumps(entries).encode()).hexdigest()
    return {"corrections": {"run": run.record["fingerprint"]}, "verdicts": digest}


def _make_tasks(
    context: CorrectionsContext, sources: Sequence[SourceSpec], accepted: AcceptedRegions
) -> list[CorrectionTask]:
    """Make the tasks of all sources, in order."""
    tasks: list[CorrectionTask] = []
    total = sum(spec.images for spec in sources)
    for spec in sources:
        regions = accepted.regions[spec.index]
        for start, stop in label_blocks(spec, context.copy(spec).images_per_object, total):
            tasks.append(CorrectionTask(len(tasks), spec, start, stop, regions_between(regions, start, stop)))
    return tasks


def _record(
    run: CompletedRun,
    accepted: AcceptedRegions,
    results: Sequence[CorrectionResult],
    context: CorrectionsContext,
) -> dict[str, Any]:
    """Make the record, which is equal for equal decisions on the same run."""
    sources = run.tasks.sources
    return {
        "format": 1,
        "run": run.record["fingerprint"],
        "verdicts": {
            "regions": {name: accepted.counts.get(name, 0) for name in ("accept", "reject", "unsure")}
            | {"none": accepted.undecided},
            "accepted_images_without_regions": accepted.images_without_regions,
        },
        "labels": context.array,
        "sources": [
            _changes(sources[number], [result for result in results if result.source == number])
            for number in accepted.regions
        ],
        "left": {
            spec.name: _labels_from(spec, context.array) for spec in sources if spec.index not in accepted.regions
        },
        "versions": package_versions(),
    }


def _changes(spec: SourceSpec, results: Sequence[CorrectionResult]) -> dict[str, Any]:
    """Summarize the changes of a source by class pair, most pixels first."""
    pairs: dict[ClassPair, tuple[int, int]] = {}
    for result in results:
        for pair, (regions, pixels) in result.pairs.items():
            total = pairs.get(pair, (0, 0))
            pairs[pair] = total[0] + regions, total[1] + pixels
    order = sorted(pairs.items(), key=lambda item: (-item[1][1], -1 if item[0][0] is None else item[0][0], item[0][1]))
    return {
        "name": spec.name,
        "url": spec.url,
        "images": spec.images,
        "changed_images": sum(result.images for result in results),
        "pairs": [
            {
                "given": None if given is None else spec.class_names[given],
                "suggested": spec.class_names[suggested],
                "regions": regions,
                "pixels": pixels,
            }
            for (given, suggested), (regions, pixels) in order
        ],
        "evidence_alone": bool(spec.stored_evidence),
    }


def _labels_from(spec: SourceSpec, array: str) -> str | None:
    """Return the directory that the run read the labels of a source from, None if they are in the source."""
    source_prefix = f"{(local_path(spec.url) or spec.url).rstrip('/')}/"
    suffix = f"/{spec.name}.zarr/{array.strip('/')}"
    return None if f"{spec.labels.url}/".startswith(source_prefix) else spec.labels.url.removesuffix(suffix)
