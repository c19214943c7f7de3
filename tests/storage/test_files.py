"""Files that others wrote: found below folders and by globs, on disk and wherever fsspec reaches."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from masksift.core.errors import DataError
from masksift.storage.files import find_files, open_file
from support.errors import raises


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.png", "a/c.PNG", "a/d.npy", "a/._c.png", ".cache/e.png", "a[1]/f.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def test_files_of_a_folder_and_of_all_in_it_by_their_ending(folder: Path) -> None:
    found = find_files(str(folder), {}, [".png"])
    assert found.names == ("a/c.PNG", "a[1]/f.png", "b.png"), "sorted, and no hidden ones"
    assert [Path(found.url(name)).read_text() for name in found.names] == list(found.names)


def test_files_of_a_glob_are_named_from_its_first_star_on(folder: Path) -> None:
    assert find_files(f"{folder}/*/*", {}, [".png", ".npy"]).names == ("a/c.PNG", "a/d.npy", "a[1]/f.png")
    assert find_files(f"{folder}/a/*.npy", {}, [".npy"]).names == ("d.npy",)


def test_links_are_followed_and_each_folder_is_read_once(folder: Path) -> None:
    (folder / "linked").mkdir()
    (folder / "linked/one").symlink_to(folder / "a")
    (folder / "linked/round").symlink_to(folder / "linked")
    (folder / "linked/g.png").symlink_to(folder / "b.png")
    assert find_files(f"{folder}/linked", {}, [".png"]).names == ("g.png", "one/c.PNG")
    assert find_files(f"{folder}/linked/*.png", {}, [".png"]).names == ("g.png",)


def test_a_folder_may_have_brackets_and_a_place_be_one_file(folder: Path) -> None:
    assert find_files(f"{folder}/a[1]", {}, [".png"]).names == ("f.png",)
    assert find_files(f"{folder}/b.png", {}, [".png"]).names == ("b.png",)


@pytest.mark.parametrize("place", ["nowhere", "a/*.tif", "a/d.npy"])
def test_where_there_is_none_it_is_said(folder: Path, place: str) -> None:
    with raises(DataError, r"No file of .png, .tif at .*Pass a directory"):
        find_files(f"{folder}/{place}", {}, [".png", ".tif"])


def test_other_stores_are_read_as_disks_are() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/test-files/x/a.png", b"12345")
    try:
        found = find_files("memory://test-files", {}, [".png"])
        assert found.names == ("x/a.png",)
        with open_file(found.url("x/a.png"), {}) as file:
            file.seek(2)
            assert file.read(2) == b"34"
    finally:
        memory.rm("/test-files", recursive=True)


def test_a_file_that_is_gone_is_refused_with_its_name(folder: Path) -> None:
    for name in ("gone.png", "a"):
        with raises(DataError, rf"File .*/{name} does not exist"), open_file(str(folder / name), {}):
            pass
