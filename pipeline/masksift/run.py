"""The line: open, plan, condense, thresholds, score, rank, report. Nothing flows back."""

from __future__ import annotations

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
from masksift.engine.resumable_job import ResumableJob
from masksift.engine.run_record import format_time, make_record, plan_identity, run_identity
from masksift.engine.work_items import BlockTasks, RunContext
from masksift.review.report.command import make_report
from masksift.runtime.progress import ProgressReporter
from masksift.runtime.telemetry import run_telemetry
from masksift.scoring.statistics.thresholds import Thresholds
from masksift.storage.manifest import RECORD
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
    sources, kept = zip(*increments.sources_from_record(record), strict=True)
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


def _execute(
    config: RunConfig, context: RunContext, tasks: BlockTasks, progress: ProgressReporter, verb: str
) -> RunResult:
    directory = ObjectDirectory(context.out, context.options)
    job = ResumableJob(directory, plan_identity(tasks.plan), RECORD, verb, config.out, progress)
    publisher = Publisher.from_config(config, context, len(tasks))
    resumed = job.is_resumable
    if (record := read_run_record(context.out, context.options)) is not None:
        if changes := publisher.publish_if_missing(record, progress):
            job.write_record(record := {**record, **changes})
        return _close(config, context, tasks, record, resumed=True)
    started, stats = time.time(), stages.RunStats()
    frozen = _load_thresholds(config, tasks)
    with config.executor.open(len(tasks), progress.message) as executor:
        workers = stages.check_workers(tasks.plan, executor, package_versions, progress)
        publisher.prepare()
        with job.lock():  # after all checks: a refused run leaves no trace
            stages.create_evidence_arrays(context, tasks)
            stages.condense(context, tasks, executor, progress, stats)
            statistics, thresholds = stages.find_thresholds(
                context, tasks, executor, progress, stats, config.tccp.tau, frozen
            )
            pairs = stages.score(context, tasks, thresholds, executor, progress, stats)
            stages.rank(context, tasks, statistics, thresholds, pairs, config.rank_by, progress, stats)
            fields = partial(make_record, config, context, tasks, stats, thresholds, executor, workers, started)
            ranked = CompletedRun({**fields(), "finished": None}, context, tasks, keeps_evidence=True)
            make_report(ranked, config.report.top, config.arrays.images, executor, progress, stats)
            tables = publisher.publish(stats.counts[SCORED], format_time(started), progress, stats)
            job.write_record(record := {**fields(), **tables})
    return _close(config, context, tasks, record, resumed)


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
