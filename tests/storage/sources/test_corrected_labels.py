"""Unchanged sources of a directory of corrected labels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from masksift.core.errors import DataError
from masksift.storage.sources.corrected_labels import unchanged_sources
from support.errors import raises

CORRECTIONS_PLAN = {"fingerprint": "f", "identity": {"corrections": {"run": "f00d"}}}


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def test_unchanged_sources_of_corrections_have_their_previous_labels(tmp_path: Path) -> None:
    write(tmp_path / "corrections.json", {"format": 1, "left": {"a": None, "dt=1/b": "s3://lake/before"}})
    assert unchanged_sources(str(tmp_path), {}) == {"a": None, "dt=1/b": "s3://lake/before"}


def test_unchanged_sources_of_other_labels_are_empty(tmp_path: Path) -> None:
    for plan in ({"identity": {"kind": "drop"}}, {"identity": 3}, [], "text"):
        write(tmp_path / "manifest/plan.json", plan)
        assert unchanged_sources(str(tmp_path), {}) == {}
    assert unchanged_sources(str(tmp_path / "nowhere"), {}) == {}


def test_incomplete_corrections_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "manifest/plan.json", CORRECTIONS_PLAN)
    with raises(DataError, match=r"corrections in .* are incomplete. .* the same command resumes"):
        unchanged_sources(str(tmp_path), {})
    write(tmp_path / "corrections.json", {"left": {}})
    assert unchanged_sources(str(tmp_path), {}) == {}


@pytest.mark.parametrize("text", ["[]", "{", '{"left": 3}', '{"sources": []}'])
def test_corrections_record_that_cannot_be_parsed_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "corrections.json").write_text(text)
    with raises(DataError, match=r"corrections\.json cannot be parsed .*Write the corrections again"):
        unchanged_sources(str(tmp_path), {})
