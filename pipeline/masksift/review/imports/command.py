"""Write the labels of sources with the changes that reviewers made in a file; see `review.label_edits`."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from masksift.annotations.shapes import ShapeLabels
from masksift.core import signals
from masksift.core.errors import DataError
from masksift.core.versions import package_versions
from masksift.engine.completed_run import CompletedRun, open_completed_run
from masksift.review.decisions import ImageKey
from masksift.review.imports import file_reader
from masksift.review.imports.config import ImportConfig
from masksift.review.imports.edits import EDITED, UNCHANGED, ListedRegion, PlaneEdit, ShapesEdit
from masksift.review.imports.matching import find_images
from masksift.review.imports.reviewed import PlaneFile, ReviewedImage
from masksift.review.imports.summary import format_text
from masksift.review.label_edits import EditResult, LabelEdit, labels_left, summarize_source, write_edited_labels
from masksift.runtime.progress import ProgressReporter
from masksift.storage.locations import check_output, source_urls
from masksift.storage.tables.lookup import filter_images
from masksift.storage.zarr.origin import LabelEncoding, open_origin

_REGION_COLUMNS = ("rank", "source", "index", "suggested", "rle")


def import_edits(form: str, config: ImportConfig, progress: ProgressReporter) -> str:
    """Write the labels with the changes of a file, and return the text to print; the same command continues."""
    also = [url for url in (config.file, config.out, config.exported) if url]
    run = open_completed_run(config.run, config.storage, also)
    check_output(config.out, [*source_urls(run.tasks.sources), config.file, *filter(None, [config.exported])])
    images = file_reader(form)(config.file, run, run.context.options)
    keys = find_images(images, run, config.exported, run.context.options)
    record = write_edited_labels(
        run,
        _make_edits(images, keys, run, config),
        {"import": _digest(images, keys), "accept_unchanged": config.accept_unchanged},
        config.out,
        config.executor,
        progress,
        "import",
        partial(_make_record, run, form, images, keys),
    )
    return format_text(record, run.record["configuration"], config)


def _digest(images: Sequence[ReviewedImage], keys: Sequence[ImageKey]) -> str:
    """Hash the images of the file, which with the run decide the labels."""
    digest = hashlib.sha256()
    for entry in sorted(f"{key} {image.labels!r} {image.submitted}" for image, key in zip(images, keys, strict=True)):
        digest.update(entry.encode())
    return digest.hexdigest()


def _make_edits(
    images: Sequence[ReviewedImage], keys: Sequence[ImageKey], run: CompletedRun, config: ImportConfig
) -> dict[int, list[LabelEdit]]:
    """Make the edits of each source, by its number, ordered by image."""
    regions = _listed_regions([key for image, key in zip(images, keys, strict=True) if _has_shapes(image)], run)
    sizes = _image_sizes(keys, run)
    encodings = _encodings(images, keys, run)
    edits: dict[int, list[LabelEdit]] = {}
    for image, key in zip(images, keys, strict=True):
        size = sizes[key]
        labels, own = image.labels, edits.setdefault(run.source_index[key[0]], [])
        if isinstance(labels, PlaneFile):
            own.append(PlaneEdit(key[1], size, labels, encodings[key[0]], run.context.options))
            continue
        if labels.height and (labels.height, labels.width) != size:
            raise DataError(
                f"{image.name} in {config.file} does not have the {size[0]} x {size[1]} pixels of image {key[1]} of "
                f"{key[0]}",
                "Annotate the exported images at their full size",
            )
        accept = config.accept_unchanged or image.submitted
        name = f"{image.name} in {config.file}"
        own.append(ShapesEdit(key[1], size, name, labels, tuple(regions.get(key, ())), accept))
    return {number: sorted(edits[number], key=lambda edit: edit.index) for number in sorted(edits)}


def _encodings(
    images: Sequence[ReviewedImage], keys: Sequence[ImageKey], run: CompletedRun
) -> dict[str, LabelEncoding | None]:
    """Return the classes in the label files of each source with an image that is a plane; None without such files."""
    names = {key[0] for image, key in zip(images, keys, strict=True) if isinstance(image.labels, PlaneFile)}
    sources = {name: run.tasks.sources[run.source_index[name]].url for name in sorted(names)}
    origins = {name: open_origin(url, run.context.options) for name, url in sources.items()}
    return {name: None if origin is None else origin.encoding for name, origin in origins.items()}


def _has_shapes(image: ReviewedImage) -> bool:
    return isinstance(image.labels, ShapeLabels) and bool(image.labels.shapes)


def _listed_regions(keys: Sequence[ImageKey], run: CompletedRun) -> dict[ImageKey, list[ListedRegion]]:
    """Read the regions of images."""
    regions: dict[ImageKey, list[ListedRegion]] = {}
    if not keys:
        return regions
    for table in filter_images(run.region_tables(_REGION_COLUMNS), keys):
        signals.raise_if_interrupted()
        for row in table.to_pylist():
            region = ListedRegion(row["rank"], row["suggested"], np.array(row["rle"], np.int32))
            regions.setdefault((row["source"], row["index"]), []).append(region)
    return regions


def _image_sizes(keys: Sequence[ImageKey], run: CompletedRun) -> dict[ImageKey, tuple[int, int]]:
    """Return rows and columns of images, without padding."""
    rows = run.image_rows(list(keys), ["height", "width"])
    return {key: (row["height"], row["width"]) for key, row in zip(keys, rows, strict=True)}


def _make_record(
    run: CompletedRun,
    form: str,
    images: Sequence[ReviewedImage],
    keys: Sequence[ImageKey],
    results: Sequence[EditResult],
    array: str,
) -> dict[str, Any]:
    numbers = sorted({run.source_index[source] for source, _ in keys})
    counts = sum((result.counts for result in results), Counter[str]())
    return {
        "format": 1,
        "run": run.record["fingerprint"],
        "import": {
            "format": form,
            "images": len(images),
            "submitted": all(image.submitted for image in images),
            EDITED: counts[EDITED],
            UNCHANGED: counts[UNCHANGED],
        },
        "labels": array,
        "sources": [summarize_source(run.tasks.sources[number], results, "images") for number in numbers],
        "left": labels_left(run, numbers, array),
        "versions": package_versions(),
    }
