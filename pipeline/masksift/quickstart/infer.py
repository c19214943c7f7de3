"""Infer classes and ignored values from the content of label files.

Everything that is inferred becomes a flag of `masksift ingest`, with a sentence that says so.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import product
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError
from masksift.prepare.ingest.array_formats import EXTENSIONS, ImageArrays, read_image_arrays, read_label
from masksift.prepare.ingest.binary import distinct_values
from masksift.prepare.ingest.georaster import RasterWindow, read_raster_file
from masksift.prepare.ingest.labels import IGNORED, Color
from masksift.prepare.ingest.presets import PRESETS, presets_of_colors
from masksift.prepare.ingest.raster import needs_rasterio, read_raster
from masksift.prepare.ingest.volumes import VolumeSlice, is_volume, read_volume_file
from masksift.quickstart.config import Flags
from masksift.runtime.executors.base import split_items
from masksift.runtime.progress import ProgressReporter
from masksift.storage.files import Files
from masksift.storage.sources.validate import BINARY_CLASSES

MAX_COLORS = 256
MAX_CLASSES = 1024
_FILES_IN_MEMORY = 4
_WINDOW = 2048
"""Rows and columns of a raster that are read at a time."""
_NO_CLASS = (255, 65535)
"""Values that commonly mark pixels without a class: the greatest ones of 8 and 16 bits."""


@dataclass(frozen=True)
class LabelContent:
    """Everything that occurs in the label files: values of one channel, or colors."""

    values: frozenset[int]
    colors: frozenset[Color]


@dataclass(frozen=True)
class Inference:
    """Inferred flags of `masksift ingest`, a sentence for each, and the color table to write, if any."""

    flags: Flags = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    color_table: str | None = None


def read_label_content(files: Files, options: Mapping[str, Any], progress: ProgressReporter) -> LabelContent:
    """Read all label files, a few at a time. Raises DataError if they are no labels of one kind."""
    values: set[int] = set()
    colors: set[Color] = set()
    with progress.stage("label values"), ThreadPoolExecutor(_FILES_IN_MEMORY) as pool:
        for names in split_items(files.names, _FILES_IN_MEMORY):
            urls = [files.url(name) for name in names]
            for url, content in zip(urls, pool.map(lambda url: _read(url, options), urls), strict=True):
                values |= content.values
                colors |= content.colors
                if len(colors) > MAX_COLORS:
                    raise DataError(
                        f"The labels up to {url} hold more than {MAX_COLORS} colors",
                        "They are photographs, or were compressed with loss",
                        "Pass the directory of the masks to --labels",
                    )
                if values and colors:
                    raise DataError(
                        f"{url} and the labels before it are color images and class numbers",
                        "Pass a directory or a glob of one kind to --labels",
                    )
    return LabelContent(frozenset(values), frozenset(colors))


def _read(url: str, options: Mapping[str, Any]) -> LabelContent:
    if is_volume(url):
        return _read_volume(url, options)
    if url.lower().endswith((".tif", ".tiff")) and find_spec("rasterio") and needs_rasterio(url, options):
        return _read_large(url, options)
    if not url.lower().endswith(EXTENSIONS):
        plane = read_raster(url, options, gray=True)
        if plane.ndim == 3:
            return LabelContent(frozenset(), frozenset(_distinct_colors(plane)))
        return LabelContent(frozenset(distinct_values(plane)), frozenset())
    found = read_image_arrays(url, options, "labels")
    if isinstance(found, ImageArrays):
        arrays = iter(found.arrays)
    else:
        is_of_all = len(found.shape) == 3 and 1 not in found.shape
        arrays = found.images() if is_of_all else iter([found])
    values = (distinct_values(read_label(array, options)) for array in arrays)
    return LabelContent(frozenset().union(*values), frozenset())


def _read_large(url: str, options: Mapping[str, Any]) -> LabelContent:
    """Read a raster window by window; its nodata value is no class."""
    file = read_raster_file(url, options, uuid4().hex)
    values: set[int] = set()
    colors: set[Color] = set()
    for row, column in product(range(0, file.height, _WINDOW), range(0, file.width, _WINDOW)):
        size = min(_WINDOW, file.height - row), min(_WINDOW, file.width - column)
        plane = RasterWindow(file, row, column, *size).read_labels(options, gray=True, use_palette=False)
        values |= distinct_values(plane) if plane.ndim == 2 else set()
        colors |= _distinct_colors(plane) if plane.ndim == 3 else set()
    return LabelContent(frozenset(values - {file.nodata_integer}), frozenset(colors))


def _read_volume(url: str, options: Mapping[str, Any]) -> LabelContent:
    file = read_volume_file(url, options, uuid4().hex)
    slices = (VolumeSlice(file, 2, index) for index in range(file.size[2]))
    planes = (piece.read_labels(options, gray=True, use_palette=False) for piece in slices)
    return LabelContent(frozenset().union(*map(distinct_values, planes)), frozenset())


def _distinct_colors(image: NDArray[Any]) -> set[Color]:
    if image.dtype == np.uint8:  # much faster than sorting
        codes = image[..., 0].astype(np.uint32) << 16 | image[..., 1].astype(np.uint32) << 8 | image[..., 2]
        present = np.zeros(1 << 24, bool)
        present[codes.reshape(-1)] = True
        found = np.flatnonzero(present)
        return set(zip((found >> 16).tolist(), (found >> 8 & 255).tolist(), (found & 255).tolist(), strict=True))
    rows = np.unique(image.reshape(-1, image.shape[-1]), axis=0)
    return {(row[0], row[1], row[2]) for row in rows.tolist()}


def infer_labels(content: LabelContent, *, given: Flags, has_predictions: bool, table: str) -> Inference:
    """Infer what the user did not say.

    Args:
        content: Content of all label files.
        given: Flags that are set: ``classes``, ``ignore`` and ``label_offset``.
        has_predictions: Whether there are predictions, which define the number and order of the classes.
        table: Path of the color table, should there be one.

    Returns:
        The flags to add.

    Raises:
        DataError: The content leaves the classes open.
    """
    if content.colors:
        return _infer_colors(content.colors, given, has_predictions, table)
    return _infer_values(content.values, given, has_predictions)


def _infer_values(values: frozenset[int], given: Flags, has_predictions: bool) -> Inference:
    flags: Flags = {}
    notes: list[str] = []
    ignored = {*given.get("ignore", ())}
    if "ignore" not in given and not values <= {0, 255}:
        ignored = {max(values)} & {*_NO_CLASS}
        if ignored:
            flags["ignore"] = tuple(ignored)
            notes.append(f"label value {max(values)} is ignored (--ignore)")
    if "classes" in given or has_predictions:
        return Inference(flags, tuple(notes))
    offset = given.get("label_offset")
    numbers = sorted(values - ignored) if offset is None else list(range(offset, max(values - ignored, default=-1) + 1))
    if len(numbers) < 2:
        listed = ", ".join(map(str, sorted(values)))
        raise DataError(
            f"The labels hold only the values {listed}",
            "There are not two classes to tell apart",
            "Pass the directory of the masks to --labels",
        )
    if len(numbers) > MAX_CLASSES:
        raise DataError(
            f"The labels hold {len(numbers):,} different values from {numbers[0]} to {numbers[-1]}",
            "They are ids of objects rather than classes",
            "Pass masks of class numbers to --labels",
        )
    if numbers == [0, 255]:
        names: Sequence[str] = BINARY_CLASSES
        notes.append(f"labels are masks of 0 ({names[0]}) and 255 ({names[1]})")
    else:
        names = [f"class {number}" for number in numbers]
        notes.append(f"{len(names)} classes, the label values {format_ranges(numbers)} (--classes names them)")
        if offset is None and numbers != list(range(len(numbers))):
            flags["remap"] = {number: k for k, number in enumerate(numbers)}
    flags["classes"] = tuple(names)
    return Inference(flags, tuple(notes))


def _infer_colors(colors: frozenset[Color], given: Flags, has_predictions: bool, table: str) -> Inference:
    groups = presets_of_colors(colors)
    presets = [" or ".join(names) for names in groups]
    if len(groups) == 1:
        preset = PRESETS[groups[0][0]]
        names = [*preset.classes]
        rows = [(names[k] if k != IGNORED else "ignore", *color) for color, k in preset.colors.items()]
        note = f"the colors of the labels are those of {presets[0]}"
    elif has_predictions or "classes" in given:
        raise DataError(
            f"The labels hold {len(colors)} colors of {' and '.join(presets) or 'no known data set'}",
            "Which class each of them means is unknown",
            "Pass --preset, or --colors FILE with rows name,r,g,b in the order of the classes",
        )
    else:
        rows = [("#{:02x}{:02x}{:02x}".format(*color), *color) for color in sorted(colors)]
        note = f"each of the {len(rows)} colors of the labels is a class"
        note += f", because {' and '.join(presets)} have them with different classes" if presets else ""
    if len(rows) < 2:
        raise DataError(
            f"The labels hold only the color {tuple(rows[0][1:])}",
            "There are not two classes to tell apart",
            "Pass the directory of the masks to --labels",
        )
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("name", "r", "g", "b"), *rows])
    return Inference({"colors": table}, (f"{note} ({table} names them)",), text.getvalue())


def format_ranges(numbers: Sequence[int]) -> str:
    """Write sorted integers in short, such as 0 to 10, 12."""
    parts: list[str] = []
    first = 0
    for i in range(1, len(numbers) + 1):
        if i == len(numbers) or numbers[i] != numbers[i - 1] + 1:
            run = numbers[first:i]
            parts += [f"{run[0]} to {run[-1]}"] if len(run) > 2 else map(str, run)
            first = i
    return ", ".join(parts)
