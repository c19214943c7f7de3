"""Entry point of `masksift simulate`.

Predictions are neither read nor copied: a run over the same sources takes the changed labels with `labels_from`.
The output holds `labels/<source>.zarr` (labels, and `truth`, 1 where they differ from the source),
`truth/part-*.parquet` (one row per changed image) and, written last, `simulate.json`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np

from masksift.core.errors import DataError, UsageError
from masksift.core.specs import SourceSpec
from masksift.core.text import closest_match
from masksift.core.versions import package_versions
from masksift.engine.label_io import BASE_MEMORY_BYTES, NO_VALUE, label_blocks, label_values
from masksift.engine.planning.plan import estimate_seconds
from masksift.engine.resumable_job import ResumableJob, for_each_source, make_plan_record
from masksift.evaluation.simulate.config import SimulateConfig
from masksift.evaluation.simulate.error_types import ErrorParams
from masksift.evaluation.simulate.sampling import sample_images
from masksift.evaluation.simulate.summary import console_text
from masksift.evaluation.simulate.tasks import (
    CHANGED,
    SimulationContext,
    SimulationResult,
    SimulationTask,
    simulate_block,
)
from masksift.runtime.progress import ProgressReporter
from masksift.storage.locations import check_output, source_urls
from masksift.storage.objects import ObjectDirectory
from masksift.storage.sources.dataset import open_data_set
from masksift.storage.tables.schemas import path_columns, truth_schema
from masksift.storage.urls import local_path

RECORD = "simulate.json"
ERROR_BYTES_PER_PIXEL = 48
"""Peak memory for an error in one image: component numbers, distances, indices of nearest pixels (measured, rounded
up)."""


def simulate(config: SimulateConfig, progress: ProgressReporter) -> str:
    """Write labels with simulated errors, or continue an interrupted simulation.

    Args:
        config: Sources, output and error parameters.
        progress: Reporter for messages and stages.

    Returns:
        Console text.

    Raises:
        MasksiftError: The options, the sources or the workers do not fit.
    """
    options = config.options()
    sources = open_data_set(config.sources, config.overrides(), options)
    check_output(config.out, source_urls(sources))
    params = [make_error_params(config, spec) for spec in sources]
    plan = make_plan_record({"configuration": config.identity(), "sources": [source.identity() for source in sources]})
    context = SimulationContext(
        local_path(config.out) or config.out,
        plan["fingerprint"],
        config.seed,
        config.overrides().label_name,
        path_columns(sources, truth_schema().names),
        options,
    )
    job = ResumableJob(ObjectDirectory(context.out, options), plan, RECORD, "simulate", config.out, progress)
    record = job.finished_record()
    if record is None:
        tasks, memory = _make_tasks(context, config, sources, params), _memory_bytes(context, sources)
        images, pixels = sum(s.images for s in sources), sum(s.images * s.pixels for s in sources)
        seconds = estimate_seconds(images, pixels, pixels)
        purpose = "a simulation on these labels"
        with job.open_executor(config.executor, len(tasks), memory, seconds, purpose) as executor:
            for_each_source(lambda spec: context.label_copy(spec).create(), sources)
            results = job.run_tasks(executor, partial(simulate_block, context), tasks, "simulate", images)
            record = _make_record(config, sources, results)
            job.write_record(record)
    return console_text(config, record)


def make_error_params(config: SimulateConfig, spec: SourceSpec) -> ErrorParams:
    """Resolve class names and defaults for one source, without classes that no label value represents."""
    values = label_values(spec)
    classes = range(spec.classes) if config.classes is None else [_class_index(spec, name) for name in config.classes]
    background = None if config.background is None else _class_index(spec, config.background)
    params = config.error_params(tuple(k for k in dict.fromkeys(classes) if values[k] != NO_VALUE), background)
    if params.fill == "ignore" and values[-1] == NO_VALUE:
        raise DataError(
            f"fill is 'ignore', but {spec.url} has no ignore value that its labels ({spec.labels.dtype}) can store",
            "Pass another --fill, or --ignore with a value that is no class",
        )
    if background is not None and values[background] == NO_VALUE:
        raise DataError(
            f"No stored label value of {spec.url} represents the background {config.background!r}",
            "Pass another --background",
        )
    return params


def _class_index(spec: SourceSpec, name: str) -> int:
    if name not in spec.class_names:
        raise UsageError(
            f"{spec.url} has no class {name!r}", f"Did you mean {closest_match(name, spec.class_names)!r}?"
        )
    return spec.class_names.index(name)


def _memory_bytes(context: SimulationContext, sources: Sequence[SourceSpec]) -> int:
    """Peak memory of a worker: the images of one storage unit as read, copied and packed, and one error."""
    return BASE_MEMORY_BYTES + max(
        context.label_copy(spec).images_per_object * spec.pixels * (3 * spec.labels.itemsize + 2)
        + ERROR_BYTES_PER_PIXEL * spec.pixels
        for spec in sources
    )


def _make_tasks(
    context: SimulationContext, config: SimulateConfig, sources: Sequence[SourceSpec], params: Sequence[ErrorParams]
) -> list[SimulationTask]:
    """Divide the sources into blocks. The choice of images does not depend on the blocks."""
    tasks: list[SimulationTask] = []
    total = sum(spec.images for spec in sources)
    for spec, source_params in zip(sources, params, strict=True):
        sampled = np.array(sample_images(config.seed, config.kind, spec.name, spec.images, config.share), np.int64)
        for start, stop in label_blocks(spec, context.label_copy(spec).images_per_object, total):
            indices = sampled[np.searchsorted(sampled, start) : np.searchsorted(sampled, stop)]
            tasks.append(SimulationTask(len(tasks), spec, source_params, start, stop, tuple(indices.tolist())))
    return tasks


def _make_record(
    config: SimulateConfig, sources: Sequence[SourceSpec], results: Sequence[SimulationResult]
) -> dict[str, Any]:
    """Content of simulate.json; equal simulations have equal records."""
    by_source = [Counter[str]() for _ in sources]
    for result in results:
        by_source[result.source].update(result.outcomes)
    return {
        "configuration": config.model_dump(mode="json"),
        "versions": package_versions() | {"scipy": version("scipy")},
        **_image_counts(sum(spec.images for spec in sources), sum(by_source, Counter())),
        "sources": [
            {"name": spec.name, "url": spec.url, **_image_counts(spec.images, outcomes)}
            for spec, outcomes in zip(sources, by_source, strict=True)
        ],
    }


def _image_counts(images: int, outcomes: Counter[str]) -> dict[str, Any]:
    """Counts for the record; ``unchanged`` counts chosen images that stayed as they are, by reason."""
    return {
        "images": images,
        "chosen": outcomes.total(),
        "changed": outcomes[CHANGED],
        "unchanged": {outcome: outcomes[outcome] for outcome in sorted(outcomes) if outcome != CHANGED},
    }
