"""The regions of a run that its reviewers accepted: verdicts held against the run's table of regions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError, UsageError
from masksift.engine.completed_run import CompletedRun
from masksift.review.decisions import ACCEPT, ImageKey, ReviewDecisions
from masksift.storage.tables.parquet import iter_tables

AT_ONCE = 2
"""Parts of the table that are held at a time: the run-length codes of one may take some megabytes."""
_COLUMNS = ("rank", "source", "index", "given", "suggested", "height", "width", "rle")


@dataclass(frozen=True)
class AcceptedRegion:
    """One region: its image by number, the classes (``given``: None of an omission), the image's own ``size`` (rows,
    columns), and ``rle`` (R,) int32, COCO's run lengths."""

    rank: int
    index: int
    given: int | None
    suggested: int
    size: tuple[int, int]
    rle: NDArray[np.int32]


@dataclass(frozen=True)
class AcceptedRegions:
    """``regions``: the accepted ones, by the number of their source and in the order of its images; ``said``: how many
    regions each verdict is on, by itself or with its image; ``silent``: regions of which nothing is said; ``without``:
    accepted images of which no region is listed."""

    regions: Mapping[int, Sequence[AcceptedRegion]]
    said: Mapping[str, int]
    undecided: int
    without: int


def select_accepted_regions(run: CompletedRun, verdicts: ReviewDecisions) -> AcceptedRegions:
    """The accepted regions, with what decides their pixels: as many are held as are accepted. Raises UsageError,
    DataError where the verdicts are on something else than this run."""
    if verdicts.run != run.record["fingerprint"]:
        raise UsageError(
            f"{verdicts.url} is of the run {verdicts.run[:12]}, "
            f"and {run.context.out} is {run.record['fingerprint'][:12]}",
            "its ranks are those of other regions",
            "Give the run that was reviewed, or the verdicts on this one",
        )
    _check_images(run, verdicts)
    named: dict[int, set[ImageKey]] = {}
    for place, ranks in verdicts.regions.items():
        for rank in ranks:
            named.setdefault(rank, set()).add(place)
    found: dict[int, list[AcceptedRegion]] = {}
    said, rows, listed = Counter[str](), 0, set[ImageKey]()
    names = [f"regions/{name}" for name in run.directory.names("regions")]
    for table in iter_tables(run.directory, names, _COLUMNS, AT_ONCE):
        rows += len(table)
        places = zip(*(table[name].to_pylist() for name in _COLUMNS[:3]), strict=True)
        for row, (rank, source, index) in enumerate(places):
            place = (source, index)
            _check_place(verdicts, rank, named.pop(rank, set()) - {place}, place)
            if place not in verdicts.ids:
                continue
            listed.add(place)
            verdict = verdicts.for_region(place, rank)
            said.update([] if verdict is None else [verdict])
            if verdict == ACCEPT:
                given, suggested, height, width, rle = (table[name][row].as_py() for name in _COLUMNS[3:])
                region = AcceptedRegion(rank, index, given, suggested, (height, width), np.array(rle, np.int32))
                found.setdefault(run.source_index[source], []).append(region)
    if named:
        rank = min(named)
        raise DataError(
            f"{verdicts.url} is about region {rank:,}, and the run lists {rows:,}",
            "what it means is not known",
            "Give the verdicts as they were saved",
        )
    wrong = {place for place, verdict in verdicts.images.items() if verdict == ACCEPT}
    order = {source: sorted(regions, key=lambda one: (one.index, one.rank)) for source, regions in found.items()}
    return AcceptedRegions(dict(sorted(order.items())), said, rows - said.total(), len(wrong - listed))


def _check_images(run: CompletedRun, verdicts: ReviewDecisions) -> None:
    for source, index in verdicts.ids:
        images = run.tasks.sources[run.source_index[source]].images if source in run.source_index else 0
        if index >= images:
            raise DataError(
                f"{verdicts.url} is about image {index} of {source}, of which the run has {images:,} images",
                "what it means is not known",
                "Give the verdicts as they were saved",
            )


def _check_place(verdicts: ReviewDecisions, rank: int, others: set[ImageKey], place: ImageKey) -> None:
    if others:
        source, index = min(others)
        raise DataError(
            f"{verdicts.url} says that region {rank:,} is of image {index} of {source}, and it is of image {place[1]} "
            f"of {place[0]}",
            "what it means is not known",
            "Give the verdicts as they were saved",
        )
