"""Compare a few performance ratios with the ones stored in `quick.json` (`make bench-quick`, under three minutes).

The exit code is 1 if a ratio is worse by more than 30 % in two measurements. `python -m benchmarks.quick --keep` stores
the measured ratios, after an intended change.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from benchmarks.section import table

STORED = Path(__file__).parent / "quick.json"
TOLERANCE = 1.3
"""Largest accepted factor between a stored ratio and a worse measured one."""


def kernels(folder: Path) -> dict[str, float]:
    """Ratios of the section `kernels`; higher is better."""
    from benchmarks import bench_kernels

    bench_kernels.ROUNDS = 3
    found = bench_kernels.report(folder, [("uint8", "probabilities"), ("float32", "probabilities")]).figures
    return {name: value for name, value in found.items() if "seven scores" not in name}


def whole_run(folder: Path) -> dict[str, float]:
    """Inverse of run over read, and of tiny over large images per pixel; higher is better."""
    from benchmarks.bench_whole import Case, measure

    cases = Case(19, "uint8", 96), Case(19, "uint8", 2_000, height=64, width=64)
    streets, _ = found = [measure(case.source(folder), folder, rounds=2) for case in cases]
    each = [
        min(seconds.runs) / (case.images * case.height * case.width) for case, seconds in zip(cases, found, strict=True)
    ]
    return {
        "whole: speed over the bare read": min(streets.reads) / min(streets.runs),
        "whole: speed a pixel of tiny images in a chunk each over large ones": each[0] / each[1],
    }


PARTS: tuple[Callable[[Path], dict[str, float]], ...] = (kernels, whole_run)


def worse(measured: Mapping[str, float], stored: Mapping[str, float]) -> list[str]:
    """Names of the ratios that are worse than the stored ones by more than the tolerance."""
    return [name for name, value in measured.items() if value * TOLERANCE < stored.get(name, 0)]


def measure_all(folder: Path, stored: Mapping[str, float]) -> dict[str, float]:
    """Measure every ratio; sections with a worse ratio are measured twice, and the better value counts."""
    found: dict[str, float] = {}
    for part in PARTS:
        best = part(folder)
        if worse(best, stored):
            again = part(folder)
            best = {name: max(value, again[name]) for name, value in best.items()}
        found |= best
    return found


def main(args: Iterable[str]) -> int:
    folder = Path("bench-run").absolute()
    folder.mkdir(exist_ok=True)
    if "--keep" in args:
        STORED.write_text(json.dumps(measure_all(folder, {}), indent=1) + "\n")
        return 0
    stored = json.loads(STORED.read_text())
    found = measure_all(folder, stored)
    rows = [[name, f"{value:.2f}", f"{stored[name]:.2f}"] for name, value in found.items()]
    print(table(["ratio (higher is better)", "measured", "stored"], rows))
    regressions = worse(found, stored)
    for name in regressions:
        print(
            f"{name} is {found[name]:.2f}, {stored[name] / found[name]:.1f} times worse than the {stored[name]:.2f} in "
            f"{STORED.name}. Find the change that made masksift slower, or store the new ratio with "
            "`python -m benchmarks.quick --keep`"
        )
    return 1 if regressions else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
