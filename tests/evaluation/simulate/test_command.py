"""`masksift simulate`: labels, truth table and mask, resuming, end to end."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from evaluation.simulate.helpers import make_images, read_outputs, read_planes, read_record, simulate, source_labels
from masksift.engine import label_io
from masksift.evaluation.simulate import command, tasks
from masksift.evaluation.simulate.error_types import ERROR_TYPES
from support.cli import error_message, exit_code, run_cli
from support.datasets import Data, make_dataset
from support.results import read_files, read_rows
from support.sources import Source, erase_chunks, write_source


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return write_source(tmp_path / "a.zarr", make_images(), ids=[f"scene-{i}" for i in range(10)])


# ------------------------------------------------------------------------------------------------ what comes out of it


@pytest.mark.parametrize("error_type", ERROR_TYPES)
def test_truth_table_and_mask_describe_the_changed_labels(error_type: str, source: Source, tmp_path: Path) -> None:
    out = simulate(error_type, source, tmp_path / "out", "--share", 0.7, "--seed", 3)
    (labels, truth), before = read_planes(out), source_labels(source)
    np.testing.assert_array_equal(truth, labels != before)
    assert truth.dtype == np.uint8
    assert (labels[before == 255] == 255).all()
    table = read_rows(out, "truth")
    assert [row["index"] for row in table] == np.flatnonzero(truth.any(axis=(1, 2))).tolist()
    for row in table:
        index, differs = row["index"], truth[row["index"]].astype(bool)
        assert (row["image_id"], row["source"], row["kind"]) == (f"scene-{index}", "a", error_type)
        assert row["changed_pixels"] == differs.sum()
        assert row["changed_share"] == differs.sum() / (before[index] != 255).sum()
        box = differs[row["y0"] : row["y1"], row["x0"] : row["x1"]]
        assert box.sum() == differs.sum()
        assert box.any(axis=1)[[0, -1]].all()
        assert box.any(axis=0)[[0, -1]].all()
        true, given = before[index][differs], labels[index][differs]
        assert row["true"] == (int(true[0]) if len(set(true.tolist())) == 1 else None)
        assert row["given"] == np.bincount(given).argmax()
    summary = read_record(out)
    assert (summary["images"], summary["chosen"], summary["changed"]) == (10, 7, len(table))
    assert sum(summary["unchanged"].values()) == 7 - len(table)


@pytest.mark.parametrize("error_type", ERROR_TYPES)
def test_share_of_zero_changes_nothing(error_type: str, source: Source, tmp_path: Path) -> None:
    out = simulate(error_type, source, tmp_path / "out", "--share", 0)
    labels, truth = read_planes(out)
    np.testing.assert_array_equal(labels, source_labels(source))
    assert not truth.any()
    assert read_rows(out, "truth") == []
    assert (read_record(out)["chosen"], read_record(out)["changed"], read_record(out)["unchanged"]) == (0, 0, {})


def test_fill_ignore_leaves_lost_pixels_unlabeled(source: Source, tmp_path: Path) -> None:
    for kind in ("drop", "missing_region"):
        args = ("simulate", kind, "--source", source, "--out", tmp_path / kind, "--fill", "ignore", "--share", 1)
        assert run_cli(*args) == 0
        labels, truth = read_planes(tmp_path / kind)
        assert (labels[truth == 1] == 255).all()
        assert {row["given"] for row in read_rows(tmp_path / kind, "truth")} == {None}


def test_error_affects_only_the_named_classes(source: Source, tmp_path: Path) -> None:
    out = simulate("drop", source, tmp_path / "out", "--classes", "class 1,class 2", "--share", 1, "--objects", "one")
    _, truth = read_planes(out)
    assert set(source_labels(source)[truth == 1].tolist()) == {1, 2}
    assert {class_ for row in read_rows(out, "truth") for class_ in row["classes"]} == {1, 2}


def test_record_counts_unchanged_images_by_reason(tmp_path: Path) -> None:
    data = make_images(images=6, ignored_image=4)
    data.labels[0] = 2
    data.labels[1] = 77
    data.labels[2:4, 2:] = 1
    source = write_source(tmp_path / "a.zarr", data, label_chunks=(1, 24, 32))
    erase_chunks(source.labels, slice(5, 6))
    out = simulate("drop", source, tmp_path / "out", "--share", 1, "--size", 0.99)
    assert read_record(out)["unchanged"] == {
        "all_ignored": 1,
        "bad_labels": 1,
        "missing_chunk": 1,
        "one_class": 1,
        "too_small": 2,
    }
    copy = zarr.open_array(out / "labels/a.zarr/labels", mode="r")
    np.testing.assert_array_equal(copy[:5], data.labels[:5])
    assert not (out / "labels/a.zarr/labels/c/5").exists(), "a missing chunk of the source is missing in the copy"


# ------------------------------------------------------------------------------------------------------- many sources


def test_simulation_of_several_sources_has_partition_columns(tmp_path: Path) -> None:
    for day in (1, 2):
        (tmp_path / f"dt=2026-11-0{day}").mkdir()
        write_source(
            tmp_path / f"dt=2026-11-0{day}" / "site=a.zarr", make_images(images=4 + day, seed=day, ignored_image=None)
        )
    out = simulate("swap", tmp_path / "dt=*" / "*", tmp_path / "out", "--share", 0.5)
    table = read_rows(out, "truth")
    assert {(row["source"], row["dt"], row["site"]) for row in table} == {
        (f"dt=2026-11-0{day}/site=a", f"2026-11-0{day}", "a") for day in (1, 2)
    }
    sources = [(source["name"], source["chosen"], source["changed"]) for source in read_record(out)["sources"]]
    assert sources == [("dt=2026-11-01/site=a", 2, 2), ("dt=2026-11-02/site=a", 3, 3)]
    for day in (1, 2):
        labels, truth = read_planes(out, f"dt=2026-11-0{day}/site=a")
        np.testing.assert_array_equal(truth, labels != make_images(images=4 + day, seed=day, ignored_image=None).labels)


def test_errors_of_a_source_do_not_depend_on_other_sources(source: Source, tmp_path: Path) -> None:
    write_source(tmp_path / "b.zarr", make_images(seed=5))
    alone = simulate("drop", source, tmp_path / "alone")
    among = simulate("drop", tmp_path / "*.zarr", tmp_path / "among")
    np.testing.assert_array_equal(read_planes(among)[0], read_planes(alone)[0])
    assert [row for row in read_rows(among, "truth") if row["source"] == "a"] == read_rows(alone, "truth")


# --------------------------------------------------------------------------------------------------- twice equals once


@pytest.mark.parametrize("error_type", ERROR_TYPES)
def test_simulation_does_not_depend_on_the_block_size(
    error_type: str, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for number in (1, 3, 100):
        monkeypatch.setattr(label_io, "TARGET_BLOCKS", number)
        out = simulate(error_type, source, tmp_path / str(number), "--share", 0.6)
        labels = {name: data for name, data in read_outputs(out).items() if name.startswith("labels")}
        found.append((labels, read_rows(out, "truth"), {**read_record(out), "configuration": None}))
    assert found[0] == found[1] == found[2]


def test_simulation_on_dask_gives_the_same_bytes(source: Source, tmp_path: Path, scheduler_address: str) -> None:
    here = simulate("shift", source, tmp_path / "here", "--share", 0.6)
    args = (
        "--executor.kind",
        "dask",
        "--executor.address",
        scheduler_address,
        "--share",
        "0.6",
        "--log-format",
        "quiet",
    )
    assert exit_code("simulate", "shift", "--source", source, "--out", tmp_path / "there", *args) == 0
    assert read_outputs(tmp_path / "there") == read_outputs(here)


def test_other_seed_gives_other_errors(source: Source, tmp_path: Path) -> None:
    one, other = (simulate("swap", source, tmp_path / str(seed), "--seed", seed) for seed in (0, 1))
    assert (read_planes(one)[1] != read_planes(other)[1]).any()


def test_interrupted_simulation_resumes_with_the_same_bytes(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, again, names = simulate("drop", source, tmp_path / "whole"), tmp_path / "again", []
    write = tasks.write_table

    def fail_at_third(folder: Any, name: str, *args: Any) -> int:
        names.append(name)
        if len(names) == 3:
            raise OSError("disk full")
        return write(folder, name, *args)

    monkeypatch.setattr(tasks, "write_table", fail_at_third)
    capsys.readouterr()
    assert run_cli("simulate", "drop", "--source", source, "--out", again) == 5
    assert "disk full" in error_message(capsys)
    assert not (again / "simulate.json").exists()
    simulate("drop", source, again)
    assert len(names) == 6, "five tasks, and the third once more"
    assert read_outputs(again) == read_outputs(whole)
    assert {**read_record(again), "configuration": None} == {**read_record(whole), "configuration": None}


def test_completed_simulation_is_left_unchanged(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = simulate("drop", source, tmp_path / "out")
    before, printed = read_files(out), capsys.readouterr().out
    monkeypatch.setattr(command, "simulate_block", None)
    assert simulate("drop", source, out, "--fill", "nearest", "--size", 0.01) == out, "explicit defaults"
    assert read_files(out) == before
    assert capsys.readouterr().out == printed
    assert printed == (
        f"2 of 10 images of 1 source have an error: drop\n"
        f"labels: {out}/labels (masksift run --labels_from {out}/labels)\n"
    )


def test_simulation_into_other_results_is_refused(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = simulate("drop", source, tmp_path / "out")
    capsys.readouterr()
    assert run_cli("simulate", "drop", "--source", source, "--out", out, "--seed", 1) == 2
    assert re.search(r"inputs or settings \(seed was 0, is 1\)\. .*Pass another --out", error_message(capsys))
    assert run_cli("simulate", "drop", "--source", source, "--out", source) == 2
    assert re.search(r"is the input", error_message(capsys))
    labels = zarr.open_array(source.labels, mode="r+")
    labels[0] = labels[1]
    assert run_cli("simulate", "drop", "--source", source, "--out", out) == 2
    assert re.search(r"content", error_message(capsys))


def test_simulation_reads_options_from_a_file(source: Source, tmp_path: Path) -> None:
    file = tmp_path / "errors.toml"
    file.write_text(
        f'kind = "drop"\nsources = ["{source}"]\nout = "{tmp_path / "sources"}"\nshare = 0.5\nclasses = ["class 1"]\n'
        '[executor]\nkind = "serial"\n'
    )
    assert exit_code("simulate", file, "--log-format", "quiet") == 0
    flags = simulate("drop", source, tmp_path / "flags", "--share", 0.5, "--classes", "class 1")
    assert read_outputs(tmp_path / "sources") == read_outputs(flags)
    shutil.rmtree(tmp_path / "sources")
    file.write_text(file.read_text().replace('kind = "drop"\n', "", 1))
    assert exit_code("simulate", "drop", file, "--log-format", "quiet") == 0
    assert read_outputs(tmp_path / "sources") == read_outputs(flags)


# ----------------------------------------------------------------------------------------------------------- end to end


@pytest.mark.parametrize("error_type", ["drop", "swap", "shift"])
def test_run_ranks_the_changed_images_first(error_type: str, tmp_path: Path) -> None:
    """The model is certain and right, so that the simulated errors are the only ones."""
    data = make_dataset(2, images=20, classes=4, height=32, width=40, dtype="float32", error_share=0)
    predictions = (data.labels[:, None] == np.arange(4)[:, None, None]) * np.float32(0.88) + np.float32(0.03)
    predictions[(data.labels == 255)[:, None].repeat(4, axis=1)] = 0.25
    source = write_source(tmp_path / "a.zarr", Data(predictions, data.labels, data.ignore))
    out = simulate(error_type, source, tmp_path / "out", "--share", 0.25)
    changed = {row["image_id"] for row in read_rows(out, "truth")}
    assert run_cli("run", "--source", source, "--labels_from", out / "labels", "--out", tmp_path / "run") == 0
    ranked = [row["image_id"] for row in read_rows(tmp_path / "run", "ranking")]
    assert len(changed) == 5
    assert set(ranked[:5]) == changed
