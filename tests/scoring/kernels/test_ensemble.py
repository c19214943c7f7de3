"""Accumulation and validation of ensemble members."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.scoring.kernels import ensemble
from masksift.scoring.kernels.condense import BadPixel, CondenseConfig, condense_window
from masksift.scoring.kernels.ensemble import accumulate_member, member_config
from reference.ensemble import as_float32, mean_of
from support import datasets as drawn
from support.condensed import a_few, make_config

LABELS = np.array([[0, 1, 2, 255]], np.uint8)


def config(dtype: str, kind: str = "probabilities", classes: int = 3) -> CondenseConfig:
    """Return the configuration of a member from that of a single prediction."""
    single = make_config(classes, dtype, kind=kind)
    return member_config(classes, dtype, single.scale, kind, single.sum_tolerance)


def accumulate(members: list[drawn.Array], labels: drawn.Array, kind: str = "probabilities") -> drawn.Array:
    """Return the sum of all members."""
    total = np.full(members[0].shape, np.nan, np.float32)
    for number, member in enumerate(members):
        settings = config(str(member.dtype), kind, len(member))
        assert accumulate_member(member, labels, settings, total, first=number == 0) is None
    return total


def test_sum_of_members_equals_hand_calculation() -> None:
    one = np.array([[[0.5, 0.5, 0.25, 1]], [[0.25, 0.25, 0.25, 0]], [[0.25, 0.25, 0.5, 0]]], np.float32)
    other = np.array([[[0, 0, 0, 0]], [[255, 255, 255, 255]], [[0, 0, 0, 0]]], np.uint8)
    total = accumulate([one, other], LABELS)
    assert total[:, 0, 0].tolist() == [0.5, 1.25, 0.25]


@a_few
@given(data=st.data(), strip=st.sampled_from([1, 7, 1 << 15]))
def test_mean_of_members_equals_the_reference(data: st.DataObject, strip: int) -> None:
    first = data.draw(drawn.tie_rich(images=(1, 1)))
    seed, dtype = data.draw(st.integers(0, 99)), data.draw(st.sampled_from(drawn.DTYPES))
    shape = first.predictions.shape[1:]
    p = np.moveaxis(np.random.default_rng(seed).dirichlet([1.0] * shape[0], shape[1:]), -1, 0)
    members = [first.predictions[0], drawn.quantize(p, dtype)]
    labels = np.random.default_rng(seed).integers(0, shape[0], shape[1:]).astype(np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ensemble, "STRIP_PIXELS", strip)
        total = accumulate(members, labels)
    assert (total / np.float32(2)).tobytes() == mean_of(members).tobytes(), "any strip, the same bits"


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_logits_are_added_after_softmax(dtype: str) -> None:
    logits = np.random.default_rng(0).normal(0, 4, (3, 5, 4)).astype(dtype)
    total = accumulate([logits], np.zeros((5, 4), np.uint8), "logits")
    np.testing.assert_allclose(total, as_float32(logits, "logits"), rtol=1e-6, atol=1e-9)


def test_values_within_the_tolerance_are_clipped() -> None:
    member = np.array([[[1.0005]], [[-0.0005]], [[0.0]]], np.float32)
    total = accumulate([member], np.zeros((1, 1), np.uint8))
    assert total.ravel().tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("kind", "value"), [("probabilities", math.nan), ("probabilities", 0.75), ("logits", math.inf)]
)
def test_bad_pixel_of_a_member_equals_that_of_a_prediction(kind: str, value: float) -> None:
    member = np.full((3, 6, 4), 1 / 3, np.float32)
    member[1, 4, 2] = value
    labels, total = np.zeros((6, 4), np.uint8), np.zeros((3, 6, 4), np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ensemble, "STRIP_PIXELS", 8)
        found = accumulate_member(member, labels, config("float32", kind), total, first=True)
    expected = condense_window(member, labels, make_config(3, "float32", kind=kind))
    assert isinstance(found, BadPixel)
    assert isinstance(expected, BadPixel)
    assert (found.y, found.x, found.message) == (expected.y, expected.x, expected.message)
    np.testing.assert_array_equal(found.values, expected.values)
