"""Input files: search by directory or glob, and opening."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from masksift.core.errors import DataError
from masksift.storage.files import find_files, open_file, shared_listings
from support.errors import raises


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name in ("b.png", "a/c.PNG", "a/d.npy", "a/._c.png", ".cache/e.png", "a[1]/f.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def test_find_files_of_a_directory_lists_visible_files_by_ending(directory: Path) -> None:
    files = find_files(str(directory), {}, [".png"])
    assert files.names == ("a/c.PNG", "a[1]/f.png", "b.png"), "sorted, without hidden files"
    assert [Path(files.url(name)).read_text() for name in files.names] == list(files.names)


def test_shared_listings_list_a_place_once_and_only_within_the_block(directory: Path) -> None:
    with shared_listings():
        before = find_files(str(directory), {}, [".png"])
        (directory / "new.png").touch()
        assert find_files(str(directory), {}, [".png"]) == before
    assert set(find_files(str(directory), {}, [".png"]).names) == {*before.names, "new.png"}


def test_find_files_of_a_glob_names_files_from_its_first_wildcard(directory: Path) -> None:
    assert find_files(f"{directory}/*/*", {}, [".png", ".npy"]).names == ("a/c.PNG", "a/d.npy", "a[1]/f.png")
    assert find_files(f"{directory}/a/*.npy", {}, [".npy"]).names == ("d.npy",)


def test_find_files_follows_links_and_visits_each_directory_once(directory: Path) -> None:
    (directory / "linked").mkdir()
    (directory / "linked/one").symlink_to(directory / "a")
    (directory / "linked/round").symlink_to(directory / "linked")
    (directory / "linked/g.png").symlink_to(directory / "b.png")
    assert find_files(f"{directory}/linked", {}, [".png"]).names == ("g.png", "one/c.PNG")
    assert find_files(f"{directory}/linked/*.png", {}, [".png"]).names == ("g.png",)


def test_find_files_accepts_brackets_in_a_path_and_a_single_file(directory: Path) -> None:
    assert find_files(f"{directory}/a[1]", {}, [".png"]).names == ("f.png",)
    assert find_files(f"{directory}/b.png", {}, [".png"]).names == ("b.png",)


@pytest.mark.parametrize("place", ["nowhere", "a/*.tif", "a/d.npy"])
def test_find_files_without_a_match_is_refused(directory: Path, place: str) -> None:
    with raises(DataError, r"No file of .png, .tif at .*Pass a directory"):
        find_files(f"{directory}/{place}", {}, [".png", ".tif"])


def test_files_of_another_store_are_found_and_opened() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/test-files/x/a.png", b"12345")
    try:
        files = find_files("memory://test-files", {}, [".png"])
        assert files.names == ("x/a.png",)
        with open_file(files.url("x/a.png"), {}) as file:
            file.seek(2)
            assert file.read(2) == b"34"
    finally:
        memory.rm("/test-files", recursive=True)


def test_open_file_that_is_missing_is_refused_with_its_name(directory: Path) -> None:
    for name in ("gone.png", "a"):
        with raises(DataError, rf"File .*/{name} does not exist"), open_file(str(directory / name), {}):
            pass


def test_find_files_of_a_list_names_files_from_their_common_directory(directory: Path) -> None:
    listed = directory / "lists/train.txt"
    listed.parent.mkdir()
    listed.write_text(f"\ufeff../a/c.PNG\r\n\n{directory}/b.png\n../a/d.npy\n", "utf-8")
    files = find_files(str(listed), {}, [".png"])
    assert files.names == ("a/c.PNG", "b.png")
    assert [Path(files.url(name)).read_text() for name in files.names] == list(files.names)
    assert find_files(str(listed), {}, [".npy"]).names == ("d.npy",)


def test_find_files_of_a_list_of_urls(directory: Path) -> None:
    listed = directory / "urls.txt"
    listed.write_text("s3://lake/x/1.npy\ns3://lake/y/1.npy\n")
    files = find_files(str(listed), {}, [".npy"])
    assert [files.url(name) for name in files.names] == ["s3://lake/x/1.npy", "s3://lake/y/1.npy"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"", "No file of .npy is listed in .*Write one path per line"),
        (b"a.tif", "No file of .npy is listed in"),
        (b"a.npy\ns3://lake/b.npy", "lists files on file and s3.*one store"),
        (b"\x89PNG\xff", "is not a text file .*Write one path per line"),
    ],
)
def test_list_that_is_invalid_is_refused(directory: Path, text: bytes, error: str) -> None:
    (directory / "list.txt").write_bytes(text)
    with raises(DataError, error):
        find_files(str(directory / "list.txt"), {}, [".npy"])
