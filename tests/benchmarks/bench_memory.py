"""Benchmark of peak memory: one huge image in a 4 GiB worker, and a hundred to ten thousand small images."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import zarr

from benchmarks.cluster import watched_run
from benchmarks.scenes import labels_of, make_source, probabilities
from benchmarks.section import MIB, Section, table

SMALL = (100, 1_000, 10_000)


def huge(folder: Path, side: int = 20_000, classes: int = 20) -> Path:
    """Write one image of 20,000 x 20,000 with 20 classes, in chunks of 1 x 20 x 1,024 x 1,024."""
    path = folder / "huge.zarr"
    shutil.rmtree(path, ignore_errors=True)
    group = zarr.create_group(str(path), attributes={"ignore": [255]})
    predictions = group.create_array(
        "predictions", shape=(1, classes, side, side), dtype="uint8", chunks=(1, classes, 1024, 1024)
    )
    labels = group.create_array("labels", shape=(1, side, side), dtype="uint8", chunks=(1, 1024, 1024), fill_value=255)
    tiles = [probabilities(seed, 1, classes, 1024, 1024) for seed in range(4)]
    for number, (y, x) in enumerate((y, x) for y in range(0, side, 1024) for x in range(0, side, 1024)):
        height, width = min(1024, side - y), min(1024, side - x)
        tile = tiles[number % 4][:, :, :height, :width]
        predictions[:, :, y : y + height, x : x + width] = np.rint(tile * 255).astype(np.uint8)
        labels[:, y : y + height, x : x + width] = labels_of(tile, number)
    return path


def report(folder: Path) -> Section:
    out = folder / "memory-out"
    one = ("--executor.workers", "1", "--executor.memory", "4 GiB")
    two = ("--executor.workers", "2", "--executor.memory", "2 GiB")
    cases = [("1 of 20,000 x 20,000, 20 classes, one worker of 4 GiB", huge(folder), one)]
    for images in SMALL:
        path = make_source(folder / f"memory-{images}.zarr", images, 8, 64, 128, chunk=16)
        cases.append((f"{images:,} of 64 x 128, 8 classes, two workers", path, two))
    rows: list[list[object]] = []
    figures: dict[str, float] = {}
    for name, source, flags in cases:
        run = watched_run(source, out, *flags)
        memory = [run.peaks["client"], run.peaks["worker"], run.record["projected_memory"]]
        rows.append([name, *(f"{size / MIB:,.0f}" for size in memory)])
        figures |= {
            f"memory: {name}: {process} MiB": size / MIB
            for process, size in zip(("client", "worker", "projected"), memory, strict=True)
        }
        shutil.rmtree(source)
    shutil.rmtree(out)
    columns = ["images (uint8)", "client", "largest worker", "projected by the plan"]
    return Section("## Peak memory, MiB\n\n" + table(columns, rows), figures)
