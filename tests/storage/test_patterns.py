"""Globs: names that exist are never patterns."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from masksift.storage.files import find_files
from masksift.storage.patterns import expand_pattern, split_pattern
from masksift.storage.sources.dataset import find_sources

LITERAL_NAMES = ("a[1]", "a*", "what?", "[x]", "a::b", "a%20b", "a#b", "a b", "file:", "zip::b")


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a directory with the groups `a[1]/x.zarr`, `a[1]/y.zarr` and `a1/x.zarr`."""
    url = str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}"
    filesystem, path = fsspec.core.url_to_fs(url)
    for name in ("a[1]/x.zarr", "a[1]/y.zarr", "a1/x.zarr"):
        filesystem.makedirs(f"{path}/{name}", exist_ok=True)
        filesystem.pipe_file(f"{path}/{name}/zarr.json", b"{}")
    return url


def names(urls: list[str]) -> list[str]:
    return ["/".join(url.split("/")[-2:]) for url in urls]


def test_existing_directory_with_wildcards_is_not_a_pattern(place: str) -> None:
    assert find_sources([f"{place}/a[1]/x.zarr"], {}) == [f"{place}/a[1]/x.zarr"]
    assert names(find_sources([f"{place}/a[1]/*.zarr"], {})) == ["a[1]/x.zarr", "a[1]/y.zarr"]
    assert find_files(f"{place}/a[1]/*/*", {}, [".json"]).names == ("x.zarr/zarr.json", "y.zarr/zarr.json")


def test_wildcards_of_a_name_that_does_not_exist_are_a_pattern(place: str) -> None:
    assert names(find_sources([f"{place}/a[12]/x.zarr"], {})) == ["a1/x.zarr"]
    assert names(find_sources([f"{place}/a?/x.zarr"], {})) == ["a1/x.zarr"]
    assert names(find_sources([f"{place}/**/x.zarr"], {})) == ["a1/x.zarr", "a[1]/x.zarr"]


@pytest.mark.parametrize("name", LITERAL_NAMES)
def test_path_is_split_at_the_first_part_that_is_a_pattern(name: str, tmp_path: Path) -> None:
    (tmp_path / name / "b1").mkdir(parents=True)
    filesystem = fsspec.filesystem("file")
    root = f"{tmp_path}/{name}"
    assert split_pattern(filesystem, root) == (root, "")
    assert split_pattern(filesystem, f"{root}/b?/c*") == (root, "b?/c*")
    assert expand_pattern(filesystem, root, "b?", directories=True) == [f"{root}/b1"]
    assert expand_pattern(filesystem, root, "b?", directories=False) == []


def test_pattern_matches_a_link_to_a_directory(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "b.zarr").symlink_to(tmp_path / "a.zarr")
    assert find_sources([f"{tmp_path}/*.zarr"], {}) == [f"{tmp_path}/a.zarr", f"{tmp_path}/b.zarr"]
