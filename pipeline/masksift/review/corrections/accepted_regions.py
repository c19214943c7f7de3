"""Select the regions of a run that reviewers accepted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError
from masksift.engine.completed_run import CompletedRun
from masksift.review.decisions import ACCEPT, ImageKey, ReviewDecisions

MAX_CONCURRENT_TABLES = 2
"""Files of the region table in memory: the run lengths of one may take some megabytes."""
_COLUMNS = ("rank", "source", "index", "given", "suggested", "height", "width", "rle")
_REMEDY = "Pass an unmodified file saved by the report page"


@dataclass(frozen=True)
class AcceptedRegion:
    """One accepted region.

    Attributes:
        rank: Rank of the region.
        index: Index of its image.
        given: Given class, None for an omission.
        suggested: Suggested class.
        size: Rows and columns of the image.
        rle: COCO run lengths (R,) int32.
    """

    rank: int
    index: int
    given: int | None
    suggested: int
    size: tuple[int, int]
    rle: NDArray[np.int32]


@dataclass(frozen=True)
class AcceptedRegions:
    """All accepted regions of a run.

    Attributes:
        regions: Regions by number of the source, ordered by image.
        counts: Number of regions by decision, on the region or its image.
        undecided: Number of regions without a decision.
        images_without_regions: Number of accepted images without a listed region.
    """

    regions: Mapping[int, Sequence[AcceptedRegion]]
    counts: Mapping[str, int]
    undecided: int
    images_without_regions: int


def select_accepted_regions(run: CompletedRun, decisions: ReviewDecisions) -> AcceptedRegions:
    """Select the accepted regions; raises DataError or UsageError if the decisions do not fit the run."""
    decisions.check_run(run.record["fingerprint"], run.context.out)
    _check_images(run, decisions)
    images_by_rank: dict[int, set[ImageKey]] = {}
    for key, ranks in decisions.regions.items():
        for rank in ranks:
            images_by_rank.setdefault(rank, set()).add(key)
    regions: dict[int, list[AcceptedRegion]] = {}
    counts, total, images_with_regions = Counter[str](), 0, set[ImageKey]()
    for table in run.region_tables(_COLUMNS, MAX_CONCURRENT_TABLES):
        total += len(table)
        rows = zip(*(table[name].to_pylist() for name in _COLUMNS[:3]), strict=True)
        for number, (rank, source, index) in enumerate(rows):
            key = (source, index)
            _check_region(decisions, rank, images_by_rank.pop(rank, set()) - {key}, key)
            if key not in decisions.ids:
                continue
            images_with_regions.add(key)
            decision = decisions.for_region(key, rank)
            counts.update([] if decision is None else [decision])
            if decision == ACCEPT:
                given, suggested, height, width, rle = (table[name][number].as_py() for name in _COLUMNS[3:])
                region = AcceptedRegion(rank, index, given, suggested, (height, width), np.array(rle, np.int32))
                regions.setdefault(run.source_index[source], []).append(region)
    if images_by_rank:
        raise DataError(
            f"{decisions.url} mentions region {min(images_by_rank):,}, but the run lists {total:,}", _REMEDY
        )
    accepted_images = {key for key, decision in decisions.images.items() if decision == ACCEPT}
    ordered = {number: sorted(regions[number], key=lambda region: (region.index, region.rank)) for number in regions}
    without_regions = len(accepted_images - images_with_regions)
    return AcceptedRegions(dict(sorted(ordered.items())), counts, total - counts.total(), without_regions)


def _check_images(run: CompletedRun, decisions: ReviewDecisions) -> None:
    for source, index in decisions.ids:
        images = run.tasks.sources[run.source_index[source]].images if source in run.source_index else 0
        if index >= images:
            raise DataError(
                f"{decisions.url} mentions image {index} of {source}, but the run has {images:,} images of it", _REMEDY
            )


def _check_region(decisions: ReviewDecisions, rank: int, others: set[ImageKey], key: ImageKey) -> None:
    if others:
        source, index = min(others)
        raise DataError(
            f"{decisions.url} assigns region {rank:,} to image {index} of {source}, "
            f"but it belongs to image {key[1]} of {key[0]}",
            _REMEDY,
        )
