"""Features of regions for the model of decisions.

All of them exist before the review, and few are used: some dozen decisions cannot fit more. Logarithms make the
skewed ones nearly symmetric, with constants well below the values of regions that anybody reviews.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from masksift.engine.completed_run import CompletedRun
from masksift.engine.region_table import OMISSION
from masksift.storage.tables.parquet import iter_tables

Floats = NDArray[np.float64]

FEATURE_COLUMNS = ("kind", "area", "priority", "usual_evidence", "given_z", "suggested_z", "given_pixels")
"""Columns of the table of regions that the features are made of."""
SCORE = "softmin"
"""Score of the image that is a feature, too, if the run has it."""
_SMALL_PRIORITY, _SMALL_EVIDENCE = 1e-3, 1e-2


def region_features(columns: Mapping[str, NDArray[np.generic]], scores: Floats | None) -> dict[str, Floats]:
    """Compute the features of regions.

    Args:
        columns: `FEATURE_COLUMNS` of the table of regions, (N,) each, NaN for null.
        scores: `SCORE` of the image of each region, (N,), or None.

    Returns:
        Features by name, (N,) each: standardized over all regions, and 0, the mean, where a value is missing.
    """
    numbers = {name: columns[name].astype(float) for name in FEATURE_COLUMNS if name != "kind"}
    area = numbers["area"]
    values = {
        "priority": np.log(numbers["priority"] + _SMALL_PRIORITY),
        "area": np.log(area),
        "usual_evidence": np.log(np.maximum(numbers["usual_evidence"], 0) + _SMALL_EVIDENCE),
        "given_z": np.log1p(numbers["given_z"]),
        "suggested_z": np.log1p(numbers["suggested_z"]),
        "share_of_given": np.log(area / np.maximum(numbers["given_pixels"], area)),
        "omission": (columns["kind"] == OMISSION).astype(float),
    }
    if scores is not None:
        values[SCORE] = scores
    return {name: _standardize(feature) for name, feature in values.items()}


def _standardize(values: Floats) -> Floats:
    present = np.isfinite(values)
    if not present.any():
        return np.zeros(len(values))
    mean, deviation = values[present].mean(), values[present].std()
    return np.where(present, (values - mean) / (deviation if deviation > 0 else 1.0), 0.0)


def image_scores(run: CompletedRun, images: NDArray[np.int64]) -> Floats | None:
    """Read `SCORE` of images from the table of images, some parts of which are in memory at a time.

    Args:
        run: The run.
        images: Positions of images among those of the run, (N,).

    Returns:
        Scores (N,), NaN for an image without one; None if the run does not have the score.
    """
    if SCORE not in run.methods:
        return None
    scores, first = np.empty(len(images)), 0
    for table in iter_tables(run.directory, run.image_part_names, [SCORE]):
        inside = (images >= first) & (images < first + len(table))
        scores[inside] = table[SCORE].to_numpy()[images[inside] - first]
        first += len(table)
    return scores
