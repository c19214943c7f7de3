"""The stages of a run, each a map or a reduction over the blocks and what is done with the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift import interruption, results, tasks
from masksift.errors import PlanRefused, RunFailed
from masksift.executors import Executor, Worker
from masksift.image import thresholds_of
from masksift.kernels.condense import class_dtype
from masksift.progress import Reporter
from masksift.schema import Block, Receipt
from masksift.statistics import ClassStatistics, Thresholds
from masksift.storage.arrays import EVIDENCE, MASK
from masksift.storage.objects import Folder
from masksift.storage.tables import write_table
from masksift.tasks import Job, PairCounts

__all__ = ["Account", "check_workers", "condense", "find_thresholds", "prepare", "rank", "score"]

_MUST_AGREE = ("masksift", "python", "dask", "distributed", "numpy", "numba", "connected-components-3d")


@dataclass
class Account:
    """What the stages of a run took: for run.json."""

    stages: list[dict[str, Any]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    flagged: int = 0

    def add(self, facts: dict[str, Any], receipts: list[Receipt]) -> None:
        """One stage with the receipts of its blocks."""
        totals = {name: sum(getattr(r, name) for r in receipts) for name in ("bytes_read", "bytes_written", "requests")}
        self.stages.append(
            {"name": facts["stage"], "seconds": facts["seconds"], "blocks": len(receipts)}
            | {
                "reused_blocks": sum(r.reused for r in receipts),
                "task_seconds": round(sum(r.seconds for r in receipts), 2),
            }
            | totals
        )


def check_workers(
    job: Job, executor: Executor, own_versions: Callable[[], dict[str, str]], report: Reporter
) -> list[Worker]:
    """Compare the workers' memory with the plan and their versions with this process's. Raises PlanRefused."""
    workers = executor.workers()
    mine = own_versions() if any(worker.versions for worker in workers) else {}
    for worker in workers:
        job.plan.check(worker.memory, f"worker {worker.name}")
        differing = {name: v for name, v in mine.items() if worker.versions and worker.versions.get(name, "none") != v}
        said = ", ".join(f"{name} {worker.versions.get(name, 'none')} (here {v})" for name, v in differing.items())
        if any(_series(name, worker.versions.get(name, "none")) != _series(name, differing[name])
               for name in _MUST_AGREE if name in differing):  # fmt: skip
            raise PlanRefused(
                f"worker {worker.name} has {said}",
                "its results could differ, or its answers not be understood",
                "Start the workers from the same image or environment as this command",
            )
        if differing:
            report.say(f"worker {worker.name} has {said}: tolerated")
    return workers


def _series(name: str, version: str) -> str:
    return ".".join(version.split(".")[:2]) if name == "python" else version


def prepare(job: Job, *, masks_only: bool) -> None:
    """Create the empty arrays that the tasks write into; what is there already stays."""
    for source, (spec, layout) in enumerate(zip(job.sources, job.plan.layouts, strict=True)):
        dtypes = {
            EVIDENCE[0]: layout.evidence,
            EVIDENCE[1]: str(class_dtype(spec.classes)),
            EVIDENCE[2]: layout.evidence,
        }
        attributes = {
            "class_names": list(spec.class_names), "ignore": list(spec.ignore), "scale": spec.scale, "kind": "evidence",
            "source": spec.url,
        }  # fmt: skip
        job.evidence(source, own=True).create(
            (MASK,) if masks_only else (*EVIDENCE, MASK), dtypes | {MASK: "uint8"},
            (spec.images, spec.height, spec.width), layout.chunks, attributes,
        )  # fmt: skip


def condense(job: Job, executor: Executor, report: Reporter, account: Account) -> None:
    """First pass: the statistics, verdicts and evidence of every block."""
    _map(partial(tasks.condense_block, job), job, executor, report, account, tasks.CONDENSE)


def find_thresholds(
    job: Job, executor: Executor, report: Reporter, account: Account, tau: str | float
) -> tuple[ClassStatistics, Thresholds]:
    """The global reduction, and the second look at evidence of more than 8 bits."""
    with report.stage("thresholds") as stage:
        load = partial(tasks.load_statistics, job)
        statistics = executor.reduce(load, job.plan.blocks, ClassStatistics.merge, "statistics")
        thresholds = thresholds_of(statistics, tau, _SecondLook(job, executor))
    account.add(stage.facts(), [])
    return statistics, thresholds


@dataclass
class _SecondLook:
    """What only the evidence itself can answer."""

    job: Job
    executor: Executor

    def confident(self, limits: NDArray[np.int64]) -> int:
        counted: int = self.executor.reduce(
            partial(tasks.count_block, self.job, limits), self.job.plan.blocks, add, "count"
        )
        return counted

    def cut(self, key: int) -> NDArray[np.int64]:
        return self.executor.reduce(partial(tasks.refine_block, self.job, key), self.job.plan.blocks, np.add, "refine")


def score(job: Job, thresholds: Thresholds, executor: Executor, report: Reporter, account: Account) -> PairCounts:
    """Second pass: scores, issue masks and the table of images; answers the class pairs of the whole data set."""
    receipts = _map(partial(tasks.score_block, job, thresholds), job, executor, report, account, tasks.SCORE)
    for receipt in receipts:
        account.counts.update(receipt.counts)
    return executor.reduce(partial(tasks.load_pairs, job), job.plan.blocks, PairCounts.merge, "pairs")


def rank(
    job: Job, statistics: ClassStatistics, thresholds: Thresholds, pairs: PairCounts, rank_by: str,
    report: Reporter, account: Account,
) -> None:  # fmt: skip
    """The order of review and the tables by class."""
    folder, names = Folder(job.out, job.options), job.sources[0].class_names
    methods = [method.name for method in job.methods]
    with report.stage("rank") as stage:
        columns = ["image_id", "source", "index", *methods]
        ranking = results.ranking(results.read_images(folder, job.plan, columns), methods, rank_by)
        results.write_ranking(folder, ranking, names)
        write_table(folder, "thresholds.parquet", results.thresholds_table(statistics, thresholds, names), names)
        write_table(folder, "class_pairs.parquet", results.class_pairs(pairs, names), names)
        write_table(folder, "class_quality.parquet", results.class_quality(statistics, pairs, names), names)
    account.flagged = int(pairs.pixels.sum())
    account.add(stage.facts(), [])


def _map(
    function: Callable[[Block], Receipt], job: Job, executor: Executor, report: Reporter, account: Account, name: str
) -> list[Receipt]:
    """Run one stage over all blocks. Raises RunFailed where a product is missing at its end."""
    receipts = []
    with report.stage(name, job.plan.images) as stage:
        for receipt in executor.map(function, job.plan.blocks, name):
            receipts.append(receipt)
            stage.advance(receipt)
            interruption.check()
    account.add(stage.facts(), receipts)
    missing = job.manifest(name).missing(name, range(len(job.plan.blocks)))
    if missing:
        raise RunFailed(
            f"{len(missing)} of {len(job.plan.blocks)} blocks have no product of stage {name!r} (first: {missing[0]})",
            "the results would lack their images",
            "See that nobody removes files of a running job, and run the same command again",
        )
    return receipts
