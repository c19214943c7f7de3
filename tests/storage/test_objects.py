"""Objects: bytes at URLs, there as a whole or not at all."""

from __future__ import annotations

import os
import pickle
import threading
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masksift.core.errors import UsageError
from masksift.storage.objects import ObjectDirectory
from masksift.storage.urls import join, local_path
from support.errors import raises

names = st.from_regex(r"[a-z0-9_=-]{1,8}(/[a-z0-9_=-]{1,8}){0,2}\.bin", fullmatch=True)


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectDirectory:
    """A folder that does not exist yet, on disk and in a store that fsspec alone knows."""
    return ObjectDirectory(str(tmp_path / "out") if request.param == "local" else f"memory://{uuid.uuid4().hex}/out")


# ---------------------------------------------------------------------------------------------------- URLs


@pytest.mark.parametrize(
    ("url", "path"),
    [("/data/x", "/data/x"), ("file:///data/x", "/data/x"), ("/data/y/../x", "/data/x"), ("/data/x/", "/data/x")],
)
def test_a_local_url_is_a_path(url: str, path: str) -> None:
    assert local_path(url) == path


def test_a_relative_path_and_the_home_folder_are_absolute_paths() -> None:
    assert local_path("x") == os.path.join(os.getcwd(), "x")
    assert local_path("~/x") == os.path.expanduser("~/x")


@pytest.mark.parametrize("url", ["s3://bucket/x", "memory://x", "gs://b/x", "simplecache::s3://bucket/x"])
def test_what_lies_elsewhere_has_no_path(url: str) -> None:
    assert local_path(url) is None


@pytest.mark.parametrize("url", ["s3://bucket/x", "s3://bucket/x/"])
def test_joining_puts_one_slash_between(url: str) -> None:
    assert join(url, "a/", "/b.zarr") == "s3://bucket/x/a/b.zarr"


@pytest.mark.parametrize("url", ["nosuch://bucket/x", "htp://x"])
def test_a_url_that_no_store_understands_is_refused(url: str) -> None:
    with raises(UsageError, f"{url} cannot be opened .*Protocol not known"):
        ObjectDirectory(url).read("a")


# ------------------------------------------------------------------------------------------- reading and writing


@given(written=st.dictionaries(names, st.binary(max_size=64), max_size=5), again=st.binary(max_size=64))
@settings(max_examples=25, deadline=None)
def test_what_was_written_last_is_read(written: dict[str, bytes], again: bytes) -> None:
    with TemporaryDirectory() as path:
        for folder in (ObjectDirectory(path), ObjectDirectory(f"memory://{uuid.uuid4().hex}")):
            for name, data in written.items():
                folder.write(name, data)
            assert {name: folder.read(name) for name in written} == written
            for name in written:
                folder.write(name, again)
                assert folder.read(name) == again


def test_an_object_that_is_not_there_reads_as_none(folder: ObjectDirectory) -> None:
    assert folder.read("run.json") is None
    folder.write("a", b"1")
    assert folder.read("b") is None


def test_nothing_lies_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert ObjectDirectory(str(tmp_path / "file")).read("run.json") is None
    assert ObjectDirectory(str(tmp_path / "file")).names() == []


def test_removing_twice_is_removing_once(folder: ObjectDirectory) -> None:
    folder.write("a/b", b"1")
    folder.remove("a/b")
    folder.remove("a/b")
    assert folder.read("a/b") is None


def test_names_are_those_directly_below_in_order(folder: ObjectDirectory) -> None:
    for name in ("b", "a/2", "a/1", "a/deep/3"):
        folder.write(name, b"")
    assert folder.names() == ["a", "b"]
    assert folder.names("a") == ["1", "2", "deep"]
    assert folder.names("nothing") == []


def test_names_are_fresh_after_another_process_wrote(folder: ObjectDirectory) -> None:
    folder.write("a/1", b"")
    assert folder.names("a") == ["1"]
    ObjectDirectory(folder.url).write("a/2", b"")
    assert folder.names("a") == ["1", "2"]


def test_a_folder_travels_without_its_connection_and_shows_no_credentials() -> None:
    folder = ObjectDirectory("memory://travels", {"skip_instance_cache": True})
    folder.write("a", b"1")
    assert pickle.loads(pickle.dumps(folder)) == folder
    assert pickle.loads(pickle.dumps(folder)).read("a") == b"1"
    assert repr(ObjectDirectory("s3://bucket/x", {"secret": "hush"})) == "ObjectDirectory(url='s3://bucket/x')"


# ----------------------------------------------------------------------------------------------- atomic writes


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt("stop")])
def test_a_write_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    folder = ObjectDirectory(str(tmp_path))
    folder.write("a", b"old")

    def fail(source: str, target: str) -> None:
        assert Path(source).read_bytes() == b"new", "the whole object is written before it gets its name"
        raise error

    monkeypatch.setattr(os, "replace", fail)
    for name in ("a", "b"):
        with pytest.raises(type(error), match=str(error)):
            folder.write(name, b"new")
    assert folder.names() == ["a"]
    assert folder.read("a") == b"old"


def test_a_file_is_put_as_a_whole_and_stays_where_it_was(folder: ObjectDirectory, tmp_path: Path) -> None:
    file = tmp_path / "made"
    for data in (b"first", b"", b"last" * 1000):
        file.write_bytes(data)
        folder.put("deep/er/a.zip", str(file))
        assert folder.read("deep/er/a.zip") == data
        assert file.read_bytes() == data
    assert folder.names("deep/er") == ["a.zip"]


def test_a_file_that_is_not_put_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, file = ObjectDirectory(str(tmp_path / "out")), tmp_path / "made"
    file.write_bytes(b"old")
    folder.put("a", str(file))
    file.write_bytes(b"new")

    def fail(source: str, target: str) -> None:
        assert Path(source).read_bytes() == b"new"
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    for name in ("a", "b"):
        with pytest.raises(OSError, match="disk full"):
            folder.put(name, str(file))
    assert folder.names() == ["a"]
    assert folder.read("a") == b"old"


def test_a_reader_never_sees_half_an_object(tmp_path: Path) -> None:
    folder, size, seen = ObjectDirectory(str(tmp_path)), 1 << 18, set[bytes]()
    folder.write("a", b"0" * size)
    ended = threading.Event()

    def write() -> None:
        for i in range(60):
            folder.write("a", str(i % 10).encode() * size)
        ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not ended.is_set():
        data = folder.read("a")
        assert data is not None
        assert data == data[:1] * size
        seen.add(data[:1])
    writer.join()
    assert seen
