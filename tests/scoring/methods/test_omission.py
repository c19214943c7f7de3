"""omission: share of confident predictions on ignored pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.scoring.methods.omission import Omission
from support import datasets as drawn
from support.condensed import a_few, images_of, same_as_the_reference, scores
from support.datasets import Data

K = 3


def scenes(predicted: list[list[int]], given_: list[list[int]], confidence: float = 0.75) -> Data:
    """Images of one row, whose every pixel is predicted so, with that confidence, and labeled so; 255 is no label."""
    winner = np.array(predicted)[:, np.newaxis, np.newaxis, :]
    classes = np.arange(K)[:, np.newaxis, np.newaxis]
    rest = (1 - confidence) / (K - 1)
    return Data(np.where(winner == classes, confidence, rest).astype(np.float32), np.array(given_)[:, None, :], (255,))


def test_score_without_ignored_pixels_is_one() -> None:
    assert scores(Omission(), scenes([[0, 0, 1, 2]], [[0, 1, 1, 2]])) == [1.0]


def test_score_equals_hand_calculation() -> None:
    """Class 0: h = 3 of g = 4 pixels here and 0 of 4 there, r = 3/8, so that 3 - 3/8 * 4 = 1.5 of 8 are too many."""
    data = scenes([[0, 0, 0, 0, 1, 1, 1, 1]] * 2, [[255, 255, 255, 255, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1, 1, 1]])
    assert scores(Omission(), data) == [pytest.approx(1 - 1.5 / 8, abs=1e-12), 1.0]


def test_usual_share_of_ignored_pixels_is_no_omission() -> None:
    """Every image has the car's own hood, predicted as road and ignored: none stands out."""
    rows = [[255, 255, 255, 0, 0, 1, 1, 1]] * 5
    assert scores(Omission(), scenes([[0, 0, 0, 0, 0, 1, 1, 1]] * 5, rows)) == [1.0] * 5


def test_uncertain_prediction_counts_less() -> None:
    labels = [[255, 255, 255, 255, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1, 1, 1]]
    data = scenes([[0, 0, 0, 0, 1, 1, 1, 1]] * 2, labels)
    unsure = data.predictions.copy()
    unsure[0, :, :, :4] = np.array([0.4, 0.3, 0.3], np.float32)[:, np.newaxis, np.newaxis]
    sure, less = scores(Omission(), data)[0], scores(Omission(), data._replace(predictions=unsure))[0]
    assert sure is not None
    assert less is not None
    assert sure < less < 1


def test_class_without_labels_does_not_count() -> None:
    data = scenes([[2, 2, 2, 2, 1, 1, 1, 1], [2, 2, 2, 0, 1, 1, 1, 1]], [[255] * 4 + [1] * 4, [1] * 8])
    assert scores(Omission(), data) == [1.0, 1.0]


@a_few
@given(data=drawn.any_data(), evidence=st.sampled_from(["auto", "float32"]))
def test_any_data_equal_the_reference(data: drawn.Data, evidence: str) -> None:
    same_as_the_reference(Omission(), data, evidence=evidence)


@a_few
@given(data=drawn.any_data())
def test_mirrored_images_have_the_same_score(data: drawn.Data) -> None:
    mirrored = data._replace(
        predictions=np.ascontiguousarray(data.predictions[..., ::-1]),
        labels=np.ascontiguousarray(data.labels[..., ::-1]),
    )
    for one, other in zip(images_of(data), images_of(mirrored), strict=True):
        if one is not None and other is not None:
            assert Omission().scores(one) == pytest.approx(Omission().scores(other), abs=1e-12)
