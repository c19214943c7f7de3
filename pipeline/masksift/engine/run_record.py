"""Identity of a run and content of run.json."""

from __future__ import annotations

import time
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from masksift.config.run import RunConfig
from masksift.core.specs import SourceSpec
from masksift.core.versions import package_versions
from masksift.engine.planning.plan import Plan
from masksift.engine.quarantine import list_causes
from masksift.engine.source_table import SOURCE_TABLE, sources_identity
from masksift.engine.stages import RunStats
from masksift.engine.work_items import BlockTasks, RunContext
from masksift.runtime.executors import Executor, WorkerInfo
from masksift.scoring.statistics.thresholds import Thresholds

MAX_RECORDED_SOURCES = 1_000
"""URLs and globs of the configuration that run.json lists."""


def run_identity(config: RunConfig, sources: tuple[SourceSpec, ...]) -> dict[str, Any]:
    """Return everything that determines the results, as plain values."""
    return {
        "masksift": version("masksift"),
        "configuration": config.identity(),
        "sources": sources_identity(sources),
    }


def plan_identity(plan: Plan) -> dict[str, Any]:
    """Return the content of the plan file."""
    return {"fingerprint": plan.fingerprint, "identity": dict(plan.identity), "blocks": len(plan.blocks)}


def make_record(
    config: RunConfig,
    context: RunContext,
    tasks: BlockTasks,
    stats: RunStats,
    thresholds: Thresholds,
    executor: Executor,
    workers: list[WorkerInfo],
    started: float,
) -> dict[str, Any]:
    """Return the content of run.json for a run that started at ``started`` seconds since the epoch."""
    plan, finished = tasks.plan, time.time()
    counters = ("bytes_read", "bytes_written", "requests", "puts", "repeated")
    return {
        "fingerprint": context.fingerprint,
        "configuration": recorded_configuration(config),
        "identity": plan.identity,
        "versions": package_versions(),
        "sources": len(tasks.sources),
        "kept_sources": tasks.reused_source_count,
        "images": plan.images,
        "counts": dict(stats.counts),
        "quarantine": list_causes(stats.causes),
        "flagged_pixels": stats.flagged_pixels,
        "blocks": len(plan.blocks),
        "projected_memory": plan.memory,
        "estimated_seconds": round(plan.seconds, 3),
        "cluster": asdict(executor.cluster),
        "workers": [{"name": worker.name, "memory": worker.memory} for worker in workers],
        "stages": stats.stages,
        **{name: sum(stage[name] for stage in stats.stages) for name in counters},
        "retries": executor.retries,
        "started": format_time(started),
        "finished": format_time(finished),
        "seconds": round(finished - started, 2),
        "estimated_issues": thresholds.estimated_issues,
        "cut": thresholds.cut,
    }


def recorded_configuration(config: RunConfig) -> dict[str, Any]:
    """Return the configuration as plain values, with a bounded list of sources: `sources.parquet` has all."""
    tree = config.model_dump(mode="json")
    if len(tree["sources"]) > MAX_RECORDED_SOURCES + 1:
        rest = len(tree["sources"]) - MAX_RECORDED_SOURCES
        tree["sources"][MAX_RECORDED_SOURCES:] = [f"... and {rest:,} others: see {SOURCE_TABLE}"]
    return tree


def format_time(seconds: float) -> str:
    """Format seconds since the epoch as UTC in ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
