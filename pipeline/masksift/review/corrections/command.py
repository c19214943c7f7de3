"""The line of corrections: open the run, hold the verdicts against its table of regions, write block by block, tell.

Only sources with accepted regions are written: a run over the same sources takes their labels from there
(`labels_from`), the labels of all others from where the reviewed run had them, and what that run condensed of these
(`base`).

Under ``out``: `<source>.zarr` (the labels, stored as the source's own are) and, written last, `corrections.json`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

from masksift.core import signals as interruption
from masksift.core.errors import DataError
from masksift.core.specs import SourceSpec
from masksift.core.versions import versions
from masksift.engine.completed_run import CompletedRun, open_completed_run
from masksift.engine.label_io import NO_VALUE, label_blocks, stored_values
from masksift.engine.planning.memory import refuse_small_workers
from masksift.review.corrections.accepted_regions import Accepted, accepted_regions
from masksift.review.corrections.config import CorrectionsConfig
from masksift.review.corrections.summary import format_text
from masksift.review.corrections.tasks import (
    CorrectionResult,
    CorrectionsContext,
    LabelBlock,
    Pair,
    correct_block,
    of_range,
    projected_memory,
)
from masksift.review.decisions import ReviewDecisions, load_decisions
from masksift.runtime.executors import Executor
from masksift.runtime.progress import ProgressReporter
from masksift.storage.manifest import Manifest
from masksift.storage.objects import ObjectDirectory
from masksift.storage.sources.corrected_labels import RECORD
from masksift.storage.urls import local_path

AT_ONCE = 16
"""Sources whose arrays are created at a time."""


@dataclass(frozen=True)
class CorrectionsResult:
    """How corrections ended: their record (corrections.json), and in words."""

    record: Mapping[str, Any]
    text: str


def correct(config: CorrectionsConfig, report: ProgressReporter) -> CorrectionsResult:
    """Write the labels that the verdicts ask for; called again after any interruption, it goes on.

    Raises MasksiftError.
    """
    run = open_completed_run(config.run, config.storage, [config.verdicts, config.out])
    verdicts = load_decisions(config.verdicts, run.job.options)
    accepted = accepted_regions(run, verdicts)
    sources = [run.parts.sources[number] for number in accepted.regions]
    _check_values(sources, accepted)
    claim = _claim(run, verdicts)
    out = local_path(config.out) or config.out.rstrip("/")
    job = CorrectionsContext(
        out, claim["fingerprint"], run.record["configuration"]["arrays"]["labels"], run.job.options
    )
    folder = ObjectDirectory(job.out, job.options)
    manifest = Manifest(folder, job.fingerprint)
    if manifest.is_resumable(claim, verb="export") and (data := folder.read(RECORD)) is not None:
        report.message(f"{config.out} is complete already: nothing to do")
        return _outcome(config, run, json.loads(data))
    done = _corrected(config, job, sources, accepted, manifest, claim, report)
    record = _record(run, verdicts, accepted, done, job)
    folder.write(RECORD, json.dumps(record, indent=2).encode())
    return _outcome(config, run, record)


def _outcome(config: CorrectionsConfig, run: CompletedRun, record: Mapping[str, Any]) -> CorrectionsResult:
    return CorrectionsResult(record, format_text(record, run.record["configuration"], config))


def _check_values(sources: Sequence[SourceSpec], accepted: Accepted) -> None:
    """Raises DataError where no label stands for a suggested class."""
    for spec in sources:
        values = stored_values(spec)
        for region in accepted.regions[spec.index]:
            if values[region.suggested] == NO_VALUE:
                raise DataError(
                    f"no label of {spec.url} ({spec.labels.dtype}) stands for {spec.class_names[region.suggested]!r}, "
                    f"which is suggested for region {region.rank:,}",
                    "it cannot be written",
                    "Reject that region, or run with a --remap that has a label for the class",
                )


def _claim(run: CompletedRun, verdicts: ReviewDecisions) -> dict[str, Any]:
    """All that decides what is written, and its fingerprint."""
    said = [
        sorted((*place, verdict) for place, verdict in verdicts.images.items()),
        sorted((*place, *one) for place, some in verdicts.regions.items() for one in some.items()),
    ]
    identity = {
        "masksift": version("masksift"),
        "corrections": {"run": run.record["fingerprint"]},
        "verdicts": hashlib.sha256(json.dumps(said).encode()).hexdigest(),
    }
    told = json.dumps(identity, sort_keys=True).encode()
    return {"fingerprint": hashlib.sha256(told).hexdigest(), "identity": identity}


def _corrected(
    config: CorrectionsConfig,
    job: CorrectionsContext,
    sources: Sequence[SourceSpec],
    accepted: Accepted,
    manifest: Manifest,
    claim: Mapping[str, Any],
    report: ProgressReporter,
) -> list[CorrectionResult]:
    """Write all blocks. Raises DataError where labels have changed since the run."""
    if not sources:  # nothing is accepted: nobody is asked to work
        manifest.write_plan(claim, verb="export")
        return []
    pieces = _pieces(job, sources, accepted)
    with config.executor.open(len(pieces), report.message) as executor:
        workers = [(worker.name, worker.memory) for worker in executor.workers()]
        refuse_small_workers(projected_memory(job, sources), workers, "correcting these labels")
        manifest.write_plan(claim, verb="export")
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="prepare") as pool:
            list(pool.map(lambda spec: job.copy(spec).create(), sources))
        return _write(job, pieces, executor, report)


def _pieces(job: CorrectionsContext, sources: Sequence[SourceSpec], accepted: Accepted) -> list[LabelBlock]:
    """All blocks, in order."""
    pieces: list[LabelBlock] = []
    total = sum(spec.images for spec in sources)
    for spec in sources:
        regions = accepted.regions[spec.index]
        for start, stop in label_blocks(spec, job.copy(spec).unit, total):
            pieces.append(LabelBlock(len(pieces), spec, start, stop, of_range(regions, start, stop)))
    return pieces


def _write(
    job: CorrectionsContext, pieces: Sequence[LabelBlock], executor: Executor, report: ProgressReporter
) -> list[CorrectionResult]:
    finished: list[CorrectionResult] = []
    with report.stage("correct", sum(piece.stop - piece.start for piece in pieces)) as stage:
        for done in executor.map(partial(correct_block, job), pieces, "correct"):
            if isinstance(done, DataError):
                raise done
            finished.append(done)
            stage.advance(done.task_result)
            interruption.raise_if_interrupted()
    return finished


def _record(
    run: CompletedRun,
    verdicts: ReviewDecisions,
    accepted: Accepted,
    done: Sequence[CorrectionResult],
    job: CorrectionsContext,
) -> dict[str, Any]:
    """What is known at the end: the same verdicts on the same run give the same record."""
    sources = run.parts.sources
    return {
        "format": 1,
        "run": run.record["fingerprint"],
        "verdicts": {
            "regions": {name: accepted.said.get(name, 0) for name in ("accept", "reject", "unsure")}
            | {"none": accepted.undecided},
            "accepted_images_without_regions": accepted.without,
        },
        "labels": job.array,
        "sources": [
            _changes(sources[number], [one for one in done if one.source == number]) for number in accepted.regions
        ],
        "left": {spec.name: _labels_from(spec, job.array) for spec in sources if spec.index not in accepted.regions},
        "versions": versions(),
    }


def _changes(spec: SourceSpec, done: Sequence[CorrectionResult]) -> dict[str, Any]:
    """What was changed in a source, most pixels first."""
    pairs: dict[Pair, tuple[int, int]] = {}
    for one in done:
        for pair, (regions, pixels) in one.pairs.items():
            before = pairs.get(pair, (0, 0))
            pairs[pair] = before[0] + regions, before[1] + pixels
    order = sorted(pairs.items(), key=lambda item: (-item[1][1], -1 if item[0][0] is None else item[0][0], item[0][1]))
    return {
        "name": spec.name,
        "url": spec.url,
        "images": spec.images,
        "changed_images": sum(one.images for one in done),
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
    """The folder that the run took a source's labels from; None where they are its own."""
    own = f"{(local_path(spec.url) or spec.url).rstrip('/')}/"
    ending = f"/{spec.name}.zarr/{array.strip('/')}"
    return None if spec.labels.url.startswith(own) else spec.labels.url.removesuffix(ending)
