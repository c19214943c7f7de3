"""What one worker does with one block of images: copy their labels, with the suggested class where it was accepted."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError
from masksift.core.specs import SourceSpec
from masksift.core.status import SCORED, ImageStatus
from masksift.core.task_result import TaskResult
from masksift.engine.label_io import BASE_MEMORY_BYTES, label_values, read_stored_labels
from masksift.review.corrections.accepted_regions import AcceptedRegion
from masksift.scoring.kernels.condense import class_plane
from masksift.storage.manifest import Manifest
from masksift.storage.objects import ObjectDirectory
from masksift.storage.sources.open import labels_url
from masksift.storage.zarr.label_copy import LabelCopy
from masksift.storage.zarr.reader import ArrayReader

STAGE = "correct"
BYTES_PER_PIXEL = 48
"""Bytes a pixel of the largest region there may be, the whole image: where its pixels are, and what they hold."""

ClassPair = tuple[int | None, int]
"""The class that was given (None: none was) and the suggested one."""


@dataclass(frozen=True)
class CorrectionsContext:
    """What every task knows. ``array``: the labels' name."""

    out: str
    fingerprint: str
    array: str
    options: Mapping[str, Any] = field(repr=False)

    def copy(self, spec: SourceSpec) -> LabelCopy:
        """The corrected labels of a source."""
        return LabelCopy(labels_url(self.out, spec.name), spec, self.array, self.options)


@dataclass(frozen=True)
class CorrectionTask:
    """Images [start, stop) of a source, whole units of what lies together; ``regions``: the accepted ones of them."""

    number: int
    spec: SourceSpec
    start: int
    stop: int
    regions: tuple[AcceptedRegion, ...]


@dataclass
class CorrectionResult:
    """What a task answers. ``images``: how many were changed; ``pairs``: by classes how many regions, and pixels."""

    task_result: TaskResult
    source: int
    images: int
    pairs: dict[ClassPair, tuple[int, int]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self) | {"pairs": [[*pair, *counts] for pair, counts in self.pairs.items()]}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> CorrectionResult:
        """What `as_json` wrote, done before."""
        pairs = {(given, suggested): (regions, pixels) for given, suggested, regions, pixels in tree["pairs"]}
        return cls(TaskResult(**{**tree["task_result"], "reused": True}), tree["source"], tree["images"], pairs)


def projected_memory(job: CorrectionsContext, sources: Iterable[SourceSpec]) -> int:
    """Bytes that a worker needs at most: images that lie in one object as they are read, copied and packed, and beside
    them the pixels of one region."""
    per_source = (
        job.copy(spec).images_per_object * spec.pixels * 3 * spec.labels.itemsize + BYTES_PER_PIXEL * spec.pixels
        for spec in sources
    )
    return BASE_MEMORY_BYTES + max(per_source, default=0)


def correct_block(job: CorrectionsContext, piece: CorrectionTask) -> CorrectionResult | DataError:
    """Write the labels of a block that is not there yet. What says that it is there is put last; what is wrong with
    the data is answered and not raised: another attempt would find it again."""
    manifest = Manifest(ObjectDirectory(job.out, job.options), job.fingerprint)
    if (product := manifest.load(STAGE, piece.number)) is not None:
        return CorrectionResult.from_json(json.loads(product["done"]))
    try:
        done = _written(job, piece)
    except DataError as e:
        return e
    manifest.save(STAGE, piece.number, {"done": json.dumps(done.as_json()).encode()})
    return done


def _written(job: CorrectionsContext, piece: CorrectionTask) -> CorrectionResult:
    begun, spec, copy = time.perf_counter(), piece.spec, job.copy(piece.spec)
    reader = ArrayReader(spec.labels, job.options, absent_is_missing=spec.absent_labels_are_missing)
    values = label_values(spec)
    pairs: dict[ClassPair, tuple[int, int]] = {}
    for start in range(piece.start, piece.stop, copy.images_per_object):
        stop = min(piece.stop, start + copy.images_per_object)
        labels, lost = read_stored_labels(spec, reader, start, stop)
        for region in (one for one in piece.regions if start <= one.index < stop):
            pixels = _pixels(spec, region, labels[region.index - start], lost.get(region.index))
            labels[region.index - start][pixels] = values[region.suggested]
            pair = (region.given, region.suggested)
            regions, area = pairs.get(pair, (0, 0))
            pairs[pair] = regions + 1, area + len(pixels[0])
        copy.write(start, labels, [index - start for index in lost])
    images = piece.stop - piece.start
    used: dict[str, Any] = dict(reader.io_counters + copy.io_counters)
    result = TaskResult(
        piece.number, images, images * spec.pixels, {SCORED: images}, **used, seconds=time.perf_counter() - begun
    )
    return CorrectionResult(result, spec.index, len({region.index for region in piece.regions}), pairs)


def _pixels(
    spec: SourceSpec, region: AcceptedRegion, labels: NDArray[np.integer[Any]], lost: ImageStatus | None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The rows and columns of a region's pixels in the labels (H, W) of its image. Raises DataError where these are no
    longer what they were when it was found: it would be put over somebody's later work."""
    if lost is not None:
        raise _changed(spec, region, str(lost.reason))
    pixels = decode_rle(region.rle, region.size[0])
    plane, _ = class_plane(labels[pixels], spec.classes, spec.ignore, spec.remap)
    given = np.iinfo(plane.dtype).max if region.given is None else region.given
    if (other := plane != given).any():
        at = int(np.flatnonzero(other)[0])
        y, x = (int(axis[at]) for axis in pixels)
        was = "no label" if region.given is None else repr(spec.class_names[region.given])
        raise _changed(spec, region, f"at (y={y}, x={x}) it had {was}, and there is label {labels[y, x]}")
    return pixels


def _changed(spec: SourceSpec, region: AcceptedRegion, why: str) -> DataError:
    return DataError(
        f"the labels of image {region.index} of {spec.url} in {spec.labels.url} have changed since region "
        f"{region.rank:,} was found ({why})",
        "the region is one of other labels",
        "Run again over the labels as they are now, and review that",
    )


def decode_rle(rle: NDArray[np.int32], height: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The rows and columns (A,) of the A pixels of COCO's run lengths over an image of so many rows: columns one after
    the other, pixels outside and inside in turn."""
    lengths = rle[1::2].astype(np.int64)
    starts = np.cumsum(rle, dtype=np.int64)[::2][: len(lengths)]
    before = np.cumsum(lengths) - lengths
    places = np.arange(int(lengths.sum())) + np.repeat(starts - before, lengths)
    columns, rows = np.divmod(places, height)
    return rows, columns


def regions_between(regions: Sequence[AcceptedRegion], start: int, stop: int) -> tuple[AcceptedRegion, ...]:
    """Those of images [start, stop), of regions in the order of the images."""
    first, last = np.searchsorted([region.index for region in regions], [start, stop])
    return tuple(regions[first:last])
