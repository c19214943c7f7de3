"""The line: open, plan, condense, thresholds, score, rank. Nothing flows back."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from masksift import stages
from masksift.config import RunConfig
from masksift.errors import UsageError
from masksift.executors import Executor, Worker, make_executor
from masksift.plan import Plan, Settings, make_plan
from masksift.progress import Reporter
from masksift.schema import DataSpec
from masksift.storage.datasets import open_data_set
from masksift.storage.manifest import RECORD, Manifest
from masksift.storage.objects import Folder, join
from masksift.storage.tables import hive_columns
from masksift.tasks import Job, Parts
from masksift.versions import versions

__all__ = ["Outcome", "open_and_plan", "run", "score_again"]


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its record (run.json) and the exit code, 0 or 3."""

    record: Mapping[str, Any]
    exit_code: int
    resumed: bool = False


def run(config: RunConfig, report: Reporter) -> Outcome:
    """One run from its sources to its ranking; called again after any interruption, it goes on.

    Raises MasksiftError.
    """
    sources, plan = open_and_plan(config)
    job = make_job(config, plan, sources, config.out, plan.fingerprint)
    return _line(config, job, Parts(plan, sources), report, condense=True)


def score_again(base: str, config: RunConfig, report: Reporter) -> Outcome:
    """Score the kept evidence of the complete run at ``base`` with the methods and parameters of ``config``, into
    ``config.out``. No prediction is read."""
    options = config.storage.options([base, config.out])
    kept = finished(base, options)
    if kept is None:
        raise UsageError(
            f"{base} holds no complete run", "there is no evidence to score", "Finish it with `masksift run`"
        )
    if not kept["configuration"]["evidence"].get("keep", True):
        raise UsageError(
            f"{base} was run with evidence.keep = false", "there is no evidence to score",
            "Run it again with --evidence.keep true, into a new --out",
        )  # fmt: skip
    sources = tuple(DataSpec.from_json(tree) for tree in kept["sources"])
    old = make_plan(sources, _settings(kept["configuration"]), kept["identity"])
    if old.fingerprint != kept["fingerprint"] or kept["versions"]["masksift"] != version("masksift"):
        raise UsageError(
            f"{base} was made by masksift {kept['versions']['masksift']}, this is {version('masksift')}",
            "its blocks could be cut differently",
            "Score it with that version, or run it again",
        )
    identity = {**_identity(config, sources), "evidence_of": kept["fingerprint"]}
    plan = make_plan(sources, _settings(config.model_dump(mode="json")), identity)
    job = make_job(config, plan, sources, base, kept["fingerprint"])
    return _line(config, job, Parts(plan, sources), report, condense=False)


def open_and_plan(config: RunConfig) -> tuple[tuple[DataSpec, ...], Plan]:
    """The sources' facts and the plan of a run: reads metadata only."""
    sources = open_data_set(config.sources, config.overrides(), config.options())
    return sources, make_plan(sources, _settings(config.model_dump(mode="json")), _identity(config, sources))


def _line(config: RunConfig, job: Job, parts: Parts, report: Reporter, *, condense: bool) -> Outcome:
    section, folder = config.executor, Folder(job.out, job.options)
    manifest, verb = Manifest(folder, job.fingerprint), "run" if condense else "score"
    resumed = manifest.recognise(_claim(parts.plan), verb=verb)
    if (record := finished(job.out, job.options)) is not None:
        report.say(f"{job.out} is complete already: nothing to do")
        return _close(config, job, parts, record, resumed=True)
    started, account = time.time(), stages.Account()
    with make_executor(section.kind, workers=section.worker_count, memory=section.memory_bytes, address=section.address,
                       timeout=section.timeout) as executor:  # fmt: skip
        workers = stages.check_workers(parts.plan, executor, versions, report)
        manifest.claim(_claim(parts.plan), verb=verb)  # only now: a run that is refused leaves no trace
        stages.prepare(job, parts, masks_only=not condense)
        if condense:
            stages.condense(job, parts, executor, report, account)
        statistics, thresholds = stages.find_thresholds(job, parts, executor, report, account, config.tccp.tau)
        pairs = stages.score(job, parts, thresholds, executor, report, account)
        stages.rank(job, parts, statistics, thresholds, pairs, config.rank_by, report, account)
        record = _record(config, job, parts, account, executor, workers, started)
        record |= {"estimated_issues": thresholds.estimated_issues, "cut": thresholds.cut}
    folder.write(RECORD, json.dumps(record, indent=2).encode())
    return _close(config, job, parts, record, resumed)


def finished(url: str, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of the complete run at a URL, or None."""
    data = Folder(url, options).read(RECORD)
    return None if data is None else json.loads(data)


def _settings(configuration: Mapping[str, Any]) -> Settings:
    return Settings(
        configuration["evidence"]["dtype"], configuration["tccp"]["lattice"], tuple(configuration["methods"]),
        configuration["clc"]["rule"],
    )  # fmt: skip


def _identity(config: RunConfig, sources: tuple[DataSpec, ...]) -> dict[str, Any]:
    """All that decides the results, as plain values."""
    return {
        "masksift": version("masksift"),
        "configuration": config.identity(),
        "sources": [source.as_json() for source in sources],
    }


def make_job(config: RunConfig, plan: Plan, sources: tuple[DataSpec, ...], evidence_out: str, fingerprint: str) -> Job:
    """What every task of the run knows; the evidence is that of the run at ``evidence_out`` with ``fingerprint``."""
    return Job(
        plan.fingerprint, config.tccp.lattice, config.make_methods(), config.clc.rule, config.out, evidence_out,
        fingerprint, hive_columns(sources, config.methods),
        config.storage.options([evidence_out, config.out, *(source.url for source in sources)]),
    )  # fmt: skip


def _claim(plan: Plan) -> dict[str, Any]:
    return {"fingerprint": plan.fingerprint, "identity": dict(plan.identity), "blocks": len(plan.blocks)}


def _record(
    config: RunConfig,
    job: Job,
    parts: Parts,
    account: stages.Account,
    executor: Executor,
    workers: list[Worker],
    started: float,
) -> dict[str, Any]:
    plan, finish = parts.plan, time.time()
    stamp = "%Y-%m-%dT%H:%M:%SZ"
    return {
        "fingerprint": plan.fingerprint,
        "configuration": config.model_dump(mode="json"),
        "identity": plan.identity,
        "versions": versions(),
        "sources": [source.as_json() for source in parts.sources],
        "evidence": [join(job.evidence_out, "evidence", f"{source.name}.zarr") for source in parts.sources],
        "images": plan.images,
        "counts": dict(account.counts),
        "flagged_pixels": account.flagged,
        "blocks": len(plan.blocks),
        "projected_memory": plan.memory,
        "workers": [{"name": worker.name, "memory": worker.memory} for worker in workers],
        "stages": account.stages,
        "bytes_read": sum(stage["bytes_read"] for stage in account.stages),
        "bytes_written": sum(stage["bytes_written"] for stage in account.stages),
        "retries": executor.retries,
        "started": time.strftime(stamp, time.gmtime(started)),
        "finished": time.strftime(stamp, time.gmtime(finish)),
        "seconds": round(finish - started, 2),
    }


def _close(config: RunConfig, job: Job, parts: Parts, record: Mapping[str, Any], resumed: bool) -> Outcome:
    """What is left to do for a run whose record is written: a run that is killed here is complete all the same."""
    if not config.evidence.keep and job.evidence_fingerprint == job.fingerprint:
        stages.discard_evidence(job, parts)
    quarantined = record["images"] - record["counts"].get("scored", 0)
    beyond = quarantined > config.quarantine_limit(record["images"])
    return Outcome(record, 3 if beyond else 0, resumed)
