"""Matching of files by name."""

from __future__ import annotations

import pytest

from masksift.core.errors import DataError
from masksift.prepare.ingest.matching import common_suffix, match, stem
from support.errors import raises

SIDES = ("labels", "predictions")


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
def test_match_uses_the_rule_that_matches_most(labels: list[str], predictions: list[str], rule: str) -> None:
    matching = match(labels, predictions, SIDES)
    assert matching.rule == rule
    assert matching.pairs == ((0, 0), (1, 1))


def test_match_names_images_by_path_without_suffix() -> None:
    assert match(["f/a_L", "g/b_L"], ["b", "a"], SIDES).names == ("f/a_L", "g/b_L")
    assert match(["f/a_L", "g/b_L"], ["g/b", "f/a"], SIDES).names == ("f/a", "g/b")


def test_match_lists_unmatched_files_by_side() -> None:
    matching = match(["a", "b", "c"], ["c", "d", "a"], SIDES)
    assert matching.pairs == ((0, 2), (2, 0))
    assert matching.unmatched == ((1,), (1,))


@pytest.mark.parametrize(
    ("names", "suffix"),
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
def test_common_suffix_has_whole_parts_that_are_not_only_digits(names: list[str], suffix: str) -> None:
    assert common_suffix(names) == suffix


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        (
            ["x_000019", "y_000019"],
            ["x_000020", "y_000020"],
            r"labels and the predictions have no file name in common \(the first are x_000019 and x_000020\)",
        ),
        (["train/a", "val/a"], ["a"], "Two of the labels are named 'a': train/a and val/a"),
        (["a", "b"], ["a", "a", "b"], "Two of the predictions are named 'a': extension"),
    ],
)
def test_match_refuses_different_and_repeated_names(labels: list[str], predictions: list[str], message: str) -> None:
    with raises(DataError, message):
        match(labels, predictions, SIDES)


def test_stem_removes_extension_and_suffix() -> None:
    assert stem("x/a.b/c_leftImg8bit.png", ["_leftImg8bit"]) == "x/a.b/c"
    assert stem("a.v2.png") == "a.v2"


COMPOSED, DECOMPOSED = "mü/ö", "mu\u0308/o\u0308"


def test_names_that_differ_in_their_unicode_form_match() -> None:
    matching = match([stem(f"{COMPOSED}.png"), "b"], ["b", stem(f"{DECOMPOSED}.npy")], SIDES)
    assert matching.pairs == ((0, 1), (1, 0))
    assert matching.names == (COMPOSED, "b"), "the id has one form"


def test_two_names_that_differ_in_their_unicode_form_are_refused() -> None:
    labels = [stem(f"{form}.png") for form in (COMPOSED, DECOMPOSED)]
    message = rf"Two of the labels are named '{COMPOSED}': extension and Unicode form do not count\. Use a directory"
    with raises(DataError, message):
        match(labels, [stem(f"{COMPOSED}.npy")], SIDES)
