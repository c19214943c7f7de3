"""Errors of `masksift export corrections`: foreign decisions, changed labels, occupied outputs; no file changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import zarr

from review.helpers import (
    export_corrections,
    image_decision,
    read_labels,
    read_regions,
    region_decision,
    run_sources,
    write_decisions,
)
from support.cli import error_message, run_cli
from support.results import read_files, read_rows
from support.run_processes import locked_by_another_process
from support.sources import make_data, write_source


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_source(tmp_path / "a.zarr", make_data())
    run_sources(tmp_path / "run", tmp_path / "a.zarr")
    return tmp_path


def rejection_message(
    directory: Path, capsys: pytest.CaptureFixture[str], *decisions: dict[str, Any], **kwargs: Any
) -> str:
    """Error message about a file with these decisions; checks that no output exists."""
    file = write_decisions(directory / "verdicts.json", directory / "run", *decisions, **kwargs)
    capsys.readouterr()
    args = (directory / "run", "--verdicts", file, "--out", directory / "fixed")
    assert run_cli("export", "corrections", *args) == 2
    assert not (directory / "fixed").exists()
    return error_message(capsys)


def test_decisions_on_another_run_are_rejected(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = rejection_message(directory, capsys, fingerprint="f00d" * 16)
    assert "verdicts.json holds decisions on run f00df00df00d, but the run at" in message
    assert "Ranks identify other regions there." in message


def test_unknown_rank_is_rejected(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    regions = read_regions(directory / "run")
    message = rejection_message(directory, capsys, region_decision({**regions[0], "rank": 1200}))
    assert f"mentions region 1,200, but the run lists {len(regions)}" in message


def test_rank_of_another_image_is_rejected(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = read_regions(directory / "run")[0]
    other = (first["index"] + 1) % 8
    message = rejection_message(directory, capsys, region_decision({**first, "index": other}, "reject"))
    assert f"assigns region 1 to image {other} of a, but it belongs to image {first['index']} of a" in message


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"index": 8}, "image 8 of a, but the run has 8 images of it"),
        ({"source": "b"}, "of b, but the run has 0 images of it"),
    ],
)
def test_unknown_image_is_rejected(
    changes: dict[str, Any], match: str, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert match in rejection_message(directory, capsys, image_decision({**read_rows(directory / "run")[0], **changes}))


def test_changed_labels_are_rejected(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A region must not overwrite labels that changed after the run."""
    row = read_regions(directory / "run", kind="label")[0]
    array = zarr.open_array(directory / "a.zarr/labels", mode="r+")
    x, y = divmod(row["rle"][0], row["height"])
    array[row["index"], y, x] = row["suggested"]
    file = write_decisions(directory / "verdicts.json", directory / "run", region_decision(row))
    capsys.readouterr()
    args = (directory / "run", "--verdicts", file, "--out", directory / "fixed")
    assert run_cli("export", "corrections", *args) == 2
    message = error_message(capsys)
    assert f"The labels of image {row['index']} of " in message
    assert f"(y={y}, x={x}) had {row['given_name']!r}, now {row['suggested_name']!r}" in message
    assert not (directory / "fixed/corrections.json").exists()


def test_missing_labels_are_rejected(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = read_regions(directory / "run")[0]
    (directory / f"a.zarr/labels/c/{row['index'] // 2}/0/0").unlink()
    file = write_decisions(directory / "verdicts.json", directory / "run", region_decision(row))
    capsys.readouterr()
    args = (directory / "run", "--verdicts", file, "--out", directory / "fixed")
    assert run_cli("export", "corrections", *args) == 2
    assert "does not exist). Run again over the current labels" in error_message(capsys)


def test_class_without_label_value_is_rejected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_data()
    data.labels[data.labels == 3] = 2
    write_source(tmp_path / "a.zarr", data)
    run_sources(tmp_path / "run", tmp_path / "a.zarr", args=("--remap", "0:0,1:1,2:2"))
    row = read_regions(tmp_path / "run", suggested=3)[0]
    message = rejection_message(tmp_path, capsys, region_decision(row))
    assert f"(uint8) stands for class 'class 3', the suggestion for region {row['rank']}" in message


def test_directory_with_other_content_is_rejected(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = read_regions(directory / "run")[:2]
    first_file = write_decisions(directory / "one.json", directory / "run", region_decision(first))
    fixed = export_corrections(directory / "run", first_file, directory / "fixed")
    before = read_files(fixed)
    second_file = write_decisions(directory / "two.json", directory / "run", region_decision(second))
    for out, match in (
        (fixed, "inputs or settings (verdicts was"),
        (directory / "a.zarr", "is the input"),
    ):
        capsys.readouterr()
        assert run_cli("export", "corrections", directory / "run", "--verdicts", second_file, "--out", out) == 2
        assert match in error_message(capsys)
    assert read_files(fixed) == before
    assert read_labels(directory / "a.zarr").shape == (8, 8, 10)


@pytest.mark.parametrize(
    ("args", "match"),
    [
        (("--out", "fixed"), "--verdicts is required. Pass --verdicts URL."),
        (("--verdicts", "v.json"), "--out is required. Pass --out URL."),
        (("--verdicts", "v.json", "--out", "fixed"), "holds no complete run"),
    ],
)
def test_missing_arguments_and_run_are_rejected(
    args: tuple[str, ...], match: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli("export", "corrections", tmp_path / "nothing", *args) == 2
    assert match in error_message(capsys)


def test_worker_with_too_little_memory_is_rejected(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    region = read_regions(directory / "run")[0]
    file = write_decisions(directory / "verdicts.json", directory / "run", region_decision(region))
    args = (directory / "run", "--verdicts", file, "--out", directory / "fixed", "--executor.memory", "100 MiB")
    capsys.readouterr()
    assert run_cli("export", "corrections", *args) == 4
    assert "Correcting these labels needs 300." in error_message(capsys)


def test_locked_output_is_rejected(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    region = read_regions(directory / "run")[0]
    file = write_decisions(directory / "verdicts.json", directory / "run", region_decision(region))
    capsys.readouterr()
    with locked_by_another_process(directory / "fixed"):
        before = read_files(directory / "fixed")
        assert (
            run_cli("export", "corrections", directory / "run", "--verdicts", file, "--out", directory / "fixed") == 2
        )
        assert "is in use by another run (process " in error_message(capsys)
        assert read_files(directory / "fixed") == before
    export_corrections(directory / "run", file, directory / "fixed")
