"""Stages of `masksift run`: open, plan, condense, thresholds, score, rank, report, publish."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from masksift.config.command_line import command_line, set_flags
from masksift.config.run import RunConfig
from masksift.core.errors import UsageError
from masksift.core.specs import BINARY_MASK, SourceSpec
from masksift.core.status import SCORED
from masksift.core.versions import package_versions
from masksift.engine.completed_run import CompletedRun, read_run_record
from masksift.engine.planning.layout import Settings
from masksift.engine.planning.plan import Plan, make_plan
from masksift.engine.publish import Publisher
from masksift.engine.quarantine import duplicate_class_warning
from masksift.engine.resumable_job import ResumableJob
from masksift.engine.reuse import FrozenStatistics, check_reusable, frozen_statistics, reusable_evidence
from masksift.engine.run_record import format_time, make_record, plan_identity, run_identity
from masksift.engine.source_table import read_source_table, write_source_table
from masksift.engine.stages import (
    RunStages,
    RunStats,
    check_workers,
    create_evidence_arrays,
    discard_evidence,
    discard_leftovers,
)
from masksift.engine.work_items import BlockTasks, RunContext
from masksift.review.report.command import make_report, max_tasks
from masksift.runtime.progress import ProgressReporter
from masksift.runtime.telemetry import run_telemetry
from masksift.scoring.kernels.condense import is_compiled
from masksift.scoring.methods import COMBINED, WORST_REGION
from masksift.storage.locations import check_output, source_urls
from masksift.storage.manifest import RECORD
from masksift.storage.objects import ObjectDirectory
from masksift.storage.sources.dataset import open_data_set_with_images
from masksift.storage.sources.images_array import find_images_arrays
from masksift.storage.sources.label_values import MASK_SAMPLE
from masksift.storage.tables.parquet import read_table
from masksift.storage.tables.schemas import hive_columns
from masksift.storage.urls import LINKED_SOURCE, is_absolute, local_path


@dataclass(frozen=True)
class RunResult:
    """Outcome of a run.

    Attributes:
        record: Content of run.json.
        exit_code: 3 if more images are quarantined than the configuration allows, otherwise 0.
        resumed: The run continued or repeated an earlier one.
    """

    record: Mapping[str, Any]
    exit_code: int
    resumed: bool = False


def run(config: RunConfig, progress: ProgressReporter | None = None) -> RunResult:
    """Find mislabeled images and regions in the sources of a configuration and write the results to its output URL.

    The same call continues an interrupted run. A complete run is returned as it is.

    Args:
        config: Sources, output and options.
        progress: Reports the stages; to the standard error stream by default.

    Returns:
        The record of the run, and the exit code of the command line.

    Raises:
        MasksiftError: Sources, configuration, workers or stores do not allow the run. Finished blocks are kept.
    """
    progress = progress or ProgressReporter()
    if config.labels is not None:
        return _run_on_files(config, progress)
    tasks = make_block_tasks(config)
    if config.base is not None:
        progress.message(
            f"{tasks.reused_source_count} of {len(tasks.sources)} sources are taken over from {config.base}"
        )
    _report_assumptions(config, tasks.sources, progress)
    context = make_run_context(config, tasks)
    with run_telemetry(context.fingerprint):
        return _execute(config, context, tasks, progress, "run")


def _run_on_files(config: RunConfig, progress: ProgressReporter) -> RunResult:
    """Make the source that refers to the files of a run, in its output directory, and run it."""
    from masksift.prepare.ingest.command import ingest  # a run of a source needs no reader of images
    from masksift.prepare.ingest.linked_run import link_flags, make_link_config, run_of_link

    progress.message(f"step 1 of 2: {command_line('ingest', link_flags(config))}")
    ingested = ingest(make_link_config(config), progress)
    progress.message(ingested.text)
    linked = run_of_link(config)
    flags = {key: value for key, value in set_flags(linked).items() if key != "sources"}
    progress.message(f"step 2 of 2: {command_line('run', flags, linked.sources)}")
    result = run(linked, progress)
    return replace(result, exit_code=max(result.exit_code, ingested.exit_code))


def _report_assumptions(config: RunConfig, sources: Sequence[SourceSpec], progress: ProgressReporter) -> None:
    """Say what the user may want to change about the sources before the run takes its time."""
    if (warning := duplicate_class_warning(sources[0].class_names)) is not None:
        progress.warn(warning)
    masks = [source for source in sources if source.remap == BINARY_MASK] if config.remap is None else []
    if masks:
        others = f" and {len(masks) - 1:,} other sources" if len(masks) > 1 else ""
        progress.message(
            f"Labels of {masks[0].url}{others} are read as masks: 0 is class 0, 255 is class 1 (remap 0:0,255:1), "
            f"because a sample of {MASK_SAMPLE} holds no other value. To read them otherwise, pass --remap or --ignore."
        )


def rescore(base: str, config: RunConfig, progress: ProgressReporter) -> RunResult:
    """Score the evidence of the complete run at ``base`` with other methods or parameters; no prediction is read."""
    record = _require_completed_run(base, config)
    check_reusable(record)
    sources, reused = zip(*read_source_table(_run_directory(base, config)), strict=True)
    _check_output(config, sources)
    identity = {**run_identity(config, sources), "evidence_of": record["fingerprint"]}
    layouts = [layout for _, layout in reused]
    arrays = find_images_arrays(sources, config.arrays.images, config.options()) if config.report.top else ()
    run_plan = make_plan(sources, plan_settings(config), identity, layouts, arrays)
    tasks = BlockTasks.from_plan(run_plan, sources, config.out, [location for location, _ in reused])
    context = make_run_context(config, tasks)
    with run_telemetry(context.fingerprint):
        return _execute(config, context, tasks, progress, "score")


def plan(config: RunConfig) -> Plan:
    """Plan a run: blocks, memory, bytes and requests. Reads metadata and lists objects, and writes nothing.

    Args:
        config: Sources, output and options.

    Returns:
        The plan; `Plan.as_json` gives plain values.

    Raises:
        MasksiftError: The sources cannot be read or do not fit together.
    """
    return open_and_plan(config)[1]


def open_and_plan(config: RunConfig) -> tuple[tuple[SourceSpec, ...], Plan]:
    """Return the sources and the plan of a run."""
    tasks = make_block_tasks(config)
    return tasks.sources, tasks.plan


def make_block_tasks(config: RunConfig) -> BlockTasks:
    """Open the sources, plan the run and return its blocks; evidence of unchanged sources is reused."""
    if config.labels is not None:
        from masksift.prepare.ingest.linked_run import link_flags

        raise UsageError(
            f"labels are files ({config.labels}), which have no plan before they are a source",
            f"Make one that refers to them with `{command_line('ingest', link_flags(config))}`, and plan it with "
            f"--source {config.sources[0]}",
        )
    images = config.arrays.images if config.report.top else None
    sources, arrays = open_data_set_with_images(config.sources, config.overrides(), config.options(), images)
    _check_output(config, sources)
    base = config.base and (_require_completed_run(config.base, config), _run_directory(config.base, config))
    settings = plan_settings(config, sources)
    reused = reusable_evidence(base or None, sources, settings)
    identity = run_identity(config, sources)
    if not any(one and not source.stored_evidence for one, source in zip(reused, sources, strict=True)):
        identity["configuration"]["base"] = None  # a base without reusable evidence does not make another run
    layouts = [one and one[1] for one in reused]
    run_plan = make_plan(sources, settings, identity, layouts, () if images is None else arrays)
    return BlockTasks.from_plan(run_plan, sources, config.out, [one and one[0] for one in reused])


def _check_output(config: RunConfig, sources: Sequence[SourceSpec]) -> None:
    labels = () if config.labels_from is None else (config.labels_from,)
    check_output(config.out, [*source_urls(sources, config.arrays.images), *labels], LINKED_SOURCE)


def _execute(
    config: RunConfig, context: RunContext, tasks: BlockTasks, progress: ProgressReporter, verb: str
) -> RunResult:
    directory = ObjectDirectory(context.out, context.options)
    job = ResumableJob(directory, plan_identity(tasks.plan), RECORD, verb, config.out, progress)
    publisher = Publisher.from_config(config, context, tasks.images)
    resumed = job.is_resumable
    if (record := read_run_record(context.out, context.options)) is not None:
        if changes := publisher.publish_if_missing(record, progress):
            job.write_record(record := {**record, **changes})
        return _finish(config, context, tasks, record, resumed=True)
    started, stats = time.time(), RunStats()
    frozen = _load_frozen(config, tasks)
    with config.executor.open(len(tasks), tasks.plan.seconds, progress.message) as executor:
        workers = check_workers(tasks.plan, executor, package_versions, progress)
        if executor.cluster.kind in ("serial", "local") and not is_compiled():
            progress.message("compiling kernels, once per machine")
        publisher.prepare()
        with job.lock():  # after all checks: a refused run leaves no trace
            write_source_table(directory, tasks)
            create_evidence_arrays(context, tasks)
            stages = RunStages(context, tasks, executor, progress, stats, frozen)
            stages.condense(stop_early=config.quarantine == "stop")
            statistics, thresholds = stages.find_thresholds(config.tccp.tau)
            totals = stages.score(statistics, thresholds)
            report_tasks = max_tasks(config.report.top)
            executor.limit_workers(max(stages.rank_tasks, report_tasks))
            stages.rank(statistics, thresholds, totals, config.rank_by, config.regions.rank_by)
            executor.limit_workers(report_tasks)
            fields = partial(make_record, config, context, tasks, stats, thresholds, executor, workers, started)
            ranked = CompletedRun({**fields(), "finished": None}, context, tasks, keeps_evidence=True)
            make_report(ranked, config.report.top, config.arrays.images, executor, progress, stats)
            if context.keeps_evidence:
                executor.release()  # what follows needs no worker
            tables = publisher.publish(stats.counts[SCORED], format_time(started), progress, stats)
            job.write_record(record := {**fields(), **tables})
            if not context.keeps_evidence:
                stages.discard_score_inputs()
    return _finish(config, context, tasks, record, resumed)


def _finish(
    config: RunConfig, context: RunContext, tasks: BlockTasks, record: Mapping[str, Any], resumed: bool
) -> RunResult:
    """Do what follows the record: a run that is killed here is complete, and the next call repeats this."""
    discard_leftovers(context)
    if not config.evidence.keep:
        discard_evidence(context, tasks)
    quarantined = record["images"] - record["counts"].get(SCORED, 0)
    return RunResult(record, 3 if quarantined > config.quarantine_limit(record["images"]) else 0, resumed)


def _load_frozen(config: RunConfig, tasks: BlockTasks) -> FrozenStatistics | None:
    """Load the thresholds and totals of the run that ``thresholds_from`` names."""
    if config.thresholds_from is None:
        return None
    url = config.thresholds_from
    record, directory = _require_completed_run(url, config), _run_directory(url, config)
    rows, pairs = (read_table(directory, f"{name}.parquet").to_pylist() for name in ("thresholds", "class_pairs"))
    combines = COMBINED in config.methods
    if combines and COMBINED not in record["configuration"]["methods"]:
        raise UsageError(
            f"{url} has no score {COMBINED!r}, by whose rankings the images of this run would be placed",
            f"Pass --methods {','.join(record['configuration']['methods'])}, or run it again with all scores",
        )
    knots = read_table(directory, "place_knots.parquet").to_pylist() if combines else []
    return frozen_statistics(record, rows, pairs, knots, tasks.sources[0].class_names)


def _require_completed_run(url: str, config: RunConfig) -> dict[str, Any]:
    """Return the record of a complete run. Raises UsageError without one."""
    record = read_run_record(url, config.storage.options([url]))
    if record is None:
        raise UsageError(
            f"{url} holds no complete run", "Finish it with `masksift run`, or pass the URL of another run"
        )
    return record


def _run_directory(url: str, config: RunConfig) -> ObjectDirectory:
    return ObjectDirectory(url, config.storage.options([url]))


def plan_settings(config: RunConfig, sources: Sequence[SourceSpec] = ()) -> Settings:
    """Return the options that decide the amount of work."""
    arrays = config.overrides()
    members = (name for name in (arrays.labels, *arrays.prediction_names) if is_absolute(name))
    urls = (*config.sources, config.out, config.labels_from or ".", *members)
    remote = any(local_path(url) is None for url in urls) or any(source.linked_places for source in sources)
    return Settings(
        config.evidence.dtype,
        config.tccp.lattice,
        remote,
        config.regions.min_area,
        config.regions.top,
        config.report.top,
        config.evidence.keep,
        config.thresholds_from is not None,
    )


def make_run_context(config: RunConfig, tasks: BlockTasks) -> RunContext:
    """Return the settings that all tasks of the run share."""
    urls = {config.out, config.arrays.images, *(location.out for location in tasks.evidence_locations)}
    urls |= {url for source in tasks.sources for url in (source.url, source.labels.url)}
    urls |= {array.url for source in tasks.sources for array in source.prediction_arrays}
    urls |= {place for source in tasks.sources for place in source.linked_places}
    return RunContext(
        tasks.plan.fingerprint,
        config.tccp.lattice,
        config.make_methods(),
        config.clc.rule,
        config.out,
        hive_columns(tasks.sources, config.methods),
        config.storage.options(urls),
        config.regions.min_area,
        config.regions.top,
        keeps_evidence=config.evidence.keep,
        table_scores=tuple(name for name in config.score_methods if name in (WORST_REGION, COMBINED)),
    )
