"""Benchmark of the start of a command: CPU seconds before it begins to work."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

from benchmarks.section import Section, spread, table

ROUNDS = 7
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
    seconds: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(ROUNDS):
        for name, args in CASES.items():
            seconds[name].append(cpu_seconds([sys.executable, *args], folder))
    rows = [(name, *(f"{value:.3f}" for value in spread(values))) for name, values in seconds.items()]
    text = f"## Start of a command\n\nCPU seconds of the process, {ROUNDS} rounds.\n\n"
    text += table(("command", "median", "least", "most"), rows)
    return Section(text, {f"start: {name}: seconds": spread(values)[0] for name, values in seconds.items()})


def cpu_seconds(command: list[str], folder: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
