"""Compare the stored results of one image with those computed from its predictions and labels."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError
from masksift.core.status import SCORED
from masksift.engine.completed_run import CompletedRun
from masksift.engine.work_items import BlockTask
from masksift.review.verify.comparisons import TOLERANCE, Comparisons
from masksift.review.verify.inputs import ImageReader, ReadImage
from masksift.review.verify.reference import (
    Image,
    PairTotals,
    Region,
    Settings,
    Thresholds,
    class_pixels,
    decode_run_lengths,
    flagged_pairs,
    flagged_pixels,
    log_odds,
    pair_evidence,
    priority,
    regions,
    scores,
    usual_evidence,
    z_scores,
)
from masksift.review.verify.thresholds import Totals
from masksift.review.verify.transforms import Placement
from masksift.review.verify.with_cleanlab import IssueCollector, compare_softmin
from masksift.scoring.methods import COMBINED, WORST_REGION
from masksift.storage.zarr.evidence import EVIDENCE_PLANES, ISSUE_MASK, EvidenceArrays

_BOX = ("region_y0", "region_x0", "region_y1", "region_x1")
_ORDERS = {"evidence": "evidence", "priority": "priority", "class": "class_priority"}
"""Column by which regions are ranked, by the option regions.rank_by."""
_PLACE = re.compile(r"\(y=(\d+), x=(\d+)\)")
_NEIGHBOR = re.compile(r"neighbor\(([+-]\d+)\)")

Row = Mapping[str, Any]


def image_name(row: Row) -> str:
    """Return id and location of an image."""
    location = f"{row['source']}/{row['index']}"
    return location if row["image_id"] == location else f"{row['image_id']} ({location})"


@dataclass(frozen=True)
class SourceArrays:
    """Open arrays of one source.

    Attributes:
        reader: Reader of predictions and labels.
        masks: Issue masks of the run.
        evidence: Evidence planes, or the reason why they cannot be compared.
    """

    reader: ImageReader
    masks: EvidenceArrays
    evidence: EvidenceArrays | str


@dataclass(frozen=True)
class ImageCheck:
    """Check of single images.

    Attributes:
        run: The run.
        settings: Its options.
        thresholds: Its thresholds.
        comparisons: Receives the results.
        listed_regions: Rows of the table of regions by source and index of the image.
        lists_all_regions: The table lists all regions of the run.
        pair_totals: Totals of the run, from which the priority of regions follows.
        totals: Receives the sums of scored images, if thresholds are recomputed.
        uses_cleanlab: cleanlab computes softmin too.
        issues: Receives the pixels of scored images, if cleanlab finds the issues.
    """

    run: CompletedRun
    settings: Settings
    thresholds: Thresholds
    comparisons: Comparisons
    listed_regions: Mapping[tuple[str, int], Sequence[Row]]
    lists_all_regions: bool
    pair_totals: PairTotals
    totals: Totals | None
    uses_cleanlab: bool
    issues: IssueCollector | None

    def open(self, task: BlockTask, reader: ImageReader) -> SourceArrays:
        """Open the results of the source of a block."""
        run, evidence = self.run, task.evidence_location
        planes: EvidenceArrays | str = "evidence planes: the run did not keep them (evidence.keep)"
        if run.keeps_evidence:
            planes = run.context.evidence_arrays(evidence)
            if not planes.attributes():
                planes = f"evidence planes: they do not exist any more at {evidence.evidence_url}"
        return SourceArrays(reader, run.context.issue_mask_arrays(task.spec), planes)

    def check(self, row: Row, arrays: SourceArrays) -> None:
        """Check an image.

        Args:
            row: Its row of the table of images.
            arrays: Arrays of its source.
        """
        comparisons, reader = self.comparisons, arrays.reader
        where = image_name(row)
        read = reader.read(row["index"])
        comparisons.equal("status", where, row["status"], read.status)
        for name, extent in zip(("height", "width"), read.size, strict=True):
            comparisons.equal(name, where, row[name], extent)
        mask = self._read_plane(arrays.masks, ISSUE_MASK, where, row)
        if row["status"] != SCORED:
            self._check_quarantined(where, row, read, mask)
        elif read.image is not None and read.p is not None:
            flagged = flagged_pixels(read.image, self.thresholds, self.settings.rule)
            if mask is not None:
                comparisons.planes(ISSUE_MASK, where, mask, flagged.astype(np.uint8))
            self._check_evidence(arrays.evidence, where, row, read.image)
            self._check_scores(where, row, read.image, flagged)
            self._check_transform(where, row, read.image, reader)
            self._check_regions(where, row, read.image, flagged)
            if read.softmax_error:
                tolerance = 1e-6 + 1e-7 * read.image.classes  # rounding of exp, and of the sum over the classes
                comparisons.number("softmax in float32", where, read.softmax_error, 0.0, tolerance)
            if self.totals is not None:
                self.totals.add(read.image, reader.lattice(read.p, self.settings.lattice), flagged)
            if self.uses_cleanlab:
                probabilities = reader.stored_probabilities(read.p)
                if "softmin" in self.run.methods:
                    temperature = self.settings.temperature
                    compare_softmin(comparisons, where, row["softmin"], read.image, probabilities, temperature)
                if self.issues is not None and mask is not None:
                    self.issues.add(where, read.image, probabilities, mask, self.thresholds.cut)

    def _read_plane(self, arrays: EvidenceArrays, name: str, where: str, row: Row) -> NDArray[Any] | None:
        """Return a stored plane (H, W) without padding; one that cannot be read is a mismatch."""
        try:
            return arrays.read(name, row["index"], row["index"] + 1)[0, : row["height"], : row["width"]]
        except (DataError, FileNotFoundError) as e:
            self.comparisons.equal(name, where, f"cannot be read ({e})", "a plane")
        return None

    def _check_quarantined(self, where: str, row: Row, read: ReadImage, mask: NDArray[Any] | None) -> None:
        """Check that an image without scores has none, and that the place of its first fault is right."""
        names = list(row)
        for name in names[names.index("reason") + 1 :]:
            self.comparisons.equal("columns of images without scores", f"{where}, {name}", row[name], None)
        if mask is not None:
            self.comparisons.planes(ISSUE_MASK, where, mask, np.zeros_like(mask))
        place = _PLACE.search(row["reason"] or "")
        if place is not None and read.place is not None and row["status"] == read.status:
            stored = f"y={place[1]}, x={place[2]}"
            self.comparisons.equal("place of the first fault", where, stored, "y={}, x={}".format(*read.place))

    def _check_evidence(self, arrays: EvidenceArrays | str, where: str, row: Row, image: Image) -> None:
        """Compare the evidence planes, if there are any."""
        if isinstance(arrays, str):
            self.comparisons.skip(arrays, images=1)
            return
        for name, computed in zip(EVIDENCE_PLANES, (image.own, image.predicted, image.best), strict=True):
            if (stored := self._read_plane(arrays, name, where, row)) is not None:
                self.comparisons.planes(name, where, stored, computed)

    def _check_scores(self, where: str, row: Row, image: Image, flagged: NDArray[np.bool_]) -> None:
        """Compare the columns of a scored image, apart from those of its worst region."""
        comparisons, computed = self.comparisons, scores(image, flagged, self.thresholds, self.settings)
        comparisons.equal("valid_pixels", where, row["valid_pixels"], int(np.count_nonzero(image.valid)))
        for name in self.run.methods:
            if name in computed:
                comparisons.number(name, where, row[name], computed[name]())
            elif name not in (COMBINED, WORST_REGION):
                comparisons.skip(f"{name}: this command does not know the score", images=1)
        pairs = flagged_pairs(image, flagged)
        comparisons.equal("flagged_pixels", where, row["flagged_pixels"], int(pairs.sum()))
        given, suggested = divmod(int(pairs.argmax()), image.classes)
        worst = (given, suggested, int(pairs.max())) if pairs.any() else (None, None, None)
        for name, value in zip(("worst_given", "worst_suggested", "worst_pixels"), worst, strict=True):
            comparisons.equal(name, where, row[name], value)
        z = z_scores(log_odds(image), self.thresholds.center, self.thresholds.spread)[0]
        comparisons.number("worst_class_z", where, row["worst_class_z"], float(z.max()) if z.any() else None)
        tied = np.flatnonzero(z >= z.max() - TOLERANCE).tolist() if z.any() else [None]
        expected = row["worst_class"] if row["worst_class"] in tied else tied[0]
        comparisons.equal("worst_class", where, row["worst_class"], expected)

    def _check_transform(self, where: str, row: Row, image: Image, reader: ImageReader) -> None:
        """Compare the transform by which labels seem misplaced. Of neighboring images, only a stored one is read."""
        placement, stored = Placement.from_image(image), row["suspected_transform"]
        found, neighbor = _NEIGHBOR.fullmatch(stored or ""), None
        if found is not None:
            other = reader.read_neighbor(row["index"] + int(found[1]))
            neighbor = None if other is None else (str(stored), Placement.from_image(other))
        elif placement.may_gain:
            self.comparisons.skip(
                "suspected_transform: that the labels do not fit a neighboring image better", images=1
            )
        name, gain = placement.transform(neighbor)
        self.comparisons.equal("suspected_transform", where, stored, name)
        self.comparisons.number("transform_gain", where, row["transform_gain"], gain)

    def _check_regions(self, where: str, row: Row, image: Image, flagged: NDArray[np.bool_]) -> None:
        """Compare the listed regions of an image, and the columns of its worst one."""
        comparisons, found = self.comparisons, regions(image, flagged, self.thresholds, self.settings)
        listed = self.listed_regions.get((row["source"], row["index"]), ())
        self._add_priorities(found, listed, image, flagged)
        self._check_worst_region(where, row, found)
        if WORST_REGION in self.run.methods:
            self._check_region_score(where, row, found)
        by_key: dict[Any, list[Region]] = defaultdict(list)
        for region in found:
            by_key[_key(region)].append(region)
        for one in listed:
            place = f"{where}, region of rank {one['rank']}"
            pixels = decode_run_lengths(one["rle"])
            candidates = by_key[one["kind"], one["given"], one["suggested"], *_box(one)]
            match = next((region for region in candidates if np.array_equal(region.pixels, pixels)), None)
            text = f"{len(pixels):,} pixels in the box {_box(one)}"
            comparisons.equal("regions: pixels", place, text, "no such region" if match is None else text)
            if match is not None:
                for name, value in match.values.items():
                    comparisons.number(f"regions: {name}", place, one[name], value)
        if self.lists_all_regions:
            comparisons.equal("regions: number", where, len(listed), min(len(found), self._most_regions(row)))
        else:
            comparisons.skip(
                "regions that are not listed: the table is full (regions.top) or too long to be read", images=1
            )

    def _most_regions(self, row: Row) -> int:
        """Return the largest number of regions that a run lists of one image."""
        return min(max(64, int(row["height"] * row["width"]) // 512), 262_144)

    def _add_priorities(
        self, found: Sequence[Region], listed: Sequence[Row], image: Image, flagged: NDArray[np.bool_]
    ) -> None:
        """Add the columns about priority to the values of the regions of an image."""
        pixels, own = class_pixels(image), pair_evidence(image, flagged)
        z = z_scores(log_odds(image), self.thresholds.center, self.thresholds.spread)
        source = self.run.record["configuration"].get("thresholds_from")
        stored_usual = {(one["given"], one["suggested"]): one["usual_evidence"] for one in listed}
        if source is not None:
            self.comparisons.skip(f"usual_evidence of regions: it follows from totals of {source}")
        for region in found:
            given, suggested = region.given, region.suggested
            if source is None:
                usual = usual_evidence(region, pixels, own, self.pair_totals)
            else:
                usual = stored_usual.get((given, suggested), 0.0)
            of_given = (None, None) if given is None else (float(z[1, given]), int(pixels[1][given]))
            far = math.hypot(float(z[0, suggested]), of_given[0] or 0.0)
            region.values.update(
                priority=priority(region, usual),
                class_priority=priority(region, usual) * (1 + far),
                usual_evidence=usual,
                given_z=of_given[0],
                suggested_z=float(z[0, suggested]),
                given_pixels=of_given[1],
                suggested_pixels=int(pixels[0][suggested]),
            )

    def _check_worst_region(self, where: str, row: Row, found: Sequence[Region]) -> None:
        """Compare box, evidence and priority of the worst region."""
        comparisons, stored = self.comparisons, tuple(row[name] for name in _BOX)
        columns = ("region_evidence", "region_priority")
        if not found:
            comparisons.equal("worst region", where, stored, (None,) * 4)
            for name in columns:
                comparisons.number(name, where, row[name], None)
            return
        by = _ORDERS[self.run.record["configuration"]["regions"]["rank_by"]]
        values = [float(region.values[by] or 0) for region in found]
        frozen = self.run.record["configuration"].get("thresholds_from") is not None
        if len(found) > self._most_regions(row) or (by != "evidence" and frozen):
            comparisons.skip("worst region: that no other one of the image comes first", images=1)
            worst = list(found)
        else:
            least = max(values) - TOLERANCE * max(1, *values)
            worst = [region for region, value in zip(found, values, strict=True) if value >= least]
        expected = next((region for region in worst if region.box == stored), worst[0])
        comparisons.equal("worst region", where, stored, expected.box)
        if expected.box == stored:
            for name in columns:
                comparisons.number(name, where, row[name], expected.values[name.removeprefix("region_")])

    def _check_region_score(self, where: str, row: Row, found: Sequence[Region]) -> None:
        """Compare the score that follows from the highest priority of a region of given labels."""
        if self.run.record["configuration"].get("thresholds_from") is not None or len(found) > self._most_regions(row):
            self.comparisons.skip(f"{WORST_REGION}: it needs the priorities of all regions of an image", images=1)
            return
        priorities = [float(region.values["priority"] or 0) for region in found if region.given is not None]
        self.comparisons.number(WORST_REGION, where, row[WORST_REGION], 1 / (1 + max(priorities, default=0.0)))


def _key(region: Region) -> tuple[Any, ...]:
    return region.kind, region.given, region.suggested, *region.box


def _box(row: Row) -> tuple[int, int, int, int]:
    return row["y0"], row["x0"], row["y1"], row["x1"]
