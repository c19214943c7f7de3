"""class_agreement: how much less than usual labels and predictions agree."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.scoring.methods.class_agreement import ClassAgreement
from support import datasets as drawn
from support.condensed import a_few, images_of, same_as_the_reference, scores
from support.datasets import Data

DTYPES = ("uint8", "uint16", "float16", "float32")


def images(agreeing: list[int], pixels: int = 100) -> Data:
    """Make images of one row, predicted as class 0 with confidence 1, of which so many pixels are labeled 0."""
    predictions = np.zeros((len(agreeing), 2, 1, pixels), np.float32)
    predictions[:, 0] = 1
    return Data(predictions, (np.arange(pixels) >= np.array(agreeing)[:, None, None]).astype(np.uint8), (255,))


def test_score_equals_hand_calculation() -> None:
    """Five of six images agree in 90 pixels: ln(92.5 / 12.5) = 2.0015 is in the bin from 2 to 2.0625."""
    z = (2.03125 - math.log(52.5 / 52.5)) / 0.3
    usual = (2.03125 - math.log(92.5 / 12.5)) / 0.3
    found = scores(ClassAgreement(), images([90, 90, 90, 90, 90, 50]))
    assert found == pytest.approx([1 / (1 + usual)] * 5 + [1 / (1 + z)], abs=1e-12)


def test_score_of_few_images_is_one() -> None:
    assert scores(ClassAgreement(), images([90, 90, 90, 10])) == [1.0] * 4


def test_image_that_agrees_more_than_usual_has_the_score_one() -> None:
    assert scores(ClassAgreement(), images([50] * 5 + [99]))[-1] == 1.0


def test_what_every_image_confuses_does_not_count() -> None:
    found = scores(ClassAgreement(), images([10] * 9))
    assert found == [pytest.approx(1.0, abs=0.1)] * 9


@a_few
@given(
    data=st.one_of(drawn.any_data(), drawn.tie_rich(images=(5, 8))),
    evidence=st.sampled_from(["auto", "float32"]),
)
def test_any_data_equal_the_reference(data: Data, evidence: str) -> None:
    same_as_the_reference(ClassAgreement(), data, evidence=evidence)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [2, 7, 150])
def test_realistic_data_equal_the_reference(dtype: str, classes: int) -> None:
    data = drawn.make_dataset(
        3, images=8, classes=classes, height=24, width=25, dtype=dtype, ignored_image=5, error_share=0.2
    )
    for evidence in ("auto", "float32") if dtype == "float32" else ("auto",):
        same_as_the_reference(ClassAgreement(), data, evidence=evidence, sum_tolerance=0.4)


@a_few
@given(order=st.permutations(range(8)), renamed=st.permutations(range(4)))
def test_order_of_images_and_names_of_classes_change_no_score(order: list[int], renamed: list[int]) -> None:
    data = drawn.make_dataset(1, images=8, classes=4, height=11, width=12, dtype="float32", error_share=0.3)
    highest = np.sort(data.predictions, axis=1)[:, -2:]
    assert (highest[:, 0] < highest[:, 1]).all(), "of equal probabilities, the lower class number would be predicted"
    moved = Data(data.predictions[order], data.labels[order], data.ignore)
    found = scores(ClassAgreement(), data)
    assert scores(ClassAgreement(), moved) == [found[i] for i in order]
    assert min(score for score in found if score is not None) < 0.5
    names = np.append(np.argsort(renamed), [255] * 252).astype(np.uint8)
    other = Data(np.ascontiguousarray(data.predictions[:, renamed]), names[data.labels], data.ignore)
    assert scores(ClassAgreement(), other) == [pytest.approx(score, abs=1e-12) for score in found]


def test_z_scores_name_the_class_that_agrees_least() -> None:
    (*_, image) = images_of(images([90] * 5 + [50]))
    assert image is not None
    assert image.z_scores.shape == (1, 2, 2)
    assert image.z_scores[0, 0].argmax() == 0
