"""Benchmark of scale: time and memory per image from a thousand tiny images to a million, on a separate scheduler."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.cluster import cluster, watched_run
from benchmarks.scenes import make_source
from benchmarks.section import MIB, Section, table

SIZES = (1_000, 10_000, 100_000, 1_000_000)
CLASSES, SIDE, CHUNK = 8, 32, 256
PROJECTED = 100_000_000
PROCESSES = ("before ranking", "scheduler", "client")


def report(folder: Path, sizes: tuple[int, ...] = SIZES) -> Section:
    out = folder / "scale-out"
    runs = []
    for images in sizes:
        source = make_source(folder / f"scale-{images}.zarr", images, CLASSES, SIDE, SIDE, chunk=CHUNK)
        with cluster(folder, 2) as dask:
            flags = ("--executor.kind", "dask", "--executor.address", dask.address)
            runs.append((images, watched_run(source, out, *flags, also={"scheduler": dask.scheduler})))
        shutil.rmtree(source)
    shutil.rmtree(out)
    rows: list[list[object]] = []
    figures: dict[str, float] = {}
    last = runs[-1][1].seconds / runs[-1][0]
    for images, run in runs:
        each = run.seconds / images
        ranking = next(stage["seconds"] for stage in run.record["stages"] if stage["name"] == "rank")
        memory = [run.peaks[process] / MIB for process in PROCESSES]
        rows.append(
            [
                f"{images:,}",
                run.record["blocks"],
                f"{each / last:.2f}",
                f"{each * 1e6:,.0f}",
                f"{ranking / run.seconds:.0%}",
                *(f"{value:,.0f}" for value in memory),
            ]
        )
        figures |= {
            f"scale: {images} images: {process} MiB": size for process, size in zip(PROCESSES, memory, strict=True)
        }
        figures[f"scale: {images} images: seconds an image"] = each
    rows.append([f"{PROJECTED:,}, projected", *_project(runs, figures)])
    columns = [
        "images",
        "blocks",
        "time an image, the last is 1",
        "microseconds an image",
        "of it ranking",
        "client before ranking, MiB",
        "scheduler, MiB",
        "client, MiB",
    ]
    return Section(
        f"## Scale (uint8, {SIDE} x {SIDE}, {CLASSES} classes, {CHUNK} images a chunk; a scheduler and two workers)\n\n"
        "All seven scores, masks and the ranking. Peaks of resident memory. Projected: the last row, with the\n"
        "increase per block between the last two rows.\n\n" + table(columns, rows),
        figures,
    )


def _project(runs: list, figures: dict[str, float]) -> list[object]:  # type: ignore[type-arg]
    """Extrapolate memory to a hundred million images with the slope between the last two sizes."""
    (_, before), (images, run) = runs[-2:]
    blocks = run.record["blocks"]
    more = blocks * PROJECTED / images - blocks
    memory = []
    for process in PROCESSES[:2]:
        slope = max(0, run.peaks[process] - before.peaks[process]) / (blocks - before.record["blocks"])
        memory.append((run.peaks[process] + slope * more) / MIB)
        figures[f"scale: projected: {process} MiB"] = memory[-1]
    return [f"{blocks * PROJECTED // images:,}", "", "", "", *(f"{value:,.0f}" for value in memory), "see Ranking"]
