"""Benchmark of many sources: opening them, the client's work per block, and what a run records of them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks.scenes import make_source
from benchmarks.section import Section, table
from masksift.config.load import build_run_config
from masksift.core.specs import SourceSpec
from masksift.engine.planning.layout import Settings
from masksift.engine.planning.plan import make_plan
from masksift.engine.run_record import plan_identity, recorded_configuration
from masksift.engine.source_table import SOURCE_TABLE, read_source_table, sources_identity, write_source_table
from masksift.engine.stages import create_evidence_arrays
from masksift.engine.work_items import BlockTasks
from masksift.runner import make_block_tasks, make_run_context, open_and_plan
from masksift.storage.objects import ObjectDirectory
from support.memory_s3 import run_memory_s3
from support.results import read_files

SIZES = (1_000, 10_000, 100_000)
IMAGES = 160
"""Images of a source that is planned; of 512 x 1024, with 19 classes."""
OPENED = 1_000
"""Sources that are opened and prepared at a server in memory."""
LATENCY = 0.02
KIB = 1 << 10
ACCESSED = 5_000
"""Blocks whose tasks are made, spread evenly over all."""


def report(folder: Path, sizes: tuple[int, ...] = SIZES, opened: int = OPENED) -> Section:
    source = make_source(folder / "sources.zarr", 2, 19, 512, 1024)
    rows, figures = [], {}
    for count in sizes:
        row = _plan_row(folder, source, count)
        rows.append([f"{count:,}", *(f"{value:,.1f}" for value in row.values())])
        figures |= {f"sources: {count}: {name}": value for name, value in row.items()}
    opening = _open(source, opened)
    figures |= {f"sources: {name}": value for name, value in opening.items()}
    text = (
        "## Many sources (19 classes, 512 x 1024)\n\n"
        f"{IMAGES} images a source. Task: CPU time of the client to make the task of a block, once a pass. Plan:\n"
        "identity and blocks. Table: writing and reading `sources.parquet`. Plan file and configuration are the parts\n"
        "of `run.json` that depend on the sources.\n\n"
    )
    columns = [
        "sources",
        "task, microseconds",
        "plan, CPU seconds",
        "table, CPU seconds",
        "`sources.parquet`, bytes a source",
        "plan file, KiB",
        "configuration, KiB",
    ]
    text += table(columns, rows)
    text += (
        f"\nOpening {opened:,} sources and creating their evidence, at an S3 server in memory that answers after "
        f"{LATENCY * 1000:.0f} ms, in one client:\n\n"
    )
    return Section(text + table(list(opening), [[f"{value:,.1f}" for value in opening.values()]]), figures)


def _plan_row(folder: Path, source: Path, count: int) -> dict[str, float]:
    """Return the figures of a plan of sources that do not exist."""
    urls = [f"s3://lake/dt=2026-11-23/part={number:06d}.zarr" for number in range(count)]
    (spec,), _ = open_and_plan(build_run_config({"sources": [str(source)], "out": str(folder / "out")}, {}))
    sources = tuple(_describe(spec, number, url) for number, url in enumerate(urls))

    def plan() -> BlockTasks:
        made = make_plan(sources, Settings(), {"sources": sources_identity(sources)})
        return BlockTasks.from_plan(made, sources, "s3://lake/out")

    planning, tasks = _cpu_seconds(plan)
    step = max(1, len(tasks) // ACCESSED)
    accesses, _ = _cpu_seconds(lambda: [tasks[number] for number in range(0, len(tasks), step)])
    directory = ObjectDirectory(str(folder / f"table-{count}"))
    tabling, _ = _cpu_seconds(lambda: (write_source_table(directory, tasks), read_source_table(directory)))
    configuration = recorded_configuration(build_run_config({"sources": urls, "out": "s3://lake/out"}, {}))
    return {
        "task microseconds": accesses / -(-len(tasks) // step) * 1e6,
        "plan seconds": planning,
        "table seconds": tabling,
        "table bytes a source": os.path.getsize(folder / f"table-{count}" / SOURCE_TABLE) / count,
        "plan file KiB": len(json.dumps(plan_identity(tasks.plan))) / KIB,
        "configuration KiB": len(json.dumps(configuration)) / KIB,
    }


def _describe(spec: SourceSpec, number: int, url: str) -> SourceSpec:
    _, _, height, width = spec.predictions.shape
    predictions = replace(spec.predictions, url=f"{url}/predictions", shape=(IMAGES, spec.classes, height, width))
    labels = replace(spec.labels, url=f"{url}/labels", shape=(IMAGES, height, width))
    hashes = {**spec.content_hashes, "content": sha256(url.encode()).hexdigest()}
    arrays = {"predictions": predictions, "labels": labels}
    return replace(spec, index=number, name=f"part={number:06d}", url=url, content_hashes=hashes, **arrays)


def _open(source: Path, count: int) -> dict[str, float]:
    """Return time and requests of opening and preparing sources at a server with a latency."""
    os.environ |= {name: os.environ.get(name, "any") for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    with run_memory_s3(read_files(source), count, LATENCY) as server:
        urls = [f"s3://lake/copies/{number}.zarr" for number in range(count)]
        storage = {"endpoint_url": server.url}
        config = build_run_config({"sources": urls, "out": "s3://lake/out", "storage": storage}, {})
        started = time.perf_counter()
        cpu_open, tasks = _cpu_seconds(lambda: make_block_tasks(config))
        wall_open = time.perf_counter() - started
        opening, _ = server.take_counts()
        context = make_run_context(config, tasks)
        started = time.perf_counter()
        cpu_create, _ = _cpu_seconds(lambda: create_evidence_arrays(context, tasks))
        wall_create = time.perf_counter() - started
        creating, _ = server.take_counts()
    requests = [
        sum(number for method, number in counts.items() if " " not in method) / count for counts in (opening, creating)
    ]
    per_thousand = 1000 / count
    return {
        "open, seconds per 1,000": wall_open * per_thousand,
        "open, CPU seconds per 1,000": cpu_open * per_thousand,
        "open, requests a source": requests[0],
        "create, seconds per 1,000": wall_create * per_thousand,
        "create, CPU seconds per 1,000": cpu_create * per_thousand,
        "create, requests a source": requests[1],
    }


def _cpu_seconds(function: Callable[[], Any]) -> tuple[float, Any]:
    started = time.process_time()
    result = function()
    return time.process_time() - started, result
