"""The line: open, plan, condense, thresholds, score, rank, report. Nothing flows back."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from masksift.config.run import RunConfig
from masksift.core.errors import UsageError
from masksift.core.specs import ArraySpec, SourceSpec
from masksift.core.status import SCORED
from masksift.core.versions import package_versions
from masksift.engine import reuse as increments
from masksift.engine import stages
from masksift.engine.completed_run import CompletedRun, read_run_record
from masksift.engine.planning.layout import Settings
from masksift.engine.planning.plan import Plan, make_plan
from masksift.engine.publish import Publisher
from masksift.engine.run_record import format_time, make_record, plan_identity, run_identity
from masksift.engine.work_items import BlockTasks, RunContext
from masksift.review.report.command import make_report
from masksift.runtime.progress import ProgressReporter
from masksift.runtime.telemetry import run_telemetry
from masksift.scoring.statistics.thresholds import Thresholds
from masksift.storage.lock import RunLock
from masksift.storage.manifest import RECORD, Manifest
from masksift.storage.objects import ObjectDirectory
from masksift.storage.sources.dataset import open_data_set
from masksift.storage.sources.images_array import find_images_arrays
from masksift.storage.tables.parquet import read_table
from masksift.storage.tables.schemas import hive_columns
from masksift.storage.urls import local_path


@dataclass(frozen=True)
class RunResult:
    """How a run ended: its record (run.json) and the exit code, 0 or 3."""

    record: Mapping[str, Any]
    exit_code: int
    resumed: bool = False


def run(config: RunConfig, report: ProgressReporter) -> RunResult:
    """One run from its sources to its ranking and its report; called again after any interruption, it goes on.

    Raises MasksiftError.
    """
    parts = make_block_tasks(config)
    if config.base is not None:
        report.message(f"{parts.reused_source_count} of {len(parts.sources)} sources are taken over from {config.base}")
    job = make_run_context(config, parts)
    with run_telemetry(job.fingerprint):
        return _execute(config, job, parts, report, "run")


def rescore(base: str, config: RunConfig, report: ProgressReporter) -> RunResult:
    """Score the kept evidence of the complete run at ``base`` with the methods and parameters of ``config``, into
    ``config.out``. No prediction is read."""
    record = _require_completed_run(base, config)
    sources, kept = zip(*increments.sources_of_record(record), strict=True)
    identity = {**run_identity(config, sources), "evidence_of": record["fingerprint"]}
    layouts = [layout for _, layout in kept]
    plan = make_plan(sources, plan_settings(config), identity, layouts, _pictures(config, sources))
    parts = BlockTasks.from_plan(plan, sources, config.out, [home for home, _ in kept])
    job = make_run_context(config, parts)
    with run_telemetry(job.fingerprint):
        return _execute(config, job, parts, report, "score")


def open_and_plan(config: RunConfig) -> tuple[tuple[SourceSpec, ...], Plan]:
    """The sources' facts and the plan of a run: reads metadata and lists objects only."""
    parts = make_block_tasks(config)
    return parts.sources, parts.plan


def make_block_tasks(config: RunConfig) -> BlockTasks:
    """All blocks of a run, of which those that an earlier run has condensed are at home there."""
    sources = open_data_set(config.sources, config.overrides(), config.options())
    record = None if config.base is None else _require_completed_run(config.base, config)
    kept = increments.reusable_evidence(record, sources, plan_settings(config))
    layouts = [None if one is None else one[1] for one in kept]
    identity, pictures = run_identity(config, sources), _pictures(config, sources)
    if not any(one and not source.stored_evidence for one, source in zip(kept, sources, strict=True)):
        identity["configuration"]["base"] = None  # with or without a base that gives nothing, it is the same run
    plan = make_plan(sources, plan_settings(config), identity, layouts, pictures)
    return BlockTasks.from_plan(plan, sources, config.out, [None if one is None else one[0] for one in kept])


def _execute(config: RunConfig, job: RunContext, parts: BlockTasks, report: ProgressReporter, verb: str) -> RunResult:
    folder = ObjectDirectory(job.out, job.options)
    publisher = Publisher.of_run(config, job, len(parts))
    manifest = Manifest(folder, job.fingerprint)
    resumed = manifest.is_resumable(plan_identity(parts.plan), verb=verb)
    if (record := read_run_record(job.out, job.options)) is not None:
        if late := publisher.complete(record, report):
            _write(folder, record := {**record, **late})
        return _close(config, job, parts, record, resumed=True)
    started, account = time.time(), stages.RunStats()
    frozen = _load_thresholds(config, parts)
    with config.executor.open(len(parts), report.message) as executor:
        workers = stages.check_workers(parts.plan, executor, package_versions, report)
        publisher.prepare()
        with RunLock(folder, report.message):  # only now: a run that is refused leaves no trace
            manifest.write_plan(plan_identity(parts.plan), verb=verb)
            stages.prepare(job, parts)
            stages.condense(job, parts, executor, report, account)
            statistics, thresholds = stages.find_thresholds(
                job, parts, executor, report, account, config.tccp.tau, frozen
            )
            pairs = stages.score(job, parts, thresholds, executor, report, account)
            stages.rank(job, parts, statistics, thresholds, pairs, config.rank_by, report, account)
            told = partial(make_record, config, job, parts, account, thresholds, executor, workers, started)
            ranked = CompletedRun({**told(), "finished": None}, job, parts, keeps_evidence=True)
            make_report(ranked, config.report.top, config.arrays.images, executor, report, account)
            tables = publisher.publish(account.counts[SCORED], format_time(started), report, account)
            _write(folder, record := {**told(), **tables})
    return _close(config, job, parts, record, resumed)


def _write(folder: ObjectDirectory, record: Mapping[str, Any]) -> None:
    folder.write(RECORD, json.dumps(record, indent=2).encode())


def _load_thresholds(config: RunConfig, parts: BlockTasks) -> Thresholds | None:
    """The thresholds of the run that the configuration takes them from."""
    if config.thresholds_from is None:
        return None
    record = _require_completed_run(config.thresholds_from, config)
    folder = ObjectDirectory(config.thresholds_from, config.options())
    rows = read_table(folder, "thresholds.parquet").to_pylist()
    return increments.thresholds_from_record(record, rows, parts.sources[0].class_names)


def _require_completed_run(url: str, config: RunConfig) -> dict[str, Any]:
    """The record of the complete run at a URL. Raises UsageError where there is none."""
    record = read_run_record(url, config.storage.options([url]))
    if record is None:
        raise UsageError(f"{url} holds no complete run", "there is nothing to go by", "Finish it with `masksift run`")
    return record


def plan_settings(config: RunConfig) -> Settings:
    members = (name for name in config.overrides().names if "://" in name)
    remote = any(local_path(url) is None for url in (*config.sources, config.out, config.labels_from or ".", *members))
    return Settings(
        config.evidence.dtype,
        config.tccp.lattice,
        remote,
        config.regions.min_area,
        config.regions.top,
        config.report.top,
    )


def _pictures(config: RunConfig, sources: Sequence[SourceSpec]) -> tuple[ArraySpec | None, ...]:
    """Those that the report shows; none is looked for where there is no report."""
    return find_images_arrays(sources, config.arrays.images, config.options()) if config.report.top else ()


def make_run_context(config: RunConfig, parts: BlockTasks) -> RunContext:
    """What every task of the run knows."""
    places = {config.out, config.arrays.images, *(home.out for home in parts.evidence_locations)}
    places |= {url for source in parts.sources for url in (source.url, source.labels.url)}
    places |= {array.url for source in parts.sources for array in source.prediction_arrays}
    return RunContext(
        parts.plan.fingerprint,
        config.tccp.lattice,
        config.make_methods(),
        config.clc.rule,
        config.out,
        hive_columns(parts.sources, config.methods),
        config.storage.options(places),
        config.regions.min_area,
        config.regions.top,
    )


def _close(
    config: RunConfig, job: RunContext, parts: BlockTasks, record: Mapping[str, Any], resumed: bool
) -> RunResult:
    """What is left to do for a run whose record is written: a run that is killed here is complete all the same."""
    if not config.evidence.keep:
        stages.discard_evidence(job, parts)
    quarantined = record["images"] - record["counts"].get("scored", 0)
    beyond = quarantined > config.quarantine_limit(record["images"])
    return RunResult(record, 3 if beyond else 0, resumed)
