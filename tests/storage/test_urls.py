"""Local paths of URLs, and URLs below URLs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.storage.urls import is_absolute, join, local_path, split_url


@pytest.mark.parametrize(
    ("url", "path"),
    [("/data/x", "/data/x"), ("file:///data/x", "/data/x"), ("/data/y/../x", "/data/x"), ("/data/x/", "/data/x")],
)
def test_local_path_of_a_local_url_is_absolute(url: str, path: str) -> None:
    assert local_path(url) == path


def test_local_path_resolves_relative_paths_and_the_home_directory() -> None:
    assert local_path("x") == os.path.join(os.getcwd(), "x")
    assert local_path("~/x") == os.path.expanduser("~/x")


@pytest.mark.parametrize("url", ["s3://bucket/x", "memory://x", "gs://b/x", "simplecache::s3://bucket/x"])
def test_local_path_of_a_remote_url_is_none(url: str) -> None:
    assert local_path(url) is None


@pytest.mark.parametrize(
    ("name", "absolute"),
    [("s3://b/x", True), ("/data/x", True), ("file:/data/x", True), ("labels", False), ("masks/labels", False)],
)
def test_is_absolute_for_urls_and_paths_from_the_root(name: str, absolute: bool) -> None:
    assert is_absolute(name) == absolute


@pytest.mark.parametrize("url", ["s3://bucket/x", "s3://bucket/x/"])
def test_join_separates_parts_by_one_slash(url: str) -> None:
    assert join(url, "a/", "/b.zarr") == "s3://bucket/x/a/b.zarr"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///a%20b/%5B1%5D", "/a b/[1]"),
        ("file:/a%25b", "/a%b"),
        ("file://localhost/a", "/a"),
        ("file:///a#b?c", "/a#b?c"),
        ("file:///%C3%BC", "/ü"),
        ("/a%20b", "/a%20b"),
        ("/a::b", "/a::b"),
    ],
)
def test_local_path_decodes_a_file_url_and_no_path(url: str, path: str) -> None:
    assert local_path(url) == path


@given(name=st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1))
def test_local_path_inverts_the_file_url_of_a_path(name: str) -> None:
    path = Path("/data") / name / "x"
    assert local_path(path.as_uri()) == os.path.normpath(path)


def test_relative_path_with_colons_is_local_unless_it_chains_file_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert local_path("a::b") == f"{tmp_path}/a::b"
    assert local_path("zip::b") is None
    (tmp_path / "zip::b").mkdir()
    assert local_path("zip::b") == f"{tmp_path}/zip::b"


def test_join_to_a_file_url_is_the_path_below_it() -> None:
    assert join("file:///a%20b/", "c%20d") == "/a b/c%20d"


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("s3://bucket/a/b.csv", ("s3://bucket/a", "b.csv")),
        ("file:///a%20b/c%20d.csv", ("/a b", "c d.csv")),
        ("/a%20b", ("/", "a%20b")),
        ("/a/b/", ("/a", "b")),
    ],
)
def test_split_url_separates_a_directory_and_a_name(url: str, parts: tuple[str, str]) -> None:
    assert split_url(url) == parts
