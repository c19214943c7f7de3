"""A data set of several sources: which URLs a glob names, and when two sources are no data set."""

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


def opened(*patterns: object, **overrides: Any) -> tuple[SourceSpec, ...]:
    return open_data_set([str(pattern) for pattern in patterns], Overrides(**overrides), {})


def lake(folder: Path) -> Path:
    """Two days with two sites each, and a file beside them."""
    for day in ("01", "02"):
        for site in "ab":
            (folder / f"dt=2026-11-{day}").mkdir(parents=True, exist_ok=True)
            write_source(folder / f"dt=2026-11-{day}" / f"site={site}.zarr", make_data(images=2, seed=int(day)))
        (folder / f"dt=2026-11-{day}" / "_SUCCESS").touch()
    return folder


def test_a_glob_names_folders_in_order_and_each_once(tmp_path: Path) -> None:
    folder = lake(tmp_path / "seg")
    found = find_sources([f"{folder}/dt=*/site=*", f"{folder}/dt=2026-11-01/*"], {})
    assert [Path(url).relative_to(folder).as_posix() for url in found] == [
        "dt=2026-11-01/site=a.zarr",
        "dt=2026-11-01/site=b.zarr",
        "dt=2026-11-02/site=a.zarr",
        "dt=2026-11-02/site=b.zarr",
    ]
    assert find_sources(["s3://bucket/one.zarr", "two.zarr"], {}) == ["s3://bucket/one.zarr", "two.zarr"]


def test_a_glob_in_another_store_gives_urls_of_that_store() -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for name in ("a", "b"):
        memory.pipe_file(f"/globs/site={name}/zarr.json", b"{}")
    assert find_sources(["memory://globs/site=*"], {}) == ["memory:///globs/site=a", "memory:///globs/site=b"]


def test_sources_know_their_names_columns_and_places(tmp_path: Path) -> None:
    specs = opened(lake(tmp_path) / "dt=*" / "site=*")
    assert [spec.index for spec in specs] == [0, 1, 2, 3]
    assert [spec.name for spec in specs] == [f"dt=2026-11-{day}/site={site}" for day in ("01", "02") for site in "ab"]
    assert specs[2].partitions == {"dt": "2026-11-02", "site": "a"}
    assert hive_columns(specs, ["softmin"]) == ("dt", "site")


def test_a_glob_that_matches_nothing_is_refused(tmp_path: Path) -> None:
    with raises(DataError, r"No directory matches .*day=\*\. List the sources"):
        opened(tmp_path / "day=*")


def test_a_folder_that_a_glob_matches_and_that_is_no_source_is_not_passed_over(tmp_path: Path) -> None:
    folder = lake(tmp_path)
    (folder / "dt=2026-11-02" / "site=c.zarr").mkdir()
    with raises(DataError, r"There is no Zarr group at .*site=c\.zarr"):
        opened(folder / "dt=*" / "site=*")


def test_sources_of_other_sizes_and_precisions_are_one_data_set(tmp_path: Path) -> None:
    write_source(tmp_path / "a.zarr", make_data(height=8))
    write_source(tmp_path / "b.zarr", make_data(height=9, dtype="uint8"))
    assert [spec.height for spec in opened(tmp_path / "a.zarr", tmp_path / "b.zarr")] == [8, 9]


def test_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    write_source(tmp_path / "a.zarr", make_data(classes=4))
    write_source(tmp_path / "b.zarr", make_data(classes=5))
    with raises(DataError, r"b\.zarr has predictions of 5 classes, .*a\.zarr of 4\. A data set has one class table"):
        opened(tmp_path / "*.zarr")


def test_another_name_of_a_class_is_refused_and_classes_settles_it(tmp_path: Path) -> None:
    for name, third in (("a", "tree"), ("b", "pole")):
        names = {"class_names": ["road", "sky", third, "car"]}
        write_source(tmp_path / f"{name}.zarr", make_data(), attributes=names)
    with raises(DataError, r"Class 2 is 'pole' in .*b\.zarr and 'tree' in .*a\.zarr \(1 of 4 names differ\)"):
        opened(tmp_path / "*.zarr")
    specs = opened(tmp_path / "*.zarr", classes=("road", "sky", "other", "car"))
    assert {spec.class_names for spec in specs} == {("road", "sky", "other", "car")}


def test_a_source_without_names_takes_those_of_the_others(tmp_path: Path) -> None:
    names = ("road", "sky", "tree", "car")
    write_source(tmp_path / "a.zarr", make_data())
    write_source(tmp_path / "b.zarr", make_data(), attributes={"class_names": list(names)})
    assert {spec.class_names for spec in opened(tmp_path / "*.zarr")} == {names}


@pytest.mark.parametrize("key", ["source", "rank", "softmin", "height"])
def test_a_partition_that_would_be_a_column_twice_is_refused(tmp_path: Path, key: str) -> None:
    (tmp_path / f"{key}=1").mkdir()
    specs = opened(write_source(tmp_path / f"{key}=1" / "a.zarr", make_data()))
    with raises(DataError, rf"the part {key}=1 of .* would be a column '{key}', which the results have already"):
        hive_columns(specs, ["softmin"])


def test_a_store_that_is_not_known_is_refused() -> None:
    with raises(UsageError, r"nowhere://a/\* cannot be opened"):
        find_sources(["nowhere://a/*"], {})
