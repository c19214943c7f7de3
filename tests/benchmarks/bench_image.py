"""Benchmark of one image of Cityscapes size (1,024 x 2,048): bytes, objects, requests and seconds of a core."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from benchmarks.bench_whole import configuration
from benchmarks.cluster import watched_run
from benchmarks.scenes import make_source
from benchmarks.section import Section, table
from masksift.engine.planning.layout import Settings
from masksift.engine.planning.plan import make_plan
from masksift.engine.stages import create_evidence_arrays
from masksift.engine.work_items import BlockTasks
from masksift.runner import make_run_context, open_and_plan
from masksift.scoring.image import EvidencePlanes, ImageCondenser
from masksift.scoring.kernels.condense import CondenseConfig, class_plane
from masksift.storage.zarr.evidence import EVIDENCE_PLANES

HEIGHT, WIDTH = 1024, 2048
MANY = 1_000_000
CASES = {19: (8, 40), 150: (2, 12)}
"""Images of a small and of a larger run, by classes. The figures are differences per additional image, so that
startup is not included."""
COLUMNS = {
    "predictions": "predictions, bytes stored",
    "labels": "labels, bytes stored",
    "evidence": "evidence (three planes), bytes stored",
    "mask": "issue mask, bytes stored",
    "images": "images of a block, of a million images",
    "reads": "objects read of a million images, an image",
    "writes": "objects written of a million images, an image",
    "evidence reads": "objects read of a million images with evidence, an image",
    "evidence writes": "objects written of a million images with evidence, an image",
    "more reads": "requests besides these, a block",
    "condense": "condensing, seconds of a core",
    "score": "scoring, seconds of a core",
    "in memory": "condensing arrays in memory and writing the evidence, seconds of a core",
}


def objects(folder: Path) -> list[Path]:
    """Files below a directory."""
    return [path for path in folder.rglob("*") if path.is_file()]


def stored(folder: Path) -> int:
    """Bytes of the files below a directory."""
    return sum(path.stat().st_size for path in objects(folder))


def in_memory(source: Path, folder: Path, images: int) -> float:
    """Seconds per image from predictions in memory to evidence on disk."""
    config = configuration(source, folder / "image-memory", keep=True)
    sources, plan = open_and_plan(config)
    tasks = BlockTasks.from_plan(plan, sources, config.out)
    context, task = make_run_context(config, tasks), tasks[0]
    create_evidence_arrays(context, tasks)
    evidence = context.evidence_arrays(task.evidence_location)
    condense_config = task.condense_config(context.lattice)
    group = zarr.open_group(str(source), mode="r")
    predictions, labels = (np.asarray(group[name]) for name in ("predictions", "labels"))  # type: ignore[arg-type]
    seconds = 0.0
    for start, stop in task.layout.chunk_ranges(0, images):
        started = time.perf_counter()
        planes = [_condense(predictions[i], labels[i], condense_config) for i in range(start, stop)]
        for number, name in enumerate(EVIDENCE_PLANES):
            stack = np.stack([(p.self_confidence, p.predicted_class, p.predicted_confidence)[number] for p in planes])
            evidence.write(name, start, stack)
        seconds += time.perf_counter() - started
    shutil.rmtree(config.out)
    return seconds / images


def _condense(predictions: np.ndarray, labels: np.ndarray, config: CondenseConfig) -> EvidencePlanes:
    planes = EvidencePlanes.empty((HEIGHT, WIDTH), config)
    condenser = ImageCondenser(class_plane(labels, config.classes, (255,))[0], planes, config)
    condenser.add_window(predictions)
    condenser.finish()
    return planes


def measure(folder: Path, classes: int, images: int) -> tuple[dict[str, float], dict[str, float]]:
    """Measure a run on one core; return the figures that grow with the images, and the constant ones."""
    source = make_source(
        folder / f"image-{classes}-{images}.zarr", images, classes, HEIGHT, WIDTH, distinct=max(2, 76 // classes)
    )
    out, cores = folder / "image-out", os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(cores)})  # inherited by the run: its prefetch thread shares the core
        for _ in range(2):  # twice, so that files and kernels are cached
            run = watched_run(source, out, "--executor.kind", "serial")
        memory = min(in_memory(source, folder, images) for _ in range(2))
    finally:
        os.sched_setaffinity(0, cores)
    stages = {stage["name"]: stage for stage in run.record["stages"]}
    evidence = next((out / "evidence").iterdir())
    mask = stored(evidence / "issue_mask")
    found = {
        "predictions": stored(source / "predictions"),
        "labels": stored(source / "labels"),
        "evidence": stored(evidence) - mask,
        "mask": mask,
        "condense": stages["condense"]["task_seconds"],
        "score": stages["score"]["task_seconds"],
        "in memory": memory * images,
    }
    constant = plan_many(source, MANY) | {"more reads": more_reads(source, run.record)}
    shutil.rmtree(source)
    shutil.rmtree(out)
    return found, constant


def plan_many(source: Path, images: int) -> dict[str, float]:
    """Blocks and objects of a planned run over many such images."""
    config = configuration(source, source.parent / "image-many", keep=True)
    (spec,), _ = open_and_plan(config)
    predictions, labels = (
        replace(array, shape=(images, *array.shape[1:])) for array in (spec.predictions, spec.labels)
    )
    many = replace(spec, predictions=predictions, labels=labels)
    plan = make_plan((many,), Settings(), {})
    return {
        "images": images / len(plan.blocks),
        "reads": plan.objects_to_read / images,
        "writes": plan.objects_to_write / images,
        "evidence reads": 1 + len(EVIDENCE_PLANES) / plan.layouts[0].chunk_images,
        "evidence writes": (len(EVIDENCE_PLANES) + 1) / plan.layouts[0].chunk_images,
    }


def more_reads(source: Path, record: dict[str, Any]) -> float:
    """Requests per block beyond those for chunks (metadata, finished work)."""
    plan = open_and_plan(configuration(source, source.parent / "image-many", keep=True))[1]
    return (sum(stage["requests"] for stage in record["stages"]) - plan.objects_to_read) / len(plan.blocks)


def additional_image(folder: Path, classes: int) -> dict[str, float]:
    """Figures per additional image."""
    few, many = CASES[classes]
    (less, _), (more, constant) = measure(folder, classes, few), measure(folder, classes, many)
    return {name: (more[name] - less[name]) / (many - few) for name in more} | constant


def report(folder: Path) -> Section:
    found = {classes: additional_image(folder, classes) for classes in CASES}
    rows = [
        [
            text,
            *(
                f"{found[classes][name]:,.0f}" if found[classes][name] > 99 else f"{found[classes][name]:.3g}"
                for classes in CASES
            ),
        ]
        for name, text in COLUMNS.items()
    ]
    return Section(
        f"## One image of {HEIGHT:,} x {WIDTH:,} (uint8, zstd, a chunk an image, one core, local disk)\n\n"
        "All seven scores and the mask. Predictions and labels are synthetic (smooth, with noise): yours may compress\n"
        "better or worse.\n\n" + table(["", *(f"{classes} classes" for classes in CASES)], rows),
        {f"image: {classes} classes: {name}": value for classes in CASES for name, value in found[classes].items()},
    )
