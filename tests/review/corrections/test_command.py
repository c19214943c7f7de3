"""`masksift export corrections`: accepted regions get the suggested class, all other pixels stay."""

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
from review.helpers import (
    expected_labels,
    export_corrections,
    image_decision,
    read_labels,
    read_record,
    read_regions,
    region_decision,
    run_sources,
    write_decisions,
)
from support.cli import exit_code, run_cli
from support.datasets import Data
from support.results import read_files, read_rows
from support.sources import erase_chunks, make_data, write_source

IDS = [f"scene-{i}" for i in range(8)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory with a source `a`, which stores two images per object, and its complete run `run`."""
    directory = tmp_path_factory.mktemp("review")
    write_source(directory / "a.zarr", make_data(height=14, width=18), ids=IDS)
    run_sources(directory / "run", directory / "a.zarr")
    return directory


def accept_regions(out: Path, rows: list[dict[str, Any]], directory: Path) -> Path:
    """Accept the regions of the rows and export the corrected labels to a directory."""
    decisions = write_decisions(directory.parent / "verdicts.json", out, *map(region_decision, rows))
    return export_corrections(out, decisions, directory)


def label_files(directory: Path) -> dict[str, bytes]:
    """Objects of the corrected labels by path."""
    return {name: data for name, data in read_files(directory).items() if ".zarr/" in name}


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_only_accepted_regions_change(
    data: st.DataObject, directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    regions = read_regions(directory / "run")
    decisions = [data.draw(st.sampled_from(["accept", "reject", "unsure", None])) for _ in regions]
    out = tmp_path_factory.mktemp("corrected")
    entries = [region_decision(row, value) for row, value in zip(regions, decisions, strict=True) if value]
    export_corrections(
        directory / "run", write_decisions(out / "verdicts.json", directory / "run", *entries), out / "fixed"
    )
    accepted = [row for row, value in zip(regions, decisions, strict=True) if value == "accept"]
    before = read_labels(directory / "a.zarr")
    after = read_labels(out / "fixed/a.zarr") if accepted else before
    np.testing.assert_array_equal(after, expected_labels(before, accepted))
    record = read_record(out / "fixed", "corrections.json")
    assert record["verdicts"]["regions"] == {
        "none": decisions.count(None),
        **{value: decisions.count(value) for value in ("accept", "reject", "unsure")},
    }
    pairs = [pair for source in record["sources"] for pair in source["pairs"]]
    assert sum(pair["pixels"] for pair in pairs) == sum(row["area"] for row in accepted)
    assert sum(pair["regions"] for pair in pairs) == len(accepted)


def test_rejected_regions_change_nothing(directory: Path, tmp_path: Path) -> None:
    entries = [image_decision(row, "reject") for row in read_rows(directory / "run")]
    fixed = export_corrections(
        directory / "run", write_decisions(tmp_path / "verdicts.json", directory / "run", *entries), tmp_path / "fixed"
    )
    assert not label_files(fixed)
    assert read_record(fixed, "corrections.json")["left"] == {"a": None}
    args = ("--labels_from", fixed, "--base", directory / "run")
    again = run_sources(tmp_path / "again", directory / "a.zarr", args=args)
    assert read_record(again)["kept_sources"] == 1
    assert read_rows(again) == read_rows(directory / "run")


def test_accepted_image_accepts_its_undecided_regions(directory: Path, tmp_path: Path) -> None:
    image = max(read_rows(directory / "run"), key=lambda row: len(read_regions(directory / "run", index=row["index"])))
    regions = read_regions(directory / "run", index=image["index"])
    assert len(regions) >= 3
    entries = (image_decision(image), region_decision(regions[0], "reject"), region_decision(regions[1], "unsure"))
    fixed = export_corrections(
        directory / "run", write_decisions(tmp_path / "verdicts.json", directory / "run", *entries), tmp_path / "fixed"
    )
    np.testing.assert_array_equal(
        read_labels(fixed / "a.zarr"), expected_labels(read_labels(directory / "a.zarr"), regions[2:])
    )


def test_accepted_image_without_regions_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_source(tmp_path / "a.zarr", make_data())
    out = run_sources(tmp_path / "run", tmp_path / "a.zarr", args=("--regions.top", 1))
    (region,) = read_regions(out)
    others = [row for row in read_rows(out) if row["index"] != region["index"]]
    decisions = write_decisions(
        tmp_path / "verdicts.json", out, *map(image_decision, others[:2]), region_decision(region)
    )
    capsys.readouterr()
    fixed = export_corrections(out, decisions, tmp_path / "fixed")
    np.testing.assert_array_equal(
        read_labels(fixed / "a.zarr"), expected_labels(read_labels(tmp_path / "a.zarr"), [region])
    )
    assert read_record(fixed, "corrections.json")["verdicts"]["accepted_images_without_regions"] == 2
    assert "2 accepted images without a listed region: unchanged" in capsys.readouterr().out


def test_repeated_command_and_other_block_size_give_equal_labels(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = read_regions(directory / "run")[::2]
    decisions = write_decisions(tmp_path / "verdicts.json", directory / "run", *map(region_decision, accepted))
    results = []
    for number in (1, 3, 100):
        monkeypatch.setattr(copying, "TARGET_BLOCKS", number)
        fixed = export_corrections(directory / "run", decisions, tmp_path / str(number))
        results.append((label_files(fixed), read_record(fixed, "corrections.json")))
        before = read_files(fixed)
        assert read_files(export_corrections(directory / "run", decisions, fixed)) == before
    assert results[0] == results[1] == results[2]


def test_killed_command_continues(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "TARGET_BLOCKS", 100)
    accepted = read_regions(directory / "run")
    decisions = write_decisions(tmp_path / "verdicts.json", directory / "run", *map(region_decision, accepted))
    complete = read_files(export_corrections(directory / "run", decisions, tmp_path / "complete"))
    fixed = export_corrections(directory / "run", decisions, tmp_path / "fixed")
    (fixed / "corrections.json").unlink()
    outputs = sorted((fixed / "manifest/correct").iterdir())
    outputs[1].unlink()
    times = {path.name: path.stat().st_mtime_ns for path in outputs[:1] + outputs[2:]}
    (fixed / "a.zarr/labels/c/1/0/0").unlink()
    assert read_files(export_corrections(directory / "run", decisions, fixed)).keys() == complete.keys()
    assert label_files(fixed) == label_files(tmp_path / "complete")
    assert times == {name: (fixed / "manifest/correct" / name).stat().st_mtime_ns for name in times}
    assert read_record(fixed, "corrections.json") == read_record(tmp_path / "complete", "corrections.json")


def test_executors_write_equal_labels(directory: Path, tmp_path: Path, scheduler_address: str) -> None:
    accepted = read_regions(directory / "run")[1::2]
    decisions = write_decisions(tmp_path / "verdicts.json", directory / "run", *map(region_decision, accepted))
    serial = export_corrections(directory / "run", decisions, tmp_path / "serial")
    dask_args = ("--executor.kind", "dask", "--executor.address", scheduler_address, "--log-format", "quiet")
    args = ("export", "corrections", directory / "run", "--verdicts", decisions, "--out", tmp_path / "dask")
    assert exit_code(*args, *dask_args) == 0
    assert label_files(tmp_path / "dask") == label_files(serial)
    assert read_record(tmp_path / "dask", "corrections.json") == read_record(serial, "corrections.json")


# ------------------------------------------------------------------------------------------- storage layouts of labels

LAYOUTS: dict[str, dict[str, Any]] = {
    "version 2": {"zarr_format": 2, "codec": "blosc"},
    "axes in another order": {"label_order": ("y", "x", "image"), "dimension_names": True},
    "shards": {"label_chunks": (1, 7, 9), "label_shards": (4, 14, 18)},
    "one chunk": {"label_chunks": (8, 14, 18), "codec": "none", "label_fill": 255},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_labels_keep_the_storage_layout_of_the_source(layout: str, tmp_path: Path) -> None:
    data = make_data(height=14, width=18)
    source = write_source(tmp_path / "a.zarr", data, **LAYOUTS[layout])
    out = run_sources(tmp_path / "run", source)
    accepted = read_regions(out)[:3]
    fixed = accept_regions(out, accepted, tmp_path / "fixed")
    corrected, given = (zarr.open_array(group / "labels", mode="r") for group in (fixed / "a.zarr", source.path))
    assert corrected.metadata == given.metadata
    assert sorted(read_files(fixed / "a.zarr/labels")) == sorted(read_files(source.labels))
    axes = [1, 2, 0] if layout.startswith("axes") else [0, 1, 2]
    np.testing.assert_array_equal(np.asarray(corrected[...]), expected_labels(data.labels, accepted).transpose(axes))
    assert [name for name, _ in zarr.open_group(fixed / "a.zarr", mode="r").arrays()] == ["labels"]


def test_remapped_class_is_written_as_its_label_value(tmp_path: Path) -> None:
    """Label values differ from class numbers, two mean the same class, and the ignored value stays."""
    data = make_data(height=14, width=18)
    values = np.full(256, -7, np.int64)
    values[:4] = (30, 20, 10, 5)
    labels = values[data.labels].astype("int16")
    source = write_source(tmp_path / "a.zarr", Data(data.predictions, labels, (-7,)))
    args = ("--remap", "30:0,20:1,10:2,5:3,11:2")
    out = run_sources(tmp_path / "run", source, args=args)
    accepted = read_regions(out, kind="label")
    fixed = accept_regions(out, accepted, tmp_path / "fixed")
    corrected = read_labels(fixed / "a.zarr")
    assert corrected.dtype == np.int16
    np.testing.assert_array_equal(corrected, expected_labels(labels, accepted, {0: 30, 1: 20, 2: 10, 3: 5}))
    np.testing.assert_array_equal(corrected == -7, labels == -7)
    again = run_sources(tmp_path / "again", source, args=(*args, "--labels_from", fixed))
    assert read_record(again)["flagged_pixels"] < read_record(out)["flagged_pixels"]


def test_omission_becomes_the_suggested_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_data(height=24, width=32, ignore=255)
    labels = data.labels.copy()
    labels[2, 4:16, 6:20] = 255
    source = write_source(tmp_path / "a.zarr", data._replace(labels=labels))
    out = run_sources(tmp_path / "run", source)
    accepted = [row for row in read_regions(out, kind="omission") if row["index"] == 2]
    assert accepted
    capsys.readouterr()
    fixed = accept_regions(out, accepted, tmp_path / "fixed")
    corrected = read_labels(fixed / "a.zarr")
    np.testing.assert_array_equal(corrected, expected_labels(labels, accepted))
    assert ((corrected != labels) == ((labels == 255) & (corrected != 255))).all()
    assert re.search(r"\n  no label  class \d", capsys.readouterr().out)
    pairs = read_record(fixed, "corrections.json")["sources"][0]["pairs"]
    assert {pair["given"] for pair in pairs} == {None}


def test_regions_of_padded_images_use_the_image_size(tmp_path: Path) -> None:
    data = make_data(height=14, width=18)
    source = write_source(tmp_path / "a.zarr", data)
    group = zarr.open_group(source.path, mode="r+")
    for name, sides in (("height", [14, 9, 11, 14, 5, 13, 14, 10]), ("width", [18, 18, 7, 12, 18, 5, 16, 17])):
        array = group.create_array(name, shape=(8,), dtype="int32", chunks=(8,))
        array[:] = sides
    out = run_sources(tmp_path / "run", source)
    accepted = read_regions(out)
    assert {(row["height"], row["width"]) for row in accepted} >= {(9, 18), (11, 7)}
    fixed = accept_regions(out, accepted, tmp_path / "fixed")
    np.testing.assert_array_equal(read_labels(fixed / "a.zarr"), expected_labels(data.labels, accepted))


def test_missing_source_chunk_is_missing_in_the_copy(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.zarr", make_data(), label_chunks=(1, 8, 10), label_shards=(4, 8, 10))
    erase_chunks(source.labels, slice(5, 6))
    out = run_sources(tmp_path / "run", source)
    accepted = read_regions(out)
    fixed = accept_regions(out, accepted, tmp_path / "fixed")
    again = run_sources(tmp_path / "again", source, args=("--labels_from", fixed))
    assert [row["status"] for row in read_rows(again)] == [row["status"] for row in read_rows(out)]
    assert read_rows(again)[5]["status"] == "missing_chunk"


def test_configured_labels_array_is_corrected(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.zarr", names=("predictions", "masks"))
    args = ("--arrays.labels", "masks")
    out = run_sources(tmp_path / "run", source, args=args)
    accepted = read_regions(out)[:2]
    fixed = accept_regions(out, accepted, tmp_path / "fixed")
    corrected = read_labels(fixed / "a.zarr", "masks")
    np.testing.assert_array_equal(corrected, expected_labels(read_labels(source.path, "masks"), accepted))
    run_sources(tmp_path / "again", source, args=(*args, "--labels_from", fixed))


def test_summary_lists_changes_and_a_working_next_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The printed command runs as printed and reuses the unchanged source."""
    for name, seed in (("a b", 11), ("c", 12)):
        write_source(tmp_path / f"{name}.zarr", make_data(seed=seed))
    args = ("--classes", '["road, wet", "sky", "car", "tree"]', "--softmin.temperature", "0.3", "--ignore", "255")
    out = run_sources(tmp_path / "run", tmp_path / "*.zarr", args=args)
    accepted = read_regions(out, source="c")[:3]
    capsys.readouterr()
    accept_regions(out, accepted, tmp_path / "fixed")
    *lines, last = capsys.readouterr().out.splitlines()
    images, pixels = len({row["index"] for row in accepted}), sum(row["area"] for row in accepted)
    assert lines[0] == (
        f"3 regions of {images} image{'s' * (images != 1)} accepted: {pixels:,} pixels of 1 source changed"
    )
    assert "1 source without accepted regions: not written, labels unchanged" in lines
    assert lines[-1] == f"labels: {tmp_path / 'fixed'}"

    command = shlex.split(last.removeprefix("next: masksift "))
    assert run_cli(*command) == 0
    again = read_record(tmp_path / "run-corrected")
    assert again["kept_sources"] == 1
    after, before = (record["identity"]["configuration"] for record in (again, read_record(out)))
    assert {key for key in after if after[key] != before[key]} == {"base", "labels_from"}


def test_next_command_has_no_base_without_kept_evidence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_source(tmp_path / "a.zarr")
    out = run_sources(tmp_path / "run", tmp_path / "a.zarr", args=("--evidence.keep", "false"))
    decisions = write_decisions(tmp_path / "verdicts.json", out, region_decision(read_regions(out)[0]))
    capsys.readouterr()
    export_corrections(out, decisions, tmp_path / "fixed")
    assert "--base" not in capsys.readouterr().out


def test_source_of_stored_evidence_prints_no_next_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from masksift import EvidenceWriter

    data = make_data()
    with EvidenceWriter(str(tmp_path / "e.zarr"), images=8, height=8, width=10, classes=4, ignore=255) as writer:
        writer.write(data.predictions, data.labels)
    out = run_sources(tmp_path / "run", tmp_path / "e.zarr")
    accepted = read_regions(out)[:2]
    capsys.readouterr()
    fixed = accept_regions(out, accepted, tmp_path / "fixed")
    np.testing.assert_array_equal(read_labels(fixed / "e.zarr"), expected_labels(data.labels, accepted))
    printed = capsys.readouterr().out
    assert "sources of stored evidence: e; write their evidence again with these labels" in printed
    assert "next:" not in printed
