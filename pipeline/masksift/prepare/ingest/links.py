"""Refer to prediction files instead of copying them: `masksift ingest --link`."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from masksift.core.errors import DataError, UsageError
from masksift.core.limits import MAX_CONCURRENT_REQUESTS
from masksift.core.status import SCORED
from masksift.core.task_result import TaskResult
from masksift.prepare.ingest.array_formats import (
    EXTENSIONS,
    ImageArrays,
    is_array_file,
    read_header,
    read_image_arrays,
)
from masksift.prepare.ingest.array_formats.npy import member_offset
from masksift.prepare.ingest.array_formats.stored_array import StoredArray, format_errors
from masksift.prepare.ingest.config import IngestConfig
from masksift.prepare.ingest.discover import Inputs
from masksift.prepare.ingest.labels import InputPair
from masksift.prepare.ingest.predictions import drop_axes, plane_size
from masksift.prepare.ingest.raster import LOSSLESS_EXTENSIONS
from masksift.prepare.ingest.survey import Survey
from masksift.runtime.executors.base import split_items
from masksift.runtime.progress import ProgressReporter
from masksift.storage.files import find_files, open_file
from masksift.storage.sources.fingerprint import FileFacts
from masksift.storage.urls import local_path
from masksift.storage.zarr.links import LINKS_PER_TABLE, Link, LinkedMember, place_of
from masksift.storage.zarr.writer import create_linked_array, write_links

LINKABLE_FORMATS = ("arrays", "positive")
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
    header = _first_header(config.predictions, options)
    if header is None or not _is_plain(header):
        return False
    of_all = is_array_file(config.labels) or len(drop_axes(header.shape)) > 3
    shape = drop_axes(header.shape[1:] if of_all and header.name == "" else header.shape)
    return header.dtype.kind == "f" or (header.dtype.kind == "u" and plane_size(shape) is None)


def _first_header(place: str, options: Mapping[str, Any]) -> StoredArray | None:
    """Return the array of the first file, or of the first image in one file; None if there are files of images."""
    if is_array_file(place):
        found = read_image_arrays(place, options, "predictions")
        return found.arrays[0] if isinstance(found, ImageArrays) else found
    files = find_files(place, options, (*EXTENSIONS, *LOSSLESS_EXTENSIONS))
    if not all(name.lower().endswith(EXTENSIONS) for name in files.names):
        return None
    return read_header(files.url(files.names[0]), options)


def _is_plain(array: StoredArray) -> bool:
    """Return whether the bytes in the file are the values of an array in C or Fortran order."""
    return not array.bfloat16 and not array.text_bytes and array.order is not None


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
            for url, stored in _locate(some, options, pool):
                layout = _layout_of(stored.header, survey)
                if first is None:
                    first = layout
                    places = sorted({place for pair in pairs if (place := place_of(_url(pair))) is not None})
                    _create_array(config, layout, len(pairs), places)
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
    pairs: Sequence[InputPair], options: Mapping[str, Any], pool: ThreadPoolExecutor
) -> Iterator[tuple[str, StoredValues]]:
    """Yield file and location of the values of each image."""
    files = [pair.predictions if isinstance(pair.predictions, StoredArray) else _url(pair) for pair in pairs]
    for values in pool.map(lambda file: locate_values(file, options), files):
        yield values.header.url, values


def _url(pair: InputPair) -> str:
    url = pair.predictions.url if isinstance(pair.predictions, StoredArray) else str(pair.predictions)
    return local_path(url) or url


@dataclass(frozen=True)
class StoredValues:
    """Location of the values of an array. ``offset``, ``size``: bytes of the file, of a whole archive member."""

    header: StoredArray
    offset: int
    size: int
    member: LinkedMember | None  # of an archive


def locate_values(file: str | StoredArray, options: Mapping[str, Any]) -> StoredValues:
    """Find the values of an array or of a file of one; DataError if they are not stored as a run can read them."""
    header = read_header(file, options) if isinstance(file, str) else file
    url, size = header.url, math.prod(header.shape) * header.dtype.itemsize
    if not _is_plain(header):
        raise DataError(
            f"{header.location} is stored as bfloat16, as text or with gaps",
            "A run cannot read it as it is",
            _REMEDY,
        )
    if header.member is None:
        return StoredValues(header, header.offset, size, None)
    with format_errors(url), open_file(url, options) as opened, zipfile.ZipFile(opened) as archive:
        info = archive.getinfo(header.member)
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("it is encrypted, or compressed with another method than deflate")
        if info.file_size != header.offset + size:
            raise ValueError(f"the array of shape {header.shape} has {info.file_size - header.offset:,} bytes")
        deflated = info.compress_type == zipfile.ZIP_DEFLATED
        member = LinkedMember(info.file_size, header.offset, info.CRC, deflated)
        return StoredValues(header, member_offset(opened, info), info.compress_size, member)


def _layout_of(header: StoredArray, survey: Survey) -> _Layout:
    shape, axes = drop_axes(header.shape), survey.order
    if survey.format == "positive":
        shape, axes = plane_size(shape) or shape, ("y", "x")
    if header.order == "F":  # the same bytes are the array with its axes in reverse order
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
