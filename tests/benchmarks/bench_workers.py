"""How the cores of a machine are best used: processes or threads, and what the second one brings."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench_whole import Case
from cluster import cluster, watched_run
from section import Section, spread, table

ROUNDS = 3
CASE = Case(19, "uint8", 384)
WAYS = {
    "1 process of 1 thread, on one core": (1, 1, True),
    "2 processes of 1 thread, on a core each": (2, 1, True),
    "1 process of 1 thread": (1, 1, False),
    "2 processes of 1 thread": (2, 1, False),
    "1 process of 2 threads": (1, 2, False),
}
"""Processes, threads of each, and whether a process has one core alone."""


def report(folder: Path) -> Section:
    source, out = CASE.source(folder), folder / "workers-out"
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way, (processes, threads, pinned) in WAYS.items():
            with cluster(folder, processes, threads, memory="6GiB", pinned=pinned) as dask:
                flags = ("--executor.kind", "dask", "--executor.address", dask.address)
                seconds[way].append(watched_run(source, out, *flags).seconds)
    shutil.rmtree(source)
    shutil.rmtree(out)
    first = next(iter(WAYS))
    rows: list[list[object]] = []
    figures: dict[str, float] = {}
    for way, taken in seconds.items():
        middle, least, most = spread(one / other for one, other in zip(seconds[first], taken, strict=True))
        rows.append([way, f"{middle:.2f} ({least:.2f} to {most:.2f})"])
        figures[f"workers: {way}: speed"] = middle
    return Section(
        f"## Processes and threads ({CASE.name}; median of {ROUNDS} rounds, and their range)\n\n"
        "The whole run with a scheduler and workers of its own on a machine of two cores. Each process also reads one\n"
        "chunk ahead in a thread: where it has more than one core, it uses more than one.\n\n"
        + table(["workers", "speed, one process on one core is 1"], rows),
        figures,
    )
