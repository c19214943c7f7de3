"""`masksift ingest`: convert label and prediction files, `.npy` arrays or COCO panoptic into a source.

The steps: find and match files, survey all sizes from headers, write shards. Errors in any header and in the first
image are raised before anything is written, errors inside other files when they are read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from masksift.core.errors import DataError, UsageError
from masksift.core.limits import MIB
from masksift.engine.planning.plan import estimate_seconds
from masksift.engine.resumable_job import ResumableJob
from masksift.prepare.ingest.config import IngestConfig
from masksift.prepare.ingest.discover import Inputs, discover_inputs
from masksift.prepare.ingest.label_origin import label_origin
from masksift.prepare.ingest.labels import Color, InputPair, LabelReader, color_code, label_dtype, value_map
from masksift.prepare.ingest.links import check_linkable, link_predictions
from masksift.prepare.ingest.nnunet import with_data_set
from masksift.prepare.ingest.predictions import RANGE_TOLERANCE, PredictionReader
from masksift.prepare.ingest.presets import PRESETS, first_colors
from masksift.prepare.ingest.split_rasters import split_rasters
from masksift.prepare.ingest.summary import RECORD_GROUP, format_summary
from masksift.prepare.ingest.survey import Survey, survey_inputs
from masksift.prepare.ingest.table_inputs import table_memory
from masksift.prepare.ingest.tasks import IngestContext, IngestShard, write_shard
from masksift.prepare.writers import base
from masksift.runtime.progress import ProgressReporter
from masksift.scoring.kernels.decode import binary_dtype
from masksift.storage.files import shared_listings
from masksift.storage.locations import check_output
from masksift.storage.manifest import GroupAttributesPlan, make_job_plan
from masksift.storage.objects import ObjectDirectory
from masksift.storage.urls import local_path
from masksift.storage.zarr.origin import write_origin

INGEST_WORKER_BYTES = 256 * MIB
"""Memory of a worker before its first task."""


@dataclass(frozen=True)
class IngestResult:
    """Result of an ingest.

    Attributes:
        text: Text to print.
        image_ids: Ids of the images, "" for unnamed ones.
        unmatched: Number of files without a partner.
        is_cut: Some files hold several images, such as rasters that are cut into windows.
    """

    text: str
    image_ids: tuple[str, ...]
    unmatched: int
    is_cut: bool = False

    @property
    def exit_code(self) -> int:
        """3 if files have no partner, else 0."""
        return 3 if self.unmatched else 0


def ingest(config: IngestConfig, progress: ProgressReporter) -> IngestResult:
    """Write the source that a configuration describes, or resume an interrupted ingest."""
    options = config.options()
    config = with_data_set(config, options)
    with shared_listings():
        inputs = split_rasters(discover_inputs(config, options), config, options)
    _check_output(config, inputs)
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
    survey = survey_inputs(inputs, config, options, progress)
    if config.link:
        check_linkable(config, survey)
    context = _make_context(config, inputs, survey)
    if resumed and (record.read() or {}).get("complete"):
        progress.message(f"{config.out} is complete already: nothing to do")
    else:
        _check_first_image(context, inputs.pairs[0], config)
        if config.link:
            context = context.without_predictions()
        memory, images = projected_memory(config, survey, context) + _unit_memory(inputs, options), len(inputs.pairs)
        pixels = images * survey.height * survey.width
        itemsize = np.dtype(survey.dtype).itemsize if context.predictions else 0
        seconds = estimate_seconds(images, pixels, pixels * survey.classes * itemsize)
        with job.open_executor(config.executor, images, memory, seconds, "an ingest of these images") as executor:
            if config.link:
                link_predictions(config, inputs, survey, progress)
            shards = _make_shards(context, inputs.pairs)
            job.run_tasks(executor, partial(write_shard, context), shards, "ingest", images)
            if (origin := label_origin(inputs, context.labels, resized=config.resize is not None)) is not None:
                write_origin(context.url, options, origin)
            unmatched = {side: list(names) for side, names in inputs.unmatched.items()}
            matching = {"matched": list(inputs.rules), "unmatched": unmatched, "passed_over": inputs.skipped_labels}
            record.write({**plan, "complete": True, **matching})
    text = format_summary(config, inputs, survey, context.writer_args["dtype"])
    cut = [next(pair.urls) for pair in inputs.pairs if any(pair.pieces)]
    return IngestResult(
        text,
        tuple(pair.name for pair in inputs.pairs),
        sum(map(len, inputs.unmatched.values())),
        len({*cut}) < len(cut),
    )


def _check_output(config: IngestConfig, inputs: Inputs) -> None:
    places = (config.labels, config.predictions, config.images, config.ids, config.colors)
    # a glob may find many files: one per directory is enough
    files = {url.rpartition("/")[0]: url for pair in inputs.pairs for url in pair.urls}
    check_output(config.out, [*filter(None, places), *files.values()])


def _identity(config: IngestConfig, inputs: Inputs) -> dict[str, Any]:
    """Collect what decides the content: configuration, class names and colors, and the files of each image."""
    digest = hashlib.sha256(repr((inputs.classes, sorted(inputs.colors.items()))).encode())
    for pair in inputs.pairs:
        digest.update(repr(pair).encode())
    return {"configuration": config.identity(), "images": len(inputs.pairs), "files": digest.hexdigest()[:16]}


def _make_context(config: IngestConfig, inputs: Inputs, survey: Survey) -> IngestContext:
    predictions = _make_prediction_reader(config, inputs, survey)
    if config.label_offset and (inputs.values is not None or inputs.colors or inputs.pairs[0].names_classes):
        raise UsageError(
            f"label_offset is {config.label_offset}, but a preset, colors or segments define the classes of the labels",
            "Drop --label_offset",
        )
    classes, preset = survey.classes, PRESETS[config.preset] if config.preset else None
    labels = LabelReader(
        classes,
        value_map(classes, config.remap, survey.values, config.ignore, config.label_offset or 0),
        {color_code(color): k for color, k in inputs.colors.items()},
        use_palette=config.colors is not None or inputs.use_palette,
        class_channel=preset.class_channel if preset else None,
        lossy=config.allow_lossy,
        background=inputs.background,
    )
    writer_args = {
        "images": len(inputs.pairs),
        "height": survey.height,
        "width": survey.width,
        "classes": survey.class_names or classes,
        "class_colors": _class_colors(config, inputs, survey),
        "ignore": int(np.iinfo(label_dtype(classes)).max),
        "kind": config.kind,
        "dtype": predictions.dtype if predictions else "uint8",
        "predictions": predictions is not None,
        "label_dtype": label_dtype(classes),
        "scale": config.scale,
        "pictures": config.images is not None,
        "padded": survey.padded,
        "shard_bytes": base.SHARD_BYTES,
    }
    # workers may run in other directories than this process
    url = local_path(config.out) or config.out
    return IngestContext(url, writer_args, labels, predictions, config.resize, config.options())


def _class_colors(config: IngestConfig, inputs: Inputs, survey: Survey) -> tuple[Color, ...] | None:
    """Return the first color of each class in the labels, or those of the preset; None unless every class has one."""
    colors = first_colors(inputs.colors, survey.classes)
    if config.preset is not None and config.colors is None:
        preset = PRESETS[config.preset]
        # with a remap, the user's classes may be others
        colors = preset.class_colors if survey.class_names == preset.classes or config.remap is None else ()
    return colors if len(colors) == survey.classes else None


def _make_prediction_reader(config: IngestConfig, inputs: Inputs, survey: Survey) -> PredictionReader | None:
    """Make the reader of the predictions, None without any; UsageError if options do not fit them."""
    if survey.format is None:
        return None
    dtype = config.dtype or survey.dtype
    if dtype != survey.dtype and not survey.dtype.startswith("float"):
        raise UsageError(
            f"dtype is {dtype!r}, but predictions are stored as {survey.dtype}, and only floats are converted",
            "Drop --dtype",
        )
    if survey.format == "numbers" and config.scale is not None:
        raise UsageError(
            f"scale is {config.scale}, but predictions are class numbers, which have no scale", "Drop --scale"
        )
    scale = config.scale or (1 / np.iinfo(dtype).max if dtype.startswith("uint") else 1.0)
    if survey.format == "positive" and binary_dtype(dtype, scale) != dtype:
        raise UsageError(
            f"scale is {config.scale}, in steps of which {dtype} cannot hold the probability 1",
            "The background, 1 minus the positive class, could not be stored",
            "Write the predictions as floats",
        )
    return PredictionReader(
        survey.format,
        survey.classes,
        survey.order,
        dtype,
        config.kind,
        config.allow_lossy,
        config.scale,
    )


def _check_first_image(context: IngestContext, pair: InputPair, config: IngestConfig) -> None:
    """Read one image as all will be read; DataError if it cannot be written."""
    predictions, _, _ = context.read(pair)
    if context.predictions is None or predictions is None:
        return
    if config.kind == "probabilities" and predictions.dtype.kind == "f":
        low, high = float(predictions.min()), float(predictions.max())
        if low < -RANGE_TOLERANCE or high > 1 + RANGE_TOLERANCE:
            raise DataError(
                f"Predictions of {context.predictions.location(pair)} range from {low:.6g} to {high:.6g}",
                "They are not probabilities",
                "Pass --kind logits, or correct the predictions",
            )


def projected_memory(config: IngestConfig, survey: Survey, context: IngestContext) -> int:
    """Bound the memory of a worker, bytes."""
    # a shard as it is collected, encoded and written, and one image as it is read, with two copies if it is converted,
    # and one if it is padded
    args, pixels = context.writer_args, survey.height * survey.width
    values = survey.classes * pixels if args["predictions"] else 0
    prediction_bytes = values * np.dtype(args["dtype"]).itemsize
    shard_images = min(args["images"], max(1, args["shard_bytes"] // (prediction_bytes or 3 * pixels)))
    image_bytes = prediction_bytes + pixels * (np.dtype(args["label_dtype"]).itemsize + 3 * args["pictures"])
    converted = config.resize is not None or survey.dtype not in ("", args["dtype"])
    stored_bytes = values * max(np.dtype(survey.dtype or "uint8").itemsize, 4 * converted)
    one_image = stored_bytes * (3 if converted else 1) + prediction_bytes * survey.padded
    return int(INGEST_WORKER_BYTES + 3 * shard_images * image_bytes + one_image)


def _unit_memory(inputs: Inputs, options: Mapping[str, Any]) -> int:
    """Bound the memory for units of large files and tables that a worker decodes, bytes."""
    pieces = max((sum(piece.unit_bytes for piece in pair.pieces) for pair in inputs.pairs), default=0)
    return pieces + table_memory([url for pair in inputs.pairs for url in pair.urls], options)


def _make_shards(context: IngestContext, pairs: Sequence[InputPair]) -> list[IngestShard]:
    writer = context.writer()
    count, size = writer.shards, writer.images_per_shard
    return [IngestShard(i, count, tuple(pairs[i * size : (i + 1) * size])) for i in range(count)]
