"""Write labels as files in the form of the label files that their sources were made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from masksift.config.run import RunConfig
from masksift.core.errors import DataError, UsageError
from masksift.core.specs import SourceSpec
from masksift.core.text import pluralize
from masksift.core.versions import package_versions
from masksift.engine.completed_run import CompletedRun, open_completed_run
from masksift.engine.label_io import label_blocks
from masksift.engine.planning.plan import estimate_seconds
from masksift.engine.resumable_job import ResumableJob, make_plan_record
from masksift.review.file_names import FileNames
from masksift.review.masks.config import MasksConfig
from masksift.review.masks.tasks import ImagePart, MasksContext, MasksResult, MasksTask, worker_memory, write_block
from masksift.runtime.progress import ProgressReporter
from masksift.storage.locations import check_output, source_urls
from masksift.storage.objects import ObjectDirectory
from masksift.storage.sources.corrected_labels import RECORD as CORRECTIONS
from masksift.storage.sources.corrected_labels import unchanged_sources
from masksift.storage.sources.fingerprint import content_hash
from masksift.storage.sources.open import open_source
from masksift.storage.urls import local_path
from masksift.storage.zarr.origin import open_origin
from masksift.storage.zarr.per_image import image_ids

RECORD = "masks.json"


def export_masks(config: MasksConfig, progress: ProgressReporter) -> str:
    """Write the files of all images whose labels differ from those of their source, and return the text to print."""
    run = open_completed_run(config.run, config.storage, [config.labels, config.out])
    check_output(config.out, [*source_urls(run.tasks.sources), config.labels])
    sources = _open_sources(run, config)
    options = run.context.options
    identity = {
        "masks": {"run": run.record["fingerprint"], "unchanged": config.unchanged},
        "labels": content_hash([new.labels for _, new in sources], options),
    }
    plan = make_plan_record(identity)
    out = local_path(config.out) or config.out.rstrip("/")
    job = ResumableJob(ObjectDirectory(out, options), plan, RECORD, "export", config.out, progress)
    record = job.finished_record()
    if record is None:
        tasks = _make_tasks(sources, options)
        context = MasksContext(out, plan["fingerprint"], config.unchanged, options)
        images, pixels = sum(s.images for s, _ in sources), sum(s.images * s.pixels for s, _ in sources)
        memory = worker_memory([spec for spec, _ in sources], max((t.stop - t.start for t in tasks), default=0))
        seconds = estimate_seconds(images, pixels, pixels)
        with job.open_executor(config.executor, len(tasks), memory, seconds, "writing these files") as executor:
            results: Sequence[MasksResult] = job.run_tasks(
                executor, partial(write_block, context), tasks, "masks", images
            )
            record = {
                "format": 1,
                "run": run.record["fingerprint"],
                "labels": config.labels,
                "files": sum(result.files for result in results),
                "pixels": sum(result.pixels for result in results),
                "versions": package_versions(),
            }
            job.write_record(record)
    text = f"{pluralize(record['files'], 'file')} with {pluralize(record['pixels'], 'changed pixel')}"
    return f"{text} of {pluralize(len(sources), 'source')}\nmasks: {config.out}"


def _open_sources(run: CompletedRun, config: MasksConfig) -> list[tuple[SourceSpec, SourceSpec]]:
    """Open each source that has new labels, with its own labels and with the new ones."""
    options, configuration = run.context.options, run.record["configuration"]
    left = unchanged_sources(config.labels, options)
    if not left and ObjectDirectory(config.labels, options).read(CORRECTIONS) is None:
        raise UsageError(
            f"{config.labels} holds no labels that `masksift export corrections` or `masksift import` wrote",
            "Pass the directory of their --out",
        )
    own = RunConfig.model_validate({**configuration, "labels_from": None}).overrides()
    new = replace(own, labels_from=config.labels)
    sources = []
    for spec in run.tasks.sources:
        if spec.name in left:
            continue
        if spec.stored_evidence:
            raise DataError(
                f"{spec.url} holds evidence, which has no labels to compare",
                "Write the files from the labels that the evidence was made of",
            )
        sources.append(
            tuple(
                open_source(spec.url, overrides, options, index=spec.index, name=spec.name) for overrides in (own, new)
            )
        )
    return [(before, after) for before, after in sources]


def _make_tasks(sources: Sequence[tuple[SourceSpec, SourceSpec]], options: Mapping[str, Any]) -> list[MasksTask]:
    """Make the tasks of all sources: whole label files, and about a sixteenth of all images each."""
    tasks: list[MasksTask] = []
    total = sum(spec.images for spec, _ in sources)
    for spec, new in sources:
        reader = open_origin(spec.url, options)
        encoding = None if reader is None else reader.encoding
        if reader is None or encoding is None:
            names = FileNames()
            parts = [ImagePart(f"{names.name(one)}.png") for one in image_ids(spec, 0, spec.images, options)]
        else:
            origin = reader.read_all()
            names_of_files = [file.name for file in origin.files]
            places = [place if any(place) else None for place in map(tuple, origin.places.tolist())]
            parts = [
                ImagePart(names_of_files[n], f"{origin.root}/{names_of_files[n]}", place)
                for n, place in zip(origin.images.tolist(), places, strict=True)
            ]
        if len(sources) > 1:
            parts = [replace(part, name=f"{spec.name}/{part.name}") for part in parts]
        blocks = label_blocks(spec, (spec.labels.shards or spec.labels.chunks)[0], total)
        start = 0
        for _, end in blocks:
            stop = max(start, end)
            while 0 < stop < spec.images and parts[stop].name == parts[stop - 1].name:
                stop += 1
            if stop > start:
                tasks.append(MasksTask(len(tasks), spec, new.labels, tuple(parts[start:stop]), encoding, start, stop))
            start = stop
    return tasks
