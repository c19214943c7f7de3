"""How good predictions are, from what was counted: is the model good enough for a ranking to mean something?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def counts_of(plane: NDArray[np.unsignedinteger], predicted: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """(3, K) int64 of one image: pixels by class that agree, that are labelled so, that are predicted so. Pixels of the
    class plane (H, W) whose number is no class do not count."""
    valid = plane < classes
    given, found = plane[valid], predicted[valid]
    each = (given[given == found], given, found)
    return np.stack([np.bincount(part, minlength=classes) for part in each]).astype(np.int64)


def segmentation_metrics(counts: NDArray[np.int64]) -> dict[str, Any]:
    """Mean IoU and pixel accuracy of counts (3, K), sums over images, and the IoU by class. The mean is over the
    classes that labels have; None where there is no such class."""
    agree, given, found = counts
    either = given + found - agree
    iou = [int(a) / int(e) if g else None for a, e, g in zip(agree, either, given, strict=True)]
    known = [value for value in iou if value is not None]
    return {
        "pixels": int(given.sum()),
        "mean_iou": sum(known) / len(known) if known else None,
        "pixel_accuracy": int(agree.sum()) / int(given.sum()) if known else None,
        "iou": iou,
    }
