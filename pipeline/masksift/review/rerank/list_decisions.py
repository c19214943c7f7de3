"""Match the decisions with the listed regions of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.engine.completed_run import CompletedRun
from masksift.review.decisions import ACCEPT, REJECT, UNSURE, ImageKey, RegionCheck, ReviewDecisions

_KINDS = (ACCEPT, REJECT, UNSURE)
_NONE = len(_KINDS)


@dataclass(frozen=True)
class ListDecisions:
    """Decisions on the N regions of the list.

    Attributes:
        kinds: Position in `_KINDS` of the decision on each region, or on its image, `_NONE` without any, (N,).
        weights: Decisions that each region stands for, (N,): one on an image is shared by its regions without one.
        images: Position among the run's images of the image of each region, (N,).
    """

    kinds: NDArray[np.int8]
    weights: NDArray[np.float64]
    images: NDArray[np.int64]

    @property
    def is_decided(self) -> NDArray[np.bool_]:
        """Region is accepted or rejected, (N,)."""
        return np.less(self.kinds, _KINDS.index(UNSURE))

    @property
    def is_unsure(self) -> NDArray[np.bool_]:
        """Reviewer cannot tell, (N,)."""
        return np.equal(self.kinds, _KINDS.index(UNSURE))

    @property
    def is_accepted(self) -> NDArray[np.bool_]:
        """Label is wrong, (N,)."""
        return np.equal(self.kinds, _KINDS.index(ACCEPT))

    @property
    def reviewed_images(self) -> int:
        """Number of images with any decision on a listed region."""
        return len(np.unique(self.images[self.kinds < _NONE]))

    def counts(self) -> dict[str, int]:
        """Return the number of decisions of each kind; one on an image counts once."""
        sums = np.bincount(self.kinds, self.weights, _NONE)
        return {kind: round(count) for kind, count in zip(_KINDS, sums[:_NONE].tolist(), strict=True)}


def match_decisions(run: CompletedRun, decisions: ReviewDecisions, table: Any) -> ListDecisions:
    """Find the decision on each region; raises UsageError or DataError if the decisions are not about these regions.

    Args:
        run: The run.
        decisions: Decisions on the run.
        table: Columns rank, source and index of all listed regions, (N,).

    Returns:
        The decisions.
    """
    check, blocks = RegionCheck(run, decisions), run.tasks.plan.blocks
    starts = {name: blocks.position(number, 0) for name, number in run.source_index.items()}
    images, kinds = np.empty(len(table), np.int64), np.full(len(table), _NONE, np.int8)
    through_image: dict[ImageKey, list[int]] = {}
    rows = zip(*(table[name].to_pylist() for name in ("rank", "source", "index")), strict=True)
    for position, (rank, source, index) in enumerate(rows):
        key = (source, index)
        check.add(rank, key)
        images[position] = starts[source] + index
        if key in decisions.ids and (decision := decisions.for_region(key, rank)) is not None:
            kinds[position] = _KINDS.index(decision)
            if rank not in decisions.regions.get(key, {}):
                through_image.setdefault(key, []).append(position)
    check.finish(len(table))
    weights = np.ones(len(table))
    for positions in through_image.values():
        weights[positions] = 1 / len(positions)
    return ListDecisions(kinds, weights, images)
