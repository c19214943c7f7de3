"""Benchmark of reading on one core: from chunks on disk to arrays in memory."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from benchmarks.bench_whole import Case
from benchmarks.section import Section, spread, table
from masksift.config.load import build_run_config
from masksift.runner import open_and_plan
from masksift.storage.zarr.reader import ArrayReader

ROUNDS = 5
CASES = (Case(19, "uint8", 64), Case(19, "float16", 32), Case(150, "uint8", 16))
ZARRS = {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}


def through_zarr(path: Path, images: int) -> None:
    """Read with the configured codec pipeline of zarr."""
    predictions = zarr.open_group(str(path), mode="r")["predictions"]
    for i in range(images):
        predictions[i : i + 1]  # type: ignore[index]


def through_zarrs(path: Path, images: int) -> None:
    """Read with the codec pipeline of the package zarrs."""
    with zarr.config.set(ZARRS):
        through_zarr(path, images)


def direct(path: Path, images: int) -> None:
    """Read as a task does, into a reused buffer."""
    config = build_run_config({"sources": [str(path)], "out": str(path.parent / "reading-out")}, {})
    (spec,), _ = open_and_plan(config)
    reader = ArrayReader(spec.predictions, {})
    out = np.empty((1, *spec.predictions.shape[1:]), spec.predictions.dtype)
    whole = slice(0, spec.height), slice(0, spec.width)
    for i in range(images):
        reader.read(slice(i, i + 1), slice(0, spec.classes), *whole, out=out)


def readers() -> dict[str, Callable[[Path, int], Any]]:
    """Readers to compare; zarrs only if it is installed."""
    try:
        import zarrs  # noqa: F401
    except ImportError:
        return {"zarr": through_zarr, "masksift": direct}
    return {"zarr": through_zarr, "zarr with zarrs": through_zarrs, "masksift": direct}


def report(folder: Path) -> Section:
    rows: list[list[object]] = []
    figures: dict[str, float] = {}
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(cores)})
        for case in CASES:
            path = case.source(folder)
            seconds: dict[str, list[float]] = {name: [] for name in readers()}
            for _ in range(ROUNDS):
                for name, read in readers().items():
                    started = time.perf_counter()
                    read(path, case.images)
                    seconds[name].append(time.perf_counter() - started)
            size = case.classes * case.height * case.width * np.dtype(case.dtype).itemsize * case.images
            for name, durations in seconds.items():
                middle, least, most = spread(a / b for a, b in zip(seconds["zarr"], durations, strict=True))
                rate = size / spread(durations)[0] / 1e9
                rows.append([case.name, name, f"{middle:.2f} ({least:.2f} to {most:.2f})", f"{rate:.2f}"])
                figures[f"reading: {case.name} {name}: speed over zarr"] = middle
            shutil.rmtree(path)
    finally:
        os.sched_setaffinity(0, cores)
    return Section(
        f"## Reading, one core, local disk, zstd (median of {ROUNDS} rounds, and their range)\n\n"
        + table(["images", "by", "speed, zarr is 1", "GB/s decoded"], rows),
        figures,
    )
