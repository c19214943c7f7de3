"""Benchmark of many sources in object storage: a million images in ten thousand sources on an S3 server.

The server, the scheduler, two workers and the client share one machine. The figures are those of the larger run, and
what each further source costs, from the difference between both runs.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cluster import Watched, cluster, watched_run
from benchmarks.scenes import make_source
from benchmarks.section import MIB, Section, table
from support.s3_server import ACCESS_KEY, SECRET_KEY, S3Server, run_s3_server

SOURCES = (1_000, 10_000)
IMAGES, CLASSES, SIDE = 100, 8, 32
"""Images of a source, in one chunk, and their classes, rows and columns."""
DISTINCT = 8
UPLOAD_SOURCES = 250
"""Sources that are uploaded by one call."""
REQUESTS = ("GET", "HEAD", "LIST", "PUT", "DELETE")


@dataclass(frozen=True)
class LakeRun:
    """One run: its record and memory, the requests that the server received, and the objects of the results."""

    sources: int
    watched: Watched
    requests: Counter[str]
    objects: Counter[str]

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by stage; "open" is everything before the first one."""
        return {"open": self.watched.opened, **{s["name"]: s["seconds"] for s in self.watched.record["stages"]}}


def upload(server: S3Server, folder: Path, sources: int) -> None:
    """Copy a few local sources to the bucket under ever new names."""
    files = server.filesystem()
    originals = []
    for number in range(DISTINCT):
        path = make_source(folder / f"lake-{number}.zarr", IMAGES, CLASSES, SIDE, SIDE, chunk=IMAGES)
        objects = (file for file in path.rglob("*") if file.is_file() and file.name != "done")
        originals.append({file.relative_to(path).as_posix(): file.read_bytes() for file in objects})
    for first in range(0, sources, UPLOAD_SOURCES):
        files.pipe(
            {
                f"bench/lake/{number:06d}.zarr/{name}": data
                for number in range(first, min(sources, first + UPLOAD_SOURCES))
                for name, data in originals[number % DISTINCT].items()
            }
        )


def measure(folder: Path, sources: int) -> LakeRun:
    """Run once on a new server."""
    with tempfile.TemporaryDirectory(dir=folder) as place, run_s3_server(Path(place)) as server:
        files = server.filesystem()
        files.mkdir("bench")
        upload(server, folder, sources)
        before = server.request_counts("bench")
        with cluster(folder, 2) as dask:
            flags = ("--executor.kind", "dask", "--executor.address", dask.address, *server.cli_args)
            watched = watched_run(
                "s3://bench/lake/*.zarr",
                "s3://bench/out",
                *flags,
                also={"scheduler": dask.scheduler},
                read_record=lambda: server.filesystem().cat_file("bench/out/run.json"),
            )
        requests = server.request_counts("bench") - before
        names = server.filesystem().find("bench/out")
        return LakeRun(sources, watched, requests, Counter(name.split("/")[2] for name in names))


def report(folder: Path, sources: tuple[int, ...] = SOURCES) -> Section:
    os.environ |= {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    runs = [measure(folder, count) for count in sources]
    for number in range(DISTINCT):
        shutil.rmtree(folder / f"lake-{number}.zarr")
    few, many = runs
    more = many.sources - few.sources
    figures: dict[str, float] = {}
    rows: list[list[object]] = []

    def add(name: str, unit: str, before: float, after: float) -> None:
        slope = (after - before) / more
        rows.append([f"{name}, {unit}", f"{before:,.1f}", f"{after:,.1f}", f"{slope * 1000:,.2f}"])
        figures[f"lake: {name}: {unit}"] = after
        figures[f"lake: {name}: {unit} a source"] = slope

    for stage in many.seconds:
        add(stage, "seconds", few.seconds.get(stage, 0.0), many.seconds[stage])
    for kind in REQUESTS:
        add(kind, "requests", few.requests[kind], many.requests[kind])
    for top in sorted(many.objects):
        add(f"objects of {top}", "objects", few.objects[top], many.objects[top])
    for process in ("client", "scheduler"):
        add(process, "MiB", *(run.watched.peaks[process] / MIB for run in runs))
    images = many.sources * IMAGES
    return Section(
        f"## Many sources in object storage ({images:,} images of {SIDE} x {SIDE} in {many.sources:,} sources;\n"
        "SeaweedFS, a scheduler, two workers and the client on one machine)\n\n"
        "Peaks of resident memory. Requests as the server counts them. `open` is all before the first stage.\n\n"
        + table(["", *(f"{run.sources:,} sources" for run in runs), "a further 1,000 sources"], rows),
        figures,
    )


if __name__ == "__main__":
    section = report(Path(sys.argv[1]), tuple(map(int, sys.argv[2:])) or SOURCES)
    print(section.text)
    print(json.dumps(section.figures, indent=1))
