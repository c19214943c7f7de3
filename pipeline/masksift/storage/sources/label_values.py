"""Resolve which class a stored label value means: ignore values, remap, offset, and masks of 0 and 255."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import accumulate
from math import prod
from typing import Any, NamedTuple

import numpy as np

from masksift.core.errors import DataError
from masksift.core.limits import MIB
from masksift.core.specs import BINARY_MASK, ArraySpec, Packing, SourceSpec
from masksift.storage.sources.overrides import MAX_LABEL_OFFSET, Overrides, check_remap_or_offset
from masksift.storage.sources.packing import describe_packing
from masksift.storage.zarr.per_image import image_sizes
from masksift.storage.zarr.reader import ArrayReader
from masksift.storage.zarr.validation import ChunkDecodeError, MissingChunkError

SAMPLE_CHUNKS, SAMPLE_BYTES = 64, 64 * MIB
"""Label chunks of a data set that decide whether its labels are masks of 0 and 255; at least one chunk is read."""
MASK_SAMPLE = f"up to {SAMPLE_CHUNKS} label chunks and {SAMPLE_BYTES // MIB} MiB"
MAX_CONCURRENT_CHUNKS = 16
UNPACKED_TOLERANCE = 1e-6
"""Largest distance of an unpacked label from a class number: scale factors such as 1/255 are rounded."""


class LabelValues(NamedTuple):
    """Stored label values: those that are ignored, pairs of value and class, and without pairs the value of class 0."""

    ignore: tuple[int, ...]
    remap: tuple[tuple[int, int], ...]
    offset: int


def resolve_label_values(
    labels: ArraySpec,
    overrides: Overrides,
    attributes: Mapping[str, Any],
    classes: int,
    packing: Packing | None = None,
) -> LabelValues:
    """Resolve the meaning of stored label values.

    Args:
        labels: Label array.
        overrides: Settings of the configuration. `ignore` replaces the attribute and the missing values of the packing,
            `remap` an offset and the scale of the packing.
        attributes: Attributes that apply to the labels.
        classes: Number of classes.
        packing: Packing of the labels.

    Returns:
        The label values. With an offset N, the values 0 to N - 1 are ignored.

    Raises:
        DataError: An attribute is invalid, or a remap or the packing leads to no class.
        UsageError: Both `remap` and `label_offset` are set.
    """
    url = labels.url
    ignore = _ignore_values(url, overrides, attributes)
    if packing is not None and overrides.ignore is None:
        ignore = tuple(sorted({*ignore, *map(int, packing.missing)}))
    check_remap_or_offset(overrides.remap, overrides.label_offset)
    if overrides.remap:
        return LabelValues(ignore, _check_remap(url, overrides.remap, classes, ignore), 0)
    offset = attributes.get("label_offset", 0) if overrides.label_offset is None else overrides.label_offset
    if not isinstance(offset, int) or isinstance(offset, bool) or not 0 <= offset <= MAX_LABEL_OFFSET:
        raise DataError(
            f"label_offset of {url} is {json.dumps(offset)}, but must be an integer from 0 to {MAX_LABEL_OFFSET:,}",
            "Pass the stored label value of class 0: --label_offset 1",
        )
    ignore = tuple(sorted({*ignore, *range(offset)}))
    if packing is None or not packing.is_linear:
        return LabelValues(ignore, (), offset)
    return _unpacked(labels, packing, LabelValues(ignore, (), offset), classes)


def _unpacked(labels: ArraySpec, packing: Packing, values: LabelValues, classes: int) -> LabelValues:
    """Return the stored values whose unpacked ones are the class numbers plus the offset."""
    factor, shift = packing.scale_factor or 1.0, packing.add_offset
    if factor == 1 and shift == int(shift):
        return values._replace(offset=values.offset - int(shift))
    limits = np.iinfo(labels.dtype)
    stored = [(round((k + values.offset - shift) / factor), k) for k in range(classes)]
    pairs = tuple(
        (value, k)
        for value, k in stored
        if abs(value * factor + shift - k - values.offset) <= UNPACKED_TOLERANCE
        and limits.min <= value <= limits.max
        and value not in values.ignore
    )
    if not pairs or any(k in values.ignore for _, k in pairs):
        raise DataError(
            f"Labels {labels.url} are packed with {describe_packing(packing)}",
            "This does not give class numbers" if not pairs else "Some of its class numbers are stored ignore values",
            "Write class numbers, or pass the class of every stored value, such as --remap 0:0,200:1",
        )
    return LabelValues(values.ignore, pairs, 0)


def _ignore_values(url: str, overrides: Overrides, attributes: Mapping[str, Any]) -> tuple[int, ...]:
    value = overrides.ignore if overrides.ignore is not None else attributes.get("ignore", ())
    values: Sequence[Any] = value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) and float(v).is_integer() for v in values):
        raise DataError(
            f"ignore of {url} is {json.dumps(value)}, but must be integers",
            "Pass the label values that mean no label, for example --ignore 255",
        )
    return tuple(sorted({int(entry) for entry in values}))


def _check_remap(
    url: str, remap: tuple[tuple[int, int], ...], classes: int, ignore: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    for value, target in remap:
        if not 0 <= target < classes and target not in ignore:
            raise DataError(
                f"remap maps label {value} to {target}, but {url} has classes 0 to {classes - 1} and ignore values "
                f"{list(ignore)}",
                "Map it to a class or an ignore value",
            )
    return remap


def recognize_binary_masks(
    sources: Sequence[SourceSpec], overrides: Overrides, options: Mapping[str, Any]
) -> tuple[SourceSpec, ...]:
    """Read labels as masks of two classes where exactly the values 0 and 255 occur.

    The sources of a data set are decided together, by a sample of at most `SAMPLE_CHUNKS` label chunks of at most
    `SAMPLE_BYTES`, spread evenly over all chunks. It depends on the stored arrays only. A source takes part if it has
    two classes, does not ignore 255, and has neither a remap nor an offset.

    Args:
        sources: Sources of the data set.
        overrides: Settings of the configuration.
        options: Storage options of S3.

    Returns:
        The sources, those of masks with `BINARY_MASK` as remap.
    """
    candidates = [spec for spec in sources if _may_be_binary_mask(spec)] if overrides.label_offset is None else []
    if not candidates or _sampled_values(candidates, options) != {0, 255}:
        return tuple(sources)
    masks = {spec.index for spec in candidates}
    return tuple(replace(spec, remap=BINARY_MASK) if spec.index in masks else spec for spec in sources)


def _may_be_binary_mask(spec: SourceSpec) -> bool:
    known = spec.remap or spec.label_offset or 255 in spec.ignore or spec.stored_evidence
    return spec.classes == 2 and not known and spec.labels.dtype not in ("bool", "int8")


def _sampled_values(sources: Sequence[SourceSpec], options: Mapping[str, Any]) -> set[int]:
    """Return 0 and 255 if the sampled labels contain them, and -1 if they contain any other value."""
    grids = [
        [-(-extent // size) for extent, size in zip(s.labels.shape, s.labels.chunks, strict=True)] for s in sources
    ]
    ends = list(accumulate(map(prod, grids)))
    chunk_bytes = max(prod(spec.labels.chunks) * spec.labels.itemsize for spec in sources)
    count = max(1, min(SAMPLE_CHUNKS, ends[-1], SAMPLE_BYTES // chunk_bytes))

    def read(number: int) -> set[int]:
        position = number * ends[-1] // count
        source = int(np.searchsorted(ends, position, side="right"))
        spec, first = sources[source], ends[source] - prod(grids[source])
        index = np.unravel_index(position - first, grids[source])
        return _chunk_values(spec, tuple(map(int, index)), options)

    with ThreadPoolExecutor(MAX_CONCURRENT_CHUNKS, thread_name_prefix="label-sample") as pool:
        return set().union(*pool.map(read, range(count)))


def _chunk_values(spec: SourceSpec, index: tuple[int, ...], options: Mapping[str, Any]) -> set[int]:
    """Return 0, 255 and -1 for any other value as far as the unpadded part of a chunk contains them."""
    images, rows, columns = (
        slice(number * size, min((number + 1) * size, extent))
        for number, size, extent in zip(index, spec.labels.chunks, spec.labels.shape, strict=True)
    )
    reader = ArrayReader(spec.labels, options, absent_is_missing=spec.absent_labels_are_missing)
    try:
        labels = reader.read(images, rows, columns)
    except (MissingChunkError, ChunkDecodeError):  # the run reports it
        return set()
    found: set[int] = set()
    for image, (height, width) in zip(
        labels, image_sizes(spec, images.start, images.stop, options).tolist(), strict=True
    ):
        image = image[: max(0, height - rows.start), : max(0, width - columns.start)]
        zero, full = int(np.count_nonzero(image == 0)), int(np.count_nonzero(image == 255))
        found |= {value for value, pixels in ((0, zero), (255, full), (-1, image.size - zero - full)) if pixels}
    return found
