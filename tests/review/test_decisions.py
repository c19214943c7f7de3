"""The file of verdicts: what it says of images and of regions, and what is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from masksift.core.errors import DataError
from masksift.review.decisions import ReviewDecisions, load_decisions
from support.sources import refuses


def said(verdict: str, index: int = 0, region: int | None = None, **more: Any) -> dict[str, Any]:
    told = None if region is None else {"rank": region, "given": "road", "suggested": "sky"}
    return {"verdict": verdict, "image_id": f"scene-{index}", "source": "a", "index": index, "region": told, **more}


def read(folder: Path, *verdicts: dict[str, Any]) -> ReviewDecisions:
    file = folder / "verdicts.json"
    file.write_text(json.dumps({"format": 1, "run": "f00", "verdicts": list(verdicts), "reviewer": "ü"}))
    return load_decisions(str(file), {})


def test_of_several_on_one_thing_the_last_counts(tmp_path: Path) -> None:
    found = read(tmp_path, said("accept"), said("reject"), said("reject", 1, 7), said("accept", 1, 7, note="x"))
    assert found.run == "f00"
    assert found.of_image(("a", 0)) == "reject"
    assert found.for_region(("a", 1), 7) == "accept"
    assert found.ids == {("a", 0): "scene-0", ("a", 1): "scene-1"}


def test_a_region_has_its_own_verdict_or_that_of_its_image(tmp_path: Path) -> None:
    found = read(tmp_path, said("accept"), said("reject", 0, 3))
    assert found.for_region(("a", 0), 3) == "reject"
    assert found.for_region(("a", 0), 4) == "accept"
    assert found.for_region(("a", 1), 4) is None


@pytest.mark.parametrize(
    ("verdicts", "of_image"),
    [
        ([], None),
        ([said("unsure")], "unsure"),
        ([said("reject"), said("accept", 0, 3)], "accept"),
        ([said("reject", 0, 2), said("reject", 0, 3)], "reject"),
        ([said("reject", 0, 2), said("unsure", 0, 3)], "unsure"),
        ([said("reject"), said("unsure", 0, 3)], "reject"),
    ],
)
def test_an_image_is_wrong_where_anything_of_it_is(
    tmp_path: Path, verdicts: list[dict[str, Any]], of_image: str | None
) -> None:
    assert read(tmp_path, *verdicts).of_image(("a", 0)) == of_image


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("image_id,verdict", "no file of verdicts"),
        ("[]", "it holds no object"),
        ('{"format": 2, "run": "f", "verdicts": []}', "format: Input should be 1"),
        ('{"format": 1, "run": "f", "verdicts": [{"verdict": "maybe"}]}', "verdicts.0.verdict"),
    ],
)
def test_what_is_none_is_refused_with_the_place(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "verdicts.json").write_text(text)
    with refuses(DataError, match=match):
        load_decisions(str(tmp_path / "verdicts.json"), {})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with refuses(DataError, match="there is no file"):
        load_decisions(str(tmp_path / "verdicts.json"), {})
