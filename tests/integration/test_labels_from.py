"""Runs over labels from another place (labels_from)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from masksift import EvidenceWriter
from masksift.core.errors import DataError
from masksift.storage.sources.open import open_source
from masksift.storage.sources.overrides import Overrides
from support.cli import run_cli
from support.errors import raises
from support.results import read_rows
from support.sources import make_data, write_source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Directory with a source `a`, other labels for it in `labels`, and a source `other/a` with those labels."""
    data, wrong = make_data(), make_data(seed=5).labels
    write_source(tmp_path / "a.zarr", data)
    other = write_source(tmp_path / "other" / "a.zarr", data._replace(labels=wrong))
    group = zarr.open_group(tmp_path / "labels" / "a.zarr", mode="w")
    labels = group.create_array("labels", shape=wrong.shape, chunks=(2, 8, 10), dtype=wrong.dtype)
    labels[:] = np.asarray(zarr.open_array(other.labels, mode="r"))
    return tmp_path


def run(folder: Path, out: str, *args: object) -> Path:
    assert run_cli("run", "--source", folder / "a.zarr", "--out", folder / out, *args) == 0
    return folder / out


def record(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "run.json").read_text())
    return found


def test_labels_from_gives_the_results_of_labels_in_the_source(folder: Path) -> None:
    found = run(folder, "found", "--labels_from", folder / "labels")
    assert run_cli("run", "--source", folder / "other/a.zarr", "--out", folder / "wanted") == 0
    assert read_rows(found) == read_rows(folder / "wanted")
    assert read_rows(found, "ranking") == read_rows(folder / "wanted", "ranking")
    assert read_rows(found) != read_rows(run(folder, "own"))
    assert run_cli("score", found, "--out", folder / "again") == 0
    assert read_rows(folder / "again") == read_rows(found)


def test_source_without_labels_takes_them_from_labels_from(folder: Path) -> None:
    expected = run(folder, "wanted", "--labels_from", folder / "labels")
    del zarr.open_group(folder / "a.zarr", mode="r+")["labels"]
    assert read_rows(run(folder, "found", "--labels_from", folder / "labels")) == read_rows(expected)


def test_evidence_of_other_labels_is_not_reused(folder: Path) -> None:
    args = ("--labels_from", folder / "labels")
    own, other = run(folder, "own"), run(folder, "other-labels", *args)
    assert record(run(folder, "one", "--base", own, *args))["kept_sources"] == 0
    assert record(run(folder, "two", "--base", other))["kept_sources"] == 0
    same = run(folder, "three", "--base", other, *args)
    assert record(same)["kept_sources"] == 1
    assert read_rows(same) == read_rows(other) == read_rows(folder / "one")
    zarr.open_array(folder / "labels/a.zarr/labels", mode="r+")[0] = 0
    assert record(run(folder, "four", "--base", other, *args))["kept_sources"] == 0, "the labels have changed"
    assert run_cli("run", "--source", folder / "a.zarr", "--out", own, *args) == 2, "another run"


def test_attributes_of_the_label_group_override_those_of_the_source(folder: Path) -> None:
    def ignore() -> tuple[int, ...]:
        overrides = Overrides(labels_from=str(folder / "labels"))
        return open_source(str(folder / "a.zarr"), overrides, {}).ignore

    assert ignore() == (255,)
    zarr.open_group(folder / "labels/a.zarr", mode="r+").attrs["ignore"] = [0]
    assert ignore() == (0,)


def test_missing_or_mismatched_labels_are_rejected(folder: Path) -> None:
    def opened(place: str = "labels", source: str = "a") -> None:
        open_source(str(folder / f"{source}.zarr"), Overrides(labels_from=str(folder / place)), {})

    with raises(DataError, r"no Zarr group at .*/nowhere/a\.zarr\. labels_from must contain .*here for a\."):
        opened("nowhere")
    write_source(folder / "b.zarr", make_data())
    with raises(DataError, r"no Zarr group at .*/labels/b\.zarr\. .*here for b\."):
        opened(source="b")
    group = zarr.open_group(folder / "labels/a.zarr", mode="r+")
    del group["labels"]
    with raises(DataError, r"labels/a\.zarr contains no array 'labels', and no other"):
        opened()
    group.create_array("labels", shape=(8, 8, 11), chunks=(1, 8, 11), dtype="uint8")
    with raises(DataError, r"8 images of 8 x 10, its labels in .*/labels/a\.zarr/labels 8 of 8 x 11\. "):
        opened()


def test_labels_from_for_an_evidence_source_is_rejected(folder: Path) -> None:
    data = make_data()
    with EvidenceWriter(str(folder / "e.zarr"), images=8, height=8, width=10, classes=4, ignore=255) as writer:
        writer.write(data.predictions, data.labels)
    with raises(DataError, r"e\.zarr contains evidence instead of predictions, but labels_from is .*Omit labels_from"):
        open_source(str(folder / "e.zarr"), Overrides(labels_from=str(folder / "labels")), {})
