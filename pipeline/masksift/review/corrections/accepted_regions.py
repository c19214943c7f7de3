"""Select the regions of a run that reviewers accepted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError
from masksift.core.specs import SourceSpec
from masksift.engine.completed_run import CompletedRun
from masksift.review.decisions import ACCEPT, ImageKey, RegionCheck, ReviewDecisions
from masksift.review.label_edits import Pixels, Plane, decode_rle

MAX_CONCURRENT_TABLES = 2
"""Files of the region table in memory: the run lengths of one may take some megabytes."""
_COLUMNS = ("rank", "source", "index", "given", "suggested", "height", "width", "rle")


@dataclass(frozen=True)
class AcceptedRegion:
    """One accepted region: an edit that gives it the suggested class.

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

    def changes(self, plane: Plane, spec: SourceSpec, counts: Counter[str]) -> Pixels:
        """Return the pixels of the region. Raises DataError if its labels have changed since the run."""
        # the suggested class must not overwrite later work
        rows, columns = decode_rle(self.rle, self.size[0])
        now = np.minimum(plane[rows, columns], spec.classes)
        if (changed := now != (spec.classes if self.given is None else self.given)).any():
            first = int(np.flatnonzero(changed)[0])
            names = [*map(repr, spec.class_names), "no label"]
            y, x, after = int(rows[first]), int(columns[first]), names[now[first]]
            before = "no label" if self.given is None else names[self.given]
            raise DataError(
                f"The labels of image {self.index} of {spec.url} in {spec.labels.url} have changed since the run "
                f"listed region {self.rank:,} ((y={y}, x={x}) had {before}, now {after})",
                "Run again over the current labels and review that run",
            )
        return Pixels(rows, columns, np.full(len(rows), self.suggested))


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
    check = RegionCheck(run, decisions)
    regions: dict[int, list[AcceptedRegion]] = {}
    counts, total, images_with_regions = Counter[str](), 0, set[ImageKey]()
    for table in run.region_tables(_COLUMNS, MAX_CONCURRENT_TABLES):
        total += len(table)
        rows = zip(*(table[name].to_pylist() for name in _COLUMNS[:3]), strict=True)
        for number, (rank, source, index) in enumerate(rows):
            key = (source, index)
            check.add(rank, key)
            if key not in decisions.ids:
                continue
            images_with_regions.add(key)
            decision = decisions.for_region(key, rank)
            counts.update([] if decision is None else [decision])
            if decision == ACCEPT:
                given, suggested, height, width, rle = (table[name][number].as_py() for name in _COLUMNS[3:])
                region = AcceptedRegion(rank, index, given, suggested, (height, width), np.array(rle, np.int32))
                regions.setdefault(run.source_index[source], []).append(region)
    check.finish(total)
    accepted_images = {key for key, decision in decisions.images.items() if decision == ACCEPT}
    ordered = {number: sorted(regions[number], key=lambda region: (region.index, region.rank)) for number in regions}
    without_regions = len(accepted_images - images_with_regions)
    return AcceptedRegions(dict(sorted(ordered.items())), counts, total - counts.total(), without_regions)
