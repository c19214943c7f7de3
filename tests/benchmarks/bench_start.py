"""Benchmark of the start of a command and of the first run: CPU seconds of their processes."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.scenes import make_source
from benchmarks.section import Section, spread, table

ROUNDS = 7
RUN_ROUNDS = 3
FIRST, SECOND = "ten images, empty kernel cache", "ten images again"
CASES = {
    "python": ["-c", "pass"],
    "import pydantic": ["-c", "import pydantic; pydantic.BaseModel"],
    "import numpy": ["-c", "import numpy"],
    "import masksift": ["-c", "import masksift"],
    "masksift --version": ["-m", "masksift", "--version"],
    "masksift --help": ["-m", "masksift", "--help"],
    **{
        f"masksift {command} --help": ["-m", "masksift", *command.split(), "--help"]
        for command in ("run", "top", "export coco", "ingest", "predict", "simulate", "sweep")
    },
}


def report(folder: Path) -> Section:
    """Measure every case in turn, so that a busy machine disturbs all alike."""
    env = _with_bytecode(folder)
    seconds: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(ROUNDS):
        for name, args in CASES.items():
            seconds[name].append(cpu_seconds([sys.executable, *args], folder, env))
    runs, specializations = _first_runs(folder, env)
    seconds |= runs
    rows = [(name, *(f"{value:.3f}" for value in spread(values))) for name, values in seconds.items()]
    text = f"## Start of a command\n\nCPU seconds of the process, {ROUNDS} rounds, {RUN_ROUNDS} of runs.\n\n"
    text += table(("command", "median", "least", "most"), rows)
    text += (
        f"\n\nThe run of ten images (360 x 480, 11 classes, uint8, with report) compiles {specializations} kernels.\n"
    )
    figures = {f"start: {name}: seconds": spread(values)[0] for name, values in seconds.items()}
    return Section(text, {**figures, "start: ten images: compiled kernels": float(specializations)})


def _with_bytecode(folder: Path) -> dict[str, str]:
    """Return an environment in which modules are stored as bytecode, as an installation stores them."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
    for args in CASES.values():
        cpu_seconds([sys.executable, *args], folder, env)
    return env


def _first_runs(folder: Path, env: Mapping[str, str]) -> tuple[dict[str, list[float]], int]:
    """Measure runs with an empty kernel cache and after it; count the compiled kernels."""
    source = make_source(folder / "ten.zarr", 10, 11, 360, 480)
    out, kernels = folder / "ten", folder / "kernels"
    command = [sys.executable, "-m", "masksift", "run", "--source", str(source), "--out", str(out)]
    seconds: dict[str, list[float]] = {FIRST: [], SECOND: []}
    for number in range(1 + RUN_ROUNDS):  # the first round stores the bytecode
        shutil.rmtree(kernels, ignore_errors=True)
        for values in seconds.values():
            shutil.rmtree(out, ignore_errors=True)
            found = cpu_seconds(command, folder, {**env, "NUMBA_CACHE_DIR": str(kernels)})
            values += [found] if number else []
    return seconds, sum(1 for _ in kernels.rglob("*.nbc"))


def cpu_seconds(command: list[str], folder: Path, env: Mapping[str, str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, capture_output=True, check=True, env=env)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
