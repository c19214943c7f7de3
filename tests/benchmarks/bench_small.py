"""Benchmark of small images: CPU seconds of `masksift.audit` on tiles in memory, and of a serial run on tiny images."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np

import masksift
from benchmarks.scenes import labels_of, make_source, probabilities
from benchmarks.section import Section, table
from masksift.config.load import build_run_config
from masksift.runtime.progress import ProgressReporter

TILES, DISTINCT, TILE_SIDE, TILE_CLASSES = 20_000, 64, 96, 5
SIZES = (1_000, 20_000)
"""Images of a short and of a longer run: the difference leaves out the start."""
SIDE, CLASSES, CHUNK = 32, 8, 256


def audit_seconds(dtype: str, tiles: int) -> float:
    """CPU seconds of an audit with all its tables."""
    exact = probabilities(1, DISTINCT, TILE_CLASSES, TILE_SIDE, TILE_SIDE)
    labels = labels_of(exact, 1)
    stored = (np.rint(exact * 255) if dtype == "uint8" else exact).astype(dtype)
    repeated = np.arange(tiles) % DISTINCT
    images = [stored[i] for i in repeated]  # views, so that the predictions fit any memory
    masksift.audit(labels[:2], stored[:2], ignore=255).images  # noqa: B018  # compiles
    started = time.process_time()
    audit = masksift.audit(labels[repeated], images, ignore=255, progress=False)
    for name in ("images", "ranking", "regions", "class_pairs", "thresholds"):
        getattr(audit, name)
    return time.process_time() - started


def run_seconds(folder: Path, images: int) -> dict[str, float]:
    """CPU seconds of a serial run without report, and seconds of its stages."""
    source = make_source(folder / f"small-{images}.zarr", images, CLASSES, SIDE, SIDE, chunk=CHUNK)
    out = folder / "small-out"
    shutil.rmtree(out, ignore_errors=True)
    started = time.process_time()
    config = {"sources": [str(source)], "out": str(out), "executor": {"kind": "serial"}, "report": {"top": 0}}
    masksift.run(build_run_config(config, {}), ProgressReporter("quiet"))
    seconds = {"run": time.process_time() - started}
    stages = json.loads((out / "run.json").read_text())["stages"]
    seconds |= {stage["name"]: stage.get("task_seconds") or stage["seconds"] for stage in stages}
    shutil.rmtree(source)
    shutil.rmtree(out)
    return seconds


def report(folder: Path, tiles: int = TILES, sizes: tuple[int, int] = SIZES) -> Section:
    audits = {dtype: audit_seconds(dtype, tiles) for dtype in ("float32", "uint8")}
    few, many = (run_seconds(folder, images) for images in sizes)
    each = {name: (many[name] - few[name]) / (sizes[1] - sizes[0]) * 1e6 for name in few}
    text = (
        f"## Small images (CPU of one process)\n\n`masksift.audit` of {tiles:,} tiles of {TILE_SIDE} x {TILE_SIDE}, "
        f"{TILE_CLASSES} classes, all tables:\n\n"
    )
    text += table(("predictions", "seconds"), [(dtype, f"{value:.1f}") for dtype, value in audits.items()])
    text += f"\nSerial run, uint8, {SIDE} x {SIDE}, {CLASSES} classes, an additional image:\n\n"
    text += table(("part", "microseconds"), [(name, f"{value:.0f}") for name, value in each.items()])
    figures = {f"small: audit of {tiles} tiles, {dtype}: seconds": value for dtype, value in audits.items()}
    return Section(text, figures | {f"small: {name}: microseconds an image": value for name, value in each.items()})
