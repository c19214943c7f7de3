"""What is no review of this run, or one of labels that are no longer there, is refused, and nothing is overwritten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import zarr

from review.helpers import correct, labels_at, of_image, of_region, regions_of, review, run
from support.cli import error_message, run_cli
from support.results import read_files, read_rows
from support.run_processes import locked_by_another_process
from support.sources import make_data, write_source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_source(tmp_path / "a.zarr", make_data())
    run(tmp_path / "run", tmp_path / "a.zarr")
    return tmp_path


def refused(folder: Path, capsys: pytest.CaptureFixture[str], *verdicts: dict[str, Any], **more: Any) -> str:
    """The complaint about those verdicts; nothing was written."""
    file = review(folder / "verdicts.json", folder / "run", *verdicts, **more)
    capsys.readouterr()
    words = (folder / "run", "--verdicts", file, "--out", folder / "fixed")
    assert run_cli("export", "corrections", *words) == 2
    assert not (folder / "fixed").exists()
    return error_message(capsys)


def test_verdicts_on_another_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(folder, capsys, fingerprint="f00d" * 16)
    assert "verdicts.json is of the run f00df00df00d, and" in said
    assert "its ranks are those of other regions" in said


def test_a_rank_that_is_not_in_the_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    regions = regions_of(folder / "run")
    said = refused(folder, capsys, of_region({**regions[0], "rank": 1200}))
    assert f"is about region 1,200, and the run lists {len(regions)}" in said


def test_a_rank_that_is_another_images(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = regions_of(folder / "run")[0]
    other = (first["index"] + 1) % 8
    said = refused(folder, capsys, of_region({**first, "index": other}, "reject"))
    assert f"says that region 1 is of image {other} of a, and it is of image {first['index']} of a" in said


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"index": 8}, "image 8 of a, of which the run has 8 images"),
        ({"source": "b"}, "of b, of which the run has 0 images"),
    ],
)
def test_an_image_that_the_run_does_not_have(
    changes: dict[str, Any], match: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert match in refused(folder, capsys, of_image({**read_rows(folder / "run")[0], **changes}))


def test_labels_that_somebody_has_changed_since(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A region is of the labels that it was found in: it is not put over somebody's later work."""
    row = regions_of(folder / "run", kind="label")[0]
    array = zarr.open_array(folder / "a.zarr/labels", mode="r+")
    x, y = divmod(row["rle"][0], row["height"])
    array[row["index"], y, x] = row["suggested"]
    file = review(folder / "verdicts.json", folder / "run", of_region(row))
    capsys.readouterr()
    words = (folder / "run", "--verdicts", file, "--out", folder / "fixed")
    assert run_cli("export", "corrections", *words) == 2
    said = error_message(capsys)
    assert f"the labels of image {row['index']} of " in said
    assert f"at (y={y}, x={x}) it had {row['given_name']!r}, and there is label {row['suggested']}" in said
    assert not (folder / "fixed/corrections.json").exists()


def test_labels_that_are_lost(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = regions_of(folder / "run")[0]
    (folder / f"a.zarr/labels/c/{row['index'] // 2}/0/0").unlink()
    file = review(folder / "verdicts.json", folder / "run", of_region(row))
    capsys.readouterr()
    words = (folder / "run", "--verdicts", file, "--out", folder / "fixed")
    assert run_cli("export", "corrections", *words) == 2
    assert "does not exist); the region is one of other labels" in error_message(capsys)


def test_a_class_that_no_label_stands_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_data()
    data.labels[data.labels == 3] = 2
    write_source(tmp_path / "a.zarr", data)
    run(tmp_path / "run", tmp_path / "a.zarr", words=("--remap", "0:0,1:1,2:2"))
    row = regions_of(tmp_path / "run", suggested=3)[0]
    said = refused(tmp_path, capsys, of_region(row))
    assert f"(uint8) stands for 'class 3', which is suggested for region {row['rank']}" in said


def test_a_folder_that_is_taken(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = regions_of(folder / "run")[:2]
    file = review(folder / "one.json", folder / "run", of_region(first))
    fixed = correct(folder / "run", file, folder / "fixed")
    before = read_files(fixed)
    other = review(folder / "two.json", folder / "run", of_region(second))
    for out, match in (
        (fixed, "inputs or settings (verdicts was"),
        (folder / "a.zarr", "contains files that are not results"),
    ):
        capsys.readouterr()
        assert run_cli("export", "corrections", folder / "run", "--verdicts", other, "--out", out) == 2
        assert match in error_message(capsys)
    assert read_files(fixed) == before
    assert labels_at(folder / "a.zarr").shape == (8, 8, 10)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("--out", "fixed"), "--verdicts is required. Pass --verdicts URL."),
        (("--verdicts", "v.json"), "--out is required. Pass --out URL."),
        (("--verdicts", "v.json", "--out", "fixed"), "holds no complete run"),
    ],
)
def test_what_is_missing(
    words: tuple[str, ...], match: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli("export", "corrections", tmp_path / "nothing", *words) == 2
    assert match in error_message(capsys)


def test_workers_that_are_too_small(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = review(folder / "verdicts.json", folder / "run", of_region(regions_of(folder / "run")[0]))
    words = (folder / "run", "--verdicts", file, "--out", folder / "fixed", "--executor.memory", "100 MiB")
    capsys.readouterr()
    assert run_cli("export", "corrections", *words) == 4
    assert "Correcting these labels needs 300." in error_message(capsys)


def test_corrections_while_another_process_holds_the_lock_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = review(folder / "verdicts.json", folder / "run", of_region(regions_of(folder / "run")[0]))
    capsys.readouterr()
    with locked_by_another_process(folder / "fixed"):
        before = read_files(folder / "fixed")
        assert run_cli("export", "corrections", folder / "run", "--verdicts", file, "--out", folder / "fixed") == 2
        assert "is in use by another run (process " in error_message(capsys)
        assert read_files(folder / "fixed") == before
    correct(folder / "run", file, folder / "fixed")
