"""Rows of regions, as the images they lie in are scored: of a block by a task, of a notebook's arrays all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.scoring.kernels.regions import Regions
from masksift.storage.tables.arrow import table_from_columns, table_from_rows
from masksift.storage.tables.schemas import WORST_REGION, found_schema

LABEL, OMISSION = "label", "omission"
"""The kinds: flagged pixels, and ignored ones that are confidently predicted as a class."""


def region_part_name(fingerprint: str, number: int) -> str:
    """The name of what a block keeps of its regions until all are ranked."""
    return f"manifest/regions/part-{fingerprint[:12]}-{number:08d}.parquet"


class RegionTableBuilder:
    """Gathers regions image by image, and keeps the ``top`` of them with most evidence: no other can be among as many
    of the whole data set. A quarter more are held at a time."""

    def __init__(self, top: int, class_names: Sequence[str]) -> None:
        self._top, self._names = top, class_names
        self._images: list[tuple[Mapping[str, Any], Regions]] = []
        self._held = 0

    def add(self, facts: Mapping[str, Any], found: Regions) -> dict[str, Any]:
        """Take in the regions of the next image, of which there are these ``facts``; answers what its own row says of
        the one with most evidence."""
        if not len(found):
            return {}
        self._images.append((facts, found))
        self._held += len(found)
        if self._held > self._top + self._top // 4:
            self._prune()
        worst = int(found.evidence.argmax())
        return dict(zip(WORST_REGION.names, (*found.box[worst].tolist(), float(found.evidence[worst])), strict=True))

    def table(self, columns: Sequence[str] = ()) -> Any:
        """Those kept, that with most evidence on top; of equal ones that which was found first."""
        if not self._images:
            return table_from_rows([], found_schema(columns))
        self._prune()
        facts = [facts for facts, _ in self._images]
        every = Regions.of([found for _, found in self._images], self._order())
        image = np.repeat(np.arange(len(facts)), [len(found) for _, found in self._images])[self._order()].tolist()
        told = {
            name: [facts[i].get(name) for i in image]
            for name in ("image_id", "source", "index", *columns, "height", "width")
        }
        return table_from_columns(told | self._described(every), found_schema(columns))

    def _order(self) -> NDArray[np.intp]:
        evidence = np.concatenate([np.empty(0), *(found.evidence for _, found in self._images)])
        return np.argsort(-evidence, kind="stable")[: self._top]

    def _prune(self) -> None:
        """Keep the best alone, in the order in which they were found."""
        wanted = np.zeros(self._held, bool)
        wanted[self._order()] = True
        ends = np.cumsum([0, *(len(found) for _, found in self._images)])
        chosen = [np.flatnonzero(wanted[start:stop]) for start, stop in pairwise(ends)]
        self._images = [
            (facts, found if len(kept) == len(found) else Regions.of([found], kept))
            for (facts, found), kept in zip(self._images, chosen, strict=True)
            if len(kept)
        ]
        self._held = int(np.count_nonzero(wanted))

    def _described(self, found: Regions) -> dict[str, Any]:
        """The columns that are of a region itself."""
        labelled = (found.given < len(self._names)).tolist()
        given = [k if known else None for k, known in zip(found.given.tolist(), labelled, strict=True)]
        means = zip(found.self_confidence.tolist(), labelled, strict=True)
        return {
            "kind": [LABEL if known else OMISSION for known in labelled],
            "given": given,
            "suggested": found.suggested,
            "given_name": [None if k is None else self._names[k] for k in given],
            "suggested_name": [self._names[k] for k in found.suggested.tolist()],
            "area": found.area,
            **dict(zip(("y0", "x0", "y1", "x1"), found.box.T, strict=True)),
            **dict(zip(("centroid_y", "centroid_x"), found.centroid.T, strict=True)),
            "evidence": found.evidence,
            "mean_self_confidence": [mean if known else None for mean, known in means],
            "mean_predicted_confidence": found.predicted_confidence,
            "rle": found.rle,
        }
