"""Benchmark of the ranking: sort a hundred million rows in a client of bounded memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa

from benchmarks.section import MIB, Section, table
from benchmarks.subprocesses import environment, module_command
from masksift.engine.planning.requests import RANKING_PART_ROWS
from masksift.engine.result_tables import _ranked_images
from masksift.scoring.methods import METHODS
from masksift.storage.tables.schemas import WORST_REGION, ranked_schema
from masksift.storage.tables.sort import sort_tables

SIZES = (1_000_000, 10_000_000, 100_000_000)


def images(rows: int, each: int = 1 << 19) -> Iterator[pa.Table]:
    """Yield tables of images with all scores and the box of a region, like those of blocks."""
    schema = ranked_schema(list(METHODS))
    rng = np.random.default_rng(0)
    for start in range(0, rows, each):
        count = min(each, rows - start)
        index = np.arange(start, start + count)
        ids = pa.array(np.char.add("street/", index.astype("U9")), pa.string())
        scores = {name: rng.random(count) for name in METHODS}
        box = {
            name: pa.array(rng.integers(0, 1024, count)).cast(WORST_REGION.field(name).type)
            for name in WORST_REGION.names
        }
        yield pa.table({"image_id": ids, "source": ["street"] * count, "index": index, **scores, **box}, schema=schema)


def sort(rows: int) -> None:
    """Sort and rank rows and drop them; writing the Parquet files, a constant cost per million rows, is left out."""
    methods = list(METHODS)
    done, last = 0, -1.0
    for part in sort_tables(images(rows), ranked_schema(methods), "softmin", RANKING_PART_ROWS):
        table = _ranked_images(part, methods, "softmin", done, rows)
        scores = table["score"].to_numpy()
        assert scores[0] >= last
        assert (np.diff(scores) >= 0).all()
        last, done = scores[-1], done + len(part)
    assert done == rows


def measure(rows: int, folder: Path) -> tuple[float, int, int]:
    """Seconds, peak resident bytes and peak bytes of the temporary directory of a process that sorts the rows."""
    import time

    temporary = folder / "sort"
    temporary.mkdir(exist_ok=True)
    started = time.perf_counter()
    process = subprocess.Popen(module_command("bench_ranking", rows), env=environment(TMPDIR=str(temporary)))
    observed, memory, disk = psutil.Process(process.pid), 0, 0
    while process.poll() is None:
        try:
            memory = max(memory, observed.memory_info().rss)
            disk = max(disk, sum(path.stat().st_size for path in temporary.rglob("*") if path.is_file()))
        except (psutil.NoSuchProcess, FileNotFoundError):
            pass
        time.sleep(0.05)
    assert process.returncode == 0
    return time.perf_counter() - started, memory, disk


def report(folder: Path) -> Section:
    rows: list[list[object]] = []
    figures: dict[str, float] = {}
    least = 0.0
    for size in SIZES:
        seconds, memory, disk = measure(size, folder)
        each = seconds / size * 1e6
        least = least or each
        rows.append([f"{size:,}", f"{each / least:.2f}", f"{each:.1f}", f"{memory / MIB:,.0f}", f"{disk / MIB:,.0f}"])
        figures |= {f"ranking: {size} rows: MiB": memory / MIB, f"ranking: {size} rows: seconds": seconds}
    columns = ["rows", "time a row, the first is 1", "microseconds a row", "peak memory, MiB", "temporary files, MiB"]
    return Section(
        "## Ranking, out of core\n\nRows with all scores and the box of a region, sorted and ranked in one process. "
        "The time includes making the rows.\n\n" + table(columns, rows),
        figures,
    )


if __name__ == "__main__":
    sort(int(sys.argv[1]))
