"""Benchmark of the report: share of the run time, memory and directory size, for 500 and for 10,000 images."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from benchmarks.cluster import watched_run
from benchmarks.scenes import make_source
from benchmarks.section import MIB, Section, spread, table
from masksift.review.rendering.palette import class_colors

ROUNDS = 3
NOISE = 12
"""Standard deviation of the noise in steps of a channel; without noise a JPEG would be too small."""


@dataclass(frozen=True)
class Case:
    """Source of one or more rows, and the numbers of images in its reports."""

    images: int
    height: int
    width: int
    classes: int
    chunk: int
    distinct: int
    shown: tuple[int, ...]

    def name(self, shown: int) -> str:
        size = f"{self.images:,} of {self.height:,} x {self.width:,}, {self.classes} classes"
        return f"{size}: {shown:,} shown"

    def source(self, folder: Path) -> Path:
        path = folder / f"report-{self.height}.zarr"
        make_source(path, self.images, self.classes, self.height, self.width, chunk=self.chunk, distinct=self.distinct)
        photograph(path, self.chunk, self.distinct)
        return path


CASES = (
    Case(1_024, 512, 1024, 19, 1, 8, (500,)),
    Case(10_000, 128, 256, 8, 16, 8, (500, 10_000)),
)


def photograph(path: Path, chunk: int, distinct: int) -> None:
    """Add RGB images to a source: class colors with noise; chunks repeat like those of the labels."""
    group = zarr.open_group(str(path), mode="a")
    labels = group["labels"]
    assert isinstance(labels, zarr.Array)
    if "images" in group:
        return
    n, height, width = labels.shape
    array = group.create_array(
        "images",
        shape=(n, height, width, 3),
        dtype="uint8",
        chunks=(chunk, height, width, 3),
        compressors=[ZstdCodec(level=1)],
        dimension_names=("image", "y", "x", "channel"),
    )
    table = np.zeros((256, 3), np.int16)
    table[:254] = class_colors(254)
    chunks = -(-n // chunk)
    for number in range(min(distinct, chunks)):
        part = slice(number * chunk, min(n, (number + 1) * chunk))
        flat = table[np.asarray(labels[part])]
        noise = np.random.default_rng(number).normal(0, NOISE, flat.shape)
        array[part] = np.clip(flat + noise, 0, 255).astype(np.uint8)
    folder = path / "images" / "c"
    for number in range(distinct, chunks):
        (folder / f"{number}/0/0").mkdir(parents=True)
        shutil.copyfile(folder / f"{number % distinct}/0/0/0", folder / f"{number}/0/0/0")


def report(folder: Path) -> Section:
    rows: list[list[object]] = []
    figures: dict[str, float] = {}
    out = folder / "report-out"
    for case in CASES:
        source = case.source(folder)
        for shown in case.shown:
            shares, seconds = [], []
            for _ in range(ROUNDS):
                run = watched_run(source, out, "--executor.workers", "2", "--report.top", str(shown))
                stage_seconds = {stage["name"]: stage["seconds"] for stage in run.record["stages"]}
                shares.append(stage_seconds["report"] / run.seconds)
                seconds.append(stage_seconds["report"])
            files = [path for path in (out / "report").rglob("*") if path.is_file()]
            size = sum(path.stat().st_size for path in files) / MIB
            middle, least, most = spread(shares)
            name = case.name(shown)
            rows.append(
                [
                    name,
                    f"{middle:.0%} ({least:.0%} to {most:.0%})",
                    f"{spread(seconds)[0]:.0f}",
                    f"{run.peaks['worker'] / MIB:,.0f} ({run.record['projected_memory'] / MIB:,.0f})",
                    f"{run.peaks['client'] / MIB:,.0f}",
                    f"{len(files):,}",
                    f"{size:,.0f}",
                    f"{size * 1024 / shown:.0f}",
                ]
            )
            figures |= {
                f"report: {name}: share of the run": middle,
                f"report: {name}: MiB": size,
                f"report: {name}: files": len(files),
            }
        shutil.rmtree(source)
    shutil.rmtree(out)
    return Section(
        f"## The report (two workers, local disk; median of {ROUNDS} rounds, and their range)\n\n"
        "Images are synthetic: the colors of the labels, with noise.\n\n"
        + table(
            [
                "images",
                "share of the run's stages",
                "seconds",
                "largest worker, MiB (projected)",
                "client, MiB",
                "files",
                "folder, MiB",
                "KiB an image",
            ],
            rows,
        ),
        figures,
    )
