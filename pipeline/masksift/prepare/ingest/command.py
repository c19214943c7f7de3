"""`masksift ingest`: label images with predictions, pairs of `.npy` arrays, and COCO panoptic, into a source.

The line: find, match, survey (all sizes, from headers), write, tell. What can be seen to be wrong is refused before
anything is written: every size, and all of the first image; what is wrong inside another one, when its turn comes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from masksift.core.errors import DataError, UsageError
from masksift.engine.resumable_job import ResumableJob
from masksift.prepare.ingest.config import IngestConfig
from masksift.prepare.ingest.discover import Inputs, discover_inputs
from masksift.prepare.ingest.labels import InputPair, LabelReader, color_code, label_dtype, value_map
from masksift.prepare.ingest.predictions import PredictionReader
from masksift.prepare.ingest.presets import PRESETS
from masksift.prepare.ingest.summary import RECORD_GROUP, format_summary
from masksift.prepare.ingest.survey import Survey, survey_inputs
from masksift.prepare.ingest.tasks import IngestContext, IngestShard, write_shard
from masksift.prepare.writers import base as writers
from masksift.runtime.progress import ProgressReporter
from masksift.storage.manifest import GroupAttributesPlan, make_job_plan
from masksift.storage.objects import ObjectDirectory
from masksift.storage.urls import local_path

BASE_MEMORY = 256 << 20
"""Bytes of a worker that holds nothing yet."""


@dataclass(frozen=True)
class IngestResult:
    """How an ingest ended. ``text``: what to print; ``unmatched``: files that found no partner."""

    text: str
    unmatched: int

    @property
    def exit_code(self) -> int:
        """3 where a file found no partner, else 0."""
        return 3 if self.unmatched else 0


def ingest(config: IngestConfig, progress: ProgressReporter) -> IngestResult:
    """Write the source that the configuration describes; called again after any interruption, it goes on.

    Raises MasksiftError.
    """
    options = config.options()
    inputs = discover_inputs(config, options)
    record = GroupAttributesPlan(ObjectDirectory(config.out, options), RECORD_GROUP)
    plan = make_job_plan(_identity(config, inputs))
    job = ResumableJob(
        record.directory,
        {**plan, "complete": False},
        record.name,
        "ingest",
        config.out,
        progress,
        record,
        f"{RECORD_GROUP}/running.json",
    )
    resumed = job.is_resumable
    facts = survey_inputs(inputs, config, options, progress)
    context = _make_context(config, inputs, facts)
    if resumed and (record.read() or {}).get("complete"):
        progress.message(f"{config.out} is complete already: nothing to do")
    else:
        _look_at_first(context, inputs.pairs[0], config)
        memory, images = projected_memory(config, facts, context), len(inputs.pairs)
        with job.open_executor(config.executor, images, memory, "an ingest of these images") as executor:
            shards = _make_shards(context, inputs.pairs)
            job.run_tasks(executor, partial(write_shard, context), shards, "ingest", images)
            record.write({**plan, "complete": True, **_told(inputs)})
    text = format_summary(config, inputs, facts, context.writer_args["dtype"])
    return IngestResult(text, sum(map(len, inputs.unmatched.values())))


def _identity(config: IngestConfig, inputs: Inputs) -> dict[str, Any]:
    """All that decides what is written: the configuration, and which files are whose."""
    digest = hashlib.sha256()
    for pair in inputs.pairs:
        digest.update(repr(pair).encode())
    return {"configuration": config.identity(), "images": len(inputs.pairs), "files": digest.hexdigest()[:16]}


def _make_context(config: IngestConfig, inputs: Inputs, facts: Survey) -> IngestContext:
    """How every image is read and written. Raises UsageError where the dtype to keep cannot be had."""
    dtype = config.dtype or facts.dtype
    if dtype != facts.dtype and not facts.dtype.startswith("float"):
        raise UsageError(
            f"dtype is {dtype!r}, but predictions are stored as {facts.dtype}, and only floats are converted",
            "Drop --dtype",
        )
    if inputs.prediction_format == "numbers" and config.scale is not None:
        raise UsageError(
            f"scale is {config.scale}, but predictions are class numbers, which have no scale", "Drop --scale"
        )
    classes, preset = facts.classes, PRESETS[config.preset] if config.preset else None
    numbers = label_dtype(classes)
    ignored = 255 if numbers == "uint8" else 65535
    labels = LabelReader(
        classes,
        value_map(classes, config.remap, inputs.values, config.ignore),
        {color_code(color): k for color, k in inputs.colors.items()},
        use_palette=config.colors is not None,
        class_channel=preset.class_channel if preset else None,
        array=inputs.arrays[0] if inputs.arrays else None,
    )
    predictions = PredictionReader(
        inputs.prediction_format, classes, facts.order, dtype, config.kind, inputs.arrays[1] if inputs.arrays else None
    )
    told = {
        "images": len(inputs.pairs),
        "height": facts.height,
        "width": facts.width,
        "classes": inputs.classes or classes,
        "ignore": ignored,
        "kind": config.kind,
        "dtype": dtype,
        "label_dtype": numbers,
        "scale": config.scale,
        "pictures": config.images is not None,
        "padded": facts.padded,
        "shard_bytes": writers.SHARD_BYTES,
    }
    # workers may stand in other folders than this process
    return IngestContext(
        local_path(config.out) or config.out, told, labels, predictions, config.resize, config.options()
    )


def _look_at_first(context: IngestContext, pair: InputPair, config: IngestConfig) -> None:
    """Read one image as all will be read. Raises DataError."""
    predictions, _, _ = context.read(pair)
    if config.kind == "probabilities" and predictions.dtype.kind == "f":
        low, high = float(predictions.min()), float(predictions.max())
        if low < -1e-3 or high > 1 + 1e-3:
            raise DataError(
                f"Predictions of {context.predictions.location(pair)} range from {low:.6g} to {high:.6g}",
                "They are not probabilities",
                "Pass --kind logits, or correct the predictions",
            )


def projected_memory(config: IngestConfig, facts: Survey, context: IngestContext) -> int:
    """Bytes that a worker needs at most: a shard as it is gathered, packed and put together, and beside it one image as
    it is read, with two copies where it becomes another, and one where it is padded."""
    told, values = context.writer_args, facts.classes * facts.height * facts.width
    size = values * np.dtype(told["dtype"]).itemsize
    together = min(told["images"], max(1, told["shard_bytes"] // size))
    beside = facts.height * facts.width * (np.dtype(told["label_dtype"]).itemsize + 3 * told["pictures"])
    changed = config.resize is not None or facts.dtype != told["dtype"]
    stored = values * max(np.dtype(facts.dtype).itemsize, 4 * changed)
    image = stored * (3 if changed else 1) + size * facts.padded
    return int(BASE_MEMORY + 3 * together * (size + beside) + image)


def _make_shards(context: IngestContext, pairs: Sequence[InputPair]) -> list[IngestShard]:
    """All shards, in order."""
    writer = context.writer()
    count, size = writer.shards, writer.images_per_shard
    return [IngestShard(i, count, tuple(pairs[i * size : (i + 1) * size])) for i in range(count)]


def _told(inputs: Inputs) -> dict[str, Any]:
    """For the record: how files were matched, and all that found no partner."""
    unmatched = {side: list(names) for side, names in inputs.unmatched.items()}
    return {"matched": list(inputs.rules), "unmatched": unmatched, "passed_over": inputs.skipped_labels}
