"""consensus: softmin, where a label is doubted only so far as the members vote against it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.scoring.methods.base import ScoringInput
from masksift.scoring.methods.consensus import Consensus
from masksift.scoring.methods.softmin import Softmin
from reference.scores import consensus
from support import datasets as drawn
from support.condensed import a_few, images_of, one_row, scores

EVIDENCE = pytest.mark.parametrize("evidence", ["auto", "float32"])


def voted(image: ScoringInput, votes: drawn.Array, members: int) -> ScoringInput:
    """The image with votes against its labels."""
    return ScoringInput(
        image.labels,
        image.predicted_class,
        image.self_confidence_codes,
        image.predicted_confidence_codes,
        image.classes,
        image.limits,
        votes_against=votes,
        members=members,
    )


def score(data: drawn.Data, votes: list[int], members: int, evidence: str = "auto") -> float:
    """Of one image of one row of pixels."""
    (image,) = images_of(data, evidence=evidence)
    assert image is not None
    return Consensus().score(voted(image, np.array([votes], np.uint8), members))


@EVIDENCE
def test_by_hand(evidence: str) -> None:
    data = one_row([[0.25, 0.75], [0.25, 0.75], [0.0, 1.0]], [0, 0, 255])
    first, second = 1 - 0.75 * 1.0, 1 - 0.75 * 0.5  # all members doubt it, half of them
    weight = math.exp((first - second) / 0.1)
    wanted = (first + second * weight) / (1 + weight)
    assert score(data, [2, 1, 0], 2, evidence) == pytest.approx(wanted, abs=1e-15)


@EVIDENCE
def test_members_of_one_mind_against_the_label_leave_softmin_of_the_mean(evidence: str) -> None:
    data = one_row([[0.125, 0.875], [0.25, 0.75], [0.375, 0.625]], [0, 0, 0])
    assert score(data, [3, 3, 3], 3, evidence) == pytest.approx(
        scores(Softmin(), data, evidence=evidence)[0], abs=1e-15
    )


@EVIDENCE
def test_a_label_that_every_member_predicts_is_not_doubted(evidence: str) -> None:
    assert score(one_row([[0.625, 0.375]] * 4, [0] * 4), [0] * 4, 5, evidence) == 1.0


@a_few
@given(data=drawn.any_data(dtypes=["float32"]), members=st.integers(2, 255), seed=st.integers(0, 99))
def test_any_votes(data: drawn.Data, members: int, seed: int) -> None:
    for evidence in ("auto", "float32"):
        for image in images_of(data, evidence=evidence):
            if image is not None:
                votes = np.random.default_rng(seed).integers(0, members + 1, image.labels.shape).astype(np.uint8)
                s = image.encoding.values(image.self_confidence_codes[image.valid]).tolist()
                found = Consensus().score(voted(image, votes, members))
                assert type(found) is float
                assert 0 <= found <= 1
                assert found == pytest.approx(consensus(s, votes[image.valid].tolist(), members), abs=1e-12, rel=0)
