"""What one image of Cityscapes' size (1,024 x 2,048) takes: bytes, objects, requests and seconds of one core. The cost
page is computed from these rows."""

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
from masksift.run import make_run_context, open_and_plan
from masksift.scoring.image import EvidencePlanes, ImageCondenser
from masksift.scoring.kernels.condense import CondenseConfig, class_plane
from masksift.storage.zarr.evidence import EVIDENCE_PLANES

HEIGHT, WIDTH = 1024, 2048
MANY = 1_000_000
CASES = {19: (8, 40), 150: (2, 12)}
"""By classes, the images of a small and of a larger run: an image takes what the larger one takes more, an image. So
starting up is in no figure."""
COLUMNS = {
    "predictions": "predictions, bytes stored",
    "labels": "labels, bytes stored",
    "evidence": "evidence (three planes), bytes stored",
    "mask": "issue mask, bytes stored",
    "images": "images of a block, of a million images",
    "reads": "objects read of a million images, an image",
    "writes": "objects written of a million images, an image",
    "more reads": "requests besides these, a block",
    "condense": "condensing, seconds of a core",
    "score": "scoring, seconds of a core",
    "in memory": "condensing arrays in memory and writing the evidence, seconds of a core",
}


def objects(folder: Path) -> list[Path]:
    """All files below a folder."""
    return [path for path in folder.rglob("*") if path.is_file()]


def stored(folder: Path) -> int:
    """Their bytes."""
    return sum(path.stat().st_size for path in objects(folder))


def in_memory(source: Path, folder: Path, images: int) -> float:
    """Seconds in which predictions that are in memory become evidence on the disk, an image."""
    config = configuration(source, folder / "image-memory", keep=True)
    sources, plan = open_and_plan(config)
    parts = BlockTasks.from_plan(plan, sources, config.out)
    job, part = make_run_context(config, parts), parts[0]
    create_evidence_arrays(job, parts)
    evidence, recipe = job.evidence_arrays(part.evidence_location), part.condense_config(job.lattice)
    group = zarr.open_group(str(source), mode="r")
    predictions, labels = (np.asarray(group[name]) for name in ("predictions", "labels"))  # type: ignore[arg-type]
    spent = 0.0
    for start, stop in part.layout.chunk_ranges(0, images):
        begun = time.perf_counter()
        planes = [_condensed(predictions[i], labels[i], recipe) for i in range(start, stop)]
        for number, name in enumerate(EVIDENCE_PLANES):
            stack = np.stack([(p.self_confidence, p.predicted_class, p.predicted_confidence)[number] for p in planes])
            evidence.write(name, start, stack)
        spent += time.perf_counter() - begun
    shutil.rmtree(config.out)
    return spent / images


def _condensed(predictions: np.ndarray, labels: np.ndarray, recipe: CondenseConfig) -> EvidencePlanes:
    planes = EvidencePlanes.empty(HEIGHT, WIDTH, recipe)
    condensing = ImageCondenser(class_plane(labels, recipe.classes, (255,))[0], planes, recipe)
    condensing.add_window(predictions)
    condensing.finish()
    return planes


def measure(folder: Path, classes: int, images: int) -> tuple[dict[str, float], dict[str, float]]:
    """What so many images of so many classes take, on one core, by the names of `COLUMNS`: what grows with their
    number, and what does not."""
    source = make_source(
        folder / f"image-{classes}-{images}.zarr", images, classes, HEIGHT, WIDTH, distinct=max(2, 76 // classes)
    )
    out, cores = folder / "image-out", os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(cores)})  # a run inherits it: what reads ahead shares the core
        for _ in range(2):  # again, so that the files are in memory and the kernels in the cache
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
    constant = of_many(source, MANY) | {"more reads": more_reads(source, run.record)}
    shutil.rmtree(source)
    shutil.rmtree(out)
    return found, constant


def of_many(source: Path, images: int) -> dict[str, float]:
    """Blocks and objects of a run over so many such images, as it would be planned."""
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
    }


def more_reads(source: Path, record: dict[str, Any]) -> float:
    """Requests of a run that are for no chunk (metadata, what is done already), a block."""
    plan = open_and_plan(configuration(source, source.parent / "image-many", keep=True))[1]
    return (sum(stage["requests"] for stage in record["stages"]) - plan.objects_to_read) / len(plan.blocks)


def an_image(folder: Path, classes: int) -> dict[str, float]:
    """What each image more takes."""
    few, many = CASES[classes]
    (less, _), (more, constant) = measure(folder, classes, few), measure(folder, classes, many)
    return {name: (more[name] - less[name]) / (many - few) for name in more} | constant


def report(folder: Path) -> Section:
    found = {classes: an_image(folder, classes) for classes in CASES}
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
        "All seven scores and the mask. Predictions and labels are drawn (smooth, with noise): yours may pack better\n"
        "or worse.\n\n" + table(["", *(f"{classes} classes" for classes in CASES)], rows),
        {f"image: {classes} classes: {name}": value for classes in CASES for name, value in found[classes].items()},
    )
