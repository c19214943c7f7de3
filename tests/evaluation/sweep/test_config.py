"""The words of a sweep: what they mean, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from masksift.config.load import build_config
from masksift.core.errors import UsageError
from masksift.evaluation.sweep.config import SweepConfig
from masksift.scoring.methods import METHODS
from masksift.scoring.methods.softmin import Softmin
from support.errors import raises


def told(**keys: Any) -> SweepConfig:
    flags = {key.replace("__", "."): value for key, value in keys.items()}
    return build_config(SweepConfig, {}, {"sources": ["a"], "out": "b"} | flags)


def test_every_default_can_be_swept() -> None:
    config = told()
    assert config.error_kinds == ("drop", "swap", "shift", "boundary", "coarse"), "no background is named"
    assert config.score_methods == tuple(METHODS)
    assert config.shares == (0.05, 0.1, 0.2, 0.3, 0.5)
    assert [method for name, method in config.steady_methods().items() if name[0] == "softmin"] == [
        Softmin(t) for t in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
    ]
    assert told(background="road").error_kinds[-1] == "missing_region"


def test_in_which_order_words_are_given_says_nothing() -> None:
    one = told(kinds="swap,drop,swap", shares="0.5,0.1", methods="clc,ccp", softmin__temperatures="1,0.1")
    other = told(kinds="drop,swap", shares="0.1,0.5,0.1", methods="ccp,clc", softmin__temperatures="0.1,1")
    assert (one.condensing(), one.scoring()) == (other.condensing(), other.scoring())
    assert one.error_kinds == ("drop", "swap")
    assert one.shares == (0.1, 0.5)


@pytest.mark.parametrize(
    "words",
    [
        {"methods": "clc"},
        {"softmin__temperatures": "0.3"},
        {"tccp__tau": 0.5},
        {"clc__rule": "confident"},
        {"coco__aggregate": "min"},
    ],
)
def test_scores_and_their_parameters_do_not_decide_the_evidence(words: dict[str, Any]) -> None:
    assert told(**words).condensing() == told().condensing()
    assert told(**words).scoring() != told().scoring()


@pytest.mark.parametrize(
    "words", [{"kinds": "drop"}, {"shares": "0.3"}, {"seed": 1}, {"tccp__lattice": 2}, {"ignore": "7"}]
)
def test_what_is_drawn_and_counted_does(words: dict[str, Any]) -> None:
    assert told(**words).condensing() != told().condensing()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"kinds": "drp"}, r"there is no kind of error 'drp', only drop, .*Did you mean 'drop'\?"),
        ({"kinds": "missing_region"}, r"missing_region leaves a background, .*Give --background NAME"),
        ({"kinds": "drop", "background": "road"}, r"background is 'road', and missing_region is not among the kinds"),
        ({"kinds": ""}, r"kinds must be a list that is not empty"),
        ({"shares": "0"}, r"shares must be a number greater than 0"),
        ({"shares": "1.5"}, r"shares must be a number less than or equal to 1"),
        ({"softmin__temperatures": "-1"}, r"softmin.temperatures must be a number greater than 0"),
        ({"methods": "clx"}, r"Unknown method 'clx'\. The methods are ccp, "),
        ({"at": "some"}, r"at contains 'some', which is neither a number of images nor"),
        ({"softmin__temperature": "1"}, r"Unknown key 'softmin.temperature'. Did you mean 'softmin.temperatures'\?"),
    ],
)
def test_words_that_make_no_sweep_are_refused(words: dict[str, Any], said: str) -> None:
    with raises(UsageError, said):
        told(**words)
