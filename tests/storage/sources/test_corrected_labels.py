"""What a folder of labels says of the sources that it leaves as they are: corrections do, labels of others do not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from masksift.core.errors import DataError
from masksift.storage.sources.corrected_labels import unchanged_sources
from support.errors import raises

BEGUN = {"fingerprint": "f", "identity": {"corrections": {"run": "f00d"}}}


def write(path: Path, tree: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tree))


def test_corrections_name_the_sources_and_their_labels(tmp_path: Path) -> None:
    write(tmp_path / "corrections.json", {"format": 1, "left": {"a": None, "dt=1/b": "s3://lake/before"}})
    assert unchanged_sources(str(tmp_path), {}) == {"a": None, "dt=1/b": "s3://lake/before"}


def test_labels_of_another_origin_need_to_say_nothing(tmp_path: Path) -> None:
    """What an annotation tool left, a simulation, or nobody: whatever else lies there."""
    for tree in ({"identity": {"kind": "drop"}}, {"identity": 3}, [], "text"):
        write(tmp_path / "manifest/plan.json", tree)
        assert unchanged_sources(str(tmp_path), {}) == {}
    assert unchanged_sources(str(tmp_path / "nowhere"), {}) == {}


def test_corrections_that_were_begun_and_are_not_complete_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "manifest/plan.json", BEGUN)
    with raises(DataError, match=r"corrections in .* are incomplete. .* the same command resumes"):
        unchanged_sources(str(tmp_path), {})
    write(tmp_path / "corrections.json", {"left": {}})
    assert unchanged_sources(str(tmp_path), {}) == {}


@pytest.mark.parametrize("text", ["[]", "{", '{"left": 3}', '{"sources": []}'])
def test_a_record_that_cannot_be_understood_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "corrections.json").write_text(text)
    with raises(DataError, match=r"corrections\.json cannot be parsed .*Export the corrections again"):
        unchanged_sources(str(tmp_path), {})
