"""Benchmark of S3 on loopback (SeaweedFS): obstore and s3fs, runs relative to reads, and prefetching with latency."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from benchmarks.bench_whole import Case
from benchmarks.section import Section, spread, table
from masksift.config.load import build_run_config
from masksift.config.run import RunConfig
from masksift.engine.block_io import iter_label_windows, window_to_slices
from masksift.engine.work_items import BlockTask, BlockTasks
from masksift.prepare.writers.predictions import PredictionWriter
from masksift.runner import make_run_context, open_and_plan, run
from masksift.runtime.executors import make_executor
from masksift.runtime.progress import ProgressReporter
from masksift.storage.credentials import StorageOptions, resolve_credentials
from masksift.storage.zarr import reader as arrays
from masksift.storage.zarr.reader import ArrayReader
from support.fault_proxy import Faults, run_fault_proxy
from support.s3_server import ACCESS_KEY, SECRET_KEY, S3Server, run_s3_server

ROUNDS = 3
CLIENTS = ("s3fs", "obstore")
LARGE, TILES = Case(19, "uint8", 192), Case(19, "uint8", 1_000, height=64, width=64)
CASES = {LARGE.name: (LARGE, False), TILES.name: (TILES, False), f"{TILES.name}, in shards": (TILES, True)}
LATENCY = 0.03
RANGE = "{:.2f} ({:.2f} to {:.2f})"


def configuration(endpoint: str, client: str, out: str) -> RunConfig:
    executor = {"kind": "local", "workers": 2, "memory": "3 GiB"}
    tree = {"sources": ["s3://bench/source"], "out": out, "storage": {"endpoint_url": endpoint, "client": client}}
    return build_run_config(
        {**tree, "executor": executor, "report": {"top": 0}}, {}
    )  # `bench_report` measures the report


def read_block(options: StorageOptions, prefetch: int, task: BlockTask) -> int:
    """Fetch and decode every chunk of a block as a task does; ``prefetch`` is the number of prefetched bytes."""
    arrays.PREFETCH_BYTES = prefetch  # type: ignore[attr-defined]
    spec, layout, block = task.spec, task.layout, task.block
    ranges = list(layout.chunk_ranges(block.start, block.stop))
    used = 0
    for array, classes, windows in (
        (
            spec.predictions,
            spec.classes,
            list(chain.from_iterable(layout.windows(*images, spec.height, spec.width) for images in ranges)),
        ),
        (
            spec.labels,
            None,
            [window for images in ranges for window in iter_label_windows(spec, *images)],
        ),
    ):
        reader, out = ArrayReader(array, options), np.empty(0, array.dtype)
        if prefetch:
            reader.prefetch(window_to_slices(window, classes) for window in windows)
        for window in windows:
            slices = window_to_slices(window, classes)
            shape = tuple(side.stop - side.start for side in slices)
            out = out if out.shape == shape else np.empty(shape, array.dtype)
            reader.read(*slices, out=out)
        used += reader.io_counters["bytes_read"]
    return used


def read(config: RunConfig, prefetch: int = arrays.PREFETCH_BYTES, *, workers: int = 2) -> float:
    """Seconds in which the workers read predictions and labels once, as tasks do."""
    sources, plan = open_and_plan(config)
    tasks = BlockTasks.from_plan(plan, sources, config.out)
    read_task = partial(read_block, make_run_context(config, tasks).options, prefetch)
    with make_executor("local", workers=workers, memory=3 << 30) as executor:
        list(executor.map(read_task, tasks[:2], "warm"))
        started = time.perf_counter()
        list(executor.map(read_task, tasks, "read"))
        return time.perf_counter() - started


def rewrite(source: Path, shards: bool) -> Path:
    """Return the source, or rewrite it in shards of about 128 MiB."""
    if not shards:
        return source
    group, to = zarr.open_group(str(source), mode="r"), source.with_name("sharded.zarr")
    shutil.rmtree(to, ignore_errors=True)
    predictions: Any = group["predictions"]
    labels: Any = group["labels"]
    n, classes, height, width = predictions.shape
    facts = {"images": n, "height": height, "width": width, "classes": classes, "ignore": 255}
    with PredictionWriter(str(to), dtype="uint8", **facts) as writer:
        for start in range(0, n, 500):
            writer.write(predictions[start : start + 500], labels[start : start + 500])
    shutil.rmtree(source)
    return to


def stored(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != "zarr.json")


@contextmanager
def on_server(server: S3Server, source: Path) -> Iterator[None]:
    files = server.filesystem()
    files.put(f"{source}/", "bench/source/", recursive=True)
    try:
        yield
    finally:
        files.rm("bench/source", recursive=True)
        shutil.rmtree(source)


def measure_case(
    server: S3Server, folder: Path, name: str, source: Path, images: int, figures: dict[str, float]
) -> list[list[object]]:
    """Rows of one case: reads through each client, and runs with results on disk or on the server."""
    stored_bytes = stored(source / "predictions") + stored(source / "labels")
    reads: dict[str, list[float]] = {client: [] for client in CLIENTS}
    runs: dict[tuple[str, bool], list[float]] = {(client, here): [] for client in CLIENTS for here in (True, False)}
    record: dict[str, Any] = {}
    for number in range(ROUNDS):
        for client in CLIENTS:
            there = f"s3://bench/out-{len(figures)}-{client}-{number}"
            reads[client].append(read(configuration(server.url, client, there)))
            for here, out in ((True, str(folder / "s3-out")), (False, there)):
                record = dict(run(configuration(server.url, client, out), ProgressReporter("quiet")).record)
                runs[client, here].append(sum(stage["seconds"] for stage in record["stages"]))
            shutil.rmtree(folder / "s3-out")
    plan = open_and_plan(configuration(server.url, "obstore", "s3://bench/none"))[1]
    condense = next(stage for stage in record["stages"] if stage["name"] == "condense")
    share, requests = condense["bytes_read"] / stored_bytes, record["requests"] / images
    rows: list[list[object]] = []
    for client in CLIENTS:
        speed = spread(a / b for a, b in zip(reads["s3fs"], reads[client], strict=True))
        here, there = (
            spread(a / b for a, b in zip(runs[client, local], reads[client], strict=True)) for local in (True, False)
        )
        rows.append(
            [
                name,
                client,
                RANGE.format(*speed),
                RANGE.format(*here),
                RANGE.format(*there),
                f"{share:.3f}",
                f"{requests:.1f} ({plan.reads / images:.1f})",
            ]
        )
        figures[f"s3: {name} {client}: speed over s3fs"] = speed[0]
        figures[f"s3: {name} {client}: run over read"] = here[0]
        figures[f"s3: {name} {client}: run over read, results on the server"] = there[0]
    figures[f"s3: {name}: bytes read over stored"] = share
    figures[f"s3: {name}: reads an image"] = requests
    return rows


def measure_latency(server: S3Server, figures: dict[str, float]) -> list[object]:
    """Speed of prefetching with one worker if each request takes longer."""
    durations: dict[int, list[float]] = {0: [], arrays.PREFETCH_BYTES: []}
    with run_fault_proxy(server.port, Faults(delay=LATENCY)) as between:
        config = configuration(between.url, "obstore", "s3://bench/none")
        for _ in range(ROUNDS):
            for prefetch, seconds in durations.items():
                seconds.append(read(config, prefetch, workers=1))
    alone, together = durations.values()
    speed = spread(a / b for a, b in zip(alone, together, strict=True))
    figures["s3: asking ahead at 30 ms a request: speed"] = speed[0]
    return [LARGE.name, RANGE.format(*speed)]


def report(folder: Path) -> Section:
    rows: list[list[object]] = []
    figures: dict[str, float] = {}
    os.environ |= {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with tempfile.TemporaryDirectory(dir=folder) as place, run_s3_server(Path(place)) as server:
        resolve_credentials.cache_clear()
        server.filesystem().mkdir("bench")
        slow: list[object] = []
        for name, (case, shards) in CASES.items():
            source = rewrite(case.source(folder), shards)
            with on_server(server, source):
                rows += measure_case(server, folder, name, source, case.images, figures)
                slow = measure_latency(server, figures) if case is LARGE else slow
    return Section(
        f"## S3 (SeaweedFS on the same machine, two workers; median of {ROUNDS} rounds, and their range)\n\n"
        "The server uses the same cores. Reading means fetching and decoding predictions and\n"
        "labels once, as tasks do.\n\n"
        + table(
            [
                "images",
                "through",
                "reading, speed of s3fs is 1",
                "run / reading through the same client",
                "the same, results on the server too",
                "bytes read in the first pass / bytes stored",
                "reads an image (planned)",
            ],
            rows,
        )
        + f"\n\nOne worker, each request {LATENCY * 1000:.0f} ms longer: reading with prefetched chunks.\n\n"
        + table(["images", "speed, sequential requests are 1"], [slow]),
        figures,
    )


if __name__ == "__main__":
    print(json.dumps(report(Path(sys.argv[1])).figures, indent=1))
