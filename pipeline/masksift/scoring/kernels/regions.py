"""Find the regions of images, connected flagged pixels of one class pair, row by row.

Every attribute of a region is a sum of integers, in any order. Rows of one image after the other are added until the
tables are full. Regions that touch the last row stay open for the next pass. All others are finished, and small ones
are dropped at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels._jit import inner, kernel
from masksift.scoring.kernels._union_find import find_root
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.kernels.ignored_pixels import surrounded_by_ignored
from masksift.scoring.kernels.pixel_statistics import sum_mode, to_fixed

CAPACITY = 1 << 16
"""Regions, and vertical runs, in the tables of one pass; at least the pixels of a row."""

_AREA, _Y, _X, _CONFIDENCE, _EVIDENCE, _EXCESS = range(6)
"""Columns of sums over the pixels of a region: number, rows, columns, predicted confidence, evidence (m - s, or of an
omission the m above the expected share), and in an omission the number of pixels above it."""


@dataclass(frozen=True)
class OmissionRule:
    """Rule for regions of ignored pixels, by predicted class.

    Attributes:
        confident: Smallest code of predicted confidence that counts, (K,) int64.
        expected: Share of the confidence in a class on ignored pixels of the whole data set, (K,) float64: no evidence.
        surprising: Smallest code above ``expected``, (K,) int64.
    """

    confident: NDArray[np.int64]
    expected: NDArray[np.float64]
    surprising: NDArray[np.int64]

    @classmethod
    def from_thresholds(
        cls, encoding: Encoding, confident: NDArray[np.int64], expected: NDArray[np.float64]
    ) -> OmissionRule:
        """Derive the codes of ``surprising``."""
        above = [encoding.code_at_least(math.nextafter(float(share), math.inf)) for share in expected]
        return cls(confident, expected, np.array(above, np.int64))


@dataclass(frozen=True)
class Regions:
    """R regions of images, ordered by image, upper left corner of the box, then first pixel in column order.

    Attributes:
        image: Number of the image, (R,) int64.
        given: Given class, K for an omission, (R,) int64.
        suggested: Predicted class, (R,) int64.
        area: Pixels, (R,) int64.
        box: Rows [y0, y1) and columns [x0, x1) as y0, x0, y1, x1, (R, 4) int64.
        centroid: Mean row and column, (R, 2) float64.
        evidence: Pixels times probability, (R,) float64.
        self_confidence: Means, (R,) float64; meaningless for an omission.
        predicted_confidence: Means, (R,) float64.
        run_lengths: COCO's uncompressed run-length codes of all regions, int32.
        run_ends: End of each region's code in ``run_lengths``, (R,) int64.
    """

    image: NDArray[np.int64]
    given: NDArray[np.int64]
    suggested: NDArray[np.int64]
    area: NDArray[np.int64]
    box: NDArray[np.int64]
    centroid: NDArray[np.float64]
    evidence: NDArray[np.float64]
    self_confidence: NDArray[np.float64]
    predicted_confidence: NDArray[np.float64]
    run_lengths: NDArray[np.int32]
    run_ends: NDArray[np.int64]

    @property
    def rle(self) -> list[NDArray[np.int32]]:
        """Run-length code of each region, R views."""
        return [self.run_lengths[start:stop] for start, stop in pairwise([0, *self.run_ends.tolist()])]

    @classmethod
    def concatenate(cls, groups: Sequence[Regions]) -> Regions:
        """Concatenate regions; the numbers of their images stay as they are."""
        arrays: dict[str, Any] = {
            field.name: np.concatenate([getattr(group, field.name) for group in groups]) for field in fields(cls)
        }
        starts = np.cumsum([0, *(len(group.run_lengths) for group in groups)])[:-1]
        arrays["run_ends"] += np.repeat(starts, [len(group) for group in groups])
        return cls(**arrays)

    def take(self, order: NDArray[np.intp]) -> Regions:
        """Copy the regions at the positions ``order``."""
        arrays: dict[str, Any] = {
            field.name: getattr(self, field.name)[order]
            for field in fields(self)
            if field.name not in ("run_lengths", "run_ends")
        }
        starts = np.append(0, self.run_ends[:-1])[order]
        lengths = self.run_ends[order] - starts
        ends = np.cumsum(lengths)
        positions = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - lengths), lengths)
        return Regions(**arrays, run_lengths=self.run_lengths[positions], run_ends=ends)

    def __len__(self) -> int:
        return len(self.area)


@dataclass(frozen=True)
class _RegionSums:
    """Region sums, all int64.

    ``code`` (n, 2): image and class pair. ``sums`` (n, 6). ``box`` (n, 4). ``runs`` (r, 3): vertical runs as region,
    position of the first pixel in column order, length.
    """

    code: NDArray[np.int64]
    sums: NDArray[np.int64]
    box: NDArray[np.int64]
    runs: NDArray[np.int64]

    @classmethod
    def empty(cls) -> _RegionSums:
        return cls(*(np.zeros((0, columns), np.int64) for columns in (2, 6, 4, 3)))

    @classmethod
    def concatenate(cls, tables: Sequence[_RegionSums]) -> _RegionSums:
        first = np.cumsum([0, *map(len, tables)])
        runs = [table.runs + np.array([start, 0, 0]) for table, start in zip(tables, first, strict=False)]
        code, sums, box = (
            np.concatenate([getattr(table, name) for table in tables]) for name in ("code", "sums", "box")
        )
        return cls(code, sums, box, np.concatenate(runs))

    def grow(self, rows: int) -> _RegionSums:
        """Copy with undefined rows at the end of each table."""
        tables = []
        for table in (self.code, self.sums, self.box, self.runs):
            tables.append(np.empty((len(table) + rows, table.shape[1]), np.int64))
            tables[-1][: len(table)] = table
        return _RegionSums(*tables)

    def first(self, count: int, runs: int) -> _RegionSums:
        return _RegionSums(self.code[:count], self.sums[:count], self.box[:count], self.runs[:runs])

    def __len__(self) -> int:
        return len(self.code)

    def select(self, mask: NDArray[np.bool_]) -> _RegionSums:
        """Return the masked regions, renumbered."""
        runs = self.runs[mask[self.runs[:, 0]]]
        runs[:, 0] = (np.cumsum(mask) - 1)[runs[:, 0]]
        return _RegionSums(self.code[mask], self.sums[mask], self.box[mask], runs)


@inner
def _encode(labels, predicted, confident_codes, mask, y, classes, limits, codes):
    """Write the codes (w,) of a row.

    The code is 0 outside regions, else 1 + given * classes + predicted. ``classes`` is given on ignored pixels, which
    count if ``limits`` is (K,), not (0,).

    Returns:
        True if any pixel is in a region.
    """
    flagged, most = mask[y, 0], labels[y, 0]
    for x in range(codes.size):
        flagged = max(flagged, mask[y, x])
    if limits.size > 0:
        for x in range(codes.size):
            most = max(most, labels[y, x])
    if flagged == 0 and (limits.size == 0 or most < classes):  # most rows have no region
        for x in range(codes.size):
            codes[x] = 0
        return False
    most_code = np.uint32(0)
    for x in range(codes.size):
        code = np.uint32(0)
        if mask[y, x]:
            code = np.uint32(np.int64(labels[y, x]) * classes + np.int64(predicted[y, x]) + 1)
        elif limits.size > 0 and labels[y, x] >= classes:
            winner = np.int64(predicted[y, x])
            if np.int64(confident_codes[y, x]) >= limits[winner] and surrounded_by_ignored(labels, y, x, classes):
                code = np.uint32(classes * classes + winner + 1)
        codes[x] = code
        most_code = max(most_code, code)
    return most_code > 0


@inner
def _assign_region(code, first, behind, codes, regions, parents, count):
    """Return the region of a run [first, behind): that of a run it touches in the row above, or a new one."""
    region = np.int64(-1)
    for x in range(first - 1 if first > 0 else first, behind + 1 if behind < codes.size else behind):
        if codes[x] == code:
            top = find_root(parents, regions[x])
            if region < 0:
                region = top
            elif top < region:
                parents[region] = top
                region = top
            else:
                parents[top] = region
    if region < 0:
        region = count
        parents[region] = region
    return region


@inner
def _add_rows(
    labels,
    predicted,
    self_codes,
    confident_codes,
    mask,
    mode,
    classes,
    limits,
    above,
    image,
    top,
    height,
    width,
    codes,
    regions,
    last,
    parents,
    count,
    code,
    sums,
    box,
    runs,
    found,
):
    """Add rows of an image from ``top`` on while the tables have room for a row's worst case.

    ``codes`` and ``regions`` (2, W) hold a row and the row above in turn, ``last`` (W,) the run above in each column.
    ``count`` regions and ``found`` runs are present.

    Returns:
        The next row and the numbers of regions and runs.
    """
    for y in range(top, height):
        if count + width > parents.size or found + width > len(runs):
            return y, count, found
        now, then = y % 2, 1 - y % 2
        if not _encode(labels, predicted, confident_codes, mask, y, classes, limits, codes[now, :width]):
            continue
        behind = 0
        for first in range(width):
            pair = np.int64(codes[now, first])
            if first < behind or pair == 0:
                continue
            behind = first + 1
            while behind < width and codes[now, behind] == pair:
                behind += 1
            i = _assign_region(pair, first, behind, codes[then, :width], regions[then], parents, count)
            if i == count:
                count += 1
                code[i, 0] = image
                code[i, 1] = pair
                for column in range(sums.shape[1]):
                    sums[i, column] = 0
                box[i, 0] = y
                box[i, 1] = first
                box[i, 3] = behind
            box[i, 2] = y + 1
            if first < box[i, 1]:
                box[i, 1] = first
            if behind > box[i, 3]:
                box[i, 3] = behind
            sums[i, _AREA] += behind - first
            sums[i, _Y] += y * (behind - first)
            for x in range(first, behind):
                regions[now, x] = i
                if y > top and codes[then, x] == pair:
                    runs[last[x], 2] += 1
                else:
                    runs[found, 0] = i
                    runs[found, 1] = x * height + y
                    runs[found, 2] = 1
                    last[x] = found
                    found += 1
                confident = to_fixed(confident_codes[y, x], mode)
                if pair <= classes * classes:
                    sums[i, _EVIDENCE] += confident - to_fixed(self_codes[y, x], mode)
                elif np.int64(confident_codes[y, x]) >= above[pair - classes * classes - 1]:
                    sums[i, _EVIDENCE] += confident
                    sums[i, _EXCESS] += 1
                sums[i, _X] += x
                sums[i, _CONFIDENCE] += confident
    return height, count, found


@kernel
def _add_images(
    labels,
    predicted,
    self_codes,
    confident_codes,
    mask,
    mode,
    classes,
    limits,
    above,
    sizes,
    image,
    top,
    codes,
    regions,
    parents,
    count,
    code,
    sums,
    box,
    runs,
    found,
    last,
):
    """Add the images (n, H, W) from row ``top`` of ``image`` on while the tables have room, see `_add_rows`.

    Returns:
        The next image and row, and the numbers of regions and runs.
    """
    while image < len(labels):
        height, width = sizes[image, 0], sizes[image, 1]
        if top == 0:
            for x in range(codes.shape[1]):
                codes[0, x] = 0
                codes[1, x] = 0
        top, count, found = _add_rows(
            labels[image],
            predicted[image],
            self_codes[image],
            confident_codes[image],
            mask[image],
            mode,
            classes,
            limits,
            above,
            image,
            top,
            height,
            width,
            codes,
            regions,
            last,
            parents,
            count,
            code,
            sums,
            box,
            runs,
            found,
        )
        if top < height:
            break
        image += 1
        top = 0
    return image, top, count, found


def _unite(parents: NDArray[np.int64], sums: NDArray[np.int64], box: NDArray[np.int64]) -> None:
    """Add every region to its root, and set ``parents`` to the roots. A parent has a smaller number."""
    while not np.array_equal(roots := parents[parents], parents):
        parents[:] = roots
    joined = np.flatnonzero(parents != np.arange(parents.size))
    if joined.size:
        np.add.at(sums, parents[joined], sums[joined])
        np.minimum.at(box[:, :2], parents[joined], box[joined, :2])
        np.maximum.at(box[:, 2:], parents[joined], box[joined, 2:])


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
    sizes: NDArray[np.int64] | None = None,
) -> Regions:
    """Find the regions of n images of at most 2^31 - 1 pixels each.

    A region is a maximal 8-connected set of flagged pixels with one given and one predicted class; its evidence is the
    sum of m - s. An omission is a maximal 8-connected set of ignored pixels, surrounded by ignored pixels, that are
    confidently predicted as one class; its evidence is the sum of max(0, m - expected share of the class).

    Args:
        labels: Class planes (n, H, W), C-contiguous like all planes; ignored pixels hold the dtype's maximum.
        predicted_class: Predicted classes (n, H, W).
        self_confidence: Codes (n, H, W).
        predicted_confidence: Codes (n, H, W).
        mask: 1 where the label is flagged, (n, H, W).
        encoding: Encoding of the codes.
        classes: Number of classes.
        least_area: Smallest region in pixels.
        omissions: Rule for omissions; None finds none.
        sizes: Rows and columns (n, 2) of padded images without the padding; 0 rows leave an image out.

    Returns:
        The regions.
    """
    images, *size = labels.shape
    sizes = np.full((images, 2), size, np.int64) if sizes is None else sizes
    limits, above = np.empty(0, np.int64), np.empty(0, np.int64)
    if omissions is not None:
        limits, above = omissions.confident, omissions.surprising
    finished, still_open = [_RegionSums.empty()], _RegionSums.empty()
    codes, regions = np.zeros((2, size[1]), np.uint32), np.zeros((2, size[1]), np.int64)
    image, top, room = 0, 0, max(CAPACITY, size[1])
    while image < images:
        every, parents = still_open.grow(room), np.empty(len(still_open) + room, np.int64)
        parents[: len(still_open)] = np.arange(len(still_open))
        image, top, count, found = _add_images(
            labels,
            predicted_class,
            self_confidence,
            predicted_confidence,
            mask,
            sum_mode(encoding),
            classes,
            limits,
            above,
            sizes,
            image,
            top,
            codes,
            regions,
            parents,
            len(still_open),
            every.code,
            every.sums,
            every.box,
            every.runs,
            len(still_open.runs),
            np.empty(size[1], np.int64),
        )
        every, parents = every.first(count, found), parents[:count]
        _unite(parents, every.sums, every.box)
        every.runs[:, 0] = parents[every.runs[:, 0]]
        stays, last = np.zeros(count, bool), (top - 1) % 2
        if top > 0:  # in the middle of an image
            touching = np.flatnonzero(codes[last])
            stays[parents[regions[last, touching]]] = True
            regions[last, touching] = (np.cumsum(stays) - 1)[parents[regions[last, touching]]]
        complete = (parents == np.arange(count)) & ~stays & (every.sums[:, _AREA] >= least_area)
        finished.append(every.select(complete))
        still_open = every.select(stays)
    return _describe(_RegionSums.concatenate(finished), encoding, classes, omissions, sizes.prod(axis=1))


def _describe(
    found: _RegionSums, encoding: Encoding, classes: int, omissions: OmissionRule | None, pixels: NDArray[np.int64]
) -> Regions:
    """Order the regions and convert their sums to means and probabilities; ``pixels`` (n,) of the images."""
    first = np.full(len(found), np.iinfo(np.int64).max)
    np.minimum.at(first, found.runs[:, 0], found.runs[:, 1])
    order = np.lexsort((first, found.box[:, 1], found.box[:, 0], found.code[:, 0]))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    runs = found.runs.copy()
    runs[:, 0] = place[runs[:, 0]]
    runs = runs[np.lexsort((runs[:, 1], runs[:, 0]))]
    image, pair = found.code[order].T
    given, suggested = np.divmod(pair - 1, classes)
    sums, unit = found.sums[order], float(encoding.unit)
    area = sums[:, _AREA]
    expected = np.zeros(classes) if omissions is None else omissions.expected
    return Regions(
        image,
        given,
        suggested,
        area,
        found.box[order],
        sums[:, (_Y, _X)] / area[:, np.newaxis],
        np.maximum(0.0, sums[:, _EVIDENCE] * unit - expected[suggested] * sums[:, _EXCESS]),
        (sums[:, _CONFIDENCE] - sums[:, _EVIDENCE]) * unit / area,
        sums[:, _CONFIDENCE] * unit / area,
        *_run_lengths(runs, pixels[image]),
    )


def _run_lengths(runs: NDArray[np.int64], pixels: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return COCO's counts of every region: pixels outside and inside in turn, column by column, and their ends.

    ``runs`` (r, 3) are ordered by region and position; ``pixels`` (R,) of the image of each region. Runs divided by the
    end of a pass or of a column are joined.
    """
    region, start, length = runs.T
    end = start + length
    begins = np.ones(len(start), bool)
    begins[1:] = (region[1:] != region[:-1]) | (start[1:] != end[:-1])
    heads = np.flatnonzero(begins)
    if not len(heads):
        return np.empty(0, np.int32), np.empty(0, np.int64)
    stops = end[np.append(heads[1:], len(end)) - 1]  # of the joined runs
    firsts = np.searchsorted(region[heads], np.arange(len(pixels)))
    lasts = np.append(firsts[1:], len(heads)) - 1
    before = np.append(0, stops[:-1])
    before[firsts] = 0
    rest = pixels - stops[lasts]
    place = 2 * np.arange(len(heads)) + (np.cumsum(rest > 0) - (rest > 0))[region[heads]]
    counts = np.empty(2 * len(heads) + np.count_nonzero(rest), np.int32)
    counts[place], counts[place + 1] = start[heads] - before, stops - start[heads]
    ends = place[lasts] + 2
    counts[ends[rest > 0]] = rest[rest > 0]
    return counts, ends + (rest > 0)
