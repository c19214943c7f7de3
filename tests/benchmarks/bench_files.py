"""Benchmark of prediction files: `masksift ingest` and a run, against a run that reads the files directly."""

from __future__ import annotations

import contextlib
import io
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.scenes import labels_of, probabilities
from benchmarks.section import MIB, Section, spread, table
from masksift.cli.main import main
from support.datasets import Array

IMAGES, CLASSES, SIDE, DISTINCT, ROUNDS = 200, 19, 512, 8, 3
STEPS = ("ingest", "run", "direct", "linked")


@dataclass(frozen=True)
class Form:
    """Stored form of predictions: share of the images, and function that writes one."""

    share: float
    save: Callable[[Path, Array], None]


def save_npy(path: Path, values: Array) -> None:
    np.save(path.with_suffix(".npy"), values)


def save_classes_last(path: Path, values: Array) -> None:
    np.save(path.with_suffix(".npy"), np.ascontiguousarray(np.moveaxis(values, 0, -1)))


def save_stored(path: Path, values: Array) -> None:
    np.savez(path.with_suffix(".npz"), values)


def save_deflated(path: Path, values: Array) -> None:
    np.savez_compressed(path.with_suffix(".npz"), values)


FORMS = {
    "`.npy` (K, H, W) float32": Form(1, save_npy),
    "`.npy` (H, W, K) float32": Form(0.25, save_classes_last),
    "`.npz` stored, float32": Form(0.25, save_stored),
    "`.npz` deflated, float32": Form(0.25, save_deflated),
}


def write_files(folder: Path, form: Form, images: int) -> None:
    exact = probabilities(1, DISTINCT, CLASSES, SIDE, SIDE)
    labels = labels_of(exact, 1)
    for name in ("masks", "softmax"):
        (folder / name).mkdir(parents=True)
    for i in range(images):
        form.save(folder / f"softmax/{i:05d}", exact[i % DISTINCT])
        Image.fromarray(labels[i % DISTINCT]).save(folder / f"masks/{i:05d}.png")


def seconds(*args: object) -> tuple[float, float]:
    """Wall and CPU seconds of a command in this process, whose imports and kernels are loaded."""
    started = (time.perf_counter(), time.process_time())
    with contextlib.redirect_stdout(io.StringIO()):
        code = main([*map(str, args), "--executor", "serial", "--log-format", "quiet"])
    if code:
        raise RuntimeError(f"{args[0]} returned {code}")
    return time.perf_counter() - started[0], time.process_time() - started[1]


def size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


Times = dict[str, list[tuple[float, float]]]


def measure(folder: Path, form: Form, images: int, rounds: int) -> tuple[Times, dict[str, int]]:
    """Measure seconds by step, rounds interleaved after one that is not counted, and bytes of files and sources."""
    shutil.rmtree(folder, ignore_errors=True)
    write_files(folder, form, images)
    files = ("--labels", folder / "masks", "--predictions", folder / "softmax", "--ignore", 255)
    more = ("--report.top", 0)
    found: Times = {}
    for number in range(rounds + 1):
        for name in ("copy.zarr", "copied", "direct", "again"):
            shutil.rmtree(folder / name, ignore_errors=True)
        steps = {
            "ingest": seconds("ingest", *files, "--out", folder / "copy.zarr"),
            "run": seconds("run", "--source", folder / "copy.zarr", *more, "--out", folder / "copied"),
            "direct": seconds("run", *files, *more, "--out", folder / "direct"),
            "linked": seconds("run", "--source", folder / "direct/linked.zarr", *more, "--out", folder / "again"),
        }
        for name, value in steps.items() if number else ():
            found.setdefault(name, []).append(value)
    sizes = {name: size(folder / name) for name in ("softmax", "copy.zarr", "direct/linked.zarr")}
    shutil.rmtree(folder)
    return found, sizes


def report(folder: Path, images: int = IMAGES, rounds: int = ROUNDS) -> Section:
    times, sizes, figures = [], [], {}
    for name, form in FORMS.items():
        count = max(2, round(images * form.share))
        found, stored = measure(folder / "files", form, count, rounds)
        for kind, unit in enumerate(("wall", "CPU")):
            ingest, run, direct, linked = ([one[kind] for one in found[step]] for step in STEPS)
            speed = [(a + b) / c for a, b, c in zip(ingest, run, direct, strict=True)]
            relative = [a / b for a, b in zip(linked, run, strict=True)]
            medians = [f"{spread(values)[0]:.2f}" for values in (ingest, run, direct, linked)]
            shown = ["{:.2f} ({:.2f} to {:.2f})".format(*spread(values)) for values in (speed, relative)]
            times.append((name, count, unit, *medians, *shown))
            figures[f"files: {name}: direct, {unit}"] = spread(speed)[0]
            figures[f"files: {name}: linked, {unit}"] = spread(relative)[0]
        sizes.append((name, *(f"{value / MIB / count:.2f}" for value in stored.values())))
    text = (
        f"## Prediction files ({SIDE} x {SIDE}, {CLASSES} classes, serial, page cache warm)\n\nSeconds of a command, "
        "median of the rounds. Speed: `ingest` and `run` together are 1. Last column: run of the linked source, run of "
        "the copy is 1.\n\n"
    )
    head = ("predictions", "images", "seconds", "ingest", "run of the copy", "run of the files", "run of the links")
    text += table((*head, "speed of the run of the files", "links / copy"), times)
    text += "\nMiB an image:\n\n" + table(("predictions", "files", "copy", "linked source"), sizes)
    return Section(text, figures)
