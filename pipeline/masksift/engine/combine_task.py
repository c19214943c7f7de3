"""Combine the rankings by two scores on the workers: find the places of all images by each, then write their mean.

A task finds the places of a range of values of one score in all parts. Another one collects the places of the images of
a part. Images with equal scores share a place, so that ranges begin at values, and each part has every value once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import RunFailed
from masksift.core.task_result import TaskResult
from masksift.engine.compact_task import (
    PLACES,
    CompactContext,
    load_tables,
    sample_keys,
    values_name,
    write_images,
)
from masksift.engine.planning.requests import PLACE_RANGE_VALUES
from masksift.engine.result_tables import finish_images
from masksift.engine.work_items import RunContext, sum_io_counters
from masksift.scoring.methods import COMBINED_SCORES
from masksift.scoring.range_partition import KeySample
from masksift.scoring.ranking import PlaceKnots, combine_places, tie_places
from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.segments import read_ranges

_PAIR_BYTES, _PLACE_BYTES = 16, 8


@dataclass(frozen=True)
class PlaceTask:
    """Range of values of one score.

    Attributes:
        number: Number of the range.
        score: Position of the score in `COMBINED_SCORES`.
        low: First value of the range.
        high: First value after it.
        segments: Byte range (P, 2) of the values of each of the P parts that may be in the range, and of the value
            before it if there is one.
        images: Scored images of the run.
    """

    number: int
    score: int
    low: float
    high: float
    segments: NDArray[np.int64]
    images: int

    @property
    def log_fields(self) -> dict[str, Any]:
        """Fields of log records and spans."""
        return {"score": COMBINED_SCORES[self.score], "range": self.number}


@dataclass(frozen=True)
class PlaceResult:
    """Answer of a task.

    Attributes:
        score: Position of the score in `COMBINED_SCORES`.
        ends: End of each part in the object of the range, (P,) int64, in places.
        knots: Knots of the range.
        task_result: Counters of the task.
    """

    score: int
    ends: NDArray[np.int64]
    knots: PlaceKnots
    task_result: TaskResult


@dataclass(frozen=True)
class CombineTask:
    """Part of the table of images.

    Attributes:
        part: Number of the part.
        ranges: Byte range (R, 2) of its places in each of the R ranges of a score, for each score.
    """

    part: int
    ranges: tuple[NDArray[np.int64], ...]

    @property
    def log_fields(self) -> dict[str, Any]:
        """Fields of log records and spans."""
        return {"part": self.part}


@dataclass(frozen=True)
class CombineResult:
    """Answer of a task: a sample of the sort keys of each ranked table, and the counters."""

    samples: tuple[KeySample, ...]
    task_result: TaskResult


def place_name(context: RunContext, score: int, number: int) -> str:
    """Return the name of the places of a range, which are removed when all parts are combined."""
    return f"manifest/{PLACES}/{context.fingerprint[:12]}-{COMBINED_SCORES[score]}-{number:06d}.places"


def make_place_tasks(samples: Sequence[Sequence[KeySample]], images: int) -> Iterator[PlaceTask]:
    """Yield the tasks that find the places by each score.

    Args:
        samples: Samples of the distinct values of each score, for each part.
        images: Scored images of the run.
    """
    number, first_pairs = 0, np.zeros(len(samples), np.int64)
    for score, own in enumerate(zip(*samples, strict=True)):
        bounds = [-np.inf, *_choose_bounds(own), np.inf]
        for low, high in pairwise(bounds):
            pairs = np.array([_held_rows(sample, low, high) for sample in own], np.int64)
            yield PlaceTask(number, score, low, high, _PAIR_BYTES * (first_pairs[:, np.newaxis] + pairs), images)
            number += 1
        first_pairs = first_pairs + [sample.rows for sample in own]


def _choose_bounds(samples: Sequence[KeySample]) -> list[float]:
    """Return the values at which ranges of about `PLACE_RANGE_VALUES` values begin, ascending, without the first."""
    ranges = -(-sum(sample.rows for sample in samples) // PLACE_RANGE_VALUES)
    if ranges < 2:
        return []
    values = np.concatenate([sample.keys for sample in samples])
    steps = np.repeat([sample.step for sample in samples], [len(sample.keys) for sample in samples])
    order = np.argsort(values, kind="stable")
    ends = np.cumsum(steps[order])
    wanted = np.searchsorted(ends, np.arange(1, ranges) * (ends[-1] / ranges))
    return [float(value) for value in np.unique(values[order][wanted])]


def _held_rows(sample: KeySample, low: float, high: float) -> tuple[int, int]:
    """Return rows of a run that hold those in [low, high) and the one before them, by its sample."""
    first = int(np.searchsorted(sample.keys, low)) - 1
    stop = int(np.searchsorted(sample.keys, high))
    position = sample.step // 2
    return (
        position + first * sample.step if first >= 0 else 0,
        position + stop * sample.step if stop < len(sample.keys) else sample.rows,
    )


def find_places(context: CompactContext, parts: int, task: PlaceTask) -> PlaceResult:
    """Find the places of a range of values in all parts, and write them part after part."""
    started, run = time.perf_counter(), context.run
    directory = ObjectDirectory(run.out, run.options)
    names, before = [values_name(run, part) for part in range(parts)], 0
    values, images = list[NDArray[np.float64]](), list[NDArray[np.float64]]()
    for data in read_ranges(directory, names, task.segments.tolist()):
        held, last = np.frombuffer(data, "<f8").reshape(-1, 2).T
        first, stop = np.searchsorted(held, [task.low, task.high]).tolist()
        earlier = int(last[first - 1]) if first else 0
        before += earlier
        values.append(held[first:stop])
        images.append(np.diff(last[first:stop], prepend=earlier))
    distinct, number = np.unique(np.concatenate(values), return_inverse=True)
    counts = np.bincount(number, np.concatenate(images)).astype(np.int64)
    data = tie_places(counts, before, task.images)[number].astype("<f8").tobytes()
    directory.write(place_name(run, task.score, task.number), data)
    directory.io_counters["bytes_written"] += len(data)
    result = TaskResult(task.number, 0, 0, {}, **sum_io_counters(directory), seconds=time.perf_counter() - started)
    knots = PlaceKnots.from_range(distinct, counts, before, task.images)
    return PlaceResult(task.score, np.cumsum([len(one) for one in values]), knots, result)


def join_knots(found: Sequence[PlaceResult]) -> tuple[PlaceKnots, ...]:
    """Return the knots of each ranking, with the results of all ranges in order."""
    scores = range(len(COMBINED_SCORES))
    return tuple(PlaceKnots.concatenate([one.knots for one in found if one.score == score]) for score in scores)


def make_combine_tasks(found: Sequence[PlaceResult], parts: int) -> Iterator[CombineTask]:
    """Yield the task of each part, with the results of all ranges in order."""
    ends = [np.stack([one.ends for one in found if one.score == score]) for score in range(len(COMBINED_SCORES))]
    starts = [np.concatenate([np.zeros((len(one), 1), np.int64), one[:, :-1]], axis=1) for one in ends]
    for part in range(parts):
        pairs = zip(starts, ends, strict=True)
        yield CombineTask(part, tuple(_PLACE_BYTES * np.stack([a[:, part], b[:, part]], axis=1) for a, b in pairs))


def combine_part(context: CompactContext, task: CombineTask) -> CombineResult:
    """Write a part of the table of images with the combined score."""
    started, run, manifest = time.perf_counter(), context.run, context.manifest
    directory = manifest.directory
    images, regions = load_tables(manifest, task.part, "images", "regions")
    places, first = [], 0
    for score, (name, ranges) in enumerate(zip(COMBINED_SCORES, task.ranges, strict=True)):
        names = [place_name(run, score, first + number) for number in range(len(ranges))]
        first += len(ranges)
        own = np.frombuffer(b"".join(read_ranges(directory, names, ranges.tolist())), "<f8")
        scores = images[name].to_numpy()
        ranked = np.isfinite(scores)
        values, number = np.unique(scores[ranked], return_inverse=True)
        if len(values) != len(own):
            raise RunFailed(
                f"The places of part {task.part} in {directory.url} hold {len(own)} values, not {len(values)}",
                "They were changed while the images were ranked",
                "Check that nothing changes files of a running job, and run the same command again",
            )
        places.append(own[number])
    combined = np.full(len(images), np.nan)
    combined[ranked] = combine_places(places)
    images = finish_images(images, context.images, combined)
    write_images(context, manifest, task.part, images)
    samples = sample_keys(context, images, regions)
    result = TaskResult(task.part, 0, 0, {}, **sum_io_counters(manifest), seconds=time.perf_counter() - started)
    return CombineResult(samples, result)
