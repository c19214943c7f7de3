"""Benchmark of whole runs: two workers, local disk, zstd, relative to reading and decoding the same arrays once."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import zarr

from benchmarks.scenes import make_source
from benchmarks.section import Section, spread, table
from masksift.config.load import build_run_config
from masksift.config.run import RunConfig
from masksift.core.specs import Block
from masksift.engine.planning.layout import Layout
from masksift.runner import open_and_plan, run
from masksift.runtime.executors import make_executor
from masksift.runtime.progress import ProgressReporter

ROUNDS = 5


@dataclass(frozen=True)
class Case:
    """Source of one row, and whether the run keeps its evidence."""

    classes: int
    dtype: str
    images: int
    height: int = 512
    width: int = 1024
    keep: bool = True
    frozen: bool = False
    chunk: int = 1

    @property
    def name(self) -> str:
        return (
            f"{self.images:,} of {self.height:,} x {self.width:,}, {self.classes} classes, {self.dtype}"
            f"{'' if self.keep else ', evidence not kept'}{', frozen thresholds' if self.frozen else ''}"
        )

    @property
    def source_key(self) -> Case:
        """Case with the same source."""
        return replace(self, keep=True, frozen=False)

    def source(self, folder: Path) -> Path:
        path = folder / f"whole-{self.classes}-{self.dtype}-{self.height}.zarr"
        distinct = max(2, 8 * 19 // self.classes) * max(1, 64**2 * 16 // (self.height * self.width))
        return make_source(
            path,
            self.images,
            self.classes,
            self.height,
            self.width,
            dtype=self.dtype,
            chunk=self.chunk,
            distinct=distinct,
        )


CASES = (
    Case(19, "uint8", 384),
    Case(19, "uint8", 384, keep=False),
    Case(19, "uint8", 384, frozen=True),
    Case(19, "float16", 384),
    Case(150, "uint8", 192),
)


def read_block(url: str, layout: Layout, size: tuple[int, int], block: Block) -> int:
    """Read and decode every chunk of a block with zarr only."""
    group = zarr.open_group(url, mode="r")
    predictions, labels = group["predictions"], group["labels"]
    assert isinstance(predictions, zarr.Array)
    assert isinstance(labels, zarr.Array)
    decoded = 0
    for window in layout.windows(block.start, block.stop, *size):
        images, place = slice(window.start, window.stop), (slice(window.y0, window.y1), slice(window.x0, window.x1))
        decoded += predictions[images, :, *place].nbytes + labels[images, *place].nbytes  # type: ignore[union-attr]
    return decoded


@dataclass(frozen=True)
class Rounds:
    """Seconds of the run stages and of the plain read, one per round; seconds of the last run by stage."""

    runs: list[float]
    reads: list[float]
    stages: dict[str, float]

    @property
    def ratio(self) -> tuple[float, float, float]:
        """Median, minimum and maximum of run over read."""
        return spread(a / b for a, b in zip(self.runs, self.reads, strict=True))


def configuration(source: Path, out: Path, keep: bool, base: Path | None = None) -> RunConfig:
    """Configure a run without a report, with the thresholds of ``base``; `bench_report` measures the report."""
    tree = {"sources": [str(source)], "out": str(out), "evidence": {"keep": keep}, "report": {"top": 0}}
    tree |= {"thresholds_from": str(base)} if base else {}
    return build_run_config({**tree, "executor": {"kind": "local", "workers": 2, "memory": "3 GiB"}}, {})


def measure(path: Path, folder: Path, *, keep: bool = True, frozen: bool = False, rounds: int = ROUNDS) -> Rounds:
    """Measure rounds of a plain read and a run over the same source."""
    reads, runs = [], []
    stages: dict[str, float] = {}
    out, base = folder / "whole-out", folder / "whole-base" if frozen else None
    if base is not None:
        shutil.rmtree(base, ignore_errors=True)
        run(configuration(path, base, keep=False), ProgressReporter("quiet"))
    os.sync()  # a new source may still be written to disk while the run writes
    for _ in range(rounds):
        shutil.rmtree(out, ignore_errors=True)
        config = configuration(path, out, keep, base)
        (spec,), plan = open_and_plan(config)
        read = partial(read_block, str(path), plan.layouts[0], (spec.height, spec.width))
        with make_executor("local", workers=2, memory=3 << 30) as executor:
            list(executor.map(read, plan.blocks[:2], "warm"))
            started = time.perf_counter()
            list(executor.map(read, plan.blocks, "read"))
            reads.append(time.perf_counter() - started)
        record = run(config, ProgressReporter("quiet")).record
        stages = {stage["name"]: stage["seconds"] for stage in record["stages"]}
        runs.append(sum(stages.values()))
        shutil.rmtree(out)
    if base is not None:
        shutil.rmtree(base)
    return Rounds(runs, reads, stages)


def report(folder: Path, cases: Sequence[Case] = CASES, rounds: int = ROUNDS) -> Section:
    rows: list[list[object]] = []
    figures: dict[str, float] = {}
    for case, following in pairwise([*cases, None]):
        assert case is not None
        path = case.source(folder)
        found = measure(path, folder, keep=case.keep, frozen=case.frozen, rounds=rounds)
        middle, least, most = found.ratio
        parts = ", ".join(f"{name} {value / min(found.reads):.2f}" for name, value in found.stages.items())
        rows.append([case.name, f"{middle:.2f} ({least:.2f} to {most:.2f})", parts])
        figures[f"whole: {case.name}: run over read"] = middle
        if following is None or case.source_key != following.source_key:
            shutil.rmtree(path)
    return Section(
        f"## Whole run, 2 workers, local disk, zstd (median of {rounds} rounds, and their range)\n\n"
        "All seven scores and the masks: time of all stages over the time in which the same two workers read and\n"
        "decode predictions and labels once with zarr; by stage in the same unit. The start of the workers\n"
        "is excluded.\n\n" + table(["images", "run / bare read", "by stage"], rows),
        figures,
    )
