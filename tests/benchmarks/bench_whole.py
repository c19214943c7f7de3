"""Two workers, local disk, zstd: the whole run beside merely reading and decoding the same arrays once."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import zarr
from scenes import labels_of, probabilities
from zarr.codecs import ZstdCodec

from masksift.config import resolve
from masksift.executors import make_executor
from masksift.progress import Reporter
from masksift.run import open_and_plan, run

DISTINCT, HEIGHT, WIDTH = 8, 512, 1024
ROUNDS = 3


def source(folder: Path, classes: int, dtype: str, images: int) -> Path:
    """The data set, made once."""
    path = folder / f"whole-{classes}-{dtype}.zarr"
    if (path / "done").exists():
        return path
    shutil.rmtree(path, ignore_errors=True)
    group = zarr.create_group(str(path), attributes={"ignore": [255]})
    shape = (images, classes, HEIGHT, WIDTH)
    zstd = [ZstdCodec(level=3)]
    predictions = group.create_array("predictions", shape=shape, dtype=dtype, chunks=(1, *shape[1:]), compressors=zstd)
    labels = group.create_array(
        "labels", shape=(images, HEIGHT, WIDTH), dtype="uint8", chunks=(1, HEIGHT, WIDTH), fill_value=255,
        compressors=zstd,
    )  # fmt: skip
    distinct = max(2, DISTINCT * 19 // classes)
    for i in range(distinct):
        exact = probabilities(i, 1, classes, HEIGHT, WIDTH)
        predictions[i : i + 1] = np.rint(exact * 255).astype(dtype) if dtype == "uint8" else exact.astype(dtype)
        labels[i : i + 1] = labels_of(exact, i)
    for i in range(distinct, images):  # as files of their own: what is read is read from another place each time
        for array, place in ((predictions, "0/0/0"), (labels, "0/0")):
            chunks = path / array.path / "c"
            (chunks / str(i) / place).parent.mkdir(parents=True)
            shutil.copyfile(chunks / str(i % distinct) / place, chunks / str(i) / place)
    (path / "done").touch()
    return path


def read_block(url: str, block: object) -> int:
    """The bare read: every chunk of the block's images, fetched and decoded by zarr, and dropped."""
    group = zarr.open_group(url, mode="r")
    decoded = 0
    for i in range(block.start, block.stop):  # type: ignore[attr-defined]
        decoded += group["predictions"][i].nbytes + group["labels"][i].nbytes  # type: ignore[union-attr, index]
    return decoded


def measure(path: Path, folder: Path, keep: bool) -> tuple[list[float], list[float], dict[str, float]]:
    """(seconds of the run's stages, seconds of the bare read), a round each, and the last run's seconds by stage."""
    from functools import partial

    reads, runs = [], []
    stages: dict[str, float] = {}
    for _ in range(ROUNDS):
        out = folder / "whole-out"
        shutil.rmtree(out, ignore_errors=True)
        tree = {"sources": [str(path)], "out": str(out), "executor": {"workers": 2, "memory": "3 GiB"}}
        config = resolve({**tree, "evidence": {"keep": keep}}, {})
        blocks = open_and_plan(config)[1].blocks
        with make_executor("local", workers=2, memory=3 << 30) as executor:
            list(executor.map(partial(read_block, str(path)), blocks[:2], "warm"))
            begun = time.perf_counter()
            list(executor.map(partial(read_block, str(path)), blocks, "read"))
            reads.append(time.perf_counter() - begun)
        record = run(config, Reporter("quiet")).record
        stages = {stage["name"]: stage["seconds"] for stage in record["stages"]}
        runs.append(sum(stages.values()))
        shutil.rmtree(out)
    return runs, reads, stages


CASES = [(19, "uint8", 384, True), (19, "uint8", 384, False), (19, "float16", 384, True), (150, "uint8", 192, True)]
"""Classes, dtype, images, and whether the evidence is kept."""


def report(folder: Path) -> str:
    rows = []
    for number, (classes, dtype, images, keep) in enumerate(CASES):
        path = source(folder, classes, dtype, images)
        runs, reads, stages = measure(path, folder, keep)
        ratios = sorted(a / b for a, b in zip(runs, reads, strict=True))
        parts = ", ".join(f"{name} {value / min(reads):.2f}" for name, value in stages.items())
        rows.append(
            f"| {classes} | {dtype} | {images} | {'yes' if keep else 'no'} | {ratios[len(ratios) // 2]:.2f} "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f}) | {parts} |"
        )
        if [case[:3] for case in CASES[number + 1 : number + 2]] != [CASES[number][:3]]:
            shutil.rmtree(path)
    return (
        f"## Whole run, 2 workers, local disk, zstd (images of {HEIGHT} x {WIDTH}; median of {ROUNDS} rounds)\n\n"
        "All seven scores and the masks: time of all stages over that in which the same two workers read and decode\n"
        "predictions and labels once, through zarr; by stage in its units. Starting the workers is not in it.\n\n"
        "| classes | predictions | images | evidence kept | run / bare read | by stage |\n|---|---|---|---|---|---|\n"
        + "\n".join(rows)
        + "\n"
    )
