"""`masksift export corrections`: accepted regions carry the suggested class, and nothing else is another."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from masksift.engine import label_io as copying
from review.helpers import correct, labels_at, of_image, of_region, record, regions_of, review, run, wanted
from support.cli import exit_code, run_cli
from support.datasets import Data
from support.results import read_files, read_rows
from support.sources import erase_chunks, make_data, write_source

IDS = [f"scene-{i}" for i in range(8)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source `a`, labels of which are two images an object, and a complete run over it in `run`."""
    place = tmp_path_factory.mktemp("review")
    write_source(place / "a.zarr", make_data(height=14, width=18), ids=IDS)
    run(place / "run", place / "a.zarr")
    return place


def label_files(place: Path) -> dict[str, bytes]:
    """Every object of the corrected labels."""
    return {name: data for name, data in read_files(place).items() if ".zarr/" in name}


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_only_accepted_regions_change(
    data: st.DataObject, directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    regions = regions_of(directory / "run")
    decisions = [data.draw(st.sampled_from(["accept", "reject", "unsure", None])) for _ in regions]
    place = tmp_path_factory.mktemp("drawn")
    verdicts = [of_region(row, word) for row, word in zip(regions, decisions, strict=True) if word]
    correct(directory / "run", review(place / "verdicts.json", directory / "run", *verdicts), place / "fixed")
    accepted = [row for row, word in zip(regions, decisions, strict=True) if word == "accept"]
    before = labels_at(directory / "a.zarr")
    found = labels_at(place / "fixed/a.zarr") if accepted else before
    np.testing.assert_array_equal(found, wanted(before, accepted))
    told = record(place / "fixed", "corrections.json")
    assert told["verdicts"]["regions"] == {
        "none": decisions.count(None),
        **{word: decisions.count(word) for word in ("accept", "reject", "unsure")},
    }
    pairs = [pair for source in told["sources"] for pair in source["pairs"]]
    assert sum(pair["pixels"] for pair in pairs) == sum(row["area"] for row in accepted)
    assert sum(pair["regions"] for pair in pairs) == len(accepted)


def test_rejected_regions_change_nothing(directory: Path, tmp_path: Path) -> None:
    verdicts = [of_image(row, "reject") for row in read_rows(directory / "run")]
    fixed = correct(
        directory / "run", review(tmp_path / "verdicts.json", directory / "run", *verdicts), tmp_path / "fixed"
    )
    assert not label_files(fixed)
    assert record(fixed, "corrections.json")["left"] == {"a": None}
    words = ("--labels_from", fixed, "--base", directory / "run")
    again = run(tmp_path / "again", directory / "a.zarr", words=words)
    assert record(again)["kept_sources"] == 1
    assert read_rows(again) == read_rows(directory / "run")


def test_accepted_image_accepts_its_undecided_regions(directory: Path, tmp_path: Path) -> None:
    image = max(read_rows(directory / "run"), key=lambda row: len(regions_of(directory / "run", index=row["index"])))
    own = regions_of(directory / "run", index=image["index"])
    assert len(own) >= 3
    verdicts = (of_image(image), of_region(own[0], "reject"), of_region(own[1], "unsure"))
    fixed = correct(
        directory / "run", review(tmp_path / "verdicts.json", directory / "run", *verdicts), tmp_path / "fixed"
    )
    np.testing.assert_array_equal(labels_at(fixed / "a.zarr"), wanted(labels_at(directory / "a.zarr"), own[2:]))


def test_accepted_image_without_regions_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_source(tmp_path / "a.zarr", make_data())
    out = run(tmp_path / "run", tmp_path / "a.zarr", words=("--regions.top", 1))
    (only,) = regions_of(out)
    others = [row for row in read_rows(out) if row["index"] != only["index"]]
    verdicts = review(tmp_path / "verdicts.json", out, *map(of_image, others[:2]), of_region(only))
    capsys.readouterr()
    fixed = correct(out, verdicts, tmp_path / "fixed")
    np.testing.assert_array_equal(labels_at(fixed / "a.zarr"), wanted(labels_at(tmp_path / "a.zarr"), [only]))
    assert record(fixed, "corrections.json")["verdicts"]["accepted_images_without_regions"] == 2
    assert "2 accepted images without a listed region: unchanged" in capsys.readouterr().out


def test_repeated_command_and_other_block_size_give_equal_labels(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdicts = review(
        tmp_path / "verdicts.json", directory / "run", *map(of_region, regions_of(directory / "run")[::2])
    )
    found = []
    for number in (1, 3, 100):
        monkeypatch.setattr(copying, "TARGET_BLOCKS", number)
        fixed = correct(directory / "run", verdicts, tmp_path / str(number))
        found.append((label_files(fixed), record(fixed, "corrections.json")))
        before = read_files(fixed)
        assert read_files(correct(directory / "run", verdicts, fixed)) == before
    assert found[0] == found[1] == found[2]


def test_killed_command_continues(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "TARGET_BLOCKS", 100)
    verdicts = review(tmp_path / "verdicts.json", directory / "run", *map(of_region, regions_of(directory / "run")))
    whole = read_files(correct(directory / "run", verdicts, tmp_path / "whole"))
    fixed = correct(directory / "run", verdicts, tmp_path / "fixed")
    (fixed / "corrections.json").unlink()
    done = sorted((fixed / "manifest/correct").iterdir())
    done[1].unlink()
    marks = {path.name: path.stat().st_mtime_ns for path in done[:1] + done[2:]}
    (fixed / "a.zarr/labels/c/1/0/0").unlink()
    assert read_files(correct(directory / "run", verdicts, fixed)).keys() == whole.keys()
    assert label_files(fixed) == label_files(tmp_path / "whole")
    assert marks == {name: (fixed / "manifest/correct" / name).stat().st_mtime_ns for name in marks}
    assert record(fixed, "corrections.json") == record(tmp_path / "whole", "corrections.json")


def test_executors_write_equal_labels(directory: Path, tmp_path: Path, scheduler_address: str) -> None:
    verdicts = review(
        tmp_path / "verdicts.json", directory / "run", *map(of_region, regions_of(directory / "run")[1::2])
    )
    here = correct(directory / "run", verdicts, tmp_path / "here")
    words = ("--executor.kind", "dask", "--executor.address", scheduler_address, "--log-format", "quiet")
    told = ("export", "corrections", directory / "run", "--verdicts", verdicts, "--out", tmp_path / "there")
    assert exit_code(*told, *words) == 0
    assert label_files(tmp_path / "there") == label_files(here)
    assert record(tmp_path / "there", "corrections.json") == record(here, "corrections.json")


# ------------------------------------------------------------------------------------------------- labels of every form

FORMS: dict[str, dict[str, Any]] = {
    "version 2": {"zarr_format": 2, "codec": "blosc"},
    "axes in another order": {"label_order": ("y", "x", "image"), "dimension_names": True},
    "shards": {"label_chunks": (1, 7, 9), "label_shards": (4, 14, 18)},
    "one chunk": {"label_chunks": (8, 14, 18), "codec": "none", "label_fill": 255},
}


@pytest.mark.parametrize("form", FORMS)
def test_labels_keep_the_storage_layout_of_the_source(form: str, tmp_path: Path) -> None:
    data = make_data(height=14, width=18)
    source = write_source(tmp_path / "a.zarr", data, **FORMS[form])
    out = run(tmp_path / "run", source)
    accepted = regions_of(out)[:3]
    fixed = correct(out, review(tmp_path / "verdicts.json", out, *map(of_region, accepted)), tmp_path / "fixed")
    found, theirs = (zarr.open_array(place / "labels", mode="r") for place in (fixed / "a.zarr", source.path))
    assert found.metadata == theirs.metadata
    assert sorted(read_files(fixed / "a.zarr/labels")) == sorted(read_files(source.labels))
    axes = [1, 2, 0] if form.startswith("axes") else [0, 1, 2]
    np.testing.assert_array_equal(np.asarray(found[...]), wanted(data.labels, accepted).transpose(axes))
    assert [name for name, _ in zarr.open_group(fixed / "a.zarr", mode="r").arrays()] == ["labels"]


def test_remapped_class_is_written_as_its_label_value(tmp_path: Path) -> None:
    """Values that are no class numbers, two of which mean the same; an ignored one that stays."""
    data = make_data(height=14, width=18)
    values = np.full(256, -7, np.int64)
    values[:4] = (30, 20, 10, 5)
    labels = values[data.labels].astype("int16")
    source = write_source(tmp_path / "a.zarr", Data(data.predictions, labels, (-7,)))
    words = ("--remap", "30:0,20:1,10:2,5:3,11:2")
    out = run(tmp_path / "run", source, words=words)
    accepted = regions_of(out, kind="label")
    fixed = correct(out, review(tmp_path / "verdicts.json", out, *map(of_region, accepted)), tmp_path / "fixed")
    found = labels_at(fixed / "a.zarr")
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, wanted(labels, accepted, {0: 30, 1: 20, 2: 10, 3: 5}))
    np.testing.assert_array_equal(found == -7, labels == -7)
    again = run(tmp_path / "again", source, words=(*words, "--labels_from", fixed))
    assert record(again)["flagged_pixels"] < record(out)["flagged_pixels"]


def test_omission_becomes_the_suggested_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_data(height=24, width=32, ignore=255)
    labels = data.labels.copy()
    labels[2, 4:16, 6:20] = 255
    source = write_source(tmp_path / "a.zarr", data._replace(labels=labels))
    out = run(tmp_path / "run", source)
    accepted = [row for row in regions_of(out, kind="omission") if row["index"] == 2]
    assert accepted
    capsys.readouterr()
    fixed = correct(out, review(tmp_path / "verdicts.json", out, *map(of_region, accepted)), tmp_path / "fixed")
    found = labels_at(fixed / "a.zarr")
    np.testing.assert_array_equal(found, wanted(labels, accepted))
    assert ((found != labels) == ((labels == 255) & (found != 255))).all()
    assert re.search(r"\n  no label  class \d", capsys.readouterr().out)
    pairs = record(fixed, "corrections.json")["sources"][0]["pairs"]
    assert {pair["given"] for pair in pairs} == {None}


def test_regions_of_padded_images_use_the_image_size(tmp_path: Path) -> None:
    data = make_data(height=14, width=18)
    source = write_source(tmp_path / "a.zarr", data)
    group = zarr.open_group(source.path, mode="r+")
    for name, sides in (("height", [14, 9, 11, 14, 5, 13, 14, 10]), ("width", [18, 18, 7, 12, 18, 5, 16, 17])):
        array = group.create_array(name, shape=(8,), dtype="int32", chunks=(8,))
        array[:] = sides
    out = run(tmp_path / "run", source)
    accepted = regions_of(out)
    assert {(row["height"], row["width"]) for row in accepted} >= {(9, 18), (11, 7)}
    fixed = correct(out, review(tmp_path / "verdicts.json", out, *map(of_region, accepted)), tmp_path / "fixed")
    np.testing.assert_array_equal(labels_at(fixed / "a.zarr"), wanted(data.labels, accepted))


def test_missing_chunk_of_the_source_is_missing_in_the_copy(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.zarr", make_data(), label_chunks=(1, 8, 10), label_shards=(4, 8, 10))
    erase_chunks(source.labels, slice(5, 6))
    out = run(tmp_path / "run", source)
    accepted = regions_of(out)
    fixed = correct(out, review(tmp_path / "verdicts.json", out, *map(of_region, accepted)), tmp_path / "fixed")
    again = run(tmp_path / "again", source, words=("--labels_from", fixed))
    assert [row["status"] for row in read_rows(again)] == [row["status"] for row in read_rows(out)]
    assert read_rows(again)[5]["status"] == "missing_chunk"


def test_labels_array_may_have_another_name(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.zarr", names=("predictions", "masks"))
    words = ("--arrays.labels", "masks")
    out = run(tmp_path / "run", source, words=words)
    accepted = regions_of(out)[:2]
    fixed = correct(out, review(tmp_path / "verdicts.json", out, *map(of_region, accepted)), tmp_path / "fixed")
    found = labels_at(fixed / "a.zarr", "masks")
    np.testing.assert_array_equal(found, wanted(labels_at(source.path, "masks"), accepted))
    run(tmp_path / "again", source, words=(*words, "--labels_from", fixed))


def test_summary_lists_changes_and_a_working_next_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The printed command runs as printed and reuses the unchanged source."""
    for name, seed in (("a b", 11), ("c", 12)):
        write_source(tmp_path / f"{name}.zarr", make_data(seed=seed))
    words = ("--classes", '["road, wet", "sky", "car", "tree"]', "--softmin.temperature", "0.3", "--ignore", "255")
    out = run(tmp_path / "run", tmp_path / "*.zarr", words=words)
    accepted = regions_of(out, source="c")[:3]
    capsys.readouterr()
    correct(out, review(tmp_path / "verdicts.json", out, *map(of_region, accepted)), tmp_path / "fixed")
    *lines, last = capsys.readouterr().out.splitlines()
    images, pixels = len({row["index"] for row in accepted}), sum(row["area"] for row in accepted)
    assert lines[0] == (
        f"3 regions of {images} image{'s' * (images != 1)} accepted: {pixels:,} pixels of 1 source changed"
    )
    assert "1 source without accepted regions: not written, labels unchanged" in lines
    assert lines[-1] == f"labels: {tmp_path / 'fixed'}"

    command = shlex.split(last.removeprefix("next: masksift "))
    assert run_cli(*command) == 0
    again = record(tmp_path / "run-corrected")
    assert again["kept_sources"] == 1
    told, before = (one["identity"]["configuration"] for one in (again, record(out)))
    assert {key for key in told if told[key] != before[key]} == {"base", "labels_from"}


def test_next_command_has_no_base_without_kept_evidence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_source(tmp_path / "a.zarr")
    out = run(tmp_path / "run", tmp_path / "a.zarr", words=("--evidence.keep", "false"))
    verdicts = review(tmp_path / "verdicts.json", out, of_region(regions_of(out)[0]))
    capsys.readouterr()
    correct(out, verdicts, tmp_path / "fixed")
    assert "--base" not in capsys.readouterr().out


def test_stored_evidence_must_be_written_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from masksift import EvidenceWriter

    data = make_data()
    with EvidenceWriter(str(tmp_path / "e.zarr"), images=8, height=8, width=10, classes=4, ignore=255) as writer:
        writer.write(data.predictions, data.labels)
    out = run(tmp_path / "run", tmp_path / "e.zarr")
    accepted = regions_of(out)[:2]
    capsys.readouterr()
    fixed = correct(out, review(tmp_path / "verdicts.json", out, *map(of_region, accepted)), tmp_path / "fixed")
    np.testing.assert_array_equal(labels_at(fixed / "e.zarr"), wanted(data.labels, accepted))
    printed = capsys.readouterr().out
    assert "sources of stored evidence: e; write their evidence again with these labels" in printed
    assert "next:" not in printed
