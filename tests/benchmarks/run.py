"""Run the benchmarks (`make bench`): every figure is a ratio measured in the same run on the same machine.

Writes `bench-run/benchmarks.md` and `bench-run/figures.json`, and prints the report. `python -m benchmarks.run kernels
whole` runs single sections.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from importlib import import_module
from pathlib import Path

import psutil

PARTS = (
    "start",
    "small",
    "files",
    "kernels",
    "reading",
    "whole",
    "report",
    "page",
    "workers",
    "image",
    "memory",
    "cliffs",
    "ranking",
    "scheduler",
    "scale",
    "sources",
    "peers",
    "s3",
    "lake",
)
"""Sections in the order of the report; each is a module `bench_<name>`."""


def machine() -> str:
    """Describe the machine in one line."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    memory = psutil.virtual_memory().total / 2**30
    return f"{model}, {psutil.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}"


def main(expected: list[str]) -> None:
    folder = Path("bench-run").absolute()
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    for name in expected or PARTS:
        load = psutil.getloadavg()[0]
        section = import_module(f"benchmarks.bench_{name}").report(folder)
        part = {
            "text": section.text,
            "figures": section.figures,
            "machine": machine(),
            "load": round(load, 1),
            "day": time.strftime("%Y-%m-%d", time.gmtime()),
        }
        print(section.text, flush=True)
        (folder / "parts" / f"{name}.json").write_text(json.dumps(part))
        write(folder)


def write(folder: Path) -> None:
    """Write the report and the figures of all sections measured so far."""
    parts = {
        name: json.loads(path.read_text()) for name in PARTS if (path := folder / "parts" / f"{name}.json").exists()
    }
    text = "# Benchmarks\n\nRatios within a part are of one run. Parts may be of different machines.\n"
    for part in parts.values():
        text += f"\n{part['text']}\n{part['day']}, {part['machine']}; load when the part began: {part['load']}\n"
    figures = {name: value for part in parts.values() for name, value in part["figures"].items()}
    (folder / "benchmarks.md").write_text(text)
    (folder / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
