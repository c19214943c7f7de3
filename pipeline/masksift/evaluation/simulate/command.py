"""`masksift simulate`: a copy of the labels of a data set with known errors in it, and the truth about them.

The line: open, draw which images, write block by block, tell. Predictions are not read and not copied: a run over the
same sources takes the changed labels from here (`labels_from`).

Under ``out``: `labels/<source>.zarr` (the labels, and `truth`, 1 where they differ), `truth/part-*.parquet` (a row a
changed image) and, written last, `simulate.json`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np

from masksift.core.errors import DataError, UsageError
from masksift.core.specs import SourceSpec
from masksift.core.text import closest_match
from masksift.core.versions import package_versions
from masksift.engine.label_io import BASE_MEMORY_BYTES, NO_VALUE, label_blocks, label_values
from masksift.engine.resumable_job import ResumableJob, for_each_source, make_plan_record
from masksift.evaluation.simulate.config import SimulateConfig
from masksift.evaluation.simulate.error_types import ErrorParams
from masksift.evaluation.simulate.sampling import sample_images
from masksift.evaluation.simulate.tasks import (
    CHANGED,
    LABELS,
    SimulationContext,
    SimulationResult,
    SimulationTask,
    simulate_block,
)
from masksift.runtime.progress import ProgressReporter
from masksift.storage.objects import ObjectDirectory
from masksift.storage.sources.dataset import open_data_set
from masksift.storage.tables.schemas import path_columns, truth_schema
from masksift.storage.urls import join, local_path

RECORD = "simulate.json"
A_PIXEL = 48
"""Bytes a pixel that the changing of one image takes at most: numbers of objects, distances, the nearest neighbours
(measured, rounded up)."""


@dataclass(frozen=True)
class SimulateResult:
    """How a simulation ended: its record (simulate.json), and in words."""

    record: Mapping[str, Any]
    text: str


def simulate(config: SimulateConfig, progress: ProgressReporter) -> SimulateResult:
    """Write the labels that the configuration describes; called again after any interruption, it goes on.

    Raises MasksiftError.
    """
    _need_scipy()
    options = config.options()
    sources = open_data_set(config.sources, config.overrides(), options)
    settings = [setting_of(config, spec) for spec in sources]
    plan = make_plan_record({"configuration": config.identity(), "sources": [source.as_json() for source in sources]})
    context = SimulationContext(
        local_path(config.out) or config.out,
        plan["fingerprint"],
        config.seed,
        config.arrays.labels,
        path_columns(sources, truth_schema().names),
        options,
    )
    job = ResumableJob(ObjectDirectory(context.out, options), plan, RECORD, "simulate", config.out, progress)
    record = job.finished_record()
    if record is None:
        tasks, memory = _make_tasks(context, config, sources, settings), _memory(context, sources)
        with job.open_executor(config.executor, len(tasks), memory, "a simulation on these labels") as executor:
            for_each_source(lambda spec: context.copy(spec).create(), sources)
            images = sum(task.stop - task.start for task in tasks)
            results = job.run_tasks(executor, partial(simulate_block, context), tasks, "simulate", images)
            record = _record(config, sources, results)
            job.write_record(record)
    return SimulateResult(record, _text(config, record))


def _need_scipy() -> None:
    """Raises UsageError where it is missing."""
    try:
        import scipy.ndimage  # noqa: F401
    except ImportError as e:
        raise UsageError(
            "scipy cannot be imported",
            "no error can be simulated without it",
            "Install it with `pip install 'masksift[evaluate]'`",
        ) from e


def setting_of(config: SimulateConfig, spec: SourceSpec) -> ErrorParams:
    """How errors of a source are made. Raises UsageError, DataError where it has not what is asked for."""
    values = label_values(spec)
    classes = range(spec.classes) if config.classes is None else [_number(spec, name) for name in config.classes]
    background = None if config.background is None else _number(spec, config.background)
    setting = config.setting(tuple(k for k in dict.fromkeys(classes) if values[k] != NO_VALUE), background)
    if setting.fill == "ignore" and values[-1] == NO_VALUE:
        raise DataError(
            f"fill is 'ignore', and {spec.url} has no ignore value that its labels ({spec.labels.dtype}) can hold",
            "lost pixels cannot be left without a label",
            "Give another --fill, or --ignore 255",
        )
    if background is not None and values[background] == NO_VALUE:
        raise DataError(
            f"no label of {spec.url} stands for the background {config.background!r}",
            "lost pixels cannot become that",
            "Give another --background",
        )
    return setting


def _number(spec: SourceSpec, name: str) -> int:
    """The class of a name."""
    if name not in spec.class_names:
        raise UsageError(
            f"{spec.url} has no class {name!r}",
            "no error can be drawn for it",
            f"Did you mean {closest_match(name, spec.class_names)!r}?",
        )
    return spec.class_names.index(name)


def _memory(context: SimulationContext, sources: Sequence[SourceSpec]) -> int:
    """Bytes that a worker needs at most: images that lie in one object as they are read, copied and packed, with their
    truth, and beside them one image as it is changed."""
    return BASE_MEMORY_BYTES + max(
        context.copy(spec).unit * spec.pixels * (3 * spec.labels.itemsize + 2) + A_PIXEL * spec.pixels
        for spec in sources
    )


def _make_tasks(
    context: SimulationContext, config: SimulateConfig, sources: Sequence[SourceSpec], settings: Sequence[ErrorParams]
) -> list[SimulationTask]:
    """All blocks, in order. The choice of images that get an error does not depend on the blocks."""
    tasks: list[SimulationTask] = []
    total = sum(spec.images for spec in sources)
    for spec, setting in zip(sources, settings, strict=True):
        images = np.array(sample_images(config.seed, config.kind, spec.name, spec.images, config.share), np.int64)
        for start, stop in label_blocks(spec, context.copy(spec).unit, total):
            own = images[np.searchsorted(images, start) : np.searchsorted(images, stop)]
            tasks.append(SimulationTask(len(tasks), spec, setting, start, stop, tuple(own.tolist())))
    return tasks


def _record(
    config: SimulateConfig, sources: Sequence[SourceSpec], results: Sequence[SimulationResult]
) -> dict[str, Any]:
    """Content of simulate.json; the same simulation twice gives the same record."""
    by_source = [Counter[str]() for _ in sources]
    for result in results:
        by_source[result.source].update(result.outcomes)
    return {
        "configuration": config.model_dump(mode="json"),
        "versions": package_versions() | {"scipy": version("scipy")},
        **_counts(sum(spec.images for spec in sources), sum(by_source, Counter())),
        "sources": [
            {"name": spec.name, "url": spec.url, **_counts(spec.images, counts)}
            for spec, counts in zip(sources, by_source, strict=True)
        ],
    }


def _counts(images: int, outcomes: Counter[str]) -> dict[str, Any]:
    """``unchanged``: chosen images that stayed as they are, by what stood in the way."""
    return {
        "images": images,
        "chosen": outcomes.total(),
        "changed": outcomes[CHANGED],
        "unchanged": {fate: outcomes[fate] for fate in sorted(outcomes) if fate != CHANGED},
    }


def _text(config: SimulateConfig, record: Mapping[str, Any]) -> str:
    """The end of a simulation, in words."""
    sources = len(record["sources"])
    lines = [
        f"{record['changed']:,} of {record['images']:,} images of {sources:,} source{'s' * (sources != 1)} have an "
        f"error: {config.kind}"
    ]
    if record["unchanged"]:
        reasons = ", ".join(f"{fate} {count:,}" for fate, count in record["unchanged"].items())
        lines.append(f"chosen, and left as they are: {sum(record['unchanged'].values()):,} ({reasons})")
    labels = join(config.out, LABELS)
    return "\n".join([*lines, f"labels: {labels} (masksift run --labels_from {labels})"])
