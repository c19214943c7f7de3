"""Mean IoU and pixel accuracy: counted, held against the plain definition, and None where there is nothing."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from masksift.prepare.predict.metrics import counts_of, segmentation_metrics

PLANES = hnp.arrays(np.uint8, (5, 4), elements=st.sampled_from([0, 1, 2, 255]))
PREDICTED = hnp.arrays(np.int64, (5, 4), elements=st.integers(0, 2))


@given(PLANES, PREDICTED)
def test_they_are_those_of_the_definition(plane: np.ndarray, predicted: np.ndarray) -> None:
    found = segmentation_metrics(counts_of(plane, predicted, 3))
    valid = plane != 255
    given_, said = plane[valid], predicted[valid]
    iou = [
        ((given_ == k) & (said == k)).sum() / ((given_ == k) | (said == k)).sum() if (given_ == k).any() else None
        for k in range(3)
    ]
    assert found["iou"] == iou
    known = [value for value in iou if value is not None]
    assert found["mean_iou"] == (sum(known) / len(known) if known else None)
    assert found["pixel_accuracy"] == ((given_ == said).mean() if known else None)
    assert found["pixels"] == valid.sum()


@given(PLANES, PREDICTED, PLANES, PREDICTED)
def test_counts_of_two_images_add_up_to_those_of_both(
    a: np.ndarray, p: np.ndarray, b: np.ndarray, q: np.ndarray
) -> None:
    both = counts_of(np.concatenate([a, b]), np.concatenate([p, q]), 3)
    np.testing.assert_array_equal(counts_of(a, p, 3) + counts_of(b, q, 3), both)
