"""The operations on an accelerator, with torch's arrays; torch runs them on the CPU as on a GPU."""

from __future__ import annotations

import numpy as np
import pytest

from masksift.scoring.image import LabelValidator, condense_image
from masksift.scoring.kernels.condense import CondenseConfig
from support.datasets import make_dataset

torch = pytest.importorskip("torch", reason="torch is an extra: pip install 'masksift[torch]'")
pytest.importorskip("array_api_compat", reason="a new dependency: make setup")
from masksift.scoring import device  # noqa: E402


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "float64"])
def test_torch_operations_give_the_evidence_of_the_kernel(dtype: str) -> None:
    data = make_dataset(3, images=1, classes=5, height=33, width=41, dtype=dtype)
    config = CondenseConfig.for_predictions(5, dtype)
    wanted = condense_image(data.labels[0], [data.predictions[0]], config, (255,))
    plane = LabelValidator(5, (255,)).to_class_indices(data.labels[0])
    found = device.condense_on_device(torch.from_numpy(data.predictions[0]), plane, config)
    assert found is not None
    for name in ("self_confidence", "predicted_class", "predicted_confidence"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted.planes, name))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_torch_softmax_differs_by_its_rounding(dtype: str) -> None:
    logits = torch.randn(6, 50, 60, generator=torch.Generator().manual_seed(0)).mul(4).to(getattr(torch, dtype))
    labels = np.random.default_rng(0).integers(0, 6, (50, 60), np.uint8)
    stored = "float32" if dtype == "bfloat16" else dtype
    config = CondenseConfig.for_predictions(6, stored, "logits")
    wanted = condense_image(labels, [logits], config)
    found = device.condense_on_device(logits, labels, config)
    assert found is not None
    np.testing.assert_array_equal(found.predicted_class, wanted.planes.predicted_class)
    for name in ("self_confidence", "predicted_confidence"):
        planes = [getattr(one, name).view("float16").astype(float) for one in (found, wanted.planes)]
        np.testing.assert_allclose(*planes, rtol=2**-10, atol=2**-24)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_torch_rounds_probabilities_to_steps_like_numpy(dtype: str) -> None:
    probabilities = np.random.default_rng(0).random((3, 40, 50), np.float32)
    scale = 1 / np.iinfo(dtype).max
    found = device.round_on_device(torch.from_numpy(probabilities), scale, dtype)
    np.testing.assert_array_equal(found.numpy(), np.rint(probabilities / np.float32(scale)).astype(dtype))


def test_torch_labels_are_narrowed_only_if_all_fit() -> None:
    labels = torch.tensor([[0, 255], [3, 4]])
    assert device.narrow_on_device(labels, "uint8").dtype == torch.uint8
    assert device.narrow_on_device(labels + 1, "uint8").dtype == torch.int64
    assert device.narrow_on_device(labels + 1, "uint16").dtype == torch.uint16
