"""Objects at URLs: reading, listing, atomic writes."""

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
from support.errors import raises

names = st.from_regex(r"[a-z0-9_=-]{1,8}(/[a-z0-9_=-]{1,8}){0,2}\.bin", fullmatch=True)


@pytest.fixture(params=["local", "memory"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectDirectory:
    """Directory that does not exist yet, on disk and in the memory file system of fsspec."""
    return ObjectDirectory(str(tmp_path / "out") if request.param == "local" else f"memory://{uuid.uuid4().hex}/out")


@pytest.mark.parametrize("url", ["nosuch://bucket/x", "htp://x"])
def test_url_of_an_unknown_protocol_is_refused(url: str) -> None:
    with raises(UsageError, f"{url} cannot be opened .*Protocol not known"):
        ObjectDirectory(url).read("a")


# ------------------------------------------------------------------------------------------- reading and writing


@given(contents=st.dictionaries(names, st.binary(max_size=64), max_size=5), replacement=st.binary(max_size=64))
@settings(max_examples=25, deadline=None)
def test_read_returns_the_last_written_bytes(contents: dict[str, bytes], replacement: bytes) -> None:
    with TemporaryDirectory() as path:
        for directory in (ObjectDirectory(path), ObjectDirectory(f"memory://{uuid.uuid4().hex}")):
            for name, data in contents.items():
                directory.write(name, data)
            assert {name: directory.read(name) for name in contents} == contents
            for name in contents:
                directory.write(name, replacement)
                assert directory.read(name) == replacement


def test_read_of_a_missing_object_returns_none(directory: ObjectDirectory) -> None:
    assert directory.read("run.json") is None
    directory.write("a", b"1")
    assert directory.read("b") is None


def test_directory_at_a_file_is_empty(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert ObjectDirectory(str(tmp_path / "file")).read("run.json") is None
    assert ObjectDirectory(str(tmp_path / "file")).names() == []


def test_remove_of_a_missing_object_does_nothing(directory: ObjectDirectory) -> None:
    directory.write("a/b", b"1")
    directory.remove("a/b")
    directory.remove("a/b")
    assert directory.read("a/b") is None


def test_names_lists_the_entries_directly_below_sorted(directory: ObjectDirectory) -> None:
    for name in ("b", "a/2", "a/1", "a/deep/3"):
        directory.write(name, b"")
    assert directory.names() == ["a", "b"]
    assert directory.names("a") == ["1", "2", "deep"]
    assert directory.names("nothing") == []


def test_names_after_a_write_elsewhere_includes_it(directory: ObjectDirectory) -> None:
    directory.write("a/1", b"")
    assert directory.names("a") == ["1"]
    ObjectDirectory(directory.url).write("a/2", b"")
    assert directory.names("a") == ["1", "2"]


def test_directory_is_picklable_and_its_repr_hides_options() -> None:
    directory = ObjectDirectory("memory://pickled", {"skip_instance_cache": True})
    directory.write("a", b"1")
    assert pickle.loads(pickle.dumps(directory)) == directory
    assert pickle.loads(pickle.dumps(directory)).read("a") == b"1"
    assert repr(ObjectDirectory("s3://bucket/x", {"secret": "hush"})) == "ObjectDirectory(url='s3://bucket/x')"


# ----------------------------------------------------------------------------------------------- atomic writes


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt("stop")])
def test_failed_write_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    directory = ObjectDirectory(str(tmp_path))
    directory.write("a", b"old")

    def fail(source: str, target: str) -> None:
        assert Path(source).read_bytes() == b"new", "the object is complete before it gets its name"
        raise error

    monkeypatch.setattr(os, "replace", fail)
    for name in ("a", "b"):
        with pytest.raises(type(error), match=str(error)):
            directory.write(name, b"new")
    assert directory.names() == ["a"]
    assert directory.read("a") == b"old"


def test_put_copies_a_file_and_keeps_it(directory: ObjectDirectory, tmp_path: Path) -> None:
    file = tmp_path / "source"
    for data in (b"first", b"", b"last" * 1000):
        file.write_bytes(data)
        directory.put("deep/er/a.zip", str(file))
        assert directory.read("deep/er/a.zip") == data
        assert file.read_bytes() == data
    assert directory.names("deep/er") == ["a.zip"]


def test_failed_put_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory, file = ObjectDirectory(str(tmp_path / "out")), tmp_path / "source"
    file.write_bytes(b"old")
    directory.put("a", str(file))
    file.write_bytes(b"new")

    def fail(source: str, target: str) -> None:
        assert Path(source).read_bytes() == b"new"
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    for name in ("a", "b"):
        with pytest.raises(OSError, match="disk full"):
            directory.put(name, str(file))
    assert directory.names() == ["a"]
    assert directory.read("a") == b"old"


def test_read_during_writes_returns_complete_objects(tmp_path: Path) -> None:
    directory, size, versions = ObjectDirectory(str(tmp_path)), 1 << 18, set[bytes]()
    directory.write("a", b"0" * size)
    finished = threading.Event()

    def write() -> None:
        for i in range(60):
            directory.write("a", str(i % 10).encode() * size)
        finished.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not finished.is_set():
        data = directory.read("a")
        assert data is not None
        assert data == data[:1] * size
        versions.add(data[:1])
    writer.join()
    assert versions
