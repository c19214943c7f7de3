"""Refer to prediction files instead of copying them: `masksift ingest --link`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from masksift.core.errors import DataError, UsageError
from masksift.core.limits import MAX_CONCURRENT_REQUESTS
from masksift.core.status import SCORED
from masksift.core.task_result import TaskResult
from masksift.prepare.ingest.config import IngestConfig
from masksift.prepare.ingest.discover import Inputs
from masksift.prepare.ingest.labels import InputPair
from masksift.prepare.ingest.npy import EXTENSIONS, NpyFile, StoredValues, locate_values, read_header
from masksift.prepare.ingest.predictions import drop_axes, plane_size
from masksift.prepare.ingest.raster import LOSSLESS_EXTENSIONS
from masksift.prepare.ingest.survey import Survey
from masksift.runtime.executors.base import split_items
from masksift.runtime.progress import ProgressReporter
from masksift.storage.files import find_files
from masksift.storage.sources.fingerprint import FileFacts
from masksift.storage.urls import local_path
from masksift.storage.zarr.links import LINKS_PER_TABLE, Link, place_of
from masksift.storage.zarr.writer import create_linked_array, write_links

LINKABLE_FORMATS = ("arrays", "array", "positive")
"""Formats of predictions that a run can read as they are, if they are in array files."""
_REMEDY = "Drop --link: `masksift ingest` converts them"


@dataclass(frozen=True)
class _Layout:
    """Layout of the values of an image, the same for all: shape in stored order, its axes, and dtype."""

    shape: tuple[int, ...]
    axes: tuple[str, ...]
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"{self.dtype.str} ({', '.join(self.axes)}) of {self.shape}"


def are_linkable(config: IngestConfig, options: Mapping[str, Any]) -> bool:
    """Return whether predictions are arrays that can be linked, judged by the first file.

    Planes of integers, which may be class numbers, are not: they are small, and `survey_inputs` tells by their values.
    """
    assert config.predictions is not None
    files = find_files(config.predictions, options, (*EXTENSIONS, *LOSSLESS_EXTENSIONS))
    if not all(name.lower().endswith(EXTENSIONS) for name in files.names):
        return False
    header = read_header(files.url(files.names[0]), options)
    shape = drop_axes(header.shape[1:] if config.uses_arrays else header.shape)
    return header.dtype.kind == "f" or (header.dtype.kind == "u" and plane_size(shape) is None)


def check_linkable(config: IngestConfig, survey: Survey) -> None:
    """Raise UsageError for predictions that a run cannot read as they are stored."""
    if survey.format not in LINKABLE_FORMATS:
        content = "an image per class" if survey.format == "planes" else "class numbers"
        raise UsageError(f"Predictions in {config.predictions} are {content}, which cannot be linked", _REMEDY)


def link_predictions(config: IngestConfig, inputs: Inputs, survey: Survey, progress: ProgressReporter) -> None:
    """Write the array `predictions` of a source whose chunks are the values of the prediction files.

    Raises:
        DataError: A file has another layout than the first one, or is damaged.
    """
    options, pairs = config.options(), inputs.pairs
    facts = FileFacts(options)
    first: _Layout | None = None
    with progress.stage("links", len(pairs)) as stage, ThreadPoolExecutor(MAX_CONCURRENT_REQUESTS) as pool:
        for number, some in enumerate(split_items(pairs, LINKS_PER_TABLE)):
            links: list[Link] = []
            for url, stored in _locate(some, inputs, options, pool):
                layout = _layout_of(stored.header, survey)
                if first is None:
                    first = layout
                    _create_array(config, layout, len(pairs), _places(inputs))
                elif layout != first:
                    raise DataError(
                        f"Predictions in {url} are {layout}, those of the first image are {first}",
                        "Linked predictions have one layout",
                        _REMEDY,
                    )
                found = facts.find(url)
                if found is None or found[0] < stored.offset + stored.size:
                    raise DataError(f"{url} ends before its array does", "Copy the file again")
                links.append(Link(url, stored.offset, stored.size, *found, stored.member))
            write_links(config.out, options, "predictions", number, links)
            stage.advance(TaskResult(number, len(some), 0, {SCORED: len(some)}))


def _locate(
    pairs: Sequence[InputPair], inputs: Inputs, options: Mapping[str, Any], pool: ThreadPoolExecutor
) -> Iterator[tuple[str, StoredValues]]:
    """Yield file and location of the values of each image."""
    if inputs.arrays is not None:
        array = inputs.arrays[1]
        one = NpyFile(array.url, array.shape[1:], array.dtype, array.offset, array.fortran_order)
        size = int(np.prod(one.shape, dtype=np.int64)) * one.dtype.itemsize
        for pair in pairs:
            yield array.url, StoredValues(one, array.offset + int(str(pair.label)) * size, size, None)
        return
    urls = [local_path(str(pair.predictions)) or str(pair.predictions) for pair in pairs]
    yield from zip(urls, pool.map(lambda url: locate_values(url, options), urls), strict=True)


def _places(inputs: Inputs) -> list[str]:
    """Return the buckets or hosts of the prediction files; none for local ones."""
    urls = (str(pair.predictions) for pair in inputs.pairs) if inputs.arrays is None else [inputs.arrays[1].url]
    return sorted({place for url in urls if (place := place_of(url)) is not None})


def _layout_of(header: NpyFile, survey: Survey) -> _Layout:
    shape, axes = drop_axes(header.shape), survey.order
    if survey.format == "positive":
        shape, axes = plane_size(shape) or shape, ("y", "x")
    if header.fortran_order:  # the same bytes are the array with its axes in reverse order
        shape, axes = shape[::-1], axes[::-1]
    return _Layout(shape, axes, header.dtype)


def _create_array(config: IngestConfig, layout: _Layout, images: int, places: Sequence[str]) -> None:
    attributes: dict[str, Any] = {"kind": config.kind}
    if layout.dtype.kind == "u":
        attributes["scale"] = config.scale or float(1 / np.iinfo(layout.dtype).max)
    create_linked_array(
        config.out,
        config.options(),
        "predictions",
        (images, *layout.shape),
        layout.dtype,
        ("image", *layout.axes),
        attributes,
        places=places,
    )
