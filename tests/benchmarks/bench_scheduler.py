"""Benchmark of a real scheduler and the run's client with 200 workers that compute nothing."""

from __future__ import annotations

import subprocess
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
from distributed import Client

from benchmarks import simulated
from benchmarks.cluster import cluster
from benchmarks.scenes import make_source
from benchmarks.section import MIB, Section, table
from benchmarks.subprocesses import environment, module_command
from masksift.config.load import build_run_config
from masksift.core.specs import SourceSpec
from masksift.engine.planning.layout import Settings
from masksift.engine.planning.plan import make_plan
from masksift.engine.work_items import BlockTasks, RunContext
from masksift.runner import make_run_context, open_and_plan
from masksift.runtime.executors import make_executor

WORKERS, PROCESSES = 200, 2
IMAGES = 1_000_000
"""Images of 512 x 1024 with 19 classes, about four thousand blocks."""
CASES = {"condense": 0.015, "score": 0.006}
"""Core seconds per image: a quarter of the figures of the section `image`, rounded down."""


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


def busy(address: str, context: RunContext, tasks: BlockTasks, seconds: float) -> tuple[float, float]:
    """Share of the worker time that is spent in tasks, and seconds, from the first task to the last result."""
    with make_executor("dask", workers=None, memory=None, address=address, timeout=60) as executor:
        list(executor.map(partial(simulated.answer, context, 0.0), tasks[:WORKERS], "warm"))
        started = time.perf_counter()
        task_seconds = sum(
            r.seconds for r in executor.map(partial(simulated.answer, context, seconds), tasks, "simulated")
        )
        wall = time.perf_counter() - started
    return task_seconds / (WORKERS * wall), wall


def report(folder: Path) -> Section:
    context, tasks = big_run(folder)
    rows: list[list[object]] = []
    figures: dict[str, float] = {}
    client = psutil.Process()
    with cluster(folder, 0) as dask:
        command = module_command("simulated", dask.address, WORKERS // PROCESSES)
        processes = [subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment()) for _ in range(PROCESSES)]
        try:
            with Client(dask.address, timeout=30, set_as_default=False) as dask_client:
                dask_client.wait_for_workers(WORKERS, timeout=120)
            for name, image_seconds in CASES.items():
                before = dask.scheduler.cpu_times().user, client.cpu_times().user
                seconds = image_seconds * tasks[0].block.images
                share, wall = busy(dask.address, context, tasks, seconds)
                task_seconds = [p.cpu_times().user - b for p, b in zip((dask.scheduler, client), before, strict=True)]
                rows.append(
                    [
                        name,
                        f"{seconds:.1f}",
                        f"{len(tasks):,}",
                        f"{len(tasks) / wall:.0f}",
                        f"{share:.1%}",
                        *(f"{1000 * cpu / len(tasks):.1f}" for cpu in task_seconds),
                        f"{dask.scheduler.memory_info().rss / MIB:,.0f}",
                    ]
                )
                figures[f"scheduler: {name}: busy"] = share
                figures[f"scheduler: {name}: scheduler ms a task"] = 1000 * task_seconds[0] / len(tasks)
        finally:
            for process in processes:
                process.kill()
                process.wait()
    columns = [
        "stage",
        "seconds a task",
        "tasks",
        "tasks a second",
        "workers busy",
        "scheduler, CPU ms a task",
        "client, CPU ms a task",
        "scheduler, MiB",
    ]
    return Section(
        f"## A scheduler with {WORKERS} simulated workers\n\n"
        f"The run's client submits the tasks of {IMAGES:,} images (512 x 1024, 19 classes, uint8) to a real\n"
        f"scheduler with {WORKERS} workers in {PROCESSES} processes that sleep for as long as a task takes and return\n"
        "its result. Busy: time spent in tasks over workers times wall time, first task to last answer. Scheduler,\n"
        "client and workers share this machine's cores.\n\n" + table(columns, rows),
        figures,
    )
