"""`masksift quickstart`: infer what the files hold, ingest, predict if there are no predictions, and run.

Each step is the configuration of another command, which is printed. It resumes or returns at once if it is complete, as
that command does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from masksift.config.command_line import command_line
from masksift.config.load import build_config
from masksift.config.run import RunConfig
from masksift.core.errors import UsageError
from masksift.engine.summary import format_run_summary
from masksift.prepare.ingest.command import ingest
from masksift.prepare.ingest.config import IngestConfig
from masksift.prepare.ingest.discover import find_label_files, has_annotations
from masksift.prepare.ingest.links import are_linkable
from masksift.prepare.ingest.nnunet import find_data_set
from masksift.prepare.ingest.presets import preset_of_file_names
from masksift.prepare.ingest.table_inputs import read_class_names
from masksift.prepare.predict.command import predict
from masksift.prepare.predict.config import PredictConfig
from masksift.prepare.predict.folds import groups_from_ids
from masksift.quickstart.config import QuickstartConfig
from masksift.quickstart.infer import Inference, infer_labels, read_label_content
from masksift.runner import run
from masksift.runtime.progress import ProgressReporter
from masksift.storage.files import shared_listings
from masksift.storage.locations import check_output
from masksift.storage.objects import ObjectDirectory
from masksift.storage.urls import join

SOURCE, PREDICTIONS, RESULTS, COLORS = "source.zarr", "predictions.zarr", "results", "colors.csv"
_FOLDS = 5
_RASTER_PATTERN = "^(.*)/"
"""Name of the raster or volume in the id of a window or slice."""
_LABEL_KEYS = ("preset", "colors")
"""Flags of which each defines the classes."""


@dataclass(frozen=True)
class QuickstartResult:
    """Text to print, and the exit code: 3 if files have no partner or too many images are quarantined."""

    text: str
    exit_code: int


def quickstart(config: QuickstartConfig, progress: ProgressReporter) -> QuickstartResult:
    """Make the report of a folder of labels with images or predictions, or resume an interrupted quickstart."""
    options = config.options()
    places = (config.labels, config.images, config.predictions, config.colors)
    check_output(config.out, [place for place in places if place])
    with shared_listings():
        inference = _infer(config, options, progress)
    for note in inference.notes:
        progress.message(f"inferred: {note}")
    shared, predicts = config.shared_flags(), config.predictions is None
    steps = 2 + predicts

    files = {key: value for key in ("labels", "images", "predictions") if (value := getattr(config, key))}
    source = join(config.out, SOURCE)
    flags = {**files, **config.label_flags(), **inference.flags}
    if not predicts and are_linkable(build_config(IngestConfig, {}, {**flags, "out": source}), options):
        flags["link"] = True  # no second copy of the predictions
    flags |= {"out": source, **shared}
    progress.message(f"step 1 of {steps}: {command_line('ingest', flags)}")
    ingested = ingest(build_config(IngestConfig, {}, flags), progress)
    progress.message(ingested.text)

    if predicts:
        predicted = join(config.out, PREDICTIONS)
        flags = {"source": source, "out": predicted, "trainer": config.model or config.trainer, **shared}
        groups, pattern = ingested.image_ids, config.group_pattern
        if pattern is None and ingested.is_cut and len({*groups_from_ids(groups, _RASTER_PATTERN)}) > 1:
            pattern = _RASTER_PATTERN
            progress.message(f"inferred: the parts of a raster or volume stay together (--group_pattern {pattern!r})")
        if pattern is not None:
            flags["group_pattern"] = pattern
            groups = tuple(groups_from_ids(groups, pattern))
        if config.model is None and len({*groups}) < _FOLDS:
            flags["folds"] = len({*groups})
        progress.message(f"step 2 of {steps}: {command_line('predict', flags)}")
        progress.message(predict(build_config(PredictConfig, {}, flags), progress))
        source = predicted

    out = join(config.out, RESULTS)
    flags = {"out": out, **shared}
    progress.message(f"step {steps} of {steps}: {command_line('run', flags, [source])}")
    result = run(build_config(RunConfig, {"sources": [source]}, flags), progress)
    text = format_run_summary(result.record, out, options=options)
    return QuickstartResult(text, max(ingested.exit_code, result.exit_code))


def _infer(config: QuickstartConfig, options: Mapping[str, Any], progress: ProgressReporter) -> Inference:
    given = config.label_flags()
    if any(key in given for key in _LABEL_KEYS) or has_annotations(config.labels, options, config.images):
        return Inference()
    described = {"classes", "label_offset"} & given.keys()
    if not described and (found := find_data_set(config.labels, options)) is not None:
        ignore = {"ignore": found.ignore} if found.ignore and "ignore" not in given else {}
        return Inference({"classes": found.classes, **ignore}, (f"classes and ignored value are those of {found.url}",))
    files = find_label_files(config.labels, config.predictions, options)
    if preset := preset_of_file_names(files.names):
        return Inference({"preset": preset}, (f"the names of the label files are those of {preset} (--preset)",))
    names = None if described else read_class_names(files.root, options)
    if names is not None:
        given = {**given, "classes": names}
    content = read_label_content(files, options, progress)
    table = join(config.out, COLORS)
    inference = infer_labels(content, given=given, has_predictions=config.predictions is not None, table=table)
    if inference.color_table is not None:
        _write_table(config, inference.color_table, options)
    if names is None:
        return inference
    note = f"{len(names)} classes are those of id2label.json (--classes)"
    return replace(inference, flags={**inference.flags, "classes": names}, notes=(*inference.notes, note))


def _write_table(config: QuickstartConfig, table: str, options: Mapping[str, Any]) -> None:
    directory = ObjectDirectory(config.out, options)
    stored = directory.read(COLORS)
    if stored is not None and stored != table.encode():
        raise UsageError(
            f"{join(config.out, COLORS)} is not the table that these labels give",
            "It was edited, or the labels have changed",
            f"Pass --colors {join(config.out, COLORS)} and another --out to use it, or remove it",
        )
    directory.write(COLORS, table.encode())
