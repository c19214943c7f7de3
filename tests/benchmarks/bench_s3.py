"""S3 on loopback (SeaweedFS): chunks through obstore and through s3fs, and what a run takes over local disk."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from bench_whole import Case
from cluster import watched_run
from section import Section, spread, table

sys.path.insert(0, str(Path(__file__).parents[1]))

from masksift.config import resolve
from masksift.run import open_and_plan
from masksift.storage.access import capture
from masksift.storage.arrays import ArrayReader
from servers import KEY, SECRET, seaweedfs

ROUNDS = 5
CASES = (Case(19, "uint8", 48), Case(19, "uint8", 2_000, height=64, width=64))
CLIENTS = ("s3fs", "obstore")


def read(url: str, endpoint: str, client: str, images: int) -> float:
    """Seconds in which every chunk of the predictions is fetched and decoded, as a task does it, some at a time."""
    storage = {"endpoint_url": endpoint, "client": client}
    config = resolve({"sources": [url], "out": "s3://bench/out", "storage": storage}, {})
    (spec,), plan = open_and_plan(config)
    reader = ArrayReader(spec.predictions, config.options())
    most = plan.layouts[0].slab[0]
    out = np.empty((most, *spec.predictions.shape[1:]), spec.predictions.dtype)
    begun = time.perf_counter()
    for start in range(0, images, most):
        stop = min(images, start + most)
        place = slice(0, spec.classes), slice(0, spec.height), slice(0, spec.width)
        reader.read(slice(start, stop), *place, out=out[: stop - start])
    return time.perf_counter() - begun


def report(folder: Path) -> Section:
    rows: list[list[object]] = []
    figures: dict[str, float] = {}
    os.environ |= {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1"}
    with tempfile.TemporaryDirectory(dir=folder) as place, seaweedfs(Path(place)) as server:
        capture.cache_clear()
        files = server.filesystem()
        files.mkdir("bench")
        for case in CASES:
            source = case.source(folder)
            files.put(f"{source}/", "bench/source/", recursive=True)
            seconds: dict[str, list[float]] = {client: [] for client in CLIENTS}
            for _ in range(ROUNDS):
                for client in CLIENTS:
                    seconds[client].append(read("s3://bench/source", server.url, client, case.images))
            for client, taken in seconds.items():
                middle, least, most = spread(a / b for a, b in zip(seconds["s3fs"], taken, strict=True))
                rows.append([case.name, client, f"{middle:.2f} ({least:.2f} to {most:.2f})"])
                figures[f"s3: {case.name} {client}: speed over s3fs"] = middle
            flags = ("--storage.endpoint_url", server.url, "--executor.workers", "2")
            there = [watched_run("s3://bench/source", folder / "s3-out", *flags).seconds for _ in range(3)]
            here = [watched_run(source, folder / "s3-out", *flags).seconds for _ in range(3)]
            middle, least, most = spread(a / b for a, b in zip(there, here, strict=True))
            rows.append(
                [case.name, "whole run, over that on local disk", f"takes {middle:.2f} ({least:.2f} to {most:.2f})"]
            )
            figures[f"s3: {case.name}: run over local"] = middle
            files.rm("bench/source", recursive=True)
            shutil.rmtree(source)
    shutil.rmtree(folder / "s3-out", ignore_errors=True)
    return Section(
        f"## S3 (SeaweedFS on the same machine, which takes its share of the cores; median of {ROUNDS} rounds)\n\n"
        "Chunks are fetched and decoded as a task does it. The results of the whole run lie on local disk.\n\n"
        + table(["images", "through", "speed, s3fs is 1"], rows),
        figures,
    )
