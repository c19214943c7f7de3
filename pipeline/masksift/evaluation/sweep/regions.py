"""Regions of a sweep: found and compared with the errors by the tasks, ordered by the client.

The regions of a setting are those that a run with default options would list over its labels. Their priorities depend
on totals of the whole data set, which are known after all blocks are scored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.config.sections import RegionsSection
from masksift.core import signals
from masksift.core.npz import pack_arrays, unpack_arrays
from masksift.engine.region_table import RegionTableBuilder
from masksift.engine.work_items import SCORE, load_output
from masksift.evaluation.evaluate.listed_regions import RegionMasks, order_places
from masksift.evaluation.evaluate.region_orders import evaluate_order
from masksift.evaluation.evaluate.result_rows import order_name
from masksift.evaluation.sweep.work_items import Setting, SweepContext, SweepTask
from masksift.scoring.kernels.regions import OmissionRule
from masksift.scoring.methods.base import EVIDENCE_UNIT, ScoringInput
from masksift.scoring.region_priority import PairTotals, max_image_regions
from masksift.scoring.score_image import find_image_regions
from masksift.scoring.statistics.class_statistics import Statistics
from masksift.storage.tables.arrow import integer_lists
from masksift.storage.tables.segments import iter_packed_tables

REGIONS, PAIRS = "regions", "pairs"
"""Names of the task outputs."""
MIN_AREA, MAX_REGIONS = RegionsSection().min_area, RegionsSection().top
"""Smallest area of a region in pixels, and largest number of regions of a setting, as in a run by default."""
REGION_BYTES = 128
"""Memory of a region in a task: 59 bytes, twice while the regions of a block are joined."""
NO_GIVEN_CLASS = -1
"""Value of the given class of an omission, which has none."""

_DTYPES: Mapping[str, Any] = {
    **dict.fromkeys(("setting", "given", "suggested"), np.int16),
    **dict.fromkeys(("given_pixels", "suggested_pixels"), np.int64),
    "image": np.int32,
    "is_hit": np.bool_,
}
"""Dtypes of the columns of regions; all others are float64."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SweepRegions:
    """R regions, in the order of their images and corners.

    Attributes:
        setting: Number of the setting, error type x shares + share, (R,) int16.
        image: Number of the image, (R,) int32.
        is_hit: Whether at least half of the pixels are wrong, (R,) bool.
        given: Given class, `NO_GIVEN_CLASS` if it is an omission, (R,) int16.
        suggested: Predicted class, (R,) int16.
        given_pixels: Valid pixels of the image with the given label, (R,) int64.
        suggested_pixels: Valid pixels of the image predicted as the suggested class, (R,) int64.
        evidence: (R,) float64.
        pair_evidence: Flagged evidence of the pair of classes in the image, (R,) float64.
        priority: (R,) float64.
        class_priority: (R,) float64.
    """

    setting: NDArray[np.int16]
    image: NDArray[np.int32]
    is_hit: NDArray[np.bool_]
    given: NDArray[np.int16]
    suggested: NDArray[np.int16]
    given_pixels: NDArray[np.int64]
    suggested_pixels: NDArray[np.int64]
    evidence: Floats
    pair_evidence: Floats
    priority: Floats
    class_priority: Floats

    def __len__(self) -> int:
        return len(self.setting)

    @classmethod
    def empty(cls) -> SweepRegions:
        """Return no regions."""
        columns: dict[str, Any] = {one.name: np.empty(0, _DTYPES.get(one.name, np.float64)) for one in fields(cls)}
        return cls(**columns)

    @classmethod
    def concatenate(cls, groups: Sequence[SweepRegions]) -> SweepRegions:
        """Concatenate at least one group of regions."""
        return cls(**{one.name: np.concatenate([getattr(group, one.name) for group in groups]) for one in fields(cls)})

    def take(self, which: NDArray[Any]) -> SweepRegions:
        """Copy regions by position or mask."""
        return SweepRegions(**{one.name: getattr(self, one.name)[which] for one in fields(self)})

    def compare(self, totals: PairTotals) -> SweepRegions:
        """Divide the priorities by sqrt(1 + usual evidence), as `compare_regions` does."""
        given, suggested = np.maximum(self.given, 0).astype(np.int64), self.suggested.astype(np.int64)
        usual = totals.usual_evidence(given, suggested, self.pair_evidence, self.given_pixels, self.suggested_pixels)
        divisor = np.sqrt(1 + np.where(self.given == NO_GIVEN_CLASS, 0.0, usual))
        return replace(self, priority=self.priority / divisor, class_priority=self.class_priority / divisor)

    def highest(self, most: int) -> SweepRegions:
        """Keep the regions that a run lists, those with the highest priority, in their order."""
        return self.take(np.sort(np.argsort(-self.priority, kind="stable")[:most]))

    def pack(self) -> bytes:
        """Serialize the regions."""
        return pack_arrays(**{one.name: getattr(self, one.name) for one in fields(self)})


class RegionCollector:
    """Find the regions of the images of a block in every setting.

    It also sums the flagged evidence by setting and pair of classes, (settings, K, K), in steps of `EVIDENCE_UNIT`.
    """

    def __init__(self, omissions: Sequence[OmissionRule | None], class_names: Sequence[str]) -> None:
        """Start without images.

        Args:
            omissions: Rule for regions of ignored pixels, for every setting.
            class_names: Names of the K classes.
        """
        self._omissions, self._class_names = omissions, class_names
        self._found: list[SweepRegions] = []
        self._evidence = np.zeros((len(omissions), len(class_names), len(class_names)), np.int64)

    def add(
        self, setting: int, image: int, scored: ScoringInput, size: NDArray[np.int64], wrong: NDArray[np.bool_]
    ) -> None:
        """Add an image in a setting.

        Args:
            setting: Number of the setting.
            image: Number of the image.
            scored: The image with its labels in the setting.
            size: Rows and columns without padding, (2,).
            wrong: Pixels with an error, (H, W).
        """
        self._evidence[setting] += scored.flagged_evidence[0]
        facts = {"image_id": [""], "source": [""], "index": [0], "height": [size[0]], "width": [size[1]]}
        builder, sizes = RegionTableBuilder(self._class_names, facts), size[np.newaxis]
        builder.add(find_image_regions(scored, sizes, MIN_AREA, self._omissions[setting]), scored, sizes, 0)
        for table in iter_packed_tables(builder.finish()):
            self._found.append(_regions_from_table(table, setting, image, wrong))

    def pack(self) -> dict[str, bytes]:
        """Return the outputs of the task."""
        found = SweepRegions.concatenate([SweepRegions.empty(), *self._found])
        return {REGIONS: found.pack(), PAIRS: pack_arrays(evidence=self._evidence)}


def _regions_from_table(table: Any, setting: int, image: int, wrong: NDArray[np.bool_]) -> SweepRegions:
    """Convert a table of regions of one image, and compare them with the wrong pixels (H, W)."""
    codes = list(integer_lists(table["rle"]))
    box = np.stack([table[name].to_numpy().astype(np.int64) for name in ("y0", "x0", "y1", "x1")], axis=1)
    height = table["height"].to_numpy().astype(np.int64)
    ends = np.cumsum([len(code) for code in codes])
    masks = RegionMasks(np.zeros(len(codes), np.int64), height, box, np.concatenate(codes), ends)
    found = np.zeros(len(codes), np.int64)
    if wrong.any():
        found[:] = [masks.count(number, (wrong,))[0] for number in range(len(codes))]
    columns = {
        "setting": np.full(len(codes), setting),
        "image": np.full(len(codes), image),
        "is_hit": 2 * found >= table["area"].to_numpy(),
        "given": table["given"].fill_null(NO_GIVEN_CLASS).to_numpy(),
        "given_pixels": table["given_pixels"].fill_null(0).to_numpy(),
    }
    columns |= {one.name: table[one.name].to_numpy() for one in fields(SweepRegions) if one.name not in columns}
    return SweepRegions(**{name: values.astype(_DTYPES.get(name, np.float64)) for name, values in columns.items()})


def load_pair_evidence(context: SweepContext, sweep_task: SweepTask) -> NDArray[np.int64]:
    """Load the evidence of the pairs of classes of a scored block, (settings, K, K)."""
    output = load_output(context.score_manifest, SCORE, sweep_task.block_task.block.number)
    return unpack_arrays(output[PAIRS])["evidence"]


def setting_totals(
    statistics: Mapping[Setting, Statistics], evidence: NDArray[np.int64], shares: int
) -> list[PairTotals]:
    """Return the totals of every setting, in the order of their numbers."""
    return [
        PairTotals.from_statistics(statistics[divmod(number, shares)], sums * float(EVIDENCE_UNIT))
        for number, sums in enumerate(evidence)
    ]


def collect_regions(
    context: SweepContext, tasks: Sequence[SweepTask], totals: Sequence[PairTotals], concurrent_reads: int
) -> tuple[list[SweepRegions], Floats]:
    """Collect the regions of every setting, at most `MAX_REGIONS`.

    Args:
        context: Settings of the sweep.
        tasks: All blocks.
        totals: Totals of every setting.
        concurrent_reads: Blocks whose regions are read at the same time.

    Returns:
        The regions of every setting, and the highest priority of a region of a given label of all images, 0 without
        any, (settings, N).
    """
    images = sum(task.block_task.block.images for task in tasks)
    highest = np.zeros((len(totals), images))
    # the client holds 59 bytes per region: 0.2 GB for thirty settings of as many regions as a run lists
    found: list[list[SweepRegions]] = [[] for _ in totals]
    for block in _iter_block_regions(context, tasks, concurrent_reads):
        signals.raise_if_interrupted()
        for number, groups in enumerate(found):
            compared = block.take(block.setting == number).compare(totals[number])
            is_label = compared.given != NO_GIVEN_CLASS
            np.maximum.at(highest[number], compared.image[is_label], compared.priority[is_label])
            groups.append(compared)
            if sum(map(len, groups)) > MAX_REGIONS + MAX_REGIONS // 4:
                found[number] = [SweepRegions.concatenate(groups).highest(MAX_REGIONS)]
    return [SweepRegions.concatenate(groups).highest(MAX_REGIONS) for groups in found], highest


def _iter_block_regions(
    context: SweepContext, tasks: Sequence[SweepTask], concurrent_reads: int
) -> Iterator[SweepRegions]:
    """Yield the regions of the blocks in order, with the images counted over the whole data set."""

    def load(task: SweepTask) -> SweepRegions:
        block = task.block_task
        output = load_output(context.score_manifest, SCORE, block.block.number)
        arrays = unpack_arrays(output[REGIONS])
        arrays["image"] = arrays["image"] + block.position
        return SweepRegions(**arrays)

    with ThreadPoolExecutor(concurrent_reads, thread_name_prefix="regions") as pool:
        for first in range(0, len(tasks), concurrent_reads):
            yield from pool.map(load, tasks[first : first + concurrent_reads])


def measure_orders(
    regions: Sequence[SweepRegions], images: int, error_types: Sequence[str], shares: Sequence[float]
) -> list[dict[str, Any]]:
    """Compute the rows of the table of region orders, by error type, share, order and metric."""
    rows = []
    for number, found in enumerate(regions):
        row, share = divmod(number, len(shares))
        ranks = np.empty(len(found), np.int64)
        ranks[np.argsort(-found.priority, kind="stable")] = np.arange(len(found))
        orders = {"priority": found.priority, "class": found.class_priority, "evidence": found.evidence}
        for name, keys in orders.items():
            signals.raise_if_interrupted()
            places = order_places(keys, found.evidence, ranks)
            evaluation = evaluate_order(places, found.image.astype(np.int64), found.is_hit, None)
            setting = {"kind": error_types[row], "share": shares[share], "score": order_name(name)}
            rows += [
                setting
                | {
                    "measure": metric,
                    "at": at or None,
                    "value": value if np.isfinite(value) else None,
                    "images": images,
                    "regions": evaluation.regions,
                    "errors": evaluation.true_positives,
                    "note": evaluation.reasons.get((metric, at)),
                }
                for (metric, at), value in evaluation.values.items()
            ]
    return rows


def region_bytes(pixels: int, images: int, settings: int) -> int:
    """Return the memory of the regions of a block of ``images`` images of so many pixels."""
    return settings * images * min(int(max_image_regions(pixels)), pixels // MIN_AREA) * REGION_BYTES
