"""Content of run.json."""

from __future__ import annotations

import time
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from masksift.config.run import RunConfig
from masksift.core.specs import SourceSpec
from masksift.core.versions import package_versions
from masksift.engine import stages
from masksift.engine.planning.plan import Plan
from masksift.engine.work_items import BlockTasks, RunContext
from masksift.runtime.executors import Executor, WorkerInfo
from masksift.scoring.statistics.thresholds import Thresholds


def run_identity(config: RunConfig, sources: tuple[SourceSpec, ...]) -> dict[str, Any]:
    """All that decides the results, as plain values."""
    return {
        "masksift": version("masksift"),
        "configuration": config.identity(),
        "sources": [source.as_json() for source in sources],
    }


def plan_identity(plan: Plan) -> dict[str, Any]:
    return {"fingerprint": plan.fingerprint, "identity": dict(plan.identity), "blocks": len(plan.blocks)}


def make_record(
    config: RunConfig,
    job: RunContext,
    parts: BlockTasks,
    account: stages.RunStats,
    thresholds: Thresholds,
    executor: Executor,
    workers: list[WorkerInfo],
    started: float,
) -> dict[str, Any]:
    plan, finish = parts.plan, time.time()
    return {
        "fingerprint": plan.fingerprint,
        "configuration": config.model_dump(mode="json"),
        "identity": plan.identity,
        "versions": package_versions(),
        "sources": [source.as_json() for source in parts.sources],
        "evidence": [home.evidence_url for home in parts.evidence_locations],
        "condensed": [
            {"location": asdict(home), "layout": asdict(layout)}
            for home, layout in zip(parts.evidence_locations, plan.layouts, strict=True)
        ],
        "kept_sources": parts.reused_source_count,
        "images": plan.images,
        "counts": dict(account.counts),
        "flagged_pixels": account.flagged_pixels,
        "blocks": len(plan.blocks),
        "projected_memory": plan.memory,
        "cluster": asdict(executor.cluster),
        "workers": [{"name": worker.name, "memory": worker.memory} for worker in workers],
        "stages": account.stages,
        "bytes_read": sum(stage["bytes_read"] for stage in account.stages),
        "bytes_written": sum(stage["bytes_written"] for stage in account.stages),
        **{name: sum(stage[name] for stage in account.stages) for name in ("requests", "puts", "repeated")},
        "retries": executor.retries,
        "started": format_time(started),
        "finished": format_time(finish),
        "seconds": round(finish - started, 2),
        "estimated_issues": thresholds.estimated_issues,
        "cut": thresholds.cut,
    }


def format_time(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
