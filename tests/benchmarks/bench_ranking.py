"""Benchmark of the ranking: from the outputs of blocks, in a store with latency, to the tables of a run."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.section import MIB, Section, table
from benchmarks.subprocesses import environment, module_command
from masksift.core.task_result import TaskResult
from masksift.engine.compact_task import CompactContext, ImageParts
from masksift.engine.planning.blocks import BlockSequence
from masksift.engine.rank_stage import rank_on_workers
from masksift.engine.result_tables import ImageRanking, RegionRanking
from masksift.engine.work_items import SCORE, PairCounts, RunContext, pack_result
from masksift.runtime.executors.serial import SerialExecutor
from masksift.runtime.progress import ProgressReporter
from masksift.scoring.kernels.label_grids import GRID_SIDE
from masksift.scoring.methods import COMBINED, METHODS, WORST_REGION, score_names
from masksift.scoring.region_priority import PairTotals
from masksift.storage.manifest import pack
from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.arrow import bytes_array
from masksift.storage.tables.schemas import scored_images_schema, scored_regions_schema
from masksift.storage.tables.segments import pack_table

SIZES = (1_000_000, 10_000_000)
COMPUTED = 100_000_000
WORKERS = (10, 100, 1_000)
LATENCY = 0.03
BLOCK_IMAGES, REGIONS_PER_IMAGE, MAX_REGIONS, CLASSES = 64, 3, 100_000, 19
DISTINCT_BLOCKS = 1_000
"""Blocks with different rows; more blocks repeat them, so that each score occurs once for 64,000 images."""
STEPS = ("compact", "places", "combine", "split", "rank")
FINGERPRINT = "0123456789ab"
TOTALS = PairTotals(np.full((CLASSES, CLASSES), 1e9), np.full(CLASSES, 1 << 40), np.full(CLASSES, 1 << 40))


def make_context(out: Path) -> CompactContext:
    run = RunContext(
        FINGERPRINT, 4, (), "rank", str(out), max_regions=MAX_REGIONS, table_scores=(WORST_REGION, COMBINED)
    )
    images, names = ImageRanking(score_names(), (), COMBINED), tuple(f"class {k}" for k in range(CLASSES))
    return CompactContext(run, images, RegionRanking((), MAX_REGIONS), names)


def block_output(number: int) -> bytes:
    """Return the output of a scored block, as a task stores it."""
    rng, count, regions = np.random.default_rng(number), BLOCK_IMAGES, BLOCK_IMAGES * REGIONS_PER_IMAGE
    index = np.arange(number * count, (number + 1) * count)
    numbers = {"height": 1024, "width": 2048, "valid_pixels": 2_000_000, "flagged_pixels": 999}
    numbers |= {"worst_given": 1, "worst_suggested": 2, "worst_pixels": 99, "worst_class": 3}
    schema = scored_images_schema(list(METHODS))
    columns: dict[str, Any] = {name: np.full(count, value) for name, value in numbers.items()}
    columns |= {name: rng.beta(8, 2, count) for name in (*METHODS, "worst_class_z")}
    columns |= {"image_id": [f"street/{i:09d}" for i in index], "source": ["street"] * count, "index": index}
    grids = rng.integers(0, CLASSES, (count, 2, 4, GRID_SIDE)).astype(np.uint8).repeat(GRID_SIDE // 4, axis=2)
    grids[:, 1] = np.where(rng.random(grids[:, 1].shape) < 0.8, grids[:, 0], grids[:, 1])  # as for a modest model
    columns |= {"grids": bytes_array(grids)}
    columns |= {"status": ["scored"] * count, "reason": pa.nulls(count, pa.string())}
    images = pa.table([pa.array(columns[field.name]).cast(field.type) for field in schema], schema=schema)
    schema = scored_regions_schema()
    place = np.repeat(index, REGIONS_PER_IMAGE)
    columns = {field.name: rng.integers(0, 1024, regions) for field in schema}
    columns |= {name: rng.integers(0, CLASSES, regions) for name in ("given", "suggested")}
    columns |= {"image_id": [f"street/{i:09d}" for i in place], "source": ["street"] * regions, "index": place}
    columns |= {name: ["road"] * regions for name in ("kind", "given_name", "suggested_name")}
    columns |= {name: rng.exponential(200, regions) for name in ("priority", "class_priority", "evidence")}
    columns |= {"rle": list(rng.integers(0, 2_000_000, (regions, 40), np.int32))}
    listed = pa.table([pa.array(columns[field.name]).cast(field.type) for field in schema], schema=schema)
    pairs = PairCounts(*rng.integers(0, 9, (3, CLASSES, CLASSES)))
    parts = {"images": pack_table(images), "regions": pack_table(listed), "pairs": pairs.pack()}
    return pack({**parts, "result": pack_result(TaskResult(number, count, 0, {}))})


def write_blocks(out: Path, images: int) -> None:
    """Write the outputs of all blocks; those beyond the distinct ones are links."""
    folder = out / "manifest" / SCORE
    folder.mkdir(parents=True)
    for number in range(images // BLOCK_IMAGES):
        path = folder / f"{FINGERPRINT}-{number:08d}.zip"
        if number < DISTINCT_BLOCKS:
            path.write_bytes(block_output(number))
        else:
            os.link(folder / f"{FINGERPRINT}-{number % DISTINCT_BLOCKS:08d}.zip", path)


def delay_requests(counts: Counter[str]) -> None:
    """Let every request of this process take the latency of a store, and count the requests."""

    def delayed(request: Callable[..., Any], name: str) -> Callable[..., Any]:
        def wait(*args: Any, **kwargs: Any) -> Any:
            counts[name] += 1
            time.sleep(LATENCY)
            return request(*args, **kwargs)

        return wait

    for name in ("read", "read_range", "write", "remove"):
        setattr(ObjectDirectory, name, delayed(getattr(ObjectDirectory, name), name))


class TimedExecutor(SerialExecutor):
    """One worker with one thread, whose seconds are known by step."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: dict[str, float] = {}

    def map(self, function: Callable[[Any], Any], items: Any, stage: str, **options: Any) -> Any:
        started = time.perf_counter()
        yield from super().map(function, items, stage, **options)
        self.seconds[stage] = time.perf_counter() - started


def rank(out: Path, images: int) -> None:
    """Rank the rows of the blocks with one worker, and print the figures as JSON."""
    counts, executor, context = Counter[str](), TimedExecutor(), make_context(out)
    delay_requests(counts)
    parts = ImageParts(BlockSequence(((images, BLOCK_IMAGES),)), context.run.image_part_rows)
    started = time.perf_counter()
    with ProgressReporter("quiet").stage("rank") as stage:
        rank_on_workers(context, TOTALS, parts, executor, stage, lambda result: None)
    seconds = time.perf_counter() - started
    figures = {
        **executor.seconds,
        "client": seconds - sum(executor.seconds.values()),
        "cpu": time.process_time(),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "requests": sum(counts.values()),
        "objects": sum(len(list((out / name).iterdir())) for name in ("images", "ranking", "regions")),
    }
    print(json.dumps(figures))


def measure(images: int, folder: Path) -> dict[str, float]:
    """Return the figures of a process that ranks so many images."""
    out = folder / "ranking"
    shutil.rmtree(out, ignore_errors=True)
    write_blocks(out, images)
    command = module_command("bench_ranking", str(out), images)
    done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, check=True)
    shutil.rmtree(out)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def report(folder: Path) -> Section:
    rows: list[list[object]] = []
    figures: dict[str, float] = {}
    found: dict[str, float] = {}
    for size in SIZES:
        found = measure(size, folder)
        seconds = [found[step] for step in (*STEPS, "client")]
        cells = [f"{found['requests']:,.0f}", f"{found['objects']:,.0f}", f"{found['memory'] / MIB:,.0f}"]
        rows.append([f"{size:,}", *(f"{value:,.1f}" for value in seconds), f"{found['cpu']:,.1f}", *cells])
        figures |= {f"ranking: {size} images: {name}": value for name, value in found.items()}
    times = COMPUTED / SIZES[-1]
    # every range of ranks is read from every part, so the waiting time of these reads grows with the square
    reads = (found["requests"] - SIZES[-1] / BLOCK_IMAGES) * times**2 * LATENCY / 16
    work = sum(found[step] for step in STEPS) * times + reads
    figures |= {
        f"ranking: {COMPUTED} images: worker seconds": work,
        f"ranking: {COMPUTED} images: client": found["client"] * times,
    }
    walls = [f"{work / workers + found['client'] * times:,.0f}" for workers in WORKERS]
    before = 2 * COMPUTED / BLOCK_IMAGES / 8 * LATENCY
    columns = [
        "images",
        *(f"{step}, s" for step in STEPS),
        "client, s",
        "CPU, s",
        "requests",
        "objects",
        "peak memory, MiB",
    ]
    return Section(
        f"## Ranking, from a store with {LATENCY * 1000:.0f} ms latency\n\nRows of blocks of {BLOCK_IMAGES} images "
        f"with {REGIONS_PER_IMAGE} regions each, collected, sorted, ranked and written by one worker.\n\n"
        + table(columns, rows)
        + f"\nComputed for {COMPUTED:,} images: {', '.join(walls)} s on {', '.join(map(str, WORKERS))} workers. "
        f"Reading two parts a block in one client, eight at a time, would take {before:,.0f} s.\n",
        figures,
    )


if __name__ == "__main__":
    rank(Path(sys.argv[1]), int(sys.argv[2]))
