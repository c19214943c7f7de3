"""`make bench`: every figure is a ratio taken in this one run, on this one machine, beside what it is compared with.

Writes `bench-run/benchmarks.md` and `bench-run/figures.json`, and prints. `run.py kernels whole` picks parts.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from importlib import import_module
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent))

PARTS = (
    "kernels", "reading", "whole", "workers", "image", "memory", "cliffs", "ranking", "scheduler", "scale", "peers",
)  # fmt: skip
"""In the order of the report: `bench_<name>.py` each."""


def machine() -> str:
    """One line on what this ran on."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    memory = psutil.virtual_memory().total / 2**30
    return f"{model}, {psutil.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}"


def main(wanted: list[str]) -> None:
    folder = Path("bench-run").absolute()
    folder.mkdir(exist_ok=True)
    text = (
        f"# Benchmarks\n\nMachine: {machine()}. Load when it began: {psutil.getloadavg()[0]:.1f}. "
        f"{time.strftime('%Y-%m-%d', time.gmtime())}.\n"
    )
    figures: dict[str, float] = {}
    print(text, flush=True)
    for name in wanted or PARTS:
        part = import_module(f"bench_{name}").report(folder)
        text += "\n" + part.text
        figures |= part.figures
        print(part.text, flush=True)
        (folder / "benchmarks.md").write_text(text)
        (folder / "figures.json").write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
