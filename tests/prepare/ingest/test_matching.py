"""Files find each other by name, by a rule that can be told."""

from __future__ import annotations

import pytest

from masksift.core.errors import DataError
from masksift.prepare.ingest.matching import common_ending, match, stem
from support.sources import refuses

WHAT = ("labels", "predictions")


def pairs(labels: list[str], predictions: list[str]) -> dict[str, str]:
    found = match(labels, predictions, WHAT)
    return {labels[i]: predictions[j] for i, j in found.pairs}


@pytest.mark.parametrize(
    ("labels", "predictions", "rule"),
    [
        (["a", "b"], ["a", "b"], "by path"),
        (["x/a", "y/a"], ["x/a", "y/a"], "by path"),
        (["a_L", "b_L"], ["a", "b"], "by path, without '_L' of the labels"),
        (["a_L", "b_L"], ["a_pred", "b_pred"], "by path, without '_L' of the labels and '_pred' of the predictions"),
        (["a", "b"], ["a/pred", "b/pred"], "by path, without '/pred' of the predictions"),
        (["val/a", "val/b"], ["a", "b"], "by file name"),
        (
            ["f/a_gtFine_labelIds", "g/b_gtFine_labelIds"],
            ["a", "b"],
            "by file name, without '_gtFine_labelIds' of the labels",
        ),
    ],
)
def test_the_way_by_which_most_are_alike_holds(labels: list[str], predictions: list[str], rule: str) -> None:
    found = match(labels, predictions, WHAT)
    assert found.rule == rule
    assert found.pairs == ((0, 0), (1, 1))


def test_images_are_called_by_their_path_without_the_ending() -> None:
    assert match(["f/a_L", "g/b_L"], ["b", "a"], WHAT).names == ("f/a_L", "g/b_L")
    assert match(["f/a_L", "g/b_L"], ["g/b", "f/a"], WHAT).names == ("f/a", "g/b")


def test_what_finds_no_partner_is_told_by_side() -> None:
    found = match(["a", "b", "c"], ["c", "d", "a"], WHAT)
    assert found.pairs == ((0, 2), (2, 0))
    assert found.alone == ((1,), (1,))


@pytest.mark.parametrize(
    ("names", "ending"),
    [
        (["a_000019_gtFine_labelIds", "b_000019_gtFine_labelIds"], "_gtFine_labelIds"),
        (["a_10_L", "b_20_L"], "_L"),
        (["x_10", "y_20"], ""),
        (["x_10", "y_10"], ""),
        (["night", "light"], ""),
        (["a_L"], ""),
        (["a.mask", "b.mask"], ".mask"),
    ],
)
def test_an_ending_is_made_of_whole_parts_and_never_of_digits_alone(names: list[str], ending: str) -> None:
    assert common_ending(names) == ending


def test_two_frames_are_not_taken_for_one() -> None:
    with refuses(
        DataError, r"no file of the labels is called like one of the predictions \(the first are x_000019 and"
    ):
        pairs(["x_000019", "y_000019"], ["x_000020", "y_000020"])


def test_names_that_occur_twice_are_refused_with_both_files() -> None:
    with refuses(DataError, "two of the labels are called 'a': train/a and val/a; which of them is meant"):
        pairs(["train/a", "val/a"], ["a"])
    with refuses(DataError, "two of the predictions are called 'a': a and a"):
        pairs(["a", "b"], ["a", "a", "b"])


def test_a_stem_has_no_extension_and_no_ending_of_the_preset() -> None:
    assert stem("x/a.b/c_leftImg8bit.png", ["_leftImg8bit"]) == "x/a.b/c"
    assert stem("a.v2.png") == "a.v2"
