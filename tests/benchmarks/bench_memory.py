"""Peak memory: one huge image in a 4 GiB worker, and flat from a hundred to ten thousand images."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import zarr
from scenes import labels_of, probabilities

MIB = 1 << 20


def peak(words: list[str]) -> tuple[int, int]:
    """Run a command; (peak resident bytes of the client, of its largest worker process)."""
    run = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    client = psutil.Process(run.pid)
    most = {"client": 0, "worker": 0}
    while run.poll() is None:
        try:
            most["client"] = max(most["client"], client.memory_info().rss)
            for child in client.children(recursive=True):
                most["worker"] = max(most["worker"], child.memory_info().rss)
        except psutil.NoSuchProcess:
            pass
        time.sleep(0.02)
    said = run.communicate()
    assert run.returncode == 0, said
    return most["client"], most["worker"]


def masksift(source: Path, out: Path, *flags: str) -> list[str]:
    shutil.rmtree(out, ignore_errors=True)
    return [sys.executable, "-m", "masksift", "run", "--source", str(source), "--out", str(out), *flags]


def huge(folder: Path, side: int = 20_000, classes: int = 20) -> Path:
    """One image of 20,000 x 20,000 with 20 classes, in chunks of 1 x 20 x 1,024 x 1,024."""
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


def many(folder: Path, images: int) -> Path:
    """Images of 64 x 128 with 8 classes, 16 a chunk."""
    path = folder / f"many-{images}.zarr"
    shutil.rmtree(path, ignore_errors=True)
    group = zarr.create_group(str(path), attributes={"ignore": [255]})
    predictions = group.create_array("predictions", shape=(images, 8, 64, 128), dtype="uint8", chunks=(16, 8, 64, 128))
    labels = group.create_array("labels", shape=(images, 64, 128), dtype="uint8", chunks=(16, 64, 128), fill_value=255)
    batch = probabilities(0, 100, 8, 64, 128)
    for start in range(0, images, 100):
        predictions[start : start + 100] = np.rint(batch * 255).astype(np.uint8)
        labels[start : start + 100] = labels_of(batch, start)
    return path


def row(text: str, source: Path, out: Path, *flags: str) -> str:
    """One row of the table: what a run over the source took at its peak, and what the plan said."""
    client, worker = peak(masksift(source, out, *flags))
    projected = json.loads((out / "run.json").read_text())["projected_memory"]
    shutil.rmtree(source)
    return f"| {text} | {client / MIB:,.0f} | {worker / MIB:,.0f} | {projected / MIB:,.0f} |"


def report(folder: Path) -> str:
    out = folder / "memory-out"
    flags = ("--executor.workers", "1", "--executor.memory", "4 GiB")
    rows = [row("1 of 20,000 x 20,000, 20 classes, one worker of 4 GiB", huge(folder), out, *flags)]
    for images in (100, 1_000, 10_000):
        text = f"{images:,} of 64 x 128, 8 classes, two workers"
        rows.append(row(text, many(folder, images), out, "--executor.workers", "2", "--executor.memory", "2 GiB"))
    shutil.rmtree(out)
    head = "| images (uint8) | client | largest worker | projected by the plan |\n|---|---|---|---|\n"
    return "## Peak memory, MiB\n\n" + head + "\n".join(rows) + "\n"
