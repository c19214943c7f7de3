"""Decisions files: precedence of entries and invalid files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from masksift.core.errors import DataError
from masksift.review.decisions import ReviewDecisions, load_decisions
from support.errors import raises


def entry(verdict: str, index: int = 0, region: int | None = None, **more: Any) -> dict[str, Any]:
    region_entry = None if region is None else {"rank": region, "given": "road", "suggested": "sky"}
    return {
        "verdict": verdict,
        "image_id": f"scene-{index}",
        "source": "a",
        "index": index,
        "region": region_entry,
        **more,
    }


def load(directory: Path, *verdicts: dict[str, Any]) -> ReviewDecisions:
    file = directory / "verdicts.json"
    file.write_text(json.dumps({"format": 1, "run": "f00", "verdicts": list(verdicts), "reviewer": "ü"}))
    return load_decisions(str(file), {})


def test_last_of_several_entries_counts(tmp_path: Path) -> None:
    decisions = load(tmp_path, entry("accept"), entry("reject"), entry("reject", 1, 7), entry("accept", 1, 7, note="x"))
    assert decisions.run == "f00"
    assert decisions.for_image(("a", 0)) == "reject"
    assert decisions.for_region(("a", 1), 7) == "accept"
    assert decisions.ids == {("a", 0): "scene-0", ("a", 1): "scene-1"}


def test_region_inherits_the_decision_on_its_image(tmp_path: Path) -> None:
    decisions = load(tmp_path, entry("accept"), entry("reject", 0, 3))
    assert decisions.for_region(("a", 0), 3) == "reject"
    assert decisions.for_region(("a", 0), 4) == "accept"
    assert decisions.for_region(("a", 1), 4) is None


TWO = {"listed_regions": 2}


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([], None),
        ([entry("unsure")], "unsure"),
        ([entry("reject"), entry("accept", 0, 3)], "accept"),
        ([entry("reject", 0, 2, **TWO), entry("accept", 0, 3)], "accept"),
        ([entry("reject", 0, 2, **TWO), entry("reject", 0, 3)], "reject"),
        ([entry("reject", 0, 2, **TWO), entry("reject", 0, 2)], "partial"),
        ([entry("reject", 0, 2, **TWO)], "partial"),
        ([entry("unsure", 0, 2, **TWO)], "partial"),
        ([entry("reject", 0, 2, **TWO), entry("unsure", 0, 3, **TWO)], "unsure"),
        ([entry("reject", 0, 2, listed_regions=1), entry("reject", 0, 3, **TWO)], "reject"),
        ([entry("reject", **TWO), entry("unsure", 0, 3)], "reject"),
        ([entry("unsure", **TWO), entry("reject", 0, 3)], "unsure"),
        ([entry("reject", 0, 2), entry("reject", 0, 3)], "partial"),
        ([entry("reject", 0, 2, listed_regions=None)], "partial"),
        ([entry("accept", 0, 2)], "accept"),
        ([entry("reject")], "reject"),
    ],
)
def test_decision_on_an_image_combines_those_on_its_regions(
    tmp_path: Path, verdicts: list[dict[str, Any]], expected: str | None
) -> None:
    assert load(tmp_path, *verdicts).for_image(("a", 0)) == expected


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("image_id,verdict", "is not a decisions file"),
        ("[]", "not a JSON object"),
        ('{"format": 2, "run": "f", "verdicts": []}', "format: Input should be 1"),
        ('{"format": 1, "run": "f", "verdicts": [{"verdict": "maybe"}]}', "verdicts.0.verdict"),
        ("[" * 100_000, "nested deeper than 64 levels"),
        ('{"format": 1, "run": "f", "verdicts": ' + "[" * 500 + "]" * 500 + "}", "nested deeper than 64 levels"),
        (json.dumps({"format": 1, "run": "f", "verdicts": [entry("reject", listed_regions=-1)]}), "listed_regions"),
    ],
)
def test_invalid_file_is_rejected_with_the_location(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "verdicts.json").write_text(text)
    with raises(DataError, match=match):
        load_decisions(str(tmp_path / "verdicts.json"), {})


def test_missing_file_is_rejected(tmp_path: Path) -> None:
    with raises(DataError, match="does not exist"):
        load_decisions(str(tmp_path / "verdicts.json"), {})
