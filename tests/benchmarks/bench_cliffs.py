"""Benchmark of extreme image sizes: one image of 20,000 x 20,000, and ten thousand of 64 x 64 in one chunk each."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.bench_memory import huge
from benchmarks.bench_whole import Case, measure
from benchmarks.section import Section, table

CASES = (Case(20, "uint8", 192), Case(20, "uint8", 10_000, height=64, width=64))


def report(folder: Path) -> Section:
    sources = [(case.name, case.source(folder), case.images * case.height * case.width) for case in CASES]
    sources.insert(1, ("1 of 20,000 x 20,000, 20 classes, uint8, chunks of 1,024 x 1,024", huge(folder), 20_000**2))
    rows: list[list[object]] = []
    figures: dict[str, float] = {}
    first = 0.0
    for name, path, pixels in sources:
        found = measure(path, folder, rounds=1)
        ratio, each = found.ratio[0], found.runs[0] / pixels
        first = first or each
        rows.append([name, f"{ratio:.2f}", f"{each / first:.2f}"])
        figures |= {f"cliffs: {name}: run over read": ratio, f"cliffs: {name}: time a pixel": each / first}
        shutil.rmtree(path)
    return Section(
        "## Extreme image sizes (whole run, 2 workers, local disk, zstd; one round)\n\n"
        "One image is one task on one of the two workers, for reading and for running. An image of 64 x 64 has two\n"
        "chunks, 80 KB and 4 KB decoded.\n\n"
        + table(["images", "run / bare read", "time a pixel, the first is 1"], rows),
        figures,
    )
