"""Benchmark of a real scheduler and the run's client with workers that compute nothing.

A thousand simulated workers would take more of two cores than the scheduler, so there are two hundred.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import psutil
from distributed import Client, Scheduler

from benchmarks import simulated
from benchmarks.cluster import Cluster, cluster
from benchmarks.scenes import make_source
from benchmarks.section import MIB, Section, table
from benchmarks.subprocesses import environment, module_command
from masksift.config.load import build_run_config
from masksift.core.specs import SourceSpec
from masksift.engine.planning.layout import Settings
from masksift.engine.planning.plan import make_plan
from masksift.engine.work_items import BlockTask, BlockTasks, RunContext
from masksift.runner import make_run_context, open_and_plan
from masksift.runtime.executors import make_executor
from masksift.runtime.executors.dask import DaskExecutor

WORKERS, PROCESSES = 200, 2
IMAGES = 10_000_000
"""Images of 512 x 1024 with 19 classes, about forty thousand blocks."""
IMAGE_SECONDS = {"condense": 0.015, "score": 0.006}
"""Core seconds per image: a quarter of the figures of the section `image`, rounded down."""


@dataclass(frozen=True)
class Case:
    """A stage, and the number of its blocks that are run."""

    stage: str
    blocks: int


CASES = (Case("condense", 8_000), Case("score", 16_000))


@dataclass(frozen=True)
class Load:
    """Share of the worker time spent in tasks, seconds of the stage, and number of tasks."""

    busy: float
    seconds: float
    tasks: int


def big_run(folder: Path) -> tuple[RunContext, BlockTasks]:
    """Make the tasks of a run over a large data set that does not exist."""
    small = make_source(folder / "scheduler.zarr", 2, 19, 512, 1024)
    config = build_run_config({"sources": [str(small)], "out": str(folder / "scheduler-out")}, {})
    (spec,), _ = open_and_plan(config)
    predictions, labels = (
        replace(array, shape=(IMAGES, *array.shape[1:])) for array in (spec.predictions, spec.labels)
    )
    sources: tuple[SourceSpec, ...] = (replace(spec, predictions=predictions, labels=labels),)
    plan = make_plan(sources, Settings(), {})
    tasks = BlockTasks.from_plan(plan, sources, config.out)
    return make_run_context(config, tasks), tasks


def run_stage(address: str, context: RunContext, tasks: Sequence[BlockTask], seconds: float) -> Load:
    """Run a stage on the simulated workers, from the first task to the last result."""
    with make_executor("dask", workers=None, memory=None, address=address, timeout=60) as executor:
        assert isinstance(executor, DaskExecutor)
        list(executor.map(partial(simulated.answer, context, 0.0), tasks[:WORKERS], "warm"))
        started = time.perf_counter()
        function = partial(simulated.answer, context, seconds)
        task_seconds = sum(result.seconds for result in executor.map(function, tasks, "simulated"))
        wall = time.perf_counter() - started

        # nested, so that it travels by value: the scheduler would import this module, and with it numba
        def count_tasks(dask_scheduler: Scheduler) -> int:
            spans = dask_scheduler.extensions["spans"].spans.values()
            return sum(len(group) for span in spans if span.name[-1] == "simulated" for group in span.groups)

        return Load(task_seconds / (WORKERS * wall), wall, executor.client.run_on_scheduler(count_tasks))


def report(folder: Path) -> Section:
    context, tasks = big_run(folder)
    rows: list[list[object]] = []
    figures: dict[str, float] = {}
    client = psutil.Process()
    for case in CASES:  # each with its own scheduler: what an earlier one left would count
        seconds = IMAGE_SECONDS[case.stage] * tasks[0].block.images
        with simulated_cluster(folder) as scheduler:
            before = cpu_seconds(scheduler.scheduler), cpu_seconds(client)
            load = run_stage(scheduler.address, context, tasks[: case.blocks], seconds)
            used = [cpu_seconds(p) - b for p, b in zip((scheduler.scheduler, client), before, strict=True)]
            memory = scheduler.scheduler.memory_info().rss / MIB
        rows.append(
            [
                case.stage,
                f"{seconds:.1f}",
                f"{case.blocks:,}",
                f"{load.tasks:,}",
                f"{load.busy:.1%}",
                f"{used[0] / load.seconds:.0%}",
                f"{1000 * used[0] / load.tasks:.1f}",
                f"{1000 * used[0] / case.blocks:.1f}",
                f"{1000 * used[1] / case.blocks:.2f}",
                f"{memory:,.0f}",
                f"{seconds * case.blocks / used[0]:,.0f}",
            ]
        )
        figures[f"scheduler: {case.stage}: busy"] = load.busy
        figures[f"scheduler: {case.stage}: workers that fill it"] = seconds * case.blocks / used[0]
        figures[f"scheduler: {case.stage}: scheduler ms a task"] = 1000 * used[0] / load.tasks
        figures[f"scheduler: {case.stage}: scheduler ms a block"] = 1000 * used[0] / case.blocks
    columns = [
        "stage",
        "seconds a block",
        "blocks",
        "tasks",
        "workers busy",
        "scheduler, share of a core",
        "scheduler, CPU ms a task",
        "scheduler, CPU ms a block",
        "client, CPU ms a block",
        "scheduler, MiB",
        "workers that fill it",
    ]
    return Section(
        f"## A scheduler with {WORKERS:,} simulated workers\n\n"
        f"The run's client submits the tasks of {IMAGES:,} images (512 x 1024, 19 classes, uint8) to a real\n"
        f"scheduler with {WORKERS:,} workers in {PROCESSES} processes that sleep for as long as a block takes and\n"
        "return its result. Busy: time spent in blocks over workers times wall time, first task to last result. CPU\n"
        "times include the heartbeats of the workers. Scheduler, client and workers share this machine's cores.\n"
        "Workers that fill it: seconds of a block over the scheduler's CPU seconds of it.\n\n" + table(columns, rows),
        figures,
    )


@contextmanager
def simulated_cluster(folder: Path) -> Iterator[Cluster]:
    """Start a scheduler and the simulated workers."""
    with cluster(folder, 0) as dask:
        command = module_command("simulated", dask.address, WORKERS // PROCESSES)
        processes = [subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment()) for _ in range(PROCESSES)]
        try:
            with Client(dask.address, timeout=30, set_as_default=False) as dask_client:
                dask_client.wait_for_workers(WORKERS, timeout=300)
            yield dask
        finally:
            for process in processes:
                process.kill()
                process.wait()


def cpu_seconds(process: psutil.Process) -> float:
    """Return the processor time of a process."""
    times = process.cpu_times()
    return float(times.user + times.system)
