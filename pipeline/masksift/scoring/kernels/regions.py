"""Regions of one image: what a reviewer looks at in one go, found row by row.

Of a region everything is a sum of whole numbers, in whatever order. Rows are booked until there is no more room. What
touches the last of them stays open, and goes on in the next; all else is finished, and what of that is too small is
dropped at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels._jit import inner, kernel
from masksift.scoring.kernels.components import find_root
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.kernels.ignored_pixels import inside
from masksift.scoring.kernels.pixel_statistics import CODE, HALF, half_to_fixed, sum_mode

CAPACITY = 1 << 16
"""Regions, and runs down a column, that are booked at a time, or as many as a row has pixels."""

_AREA, _Y, _X, _CONFIDENT, _EVIDENCE, _BEYOND = 0, 1, 2, 3, 4, 5
"""Sums over the pixels of a region: their number, rows, columns, predicted confidence; m - s, or of an omission the m
that exceeds what is expected, and how many pixels do."""


@dataclass(frozen=True)
class OmissionRule:
    """What makes ignored pixels suspicious, by predicted class, (K,) each. ``confident`` int64: the least code of
    predicted confidence that counts. ``expected`` float64: the share of the confidence in a class that lies on ignored
    pixels everywhere, which is no evidence; ``surprising`` int64: the least code above it."""

    confident: NDArray[np.int64]
    expected: NDArray[np.float64]
    surprising: NDArray[np.int64]

    @classmethod
    def from_thresholds(
        cls, encoding: Encoding, confident: NDArray[np.int64], expected: NDArray[np.float64]
    ) -> OmissionRule:
        """In the codes of an encoding."""
        above = [encoding.code_at_least(math.nextafter(float(share), math.inf)) for share in expected]
        return cls(confident, expected, np.array(above, np.int64))


@dataclass(frozen=True)
class Regions:
    """The R regions of an image, ordered by the upper left corners of their boxes, then by their first pixels, column
    by column.

    ``given`` (R,) int64: class, K of an omission; ``suggested`` (R,) int64; ``area`` (R,) int64, pixels; ``box`` (R, 4)
    int64: rows [y0, y1), columns [x0, x1) as y0, x0, y1, x1; ``centroid`` (R, 2) float64: mean row, mean column;
    ``evidence`` (R,) float64, in pixels times probability; ``self_confidence``, ``predicted_confidence`` (R,) float64:
    means (the first is of no meaning in an omission); ``rle``: R arrays of int32, the region as COCO's uncompressed
    run-length code.
    """

    given: NDArray[np.int64]
    suggested: NDArray[np.int64]
    area: NDArray[np.int64]
    box: NDArray[np.int64]
    centroid: NDArray[np.float64]
    evidence: NDArray[np.float64]
    self_confidence: NDArray[np.float64]
    predicted_confidence: NDArray[np.float64]
    rle: list[NDArray[np.int32]]

    @classmethod
    def of(cls, parts: Sequence[Regions], order: NDArray[np.intp]) -> Regions:
        """Those at the places ``order`` in all of the parts, one after the other. What it holds is its own."""
        codes = [code for part in parts for code in part.rle]
        arrays: dict[str, Any] = {
            field.name: np.concatenate([getattr(part, field.name) for part in parts])[order]
            for field in fields(cls)
            if field.name != "rle"
        }
        return cls(**arrays, rle=[codes[i].copy() for i in order])

    def __len__(self) -> int:
        return len(self.rle)


@dataclass(frozen=True)
class _Found:
    """Some regions: ``code`` (n,), of their pair of classes, ``sums`` (n, 6), ``box`` (n, 4), and ``runs`` (r, 3) down
    their columns: the region, the place of the first pixel in the image column by column, the length. All int64."""

    code: NDArray[np.int64]
    sums: NDArray[np.int64]
    box: NDArray[np.int64]
    runs: NDArray[np.int64]

    @classmethod
    def none(cls) -> _Found:
        return cls(np.zeros(0, np.int64), *(np.zeros((0, columns), np.int64) for columns in (6, 4, 3)))

    @classmethod
    def of(cls, parts: Sequence[_Found]) -> _Found:
        """All of the parts, one after the other."""
        first = np.cumsum([0, *map(len, parts)])
        runs = [part.runs + np.array([start, 0, 0]) for part, start in zip(parts, first, strict=False)]
        code, sums, box = (np.concatenate([getattr(part, name) for part in parts]) for name in ("code", "sums", "box"))
        return cls(code, sums, box, np.concatenate(runs))

    def with_room(self, room: int) -> _Found:
        """These, and room for so many more regions and runs."""
        made = []
        for part in (self.code, self.sums, self.box, self.runs):
            made.append(np.empty((len(part) + room, *part.shape[1:]), np.int64))
            made[-1][: len(part)] = part
        return _Found(*made)

    def first(self, count: int, runs: int) -> _Found:
        """The first ones of a table with room."""
        return _Found(self.code[:count], self.sums[:count], self.box[:count], self.runs[:runs])

    def __len__(self) -> int:
        return len(self.code)

    def chosen(self, wanted: NDArray[np.bool_]) -> _Found:
        """Those wanted, numbered anew."""
        runs = self.runs[wanted[self.runs[:, 0]]]
        runs[:, 0] = (np.cumsum(wanted) - 1)[runs[:, 0]]
        return _Found(self.code[wanted], self.sums[wanted], self.box[wanted], runs)


@inner
def _encode(labels, predicted, confident_codes, mask, y, classes, limits, codes):
    """codes (w,), of a row: 0 where a pixel is in no region, else 1 + given * classes + predicted, where `classes` is
    given on ignored pixels; these count with limits (K,), not with limits (0,). Answers whether any is in a region."""
    flagged, most = mask[y, 0], labels[y, 0]
    for x in range(codes.size):
        flagged = max(flagged, mask[y, x])
    if limits.size > 0:
        for x in range(codes.size):
            most = max(most, labels[y, x])
    if flagged == 0 and (limits.size == 0 or most < classes):  # as in most rows
        codes[:] = 0
        return False
    most_code = np.uint32(0)
    for x in range(codes.size):
        code = np.uint32(0)
        if mask[y, x]:
            code = np.uint32(np.int64(labels[y, x]) * classes + np.int64(predicted[y, x]) + 1)
        elif limits.size > 0 and labels[y, x] >= classes:
            winner = np.int64(predicted[y, x])
            if np.int64(confident_codes[y, x]) >= limits[winner] and inside(labels, y, x, classes):
                code = np.uint32(classes * classes + winner + 1)
        codes[x] = code
        most_code = max(most_code, code)
    return most_code > 0


@inner
def _fixed(code, mode):
    if mode == CODE:
        return np.int64(code)
    if mode == HALF:
        return half_to_fixed(code)
    return np.int64(np.rint(np.float64(np.uint32(code).view(np.float32)) * 4294967296.0))


@inner
def _region_of(code, first, behind, codes, regions, parents, count):
    """The region of a run of one code, from column `first` on: that of what it touches in the row above, whose codes
    and regions these are, or else a new one, `count`."""
    region = -1
    for x in range(max(0, first - 1), min(codes.size, behind + 1)):
        if codes[x] == code:
            top = find_root(parents, regions[x])
            if region >= 0:
                parents[max(region, top)] = min(region, top)
            region = top if region < 0 else min(region, top)
    if region < 0:
        region = count
        parents[region] = region
    return region


@kernel
def _gather(
    labels,
    predicted,
    self_codes,
    confident_codes,
    mask,
    mode,
    classes,
    limits,
    above,
    top,
    height,
    codes,
    regions,
    parents,
    count,
    code,
    sums,
    box,
    runs,
    found,
):
    """Book the pixels of the rows from `top` on, as long as there is room for all that a row may have.

    ``codes``, ``regions`` (2, w): of a row and of the one above it, in turn. `count` regions and `found` runs are
    there. Answers the row that is next, how many regions there are and how many runs.
    """
    width = codes.shape[1]
    last = np.empty(width, np.int64)  # the run that stands above in each column
    for y in range(top, height):
        if count + width > parents.size or found + width > len(runs):
            return y, count, found
        now, then = y % 2, 1 - y % 2
        if not _encode(labels, predicted, confident_codes, mask, y, classes, limits, codes[now]):
            continue
        behind = 0
        for first in range(width):
            pair = np.int64(codes[now, first])
            if first < behind or pair == 0:
                continue
            behind = first + 1
            while behind < width and codes[now, behind] == pair:
                behind += 1
            i = _region_of(pair, first, behind, codes[then], regions[then], parents, count)
            if i == count:
                count += 1
                code[i], sums[i] = pair, 0
                box[i, 0], box[i, 1], box[i, 2], box[i, 3] = y, first, y + 1, behind
            box[i, 1], box[i, 2], box[i, 3] = min(box[i, 1], first), y + 1, max(box[i, 3], behind)
            sums[i, _AREA] += behind - first
            sums[i, _Y] += y * (behind - first)
            for x in range(first, behind):
                regions[now, x] = i
                if y > top and codes[then, x] == pair:
                    runs[last[x], 2] += 1
                else:
                    runs[found, 0], runs[found, 1], runs[found, 2] = i, x * height + y, 1
                    last[x] = found
                    found += 1
                confident = _fixed(confident_codes[y, x], mode)
                if pair <= classes * classes:
                    sums[i, _EVIDENCE] += confident - _fixed(self_codes[y, x], mode)
                elif np.int64(confident_codes[y, x]) >= above[pair - classes * classes - 1]:
                    sums[i, _EVIDENCE] += confident
                    sums[i, _BEYOND] += 1
                sums[i, _X] += x
                sums[i, _CONFIDENT] += confident
    return height, count, found


@kernel
def _unite(parents, sums, box):
    """Gather every region in its root, and make `parents` name it."""
    for i in range(parents.size):
        r = find_root(parents, i)
        parents[i] = r
        if r != i:
            for column in range(sums.shape[1]):
                sums[r, column] += sums[i, column]
            box[r, 0], box[r, 1] = min(box[r, 0], box[i, 0]), min(box[r, 1], box[i, 1])
            box[r, 2], box[r, 3] = max(box[r, 2], box[i, 2]), max(box[r, 3], box[i, 3])


def find_regions(
    labels: NDArray[np.unsignedinteger],
    predicted_class: NDArray[np.unsignedinteger],
    self_confidence: NDArray[np.unsignedinteger],
    predicted_confidence: NDArray[np.unsignedinteger],
    mask: NDArray[np.uint8],
    encoding: Encoding,
    classes: int,
    *,
    least_area: int = 1,
    omissions: OmissionRule | None = None,
    size: tuple[int, int] | None = None,
) -> Regions:
    """The regions of one image that have ``least_area`` pixels or more, (H, W) each, C-contiguous.

    ``labels``: class numbers, the dtype's maximum where a pixel is ignored; ``predicted_class``; codes of
    ``self_confidence`` and of ``predicted_confidence``; ``mask``: 1 where a label is flagged. A region is a maximal
    8-connected set of flagged pixels with one given and one predicted class; its evidence is the sum of m - s. Given
    ``omissions``, it may also be a maximal 8-connected set of ignored pixels, whose neighbours are all ignored, that
    are confidently predicted as one class a; its evidence is the sum of max(0, m - what is expected of a). ``size``:
    rows and columns of a padded image that are its own. An image has at most 2^31 - 1 pixels.
    """
    height, width = size or labels.shape
    limits, above = np.empty(0, np.int64), np.empty(0, np.int64)
    if omissions is not None:
        limits, above = omissions.confident, omissions.surprising
    finished, still_open = [_Found.none()], _Found.none()
    codes, regions = np.zeros((2, width), np.uint32), np.zeros((2, width), np.int64)
    top, room = 0, max(CAPACITY, width)
    while top < height:
        every, parents = still_open.with_room(room), np.empty(len(still_open) + room, np.int64)
        parents[: len(still_open)] = np.arange(len(still_open))
        top, count, found = _gather(
            labels,
            predicted_class,
            self_confidence,
            predicted_confidence,
            mask,
            sum_mode(encoding),
            classes,
            limits,
            above,
            top,
            height,
            codes,
            regions,
            parents,
            len(still_open),
            every.code,
            every.sums,
            every.box,
            every.runs,
            len(still_open.runs),
        )
        every, parents = every.first(count, found), parents[:count]
        _unite(parents, every.sums, every.box)
        every.runs[:, 0] = parents[every.runs[:, 0]]
        stays, last = np.zeros(count, bool), (top - 1) % 2
        if top < height:
            touching = np.flatnonzero(codes[last])
            stays[parents[regions[last, touching]]] = True
            regions[last, touching] = (np.cumsum(stays) - 1)[parents[regions[last, touching]]]
        whole_ones = (parents == np.arange(count)) & ~stays & (every.sums[:, _AREA] >= least_area)
        finished.append(every.chosen(whole_ones))
        still_open = every.chosen(stays)
    return _described(_Found.of(finished), encoding, classes, omissions, height * width)


def _described(found: _Found, encoding: Encoding, classes: int, omissions: OmissionRule | None, pixels: int) -> Regions:
    """Regions in order, in the units that people read."""
    runs = found.runs[np.lexsort((found.runs[:, 1], found.runs[:, 0]))]
    first = np.searchsorted(runs[:, 0], np.arange(len(found)))
    order = np.lexsort((runs[first, 1], found.box[:, 1], found.box[:, 0]))
    rle = _run_lengths(runs, first, pixels)
    given, suggested = np.divmod(found.code[order] - 1, classes)
    sums, unit = found.sums[order], float(encoding.unit)
    area = sums[:, _AREA]
    expected = np.zeros(classes) if omissions is None else omissions.expected
    return Regions(
        given,
        suggested,
        area,
        found.box[order],
        sums[:, (_Y, _X)] / area[:, np.newaxis],
        np.maximum(0.0, sums[:, _EVIDENCE] * unit - expected[suggested] * sums[:, _BEYOND]),
        (sums[:, _CONFIDENT] - sums[:, _EVIDENCE]) * unit / area,
        sums[:, _CONFIDENT] * unit / area,
        [rle[i] for i in order],
    )


def _run_lengths(runs: NDArray[np.int64], first: NDArray[np.int64], pixels: int) -> list[NDArray[np.int32]]:
    """COCO's counts of every region: pixels outside and inside it in turn, column by column, of `pixels` in all.

    ``runs`` (r, 3), ordered by region and place; ``first``: the first one of each region. Where the end of the
    room, or of a column, has parted a run, it becomes one again.
    """
    region, start, length = runs.T
    end = start + length
    begins = np.ones(len(start), bool)
    begins[1:] = (region[1:] != region[:-1]) | (start[1:] != end[:-1])
    heads = np.flatnonzero(begins)
    if not len(heads):
        return []
    stops = end[np.append(heads[1:], len(end)) - 1]  # of the runs that became one
    firsts = np.searchsorted(heads, first)
    lasts = np.append(firsts[1:], len(heads)) - 1
    before = np.append(0, stops[:-1])
    before[firsts] = 0
    rest = pixels - stops[lasts]
    place = 2 * np.arange(len(heads)) + (np.cumsum(rest > 0) - (rest > 0))[region[heads]]
    counts = np.empty(2 * len(heads) + np.count_nonzero(rest), np.int32)
    counts[place], counts[place + 1] = start[heads] - before, stops - start[heads]
    ends = place[lasts] + 2
    counts[ends[rest > 0]] = rest[rest > 0]
    return [counts[begin:stop] for begin, stop in zip(place[firsts], ends + (rest > 0), strict=True)]
