"""Outputs apart from inputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from masksift.core.errors import UsageError
from masksift.storage.locations import check_output, check_separate
from support.errors import raises


@pytest.mark.parametrize(
    ("out", "url", "relation"),
    [
        ("s3://b/lake/a.zarr", "s3://b/lake/a.zarr/", "is the input"),
        ("s3://b/lake/a.zarr/out", "s3://b/lake//a.zarr", "is inside the input"),
        ("s3a://b/lake", "s3://b/lake/a.zarr", "contains the input"),
        ("memory://x", "memory:///x/y", "contains the input"),
        ("/data/a.zarr/out", "file:///data/a.zarr", "is inside the input"),
        ("/data/a b", "file:///data/a%20b/c.zarr", "contains the input"),
        ("/", "/data", "contains the input"),
    ],
)
def test_output_that_overlaps_with_an_input_is_refused(out: str, url: str, relation: str) -> None:
    with raises(UsageError, rf"--out {out} {relation} {url}\. Results would be mixed"):
        check_separate(out, ["s3://other", url])


@pytest.mark.parametrize(
    ("out", "url"),
    [
        ("s3://b/lake/a.zarr-out", "s3://b/lake/a.zarr"),
        ("s3://b/x", "s3://c/x"),
        ("/data/a", "s3://data/a"),
        ("/data/out", "/data/*.zarr"),
        ("/data/ab", "/data/a"),
    ],
)
def test_output_beside_an_input_is_accepted(out: str, url: str) -> None:
    check_separate(out, [url])


def test_output_inside_a_linked_input_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a.zarr")
    with raises(UsageError, r"is inside the input"):
        check_output(str(tmp_path / "a.zarr" / "out"), [str(tmp_path / "link")])
    with raises(UsageError, r"is inside the input"):
        check_output(str(tmp_path / "link" / "out"), [str(tmp_path / "a.zarr")])


@pytest.mark.parametrize("below", ["", "/new", "/new/deeper"])
def test_output_at_or_below_a_file_is_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    with raises(UsageError, rf"{tmp_path}/file is a file, but --out {tmp_path}/file{below} needs a directory there"):
        check_output(f"{tmp_path}/file{below}", [])


def test_output_that_is_new_or_linked_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    check_output(str(tmp_path / "x" / "y"), [])
    check_output(str(tmp_path / "link" / "y"), [])
