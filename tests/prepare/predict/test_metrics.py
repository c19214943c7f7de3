"""Mean IoU and pixel accuracy equal their definitions, and are None without labeled pixels."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from masksift.prepare.predict.metrics import count_agreement, segmentation_metrics

PLANES = hnp.arrays(np.uint8, (5, 4), elements=st.sampled_from([0, 1, 2, 255]))
PREDICTIONS = hnp.arrays(np.int64, (5, 4), elements=st.integers(0, 2))


@given(PLANES, PREDICTIONS)
def test_metrics_equal_their_definitions(plane: np.ndarray, predicted: np.ndarray) -> None:
    metrics = segmentation_metrics(count_agreement(plane, predicted, 3))
    valid = plane != 255
    labels, predictions = plane[valid], predicted[valid]
    iou = [
        ((labels == k) & (predictions == k)).sum() / ((labels == k) | (predictions == k)).sum()
        if (labels == k).any()
        else None
        for k in range(3)
    ]
    assert metrics["iou"] == iou
    known = [value for value in iou if value is not None]
    assert metrics["mean_iou"] == (sum(known) / len(known) if known else None)
    assert metrics["pixel_accuracy"] == ((labels == predictions).mean() if known else None)
    assert metrics["pixels"] == valid.sum()


@given(PLANES, PREDICTIONS, PLANES, PREDICTIONS)
def test_counts_are_additive_over_images(a: np.ndarray, p: np.ndarray, b: np.ndarray, q: np.ndarray) -> None:
    both = count_agreement(np.concatenate([a, b]), np.concatenate([p, q]), 3)
    np.testing.assert_array_equal(count_agreement(a, p, 3) + count_agreement(b, q, 3), both)
