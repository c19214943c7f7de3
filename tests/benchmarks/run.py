"""`make bench`: every figure is a ratio taken in this one run, on this one machine, beside what it is compared with.

Writes `bench-run/benchmarks.md` and prints it. `run.py kernels whole memory ranking` picks parts.
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent))

import bench_kernels
import bench_memory
import bench_ranking
import bench_whole

PARTS = {
    "kernels": bench_kernels.report,
    "whole": bench_whole.report,
    "memory": bench_memory.report,
    "ranking": bench_ranking.report,
}


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
    text = f"# Benchmarks\n\nMachine: {machine()}. Load when it began: {psutil.getloadavg()[0]:.1f}.\n"
    print(text, flush=True)
    for name in wanted or PARTS:
        part = PARTS[name](folder)
        text += "\n" + part
        print(part, flush=True)
        (folder / "benchmarks.md").write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])
