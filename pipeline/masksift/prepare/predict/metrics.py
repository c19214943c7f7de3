"""Segmentation metrics from pixel counts; a ranking means little if the model is poor."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def count_agreement(
    plane: NDArray[np.unsignedinteger], predicted: NDArray[np.integer], classes: int
) -> NDArray[np.int64]:
    """Count pixels that agree, are labeled and are predicted, by class, (3, K) int64; labels >= K are ignored."""
    valid = plane < classes
    labels, predictions = plane[valid], predicted[valid]
    rows = (labels[labels == predictions], labels, predictions)
    return np.stack([np.bincount(row, minlength=classes) for row in rows]).astype(np.int64)


def segmentation_metrics(counts: NDArray[np.int64]) -> dict[str, Any]:
    """Compute mean IoU over the classes in the labels, pixel accuracy and IoU by class, from counts (3, K)."""
    agree, labeled, predicted = counts
    union = labeled + predicted - agree
    iou = [int(a) / int(u) if n else None for a, u, n in zip(agree, union, labeled, strict=True)]
    known = [value for value in iou if value is not None]
    return {
        "pixels": int(labeled.sum()),
        "mean_iou": sum(known) / len(known) if known else None,
        "pixel_accuracy": int(agree.sum()) / int(labeled.sum()) if known else None,
        "iou": iou,
    }
