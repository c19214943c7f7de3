"""Benchmark against cleanlab and plain dask.array: same arrays, machine and memory."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import zarr
from numpy.lib.format import open_memmap

from benchmarks import peers
from benchmarks.scenes import make_source
from benchmarks.section import MIB, Section, table
from benchmarks.subprocesses import environment, module_command

SIZES = (10, 100, 1_000)
CLASSES, HEIGHT, WIDTH = 19, 256, 512
NAMES = {"cleanlab": "cleanlab", "dask": "dask.array", "masksift": "masksift"}
TIMEOUT_SECONDS = 1_800
"""Seconds after which a contender is stopped."""


@dataclass(frozen=True)
class Outcome:
    """Result of one contender: reason for a missing result, seconds, peak bytes, and number of dask tasks."""

    stopped: str
    seconds: float
    memory: int
    tasks: int = 0


def data_set(folder: Path, images: int) -> Path:
    """Write a source of float32 predictions without ignored pixels (cleanlab has no ignore value), also as .npy."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    group = zarr.open_group(
        str(make_source(folder / "peers.zarr", images, CLASSES, HEIGHT, WIDTH, dtype="float32", border=False)), mode="r"
    )
    for name in ("labels", "predictions"):
        array = group[name]
        assert isinstance(array, zarr.Array)
        copy = open_memmap(folder / f"{name}.npy", "w+", array.dtype, array.shape)
        for i in range(images):
            copy[i] = array[i]
        copy.flush()
    return folder


def anonymous(process: psutil.Process) -> int:
    """Memory of a process and its children without file pages, bytes; memory shared by forked processes counts once."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            lines = Path(f"/proc/{one.pid}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss_Anon:"))
    return total


def measure_contender(name: str, folder: Path) -> Outcome:
    """Run one contender in a separate process."""
    with (folder / f"{name}.log").open("w") as log:
        started, memory = time.perf_counter(), 0
        process = subprocess.Popen(
            module_command("peers", name, folder), stdout=log, stderr=log, start_new_session=True, env=environment()
        )
        observed = psutil.Process(process.pid)
        while process.poll() is None:
            sampled = time.perf_counter()
            try:
                memory = max(memory, anonymous(observed))
            except psutil.NoSuchProcess:
                break
            sampled = time.perf_counter() - sampled
            if time.perf_counter() - started > TIMEOUT_SECONDS:
                os.killpg(process.pid, 9)
                process.wait()
                return Outcome(f"ended after {TIMEOUT_SECONDS // 60} minutes", TIMEOUT_SECONDS, memory)
            time.sleep(max(0.1, 20 * sampled))  # reading the maps of gigabytes takes time from the contender
        seconds = time.perf_counter() - started
    if process.wait() != 0:
        return Outcome(_reason(folder / f"{name}.log"), seconds, memory)
    return Outcome("", seconds, memory, json.loads((folder / f"{name}.json").read_text())["tasks"])


def _reason(log: Path) -> str:
    """Name of the last error in a log."""
    names = re.findall(r"^(?:\w+\.)*_?(\w*Error|Killed)\b", log.read_text(), flags=re.MULTILINE)
    return f"stops: {names[-1]}" if names else "stops"


def agree(folder: Path, names: list[str]) -> None:
    """Check equal results: softmin up to float16 rounding, flagged pixels up to a per mille."""
    scores = {name: np.load(folder / f"{name}.npy") for name in names}
    flagged = {name: json.loads((folder / f"{name}.json").read_text())["flagged"] for name in names}
    for name in names:
        assert np.abs(scores[name] - scores["masksift"]).max() < 2e-3, name
        assert abs(flagged[name] - flagged["masksift"]) <= 1e-3 * flagged["masksift"] + 10, flagged


def report(folder: Path, sizes: tuple[int, ...] = SIZES) -> Section:
    rows: list[list[object]] = []
    figures: dict[str, float] = {}
    for images in sizes:
        place = data_set(folder / "peers", images)
        outcomes = {name: measure_contender(name, place) for name in NAMES}
        agree(place, [name for name, outcome in outcomes.items() if not outcome.stopped])
        own = outcomes["masksift"]
        for name, outcome in outcomes.items():
            ratio = "" if outcome.stopped else f"{outcome.seconds / own.seconds:.1f}"
            rows.append(
                [
                    f"{images:,}",
                    NAMES[name],
                    outcome.stopped or f"{outcome.seconds:.0f}",
                    ratio,
                    f"{outcome.memory / MIB:,.0f}",
                    f"{outcome.tasks:,}" if outcome.tasks else "",
                ]
            )
            figures[f"peers: {images} {name}: MiB"] = outcome.memory / MIB
            if not outcome.stopped:
                figures[f"peers: {images} {name}: time over masksift"] = outcome.seconds / own.seconds
        shutil.rmtree(place)
    columns = ["images", "by", "wall time, s", "time, masksift is 1", "peak memory, MiB", "tasks"]
    return Section(
        f"## Comparison with cleanlab and dask.array (float32, {HEIGHT} x {WIDTH}, {CLASSES} classes, "
        f"{peers.MEMORY >> 30} GiB for each)\n\n"
        "The softmin scores and the mask of label issues, with imports and the start of workers; all contenders find\n"
        "the same scores and masks. cleanlab reads memory-mapped arrays with default `n_jobs` and `batch_size`;\n"
        "dask.array reads Zarr with two workers of half the memory each, and so does masksift, which by default works\n"
        "in one process where the work is less than 20 s. Memory is what all processes of a contender allocate,\n"
        "without file pages.\n\n" + table(columns, rows),
        figures,
    )
