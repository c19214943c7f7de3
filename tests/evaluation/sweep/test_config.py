"""Options of a sweep: defaults, identity and errors."""

from __future__ import annotations

from typing import Any

import pytest

from masksift.config.load import build_config
from masksift.core.errors import UsageError
from masksift.evaluation.sweep.config import SweepConfig
from masksift.scoring.methods import score_names
from masksift.scoring.methods.softmin import Softmin
from support.errors import raises


def make_config(**keys: Any) -> SweepConfig:
    flags = {key.replace("__", "."): value for key, value in keys.items()}
    return build_config(SweepConfig, {}, {"sources": ["a"], "out": "b"} | flags)


def test_sweep_config_defaults_cover_all_types_without_background_and_all_methods() -> None:
    config = make_config()
    assert config.error_types == ("drop", "swap", "shift", "boundary", "coarse")
    assert config.score_methods == score_names()
    assert config.shares == (0.05, 0.1, 0.2, 0.3, 0.5)
    assert [method for name, method in config.image_methods().items() if name[0] == "softmin"] == [
        Softmin(t) for t in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
    ]
    assert make_config(background="road").error_types[-1] == "missing_region"


def test_sweep_identity_does_not_depend_on_order_or_duplicates() -> None:
    one = make_config(kinds="swap,drop,swap", shares="0.5,0.1", methods="clc,ccp", softmin__temperatures="1,0.1")
    other = make_config(kinds="drop,swap", shares="0.1,0.5,0.1", methods="ccp,clc", softmin__temperatures="0.1,1")
    assert (one.condense_identity(), one.score_identity()) == (other.condense_identity(), other.score_identity())
    assert one.error_types == ("drop", "swap")
    assert one.shares == (0.1, 0.5)


@pytest.mark.parametrize(
    "keys",
    [
        {"methods": "clc"},
        {"softmin__temperatures": "0.3"},
        {"tccp__tau": 0.5},
        {"clc__rule": "confident"},
        {"coco__aggregate": "min"},
    ],
)
def test_condense_identity_does_not_depend_on_score_options(keys: dict[str, Any]) -> None:
    assert make_config(**keys).condense_identity() == make_config().condense_identity()
    assert make_config(**keys).score_identity() != make_config().score_identity()


@pytest.mark.parametrize(
    "keys", [{"kinds": "drop"}, {"shares": "0.3"}, {"seed": 1}, {"tccp__lattice": 2}, {"ignore": "7"}]
)
def test_condense_identity_depends_on_errors_and_statistics(keys: dict[str, Any]) -> None:
    assert make_config(**keys).condense_identity() != make_config().condense_identity()


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        ({"kinds": "drp"}, r"There is no error type 'drp', only drop, .*Did you mean 'drop'\?"),
        ({"kinds": "missing_region"}, r"background is not set\. Pass --background NAME"),
        ({"kinds": "drop", "background": "road"}, r"background is 'road', but kinds does not contain missing_region"),
        ({"kinds": ""}, r"kinds must be a list that is not empty"),
        ({"shares": "0"}, r"shares .*greater than 0"),
        ({"shares": "1.5"}, r"shares .*less than or equal to 1"),
        ({"softmin__temperatures": "-1"}, r"softmin.temperatures .*greater than 0"),
        ({"methods": "clx"}, r"Unknown method 'clx'\. The methods are ccp, "),
        ({"at": "some"}, r"at contains 'some', which is neither a number of images nor"),
        ({"softmin__temperature": "1"}, r"'softmin.temperature'.*Did you mean 'softmin.temperatures'\?"),
    ],
)
def test_invalid_sweep_option_is_refused(keys: dict[str, Any], match: str) -> None:
    with raises(UsageError, match):
        make_config(**keys)
