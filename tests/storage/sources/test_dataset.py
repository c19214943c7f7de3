"""Data sets of several sources: globs, names, class tables, partition columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from masksift.core.errors import DataError, UsageError
from masksift.core.specs import SourceSpec
from masksift.storage.sources.dataset import find_sources, open_data_set
from masksift.storage.sources.overrides import Overrides
from masksift.storage.tables.schemas import hive_columns
from support.errors import raises
from support.sources import make_data, write_source


def open_sources(*patterns: object, **overrides: Any) -> tuple[SourceSpec, ...]:
    return open_data_set([str(pattern) for pattern in patterns], Overrides(**overrides), {})


def write_lake(directory: Path) -> Path:
    """Write two days with two sites each, and a marker file per day."""
    for day in ("01", "02"):
        for site in "ab":
            (directory / f"dt=2026-11-{day}").mkdir(parents=True, exist_ok=True)
            write_source(directory / f"dt=2026-11-{day}" / f"site={site}.zarr", make_data(images=2, seed=int(day)))
        (directory / f"dt=2026-11-{day}" / "_SUCCESS").touch()
    return directory


def test_find_sources_by_globs_lists_directories_sorted_and_once(tmp_path: Path) -> None:
    directory = write_lake(tmp_path / "seg")
    urls = find_sources([f"{directory}/dt=*/site=*", f"{directory}/dt=2026-11-01/*"], {})
    assert [Path(url).relative_to(directory).as_posix() for url in urls] == [
        "dt=2026-11-01/site=a.zarr",
        "dt=2026-11-01/site=b.zarr",
        "dt=2026-11-02/site=a.zarr",
        "dt=2026-11-02/site=b.zarr",
    ]
    assert find_sources(["s3://bucket/one.zarr", "two.zarr"], {}) == ["s3://bucket/one.zarr", "two.zarr"]


def test_find_sources_by_glob_in_another_store_returns_its_urls() -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for name in ("a", "b"):
        memory.pipe_file(f"/globs/site={name}/zarr.json", b"{}")
    assert find_sources(["memory://globs/site=*"], {}) == ["memory:///globs/site=a", "memory:///globs/site=b"]


def test_data_set_sources_have_indices_names_and_partitions(tmp_path: Path) -> None:
    specs = open_sources(write_lake(tmp_path) / "dt=*" / "site=*")
    assert [spec.index for spec in specs] == [0, 1, 2, 3]
    assert [spec.name for spec in specs] == [f"dt=2026-11-{day}/site={site}" for day in ("01", "02") for site in "ab"]
    assert specs[2].partitions == {"dt": "2026-11-02", "site": "a"}
    assert hive_columns(specs, ["softmin"]) == ("dt", "site")


def test_glob_without_a_match_is_refused(tmp_path: Path) -> None:
    with raises(DataError, r"No directory or zip archive matches .*day=\*\. List the sources"):
        open_sources(tmp_path / "day=*")


def test_glob_that_matches_a_directory_without_a_source_is_refused(tmp_path: Path) -> None:
    directory = write_lake(tmp_path)
    (directory / "dt=2026-11-02" / "site=c.zarr").mkdir()
    with raises(DataError, r"There is no Zarr group at .*site=c\.zarr"):
        open_sources(directory / "dt=*" / "site=*")


def test_sources_of_different_sizes_and_dtypes_form_a_data_set(tmp_path: Path) -> None:
    write_source(tmp_path / "a.zarr", make_data(height=8))
    write_source(tmp_path / "b.zarr", make_data(height=9, dtype="uint8"))
    assert [spec.height for spec in open_sources(tmp_path / "a.zarr", tmp_path / "b.zarr")] == [8, 9]


def test_sources_with_different_class_counts_are_refused(tmp_path: Path) -> None:
    write_source(tmp_path / "a.zarr", make_data(classes=4))
    write_source(tmp_path / "b.zarr", make_data(classes=5))
    with raises(DataError, r"b\.zarr has predictions of 5 classes, .*a\.zarr of 4\. A data set has one class table"):
        open_sources(tmp_path / "*.zarr")


def test_sources_with_different_class_names_are_refused_without_an_override(tmp_path: Path) -> None:
    for name, third in (("a", "tree"), ("b", "pole")):
        names = {"class_names": ["road", "sky", third, "car"]}
        write_source(tmp_path / f"{name}.zarr", make_data(), attributes=names)
    with raises(DataError, r"Class 2 is 'pole' in .*b\.zarr and 'tree' in .*a\.zarr \(1 of 4 names differ\)"):
        open_sources(tmp_path / "*.zarr")
    specs = open_sources(tmp_path / "*.zarr", classes=("road", "sky", "other", "car"))
    assert {spec.class_names for spec in specs} == {("road", "sky", "other", "car")}


def test_source_without_class_names_takes_those_of_the_data_set(tmp_path: Path) -> None:
    names = ("road", "sky", "tree", "car")
    write_source(tmp_path / "a.zarr", make_data())
    write_source(tmp_path / "b.zarr", make_data(), attributes={"class_names": list(names)})
    assert {spec.class_names for spec in open_sources(tmp_path / "*.zarr")} == {names}


@pytest.mark.parametrize("key", ["source", "rank", "softmin", "height"])
def test_partition_named_like_a_result_column_is_refused(tmp_path: Path, key: str) -> None:
    (tmp_path / f"{key}=1").mkdir()
    specs = open_sources(write_source(tmp_path / f"{key}=1" / "a.zarr", make_data()))
    with raises(DataError, rf"{key}=1 of .* would become a column '{key}', which the results already have"):
        hive_columns(specs, ["softmin"])


def test_glob_of_an_unknown_store_is_refused() -> None:
    with raises(UsageError, r"nowhere://a/\* cannot be opened"):
        find_sources(["nowhere://a/*"], {})
