"""What one worker does with one block. Each task answers a receipt; what it made lies in the store.

A task whose product exists is done: it answers the receipt that lies there. So a task may run twice, on two workers, or
after its worker died, and the store holds the same bytes.
"""

from __future__ import annotations

import io
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError
from masksift.core.specs import SCORED, DataSpec, Receipt, Verdict, Window, prod
from masksift.engine.block_io import Behind, Memory, expect, label_windows, place_of, read_labels, slabs
from masksift.engine.planning.plan import Layout
from masksift.engine.region_table import RegionRows, regions_part
from masksift.engine.work_items import Job, Part
from masksift.runtime.telemetry.logs import logger
from masksift.scoring.image import (
    Condensing,
    Planes,
    confident_pixels,
    cut_counts,
    omissions_of,
    regions_of,
    score_image,
)
from masksift.scoring.kernels.condense import Recipe, class_dtype
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.methods import OF_ENSEMBLES, Image
from masksift.scoring.statistics.class_statistics import ClassStatistics, Statistics, Thresholds
from masksift.storage.manifest import Manifest
from masksift.storage.objects import Folder
from masksift.storage.tables.parquet import images_schema, table_of, write_table
from masksift.storage.zarr.per_image import extents, image_ids
from masksift.storage.zarr.reader import ArrayReader
from masksift.storage.zarr.writer import CLASSES, EVIDENCE, MASK, VOTES, EvidenceArrays

__all__ = [
    "PairCounts",
    "check_codes",
    "condense_block",
    "count_block",
    "images_part",
    "load_pairs",
    "load_statistics",
    "refine_block",
    "score_block",
    "used_by",
]

CONDENSE, SCORE = "condense", "score"
NAMED = 10
"""Quarantined images of a block that the log names: the table has all."""

log = logger(__name__)


@dataclass(frozen=True)
class PairCounts:
    """Flagged pixels, and images that hold any, by given and predicted class: (K, K) int64 each."""

    pixels: NDArray[np.int64]
    images: NDArray[np.int64]

    def merge(self, other: PairCounts) -> PairCounts:
        return PairCounts(self.pixels + other.pixels, self.images + other.images)


# ------------------------------------------------------------------------------------------------ first pass


def condense_block(job: Job, part: Part) -> Receipt:
    """K planes -> 3: read the block's predictions once, write its evidence, keep its statistics and verdicts."""
    manifest, block = job.condensed(part.home), part.block
    if (done := manifest.load(CONDENSE, part.place)) is not None:
        return _reused(done)
    started = time.perf_counter()
    spec, layout, recipe = part.spec, part.layout, part.recipe(job.lattice)
    predictions = [ArrayReader(array, job.options) for array in spec.stored]
    labels = _labels_of(job, part)
    evidence = job.evidence(part.home)
    statistics = ClassStatistics.zero(recipe)
    verdicts: list[Verdict] = []
    memory, sizes = Memory(), extents(spec, block.start, block.stop, job.options)
    behind_by = 1 if layout.written_behind(spec, local=evidence.local) else 0
    expect(spec, layout, predictions, labels, block.start, block.stop)
    with Behind(at_once=not behind_by) as behind:
        for turn, (start, stop) in enumerate(layout.groups(block.start, block.stop)):
            planes, group_verdicts, group_statistics = _condense_group(
                spec, layout, recipe, part.members, predictions, labels, memory, start,
                sizes[start - block.start : stop - block.start], turn % (1 + behind_by),
            )  # fmt: skip
            behind(_write_planes, evidence, start, planes)
            verdicts += group_verdicts
            statistics = statistics.merge(group_statistics)
    _say_quarantined(part, verdicts)
    receipt = Receipt(
        block.number, block.images, block.images * spec.pixels, dict(Counter(verdict.status for verdict in verdicts)),
        **used_by(*predictions, labels, evidence, manifest, puts=1), seconds=time.perf_counter() - started,
    )  # fmt: skip
    manifest.save(CONDENSE, part.place, condensed_product(statistics, verdicts, receipt))
    return replace(receipt, **used_by(*predictions, labels, evidence, manifest))


def _say_quarantined(part: Part, verdicts: Sequence[Verdict]) -> None:
    lost = [(i, verdict) for i, verdict in enumerate(verdicts, part.block.start) if verdict.status != SCORED]
    for i, verdict in lost[:NAMED]:
        facts = {"image": f"{part.spec.name}/{i}", "status": verdict.status, "reason": verdict.reason}
        log.warning("image %(image)s is quarantined: %(status)s (%(reason)s)", facts, extra={"facts": facts})
    if len(lost) > NAMED:
        log.warning("%d more images of this block are quarantined", len(lost) - NAMED)


def _write_planes(evidence: EvidenceArrays, start: int, planes: tuple[NDArray[Any], ...]) -> None:
    for name, plane in zip((*EVIDENCE, VOTES), planes, strict=False):
        evidence.write(name, start, plane)


class _User(Protocol):
    """Whoever counts what went over a store, by the names of a receipt."""

    @property
    def used(self) -> Counter[str]: ...


def used_by(*users: _User, puts: int = 0) -> dict[str, Any]:
    """What they all took of their stores; ``puts``: objects that are still to be put."""
    return dict(sum((user.used for user in users), Counter(puts=puts)))


def condensed_product(statistics: ClassStatistics, verdicts: Sequence[Verdict], receipt: Receipt) -> dict[str, bytes]:
    """What is kept of a block beside its evidence."""
    return {
        "statistics": statistics.to_bytes(),
        "verdicts": json.dumps([asdict(verdict) for verdict in verdicts]).encode(),
        "receipt": json.dumps(asdict(receipt)).encode(),
    }


def _condense_group(
    spec: DataSpec,
    layout: Layout,
    recipe: Recipe,
    members: list[tuple[str, Recipe]],
    predictions: Sequence[ArrayReader],
    labels: ArrayReader,
    memory: Memory,
    start: int,
    sizes: NDArray[np.int64],
    turn: int,
) -> tuple[tuple[NDArray[Any], ...], list[Verdict], ClassStatistics]:
    """The planes (n, H, W), as they are stored, of the n images from ``start`` on whose own rows and columns are
    ``sizes`` (n, 2), a verdict each, and their statistics. The planes stay as they are until the ``turn`` comes
    again."""
    stop = start + len(sizes)
    shape = (stop - start, spec.height, spec.width)
    codes, numbers = recipe.evidence.codes_dtype, class_dtype(recipe.classes)
    dtypes = dict(
        zip((*EVIDENCE, *([VOTES] if spec.members else [])), (codes, numbers, codes, np.dtype(np.uint8)), strict=False)
    )
    planes = tuple(memory.array(f"{name} {turn}", shape, dtype) for name, dtype in dtypes.items())
    given, verdicts = read_labels(spec, labels, memory, start, stop, sizes)
    for plane in planes:  # what is not an image's own is never written
        plane[(sizes < shape[1:]).any(axis=1)] = 0
    images = [
        Condensing(given[i], Planes(*(plane[i] for plane in planes)), recipe, members) for i in range(stop - start)
    ]
    for window, member, i, own in slabs(spec, layout, predictions, memory, start, sizes, verdicts):
        if spec.members:
            mean = memory.array("mean", (spec.classes, prod(window.shape)), np.float32).reshape(-1)
            images[i - start].member(member, own, _share(mean, i - window.start, window, own), window.y0, window.x0)
        else:
            images[i - start].slab(own, window.y0, window.x0)
    statistics = ClassStatistics.zero(recipe)
    answers = []
    for i, image in enumerate(images, start):
        verdict = verdicts.get(i)
        if verdict is None:
            verdict, found = image.finish()
            statistics = statistics if found is None else statistics.merge(found)
        else:
            for plane in planes:
                plane[i - start] = 0
        answers.append(verdict)
    kept = recipe.evidence.dtype
    return (planes[0].view(kept), planes[1], planes[2].view(kept), *planes[3:]), answers, statistics


def _share(total: NDArray[np.float32], number: int, window: Window, own: NDArray[Any]) -> NDArray[np.float32]:
    """The memory for the mean of one image's part of a window, C-contiguous."""
    first = number * (total.size // window.shape[0])
    return total[first : first + own.size].reshape(own.shape)


# ----------------------------------------------------------------------------------------------- reductions


def load_statistics(job: Job, part: Part) -> Statistics:
    """The statistics that `condense_block` kept of the block."""
    return Statistics((ClassStatistics.from_bytes(_condensed(job, part)["statistics"]),))


def load_pairs(job: Job, number: int) -> PairCounts:
    """The class pairs that `score_block` kept of the block of that number."""
    with np.load(io.BytesIO(_product(job.scored(), SCORE, number)["pairs"]), allow_pickle=False) as archive:
        return PairCounts(archive["pixels"], archive["images"])


def count_block(job: Job, limits: Mapping[Encoding, NDArray[np.int64]], part: Part) -> int:
    """The block's share of M, from its evidence; ``limits`` (K,) by its precision."""
    verdicts = _verdicts(job, part)
    found, codes = 0, limits[part.evidence]
    for start, given, planes in _Evidence(job, part, verdicts, EVIDENCE).groups():
        for i in range(len(given)):
            if verdicts[start + i - part.block.start].status == SCORED:
                found += confident_pixels(given[i], Planes(*(plane[i] for plane in planes)), codes)
    return found


def refine_block(job: Job, key: int, part: Part) -> NDArray[np.int64]:
    """(65536,) int64: the float32 self-confidences of the block in the bin that holds the cut, by their lower half."""
    verdicts = _verdicts(job, part)
    counts = np.zeros(1 << 16, np.int64)
    for start, given, planes in _Evidence(job, part, verdicts, EVIDENCE[:1]).groups():
        for i in range(len(given)):
            if verdicts[start + i - part.block.start].status == SCORED:
                counts += cut_counts(given[i], planes[0][i], part.spec.classes, key)
    return counts


# ----------------------------------------------------------------------------------------------- second pass


def score_block(job: Job, thresholds: Thresholds, part: Part) -> Receipt:
    """3 planes -> scores, issue masks and regions: a row an image and a row a region, in a Parquet part each."""
    manifest, block = job.scored(), part.block
    if (done := manifest.load(SCORE, block.number)) is not None:
        return _reused(done)
    started = time.perf_counter()
    spec = part.spec
    verdicts = _verdicts(job, part)
    masks = job.masks(spec)
    pairs = np.zeros((2, spec.classes, spec.classes), np.int64)
    names = (*EVIDENCE, *((VOTES,) if any(method.name in OF_ENSEMBLES for method in job.methods) else ()))
    rows, facts, regions = [], _facts(job, part), RegionRows(job.top, spec.class_names)
    evidence, limits = _Evidence(job, part, verdicts, names), thresholds.limits(part.evidence)
    omissions = omissions_of(limits, job.methods)
    with Behind(at_once=masks.local) as behind:
        for start, given, planes in evidence.groups():
            mask = np.zeros(given.shape, np.uint8)
            for i in range(len(given)):
                at = start + i - block.start
                row = facts[at] | {"status": verdicts[at].status, "reason": verdicts[at].reason}
                if verdicts[at].status == SCORED:
                    own, predicted, confident = (plane[i] for plane in planes[:3])
                    votes = planes[3][i] if len(planes) > 3 else None
                    image = Image(
                        given[i], predicted, own, confident, spec.classes, limits, job.rule, mask[i], votes,
                        len(spec.members),
                    )  # fmt: skip
                    row |= score_image(image, job.methods)
                    size = (row["height"], row["width"])
                    row |= regions.add(facts[at], regions_of(image, size, job.min_area, omissions))
                    pairs[0] += image.flagged_pairs
                    pairs[1] += image.flagged_pairs > 0
                rows.append(row)
            behind(masks.write, MASK, start, mask)
    images = table_of(rows, images_schema([method.name for method in job.methods], job.columns))
    folder, made_by = Folder(job.out, job.options), (job.fingerprint, block.number)
    for name, table in ((regions_part(*made_by), regions.table(job.columns)), (images_part(*made_by), images)):
        folder.used["bytes_written"] += write_table(folder, name, table, spec.class_names)
    receipt = Receipt(
        block.number, block.images, block.images * spec.pixels, dict(Counter(verdict.status for verdict in verdicts)),
        **used_by(evidence, masks, folder, manifest, puts=1), seconds=time.perf_counter() - started,
    )  # fmt: skip
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, pixels=pairs[0], images=pairs[1])
    manifest.save(SCORE, block.number, {"pairs": buffer.getvalue(), "receipt": json.dumps(asdict(receipt)).encode()})
    return replace(receipt, **used_by(evidence, masks, folder, manifest))


def images_part(fingerprint: str, number: int) -> str:
    """The name of a block's part of the table of images."""
    return f"images/part-{fingerprint[:12]}-{number:08d}.parquet"


def _facts(job: Job, part: Part) -> list[dict[str, Any]]:
    """What the tables say of each image of a block, whatever is found in it."""
    spec, block = part.spec, part.block
    ids = image_ids(spec, block.start, block.stop, job.options)
    sizes = extents(spec, block.start, block.stop, job.options).clip(0, (spec.height, spec.width)).tolist()
    return [
        {
            "image_id": name,
            "source": spec.name,
            "index": index,
            **spec.partitions,
            "height": height,
            "width": width,
        }
        for index, (name, (height, width)) in enumerate(zip(ids, sizes, strict=True), block.start)
    ]


class _Evidence:
    """The labels and the named evidence planes of a block, as they are read again."""

    def __init__(self, job: Job, part: Part, verdicts: list[Verdict], names: tuple[str, ...]) -> None:
        self._job, self._part, self._verdicts, self._names = job, part, verdicts, names
        self._labels = _labels_of(job, part)
        self._arrays = job.evidence(part.home)

    @property
    def used(self) -> Counter[str]:
        """What it took of the stores, by the names of a receipt."""
        return self._labels.used + self._arrays.used

    def groups(self) -> Iterator[tuple[int, NDArray[np.unsignedinteger], tuple[NDArray[np.unsignedinteger], ...]]]:
        """(start, class planes, evidence planes) of each group; planes (n, H, W) each, as codes. Raises DataError where
        labels that were good are no more."""
        spec, block, encoding = self._part.spec, self._part.block, self._part.evidence
        memory, sizes = Memory(), extents(spec, block.start, block.stop, self._job.options)
        numbers = {CLASSES: class_dtype(spec.classes), VOTES: np.dtype(np.uint8)}
        largest = {CLASSES: spec.classes - 1, VOTES: len(spec.members)}
        groups = list(self._part.layout.groups(block.start, block.stop))
        self._labels.expect(place_of(window) for group in groups for window in label_windows(spec, *group))
        for name in self._names:
            self._arrays.expect(name, groups)
        for start, stop in groups:
            own = sizes[start - block.start : stop - block.start]
            given, lost = read_labels(spec, self._labels, memory, start, stop, own)
            self._check_labels(lost)
            planes = []
            for name in self._names:
                place = memory.array(name, given.shape, numbers.get(name, encoding.dtype))
                stored = self._arrays.read(name, start, stop, place)
                planes.append(stored if name in numbers else encoding.codes(stored))
                check_codes(name, planes[-1], largest.get(name, encoding.top), spec, start)
            yield start, given, tuple(planes)

    def _check_labels(self, lost: Mapping[int, Verdict]) -> None:
        for i, verdict in lost.items():
            if self._verdicts[i - self._part.block.start].status == SCORED:
                raise DataError(
                    f"the labels of image {i} of {self._part.spec.url} have changed since they were condensed "
                    f"({verdict.reason})",
                    "its evidence is of other labels",
                    "Restore them, or run again into a new --out",
                )


def _labels_of(job: Job, part: Part) -> ArrayReader:
    return ArrayReader(part.spec.labels, job.options, absent_is_missing=part.spec.fill_is_missing)


def check_codes(name: str, plane: NDArray[np.unsignedinteger], most: int, spec: DataSpec, start: int) -> None:
    """The kernels count by these numbers and trust them; a flipped bit decodes in silence. Raises DataError."""
    if (found := int(plane.max())) > most:
        raise DataError(
            f"{name} of images {start} to {start + len(plane) - 1} of {spec.name} holds the code {found}, where {most} "
            "is the largest that was written",
            "that evidence is damaged, and its images cannot be scored",
            "Run it again into a new --out",
        )


def _verdicts(job: Job, part: Part) -> list[Verdict]:
    """The verdicts that `condense_block` kept, an image each."""
    return [Verdict(**verdict) for verdict in json.loads(_condensed(job, part)["verdicts"])]


def _condensed(job: Job, part: Part) -> dict[str, bytes]:
    return _product(job.condensed(part.home), CONDENSE, part.place)


def _product(manifest: Manifest, stage: str, number: int) -> dict[str, bytes]:
    product = manifest.load(stage, number)
    if product is None:
        raise FileNotFoundError(f"block {number} of stage {stage!r} has no product in {manifest.url}: it was removed")
    return product


def _reused(product: Mapping[str, bytes]) -> Receipt:
    return replace(Receipt(**json.loads(product["receipt"])), reused=True)
