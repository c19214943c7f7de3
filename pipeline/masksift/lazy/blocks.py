"""Tasks of a lazy audit: each takes and returns plain values, so that any scheduler of Dask runs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from masksift.array_batches import (
    AuditSettings,
    BatchCounts,
    compare_packed_regions,
    complete_images,
    condense_batches,
    score_batches,
    scoring_input,
)
from masksift.engine import result_tables as results
from masksift.engine.work_items import PairCounts
from masksift.prepare.inputs import LabelImages, prediction_members
from masksift.scoring.image import CondensedImages
from masksift.scoring.statistics.class_statistics import ClassStatistics
from masksift.scoring.statistics.thresholds import Thresholds, compute_thresholds, confident_codes, confident_thresholds

Batches = list[CondensedImages]
"""Images of a block after condensing."""
Scored = tuple[pa.Table, bytes, PairCounts]
"""Result of `score_batches`."""


def condense(labels: Any, predictions: Any, settings: AuditSettings) -> Batches:
    """Condense a block: labels (n, H, W) and predictions (n, K, H, W), or (n, H, W) of the positive class of two."""
    config = settings.config
    members = prediction_members(predictions, config.kind or "probabilities", config.scale)
    return list(condense_batches(LabelImages(labels), members, settings))


def statistics(batches: Batches) -> ClassStatistics:
    """Return the statistics of a block."""
    return reduce(ClassStatistics.merge, (batch.statistics for batch in batches))


def merge(function: Callable[[Any, Any], Any], values: Sequence[Any]) -> Any:
    """Merge the values of a node of a reduction tree."""
    return reduce(function, values)


def count_confident(batches: Batches, found: ClassStatistics, settings: AuditSettings) -> int:
    """Count the confident pixels of a block with evidence of more than 8 bits."""
    limits = {found.encoding: confident_codes(found.encoding, confident_thresholds(found))}
    return BatchCounts(batches, len(settings.class_names)).count_confident(limits)


class _KeyNeeded(Exception):
    """The bin of self-confidence whose lower bits decide the rank threshold."""

    def __init__(self, key: int) -> None:
        super().__init__(key)
        self.key = key


@dataclass(frozen=True)
class _KnownCounts:
    """Counts that earlier tasks made (`EvidenceCounter`)."""

    confident: int
    low_bits: NDArray[np.int64] | None

    def count_confident(self, limits: object) -> int:
        return self.confident

    def count_low_bits(self, key: int) -> NDArray[np.int64]:
        if self.low_bits is None:
            raise _KeyNeeded(key)
        return self.low_bits


def find_key(found: ClassStatistics, confident: int, settings: AuditSettings) -> int | None:
    """Return the upper 16 bits of the self-confidence at the rank of clc; None if no low bits are needed."""
    try:
        thresholds(found, confident, None, settings)
    except _KeyNeeded as e:
        return e.key
    return None


def count_low_bits(batches: Batches, key: int | None, settings: AuditSettings) -> NDArray[np.int64]:
    """Count the lower 16 bits of the float32 self-confidences of a block whose upper 16 bits are ``key``."""
    if key is None:
        return np.zeros(1 << 16, np.int64)
    return BatchCounts(batches, len(settings.class_names)).count_low_bits(key)


def thresholds(
    found: ClassStatistics, confident: int, low_bits: NDArray[np.int64] | None, settings: AuditSettings
) -> Thresholds:
    """Compute the thresholds of the data set."""
    return compute_thresholds(found, settings.config.tccp.tau, _KnownCounts(confident, low_bits))


def thresholds_table(found: ClassStatistics, limits: Thresholds, settings: AuditSettings) -> pa.Table:
    """Return the table of thresholds, one row per class."""
    return results.thresholds_table(found, limits, settings.class_names)


def score(batches: Batches, limits: Thresholds, ids: Sequence[str], first: int, settings: AuditSettings) -> Scored:
    """Score a block whose first image has the index ``first``."""
    codes = limits.encode(settings.condense_config.evidence)
    return score_batches(settings.config, settings.class_names, codes, batches, ids, first)


def pairs_of(scored: Scored) -> PairCounts:
    """Return the flagged class pairs of a scored block."""
    return scored[2]


def masks(batches: Batches, limits: Thresholds, settings: AuditSettings) -> NDArray[np.bool_]:
    """Return the issue masks (n, H, W) of a block."""
    codes, classes = limits.encode(settings.condense_config.evidence), len(settings.class_names)
    flagged = [
        scoring_input(settings.config, codes, classes, batch.scored_labels, batch.planes, batch.summary).flagged.mask
        for batch in batches
    ]
    return np.concatenate(flagged).astype(bool)


def regions(scored: Scored, found: ClassStatistics, pairs: PairCounts) -> pa.Table:
    """Return the regions of a block, compared with the data set."""
    return compare_packed_regions(scored[1], found, pairs)


def images(scored: Sequence[Scored], compared: Sequence[pa.Table], settings: AuditSettings) -> pa.Table:
    """Return the table of all images from the scored blocks and their regions."""
    return complete_images([one[0] for one in scored], compared, settings.config)


def slice_scores(table: pa.Table, first: int, stop: int, names: Sequence[str]) -> NDArray[np.float64]:
    """Return the scores (n, methods) of images [first, stop), NaN where an image has none."""
    part = table.slice(first, stop - first)
    columns = [part[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in names]
    return np.stack(columns, axis=1)


def to_frame(table: pa.Table, first: int = 0, stop: int | None = None) -> Any:
    """Return rows [first, stop) of a table as a pandas data frame."""
    import pandas as pd

    def keep_lists(dtype: pa.DataType) -> Any:
        # Dask turns columns of Python objects into text
        return pd.ArrowDtype(dtype) if pa.types.is_list(dtype) else None

    part = table.slice(first, None if stop is None else stop - first)
    frame = part.to_pandas(types_mapper=keep_lists)
    frame.index += first
    return frame
