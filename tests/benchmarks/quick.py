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

KEPT = Path(__file__).parent / "quick.json"
WORSE = 1.3
"""How many times worse than what is kept a ratio may be."""


def kernels(folder: Path) -> dict[str, float]:
    """Of the part `kernels`: higher is better."""
    from benchmarks import bench_kernels

    bench_kernels.ROUNDS = 3
    found = bench_kernels.report(folder, [("uint8", "probabilities"), ("float32", "probabilities")]).figures
    return {name: value for name, value in found.items() if "seven scores" not in name}


def whole(folder: Path) -> dict[str, float]:
    """The whole run over the bare read, and a pixel of tiny images over one of large ones: lower is better, so the
    other way round."""
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


PARTS: tuple[Callable[[Path], dict[str, float]], ...] = (kernels, whole)


def worse(measured: Mapping[str, float], kept: Mapping[str, float]) -> list[str]:
    """The names of the ratios, all better when higher, that fell below what is kept by more than is tolerated."""
    return [name for name, value in measured.items() if value * WORSE < kept.get(name, 0)]


def measure_all(folder: Path, kept: Mapping[str, float]) -> dict[str, float]:
    """Every ratio; a part with one that is worse is measured again, and its better value counts."""
    found: dict[str, float] = {}
    for part in PARTS:
        once = part(folder)
        if worse(once, kept):
            again = part(folder)
            once = {name: max(value, again[name]) for name, value in once.items()}
        found |= once
    return found


def main(words: Iterable[str]) -> int:
    folder = Path("bench-run").absolute()
    folder.mkdir(exist_ok=True)
    if "--keep" in words:
        KEPT.write_text(json.dumps(measure_all(folder, {}), indent=1) + "\n")
        return 0
    kept = json.loads(KEPT.read_text())
    found = measure_all(folder, kept)
    rows = [[name, f"{value:.2f}", f"{kept[name]:.2f}"] for name, value in found.items()]
    print(table(["ratio (higher is better)", "measured", "kept"], rows))
    fallen = worse(found, kept)
    for name in fallen:
        print(
            f"{name} is {found[name]:.2f}, {kept[name] / found[name]:.1f} times worse than the {kept[name]:.2f} in "
            f"{KEPT.name}: masksift has become slower. Find out by what change, or keep the new ratio with "
            "`python -m benchmarks.quick --keep`"
        )
    return 1 if fallen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
