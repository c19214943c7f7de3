"""Names and partitions of sources by their URLs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.storage.sources.naming import parse_partitions, source_names


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("s3://lake/seg/site=a.zarr", "site=a"),
        ("s3://lake/seg/dt=2026-11-01/site=a", "dt=2026-11-01/site=a"),
        ("s3://lake/seg/dt=2026-11-01/scenes.zarr/", "dt=2026-11-01/scenes"),
        ("/data/scenes", "scenes"),
        ("file:///data/b.zarr", "b"),
        ("s3://lake", "lake"),
    ],
)
def test_source_name_is_the_path_from_the_first_partition_or_its_last_component(url: str, name: str) -> None:
    assert source_names([url]) == [name]


def test_source_name_of_the_current_directory_is_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here.zarr").mkdir()
    monkeypatch.chdir(tmp_path / "here.zarr")
    assert source_names(["."]) == ["here"]


def test_equal_source_names_are_extended_by_parent_directories() -> None:
    urls = ["s3://a/train/x.zarr", "s3://a/val/x.zarr", "s3://b/val/x.zarr", "s3://b/val/y.zarr"]
    assert source_names(urls) == ["train/x", "a/val/x", "b/val/x", "y"]


directories = st.lists(st.sampled_from(["a", "b", "dt=1", "dt=2", "x.zarr"]), min_size=1, max_size=4)


@given(paths=st.lists(directories.map("/".join), unique=True, min_size=1, max_size=8))
def test_source_names_are_unique_suffixes_of_the_paths(paths: list[str]) -> None:
    paths = list({path.removesuffix(".zarr"): path for path in paths}.values())
    names = source_names([f"s3://{path}" for path in paths])
    assert len(set(names)) == len(names)
    for path, name in zip(paths, names, strict=True):
        assert path.removesuffix(".zarr").endswith(name) or name == "source"


@pytest.mark.parametrize(
    ("url", "partitions"),
    [
        ("s3://lake/seg/dt=2026-11-01/site=a.zarr", {"dt": "2026-11-01", "site": "a"}),
        ("s3://lake/seg/name=a%2Fb", {"name": "a/b"}),
        ("s3://lake/dt=__HIVE_DEFAULT_PARTITION__/x", {"dt": None}),
        ("s3://lake/seg/=1/2=3/x.zarr", {}),
    ],
)
def test_partitions_are_the_key_value_components_of_the_path(url: str, partitions: dict[str, str | None]) -> None:
    assert parse_partitions(url) == partitions
