"""Validation and condensing of one image, and its row of results."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.core.status import ALL_IGNORED, BAD_LABELS, BAD_PROBABILITIES, SCORED
from masksift.scoring.image import (
    CondensedImage,
    EvidencePlanes,
    ImageCondenser,
    LabelValidator,
    count_confident_pixels,
    count_low_bits,
)
from masksift.scoring.kernels.condense import CondenseConfig
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.methods import make_methods
from masksift.scoring.score_image import score_images
from masksift.scoring.statistics.class_statistics import ClassStatistics
from masksift.scoring.statistics.thresholds import compute_thresholds
from support import datasets as drawn
from support.condensed import (
    BY_HAND,
    NumpyEvidenceCounter,
    a_few,
    condense,
    images_of,
    make_config,
    thresholds,
)

PLANES = ("self_confidence", "predicted_class", "predicted_confidence")


# ---------------------------------------------------------------------------------------------------- labels


def test_valid_labels_have_no_status() -> None:
    check = LabelValidator(3, (255,))
    plane = check.to_class_indices(np.array([[0, 2], [255, 1]], np.int32))
    assert (plane.dtype, plane.tolist()) == (np.uint8, [[0, 2], [255, 1]])
    assert check.status is None


@pytest.mark.parametrize(
    ("ignore", "message"),
    [
        ((255,), "nor an ignore value [255]; 2 such pixels"),
        ((-1, 255), "nor an ignore value [-1, 255]; 2 such pixels"),
        ((), ", and no ignore value is given; 2 such pixels"),
    ],
)
def test_bad_label_is_reported_with_value_position_and_count(ignore: tuple[int, ...], message: str) -> None:
    check = LabelValidator(3, ignore)
    check.to_class_indices(np.array([[0, 1, 2], [2, 7, 1], [-9, 0, 0]]))
    assert check.status is not None
    assert check.status.status == BAD_LABELS
    gap = "" if message.startswith(",") else " "
    assert check.status.reason == f"label 7 at (y=1, x=1) is neither a class 0..2{gap}{message}"


def test_single_bad_label_is_reported_in_the_singular() -> None:
    check = LabelValidator(3, (255,))
    check.to_class_indices(np.array([[0, 3]]))
    assert check.status is not None
    assert str(check.status.reason).endswith("; 1 such pixel")


@a_few
@given(order=st.permutations([(y, x) for y in (0, 3) for x in (0, 2, 4)]), data=st.data())
def test_windows_in_any_order_give_the_same_status(order: list[tuple[int, int]], data: st.DataObject) -> None:
    labels = np.zeros((6, 6), np.int16)
    for position in data.draw(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=5)):
        labels[position] = data.draw(st.sampled_from([9, -1, 300]))
    whole, parts = LabelValidator(2, (255,)), LabelValidator(2, (255,))
    whole.to_class_indices(labels)
    for y, x in order:
        parts.to_class_indices(labels[y : y + 3, x : x + 2], y, x)
    assert whole.status is not None
    assert parts.status == whole.status


# ---------------------------------------------------------------------------------------- statuses and planes


def one_image(dtype: str = "float32", classes: int = 3) -> tuple[drawn.Array, drawn.Array, CondenseConfig]:
    """Make predictions (K, 9, 10), a class plane (9, 10) and their settings."""
    data = drawn.make_dataset(1, images=1, classes=classes, height=9, width=10, dtype=dtype)
    return data.predictions[0], data.labels[0], make_config(classes, dtype)


def outcome(p: drawn.Array, labels: drawn.Array, config: CondenseConfig) -> CondensedImage:
    """Condense one image in windows of 4 x 5, the last first."""
    planes = EvidencePlanes.empty(labels.shape, config)
    condensing = ImageCondenser(labels, planes, config)
    for y in (8, 4, 0):
        for x in (5, 0):
            condensing.add_window(p[:, y : y + 4, x : x + 5], y, x)
    return CondensedImage(labels, planes, *condensing.finish())


@pytest.mark.parametrize("dtype", drawn.DTYPES)
def test_valid_image_is_scored(dtype: str) -> None:
    p, labels, config = one_image(dtype)
    found = outcome(p, labels, config)
    (whole,) = condense(drawn.Data(p[None], labels[None], (255,)), config)
    assert (found.status.status, found.status.reason) == (SCORED, None)
    assert found.statistics is not None
    assert whole.statistics is not None
    assert found.statistics.to_bytes() == whole.statistics.to_bytes(), "windows of any size, in any order"
    for name in PLANES:
        np.testing.assert_array_equal(getattr(found.planes, name), getattr(whole.planes, name))


def test_image_without_valid_pixels_keeps_its_planes() -> None:
    p, labels, config = one_image()
    found = outcome(p, np.full_like(labels, 255), config)
    assert (found.status.status, found.status.reason) == (ALL_IGNORED, "every pixel is ignored")
    assert found.statistics is None
    assert not found.planes.self_confidence.any()
    np.testing.assert_array_equal(found.planes.predicted_class, p.argmax(axis=0))
    assert found.planes.predicted_confidence.all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([math.nan, 0.0, 1.0], "not all values are finite: [nan, 0, 1]"),
        ([1.5, 0.0, -0.5], "a value is outside [0, 1]: [1.5, 0, -0.5]"),
        ([0.25, 0.125, 0.25], "the values sum to 0.625, more than 0.02 away from 1: [0.25, 0.125, 0.25]"),
    ],
)
@pytest.mark.parametrize("ignored", [False, True])
def test_bad_pixel_is_reported_and_clears_the_planes(values: list[float], message: str, ignored: bool) -> None:
    p, labels, config = one_image()
    p[:, 5, 7] = values
    p[:, 8, 0] = 9.0  # a later pixel, in a window that comes before
    labels[5, 7] = 255 if ignored else 0
    found = outcome(p, labels, config)
    assert (found.status.status, found.status.reason) == (BAD_PROBABILITIES, f"pixel (y=5, x=7): {message}")
    assert found.statistics is None
    assert not any(getattr(found.planes, name).any() for name in PLANES), "planes of a bad image are zero"


def test_reason_lists_at_most_eight_values() -> None:
    p, labels, config = one_image(classes=12)
    p[:, 0, 0] = np.arange(12) / 8
    reason = outcome(p, labels, config).status.reason
    shown = "[0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, ... (12 values)]"
    assert reason == f"pixel (y=0, x=0): a value is outside [0, 1]: {shown}"


@pytest.mark.parametrize(
    ("dtype", "classes", "kinds"),
    [("uint8", 3, ("u1", "u1", "u1")), ("float32", 255, ("u2", "u2", "u2")), ("uint8", 255, ("u1", "u2", "u1"))],
)
def test_empty_planes_have_the_dtypes_of_the_encoding(dtype: str, classes: int, kinds: tuple[str, ...]) -> None:
    planes = EvidencePlanes.empty((2, 3), make_config(classes, dtype))
    for name, kind in zip(PLANES, kinds, strict=True):
        plane = getattr(planes, name)
        assert (plane.shape, plane.dtype, plane.any()) == ((2, 3), np.dtype(kind), False)


# ------------------------------------------------------------------------------------------------ evidence counts


class RecordingCounter:
    """Evidence counter that records its calls."""

    def __init__(self, images: list[CondensedImage], classes: int) -> None:
        self._counter, self.calls = NumpyEvidenceCounter(images, classes), list[str]()

    def count_confident(self, limits: Mapping[Encoding, drawn.Array]) -> int:
        self.calls.append("confident")
        return self._counter.count_confident(limits)

    def count_low_bits(self, key: int) -> drawn.Array:
        self.calls.append("cut")
        return self._counter.count_low_bits(key)


@pytest.mark.parametrize(
    ("dtype", "questions"),
    [("uint8", []), ("uint16", ["confident"]), ("float16", ["confident"]), ("float32", ["confident", "cut"])],
)
def test_evidence_is_read_again_only_for_wide_encodings(dtype: str, questions: list[str]) -> None:
    data = drawn.make_dataset(0, images=2, classes=4, height=12, width=12, dtype=dtype)
    config = make_config(4, dtype, evidence="float32")
    images = condense(data, config)
    statistics, expected = thresholds(images, config)
    counter = RecordingCounter(images, 4)
    found = compute_thresholds(statistics, "balanced", counter)
    assert (found.cut, found.estimated_issues) == (expected.cut, expected.estimated_issues)
    assert found.estimated_issues > 0
    assert counter.calls == questions
    empty = RecordingCounter([], 4)
    assert compute_thresholds(ClassStatistics.empty(config), "balanced", empty).cut is None
    assert "cut" not in empty.calls, "no issue, no cut"


@a_few
@given(data=drawn.any_data(dtypes=["float32"]))
def test_evidence_counts_equal_numpy(data: drawn.Data) -> None:
    classes = data.predictions.shape[1]
    config = make_config(classes, "float32", evidence="float32")
    limits = np.full(classes, config.evidence.code_at_least(0.5))
    for one in condense(data, config):
        look = NumpyEvidenceCounter([one], classes)
        if one.statistics:
            assert count_confident_pixels(one.labels, one.planes, limits) == look.count_confident(
                {config.evidence: limits}
            )
            for key in np.unique(one.planes.self_confidence >> 16).tolist():
                found = count_low_bits(one.labels, one.planes.self_confidence, classes, key)
                np.testing.assert_array_equal(found, look.count_low_bits(key))


# ------------------------------------------------------------------------------------------------------- rows


def test_score_images_returns_a_row_of_results() -> None:
    (image,) = images_of(BY_HAND, lattice=1)
    assert image is not None
    found = score_images(image, make_methods(["clc", "ccp"], {}))
    row = {name: column[0] for name, column in found.items() if not column.mask[0]}
    assert row == {
        "valid_pixels": 4,
        "ccp": 0.5,
        "clc": 0.5,
        "flagged_pixels": 2,
        "worst_given": 0,  # (0, 1) and (2, 1) have one pixel each: the lower pair
        "worst_suggested": 1,
        "worst_pixels": 1,
    }


def test_row_without_flagged_pixels_has_no_pair() -> None:
    data = drawn.Data(np.array([[[[1.0]], [[0.0]]]], np.float16), np.zeros((1, 1, 1), int), ())
    (image,) = images_of(data)
    assert image is not None
    found = score_images(image, make_methods(["cil"], {}))
    row = {name: column[0] for name, column in found.items() if not column.mask[0]}
    assert row == {"valid_pixels": 1, "cil": 1.0, "flagged_pixels": 0}
