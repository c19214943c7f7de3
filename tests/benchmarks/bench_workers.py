"""Benchmark of processes and threads on the cores of one machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.bench_whole import Case
from benchmarks.cluster import cluster, watched_run
from benchmarks.section import Section, spread, table

ROUNDS = 3
CASE, FEW = Case(19, "uint8", 1_024), Case(19, "uint8", 16, height=256)
"""Enough images to make the start and end of a stage negligible, which no second worker accelerates."""
DECODING_CORES = (1, 2)
"""Cores for decoding only."""
LAYOUTS = {
    "1 process of 1 thread, on one core": (1, 1, True),
    "2 processes of 1 thread, on a core each": (2, 1, True),
    "1 process of 1 thread": (1, 1, False),
    "2 processes of 1 thread": (2, 1, False),
    "1 process of 2 threads": (1, 2, False),
}
"""Processes, threads per process, and whether each process is pinned to one core."""


def decode(source: Path, cores: int) -> float:
    """Seconds in which processes on one core each decode the predictions of a source together."""
    started = time.perf_counter()
    script = (
        "import os, sys, zarr; path, core, first, step = sys.argv[1], *map(int, sys.argv[2:]); "
        "os.sched_setaffinity(0, {core}); array = zarr.open_group(path, mode='r')['predictions']; "
        "any(array[i] is None for i in range(first, array.shape[0], step))"  # each image is dropped before the next
    )
    free = sorted(os.sched_getaffinity(0))
    shares = [
        subprocess.Popen([sys.executable, "-c", script, str(source), *map(str, (free[i % len(free)], i, cores))])
        for i in range(cores)
    ]
    assert all(process.wait() == 0 for process in shares)
    return time.perf_counter() - started


def report(folder: Path) -> Section:
    source, few, out = CASE.source(folder), FEW.source(folder), folder / "workers-out"
    seconds: dict[str, list[float]] = {layout: [] for layout in LAYOUTS}
    alone: dict[int, list[float]] = {cores: [] for cores in DECODING_CORES}
    for _ in range(ROUNDS):
        for layout, (processes, threads, pinned) in LAYOUTS.items():
            with cluster(folder, processes, threads, memory="6GiB", pinned=pinned) as dask:
                flags = ("--executor.kind", "dask", "--executor.address", dask.address)
                watched_run(few, out, *flags)  # warms up imports and kernels
                seconds[layout].append(watched_run(source, out, *flags).seconds)
        for cores in DECODING_CORES:
            alone[cores].append(decode(source, cores))
    for path in (source, few, out):
        shutil.rmtree(path)
    first = next(iter(LAYOUTS))
    rows: list[list[object]] = []
    figures: dict[str, float] = {}
    for layout, durations in seconds.items():
        middle, least, most = spread(one / other for one, other in zip(seconds[first], durations, strict=True))
        rows.append([layout, f"{middle:.2f} ({least:.2f} to {most:.2f})"])
        figures[f"workers: {layout}: speed"] = middle
    middle, least, most = spread(one / two for one, two in zip(alone[1], alone[2], strict=True))
    rows.append(["decoding only, on two cores instead of one", f"{middle:.2f} ({least:.2f} to {most:.2f})"])
    figures["workers: merely decoding on two cores: speed"] = middle
    return Section(
        f"## Processes and threads ({CASE.name}; median of {ROUNDS} rounds, and their range)\n\n"
        "The whole run with a separate scheduler and workers on a machine of two cores. Each process also reads one\n"
        "chunk ahead in a thread, so that it uses more than one core if it can. The last row is the limit of the\n"
        "machine: independent processes decode the same predictions and drop them.\n\n"
        + table(["workers", "speed, one process on one core is 1"], rows),
        figures,
    )
