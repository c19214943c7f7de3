"""Evidence of predictions on an accelerator equals that of the kernel; only planes and histograms are copied."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from masksift.scoring.image import CondensedImage, condense_image
from masksift.scoring.kernels.condense import CondenseConfig
from support.accelerator import Accelerator, accelerator
from support.datasets import make_dataset

__all__ = ["accelerator"]

IGNORE = (255,)
DTYPES = ("uint8", "uint16", "float32", "float64")  # array-api-strict has no float16


def condense_both(
    accelerator: Accelerator, labels: Any, predictions: Any, **options: Any
) -> tuple[CondensedImage, CondensedImage]:
    """Condense an image on the accelerator and by the kernel."""
    config = CondenseConfig.for_predictions(len(predictions), predictions.dtype.name, **options)
    on_device = condense_image(labels, [accelerator.put(predictions)], config, IGNORE)
    return on_device, condense_image(labels, [predictions], config, IGNORE)


def assert_same(found: CondensedImage, wanted: CondensedImage) -> None:
    assert found.status == wanted.status
    for plane, other in zip(found.planes.arrays, wanted.planes.arrays, strict=True):
        assert plane.dtype == other.dtype
        np.testing.assert_array_equal(plane, other)
    assert (found.statistics is None) == (wanted.statistics is None)
    if found.statistics is not None and wanted.statistics is not None:
        assert found.statistics.to_bytes() == wanted.statistics.to_bytes()


@pytest.mark.parametrize("evidence", ["auto", "float32"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_probabilities_on_an_accelerator_give_the_evidence_of_the_kernel(
    accelerator: Accelerator, dtype: str, evidence: str
) -> None:
    data = make_dataset(3, images=2, classes=5, height=33, width=41, dtype=dtype)
    for labels, predictions in zip(data.labels, data.predictions, strict=True):
        assert_same(*condense_both(accelerator, labels, predictions, requested_evidence=evidence))


def test_only_planes_and_histograms_leave_the_accelerator(accelerator: Accelerator) -> None:
    data = make_dataset(3, images=1, classes=7, height=160, width=200, dtype="float32")
    condense_both(accelerator, data.labels[0], data.predictions[0], requested_evidence="float32")
    pixels, edges = 160 * 200, (7 * 256 + 1,)
    assert sorted(accelerator.copied) == sorted([edges, edges, (pixels,), (pixels,), (pixels,)])
    assert accelerator.bytes_copied == pixels * (4 + 1 + 4) + 2 * 8 * edges[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logits_on_an_accelerator_differ_by_the_rounding_of_softmax(accelerator: Accelerator, dtype: str) -> None:
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(0, 4, (6, 50, 60)).astype(dtype), rng.integers(0, 6, (50, 60), np.uint8)
    for evidence, tolerance in (("float32", {"atol": 1e-6}), ("auto", {"rtol": 2**-10, "atol": 2**-24})):
        found, wanted = condense_both(
            accelerator, labels, logits, prediction_kind="logits", requested_evidence=evidence
        )
        np.testing.assert_array_equal(found.planes.predicted_class, wanted.planes.predicted_class)
        stored = "float32" if evidence == "float32" else "float16"
        for name in ("self_confidence", "predicted_confidence"):
            planes = [getattr(image.planes, name).view(stored).astype(np.float64) for image in (found, wanted)]
            np.testing.assert_allclose(*planes, **tolerance)


@pytest.mark.parametrize("fault", [np.nan, np.inf, -0.5, 1.5, "sum"])
def test_invalid_probabilities_on_an_accelerator_have_the_reason_of_the_kernel(
    accelerator: Accelerator, fault: Any
) -> None:
    data = make_dataset(3, images=1, classes=4, height=9, width=11, dtype="float32")
    data.predictions[0, :, 5, 7] = 0.3 if fault == "sum" else data.predictions[0, :, 5, 7]
    data.predictions[0, 2, 5, 7] = 0.3 if fault == "sum" else fault
    found, wanted = condense_both(accelerator, data.labels[0], data.predictions[0])
    assert found.status.status == "bad_probabilities"
    assert_same(found, wanted)


def test_values_slightly_outside_0_and_1_are_clipped_on_an_accelerator(accelerator: Accelerator) -> None:
    predictions = np.full((2, 8, 8), [[[1.0005]], [[-0.0005]]], np.float32)
    predictions[:, 0] = [[-0.0], [1.0]]
    assert_same(*condense_both(accelerator, np.zeros((8, 8), np.uint8), predictions))


def test_classes_beyond_a_byte_are_condensed_on_an_accelerator(accelerator: Accelerator) -> None:
    rng = np.random.default_rng(1)
    predictions = np.moveaxis(rng.dirichlet([0.1] * 300, (6, 7)), -1, 0).astype(np.float32)
    assert_same(*condense_both(accelerator, rng.integers(0, 300, (6, 7)), predictions))
