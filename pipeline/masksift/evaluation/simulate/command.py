"""`masksift simulate`: a copy of the labels of a data set with known errors in it, and the truth about them.

The line: open, draw which images, write block by block, tell. Predictions are not read and not copied: a run over the
same sources takes the changed labels from here (`labels_from`).

Under ``out``: `labels/<source>.zarr` (the labels, and `truth`, 1 where they differ), `truth/part-*.parquet` (a row a
changed image) and, written last, `simulate.json`.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np

from masksift.core import signals as interruption
from masksift.core.errors import DataError, UsageError
from masksift.core.specs import SourceSpec
from masksift.core.text import closest_match
from masksift.core.versions import versions
from masksift.engine.label_io import BASE_MEMORY, NO_VALUE, label_blocks, stored_values
from masksift.engine.planning.memory import refuse_small_workers
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
from masksift.runtime.executors import Executor
from masksift.runtime.progress import ProgressReporter
from masksift.storage.manifest import Manifest
from masksift.storage.objects import ObjectDirectory
from masksift.storage.sources.dataset import open_data_set
from masksift.storage.tables.schemas import path_columns, truth_schema
from masksift.storage.urls import join, local_path

RECORD = "simulate.json"
AT_ONCE = 16
"""Sources whose arrays are created at a time."""
A_PIXEL = 48
"""Bytes a pixel that the changing of one image takes at most: numbers of objects, distances, the nearest neighbours
(measured, rounded up)."""


@dataclass(frozen=True)
class SimulateResult:
    """How a simulation ended: its record (simulate.json), and in words."""

    record: Mapping[str, Any]
    text: str


def simulate(config: SimulateConfig, report: ProgressReporter) -> SimulateResult:
    """Write the labels that the configuration describes; called again after any interruption, it goes on.

    Raises MasksiftError.
    """
    _need_scipy()
    options = config.options()
    sources = open_data_set(config.sources, config.overrides(), options)
    settings = [setting_of(config, spec) for spec in sources]
    claim = _claim(config, sources)
    job = SimulationContext(
        local_path(config.out) or config.out,
        claim["fingerprint"],
        config.seed,
        config.arrays.labels,
        path_columns(sources, truth_schema().names),
        options,
    )
    folder = ObjectDirectory(job.out, options)
    manifest = Manifest(folder, job.fingerprint)
    if manifest.is_resumable(claim, verb="simulate") and (data := folder.read(RECORD)) is not None:
        report.message(f"{config.out} is complete already: nothing to do")
        record = json.loads(data)
        return SimulateResult(record, _text(config, record))
    pieces = _pieces(job, config, sources, settings)
    with config.executor.open(len(pieces), report.message) as executor:
        workers = [(worker.name, worker.memory) for worker in executor.workers()]
        refuse_small_workers(_memory(job, sources), workers, "a simulation on these labels")
        manifest.write_plan(claim, verb="simulate")
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="prepare") as pool:
            list(pool.map(lambda spec: job.copy(spec).create(), sources))
        outcomes = _write(job, pieces, executor, report)
    record = _record(config, sources, outcomes)
    folder.write(RECORD, json.dumps(record, indent=2).encode())
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
    values = stored_values(spec)
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


def _claim(config: SimulateConfig, sources: Sequence[SourceSpec]) -> dict[str, Any]:
    """All that decides what is written, and its fingerprint."""
    identity = {
        "masksift": version("masksift"),
        "configuration": config.identity(),
        "sources": [source.as_json() for source in sources],
    }
    told = json.dumps(identity, sort_keys=True).encode()
    return {"fingerprint": hashlib.sha256(told).hexdigest(), "identity": identity}


def _memory(job: SimulationContext, sources: Sequence[SourceSpec]) -> int:
    """Bytes that a worker needs at most: images that lie in one object as they are read, copied and packed, with their
    truth, and beside them one image as it is changed."""
    return BASE_MEMORY + max(
        job.copy(spec).unit * spec.pixels * (3 * spec.labels.itemsize + 2) + A_PIXEL * spec.pixels for spec in sources
    )


def _pieces(
    job: SimulationContext, config: SimulateConfig, sources: Sequence[SourceSpec], settings: Sequence[ErrorParams]
) -> list[SimulationTask]:
    """All blocks, in order. Which images get an error does not depend on them."""
    pieces: list[SimulationTask] = []
    total = sum(spec.images for spec in sources)
    for spec, setting in zip(sources, settings, strict=True):
        images = np.array(sample_images(config.seed, config.kind, spec.name, spec.images, config.share), np.int64)
        for start, stop in label_blocks(spec, job.copy(spec).unit, total):
            own = images[np.searchsorted(images, start) : np.searchsorted(images, stop)]
            pieces.append(SimulationTask(len(pieces), spec, setting, start, stop, tuple(own.tolist())))
    return pieces


def _write(
    job: SimulationContext, pieces: Sequence[SimulationTask], executor: Executor, report: ProgressReporter
) -> list[tuple[int, Mapping[str, int]]]:
    """All blocks; answers, by source, what became of the chosen images."""
    outcomes: list[tuple[int, Mapping[str, int]]] = []
    with report.stage("simulate", sum(piece.stop - piece.start for piece in pieces)) as stage:
        for done in executor.map(partial(simulate_block, job), pieces, "simulate"):
            assert isinstance(done, SimulationResult)
            outcomes.append((done.source, done.outcomes))
            stage.advance(done.task_result)
            interruption.raise_if_interrupted()
    return outcomes


def _record(
    config: SimulateConfig, sources: Sequence[SourceSpec], outcomes: Sequence[tuple[int, Mapping[str, int]]]
) -> dict[str, Any]:
    """What is known at the end: the same simulation twice gives the same record."""
    by_source = [Counter[str]() for _ in sources]
    for source, counts in outcomes:
        by_source[source].update(counts)
    return {
        "configuration": config.model_dump(mode="json"),
        "versions": versions() | {"scipy": version("scipy")},
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
