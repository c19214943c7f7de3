"""Zarr stores in zip archives: values as in a directory, range requests, damage, and refusals."""

from __future__ import annotations

import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from masksift.core.errors import DataError, UsageError
from masksift.storage.sources.dataset import find_sources, open_data_set
from masksift.storage.sources.naming import source_names
from masksift.storage.sources.open import open_source
from masksift.storage.sources.overrides import Overrides
from masksift.storage.zarr.per_image import image_ids
from masksift.storage.zarr.reader import ArrayReader
from masksift.storage.zarr.stores import open_store
from masksift.storage.zarr.validation import ChunkDecodeError, MissingChunkError
from masksift.storage.zarr.zip_store import split_archive_url
from support.cli import error_message, exit_code, run_cli
from support.datasets import Array
from support.errors import raises
from support.results import read_rows
from support.sources import make_data, write_source

FORMS: dict[str, dict[str, Any]] = {
    "v3": {},
    "v2": {"zarr_format": 2},
    "uncompressed": {"codec": "none"},
    "shards": {"chunks": (1, 4, 8, 10), "shards": (4, 4, 8, 10)},
}


def archive(
    directory: Path,
    *,
    deflated: bool = False,
    top: str = "",
    change: Callable[[str, bytes], bytes | None] | None = None,
) -> Path:
    """Write a zip archive of a source next to it; `change` returns other bytes of a member, or None to leave it out."""
    path = directory.with_name(f"{directory.name}.zip")
    method = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method) as file:
        for member in sorted(path for path in directory.rglob("*") if path.is_file()):
            name, data = str(member.relative_to(directory)), member.read_bytes()
            if (data := change(name, data) if change else data) is not None:  # type: ignore[assignment]
                file.writestr(top + name, data)
    return path


def upload(path: Path) -> str:
    """Copy an archive to a store with range requests, and return its URL."""
    url = f"memory://{uuid.uuid4().hex}/{path.name}"
    with fsspec.open(url, "wb") as file:
        file.write(path.read_bytes())
    return url


def read_all(url: str, role: str = "predictions", **options: Any) -> Array:
    spec = getattr(open_source(url, Overrides(), {}), role)
    return ArrayReader(spec, {}, **options).read(*(slice(0, size) for size in spec.shape))


@pytest.mark.parametrize("where", ["local", "remote"])
@pytest.mark.parametrize("deflated", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_arrays_in_an_archive_have_the_values_of_the_directory(
    tmp_path: Path, form: str, deflated: bool, where: str
) -> None:
    data, ids = make_data(), [f"scene {i}" for i in range(8)]
    path = archive(write_source(tmp_path / "a.zarr", data, ids=ids, **FORMS[form]).path, deflated=deflated)
    url = upload(path) if where == "remote" else str(path)
    np.testing.assert_array_equal(read_all(url), data.predictions)
    np.testing.assert_array_equal(read_all(url, "labels"), data.labels)
    spec = open_source(url, Overrides(), {})
    assert spec.name == "a"
    assert image_ids(spec, 0, 8, {}) == ids
    reader = ArrayReader(spec.predictions, {})
    windows = [(slice(i, i + 1), slice(0, 4), slice(0, 8), slice(0, 10)) for i in range(8)]
    reader.prefetch(windows)
    for i, window in enumerate(windows):
        buffer = np.empty((1, 4, 8, 10), np.float32)
        np.testing.assert_array_equal(reader.read(*window, out=buffer)[0], data.predictions[i])


def test_run_on_an_archive_equals_the_run_on_its_directory(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.zarr", chunks=(1, 4, 8, 10), label_chunks=(1, 8, 10)).path
    path = archive(source)
    for name, url in (("a", source), ("b", path)):
        assert run_cli("run", "--source", url, "--out", tmp_path / name, "--report.top", 2) == 0
    assert read_rows(tmp_path / "a") == read_rows(tmp_path / "b")


def test_two_arrays_may_be_in_archives(tmp_path: Path) -> None:
    path = archive(write_source(tmp_path / "a.zarr").path)
    spec = open_source(f"{path}/labels", Overrides(labels=f"{path}/labels", predictions=f"{path}/predictions"), {})
    assert spec.predictions.url == f"{path}/predictions"


def test_store_in_a_directory_of_the_archive_is_found(tmp_path: Path) -> None:
    data = make_data()
    path = archive(write_source(tmp_path / "a.zarr", data).path, top="a.zarr/")
    np.testing.assert_array_equal(read_all(str(path)), data.predictions)


def test_content_hash_changes_with_a_chunk(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.zarr").path
    before = open_source(str(archive(source)), Overrides(), {}).content_hashes["content"]
    write_source(source, make_data(seed=2))
    path = archive(source)
    assert open_source(str(path), Overrides(), {}).content_hashes["content"] != before


def test_glob_matches_archives_and_directories(tmp_path: Path) -> None:
    for name in ("b.zarr", "a.zarr"):
        archive(write_source(tmp_path / name).path)
    write_source(tmp_path / "c.zarr")
    (tmp_path / "d.zarr.txt").touch()
    urls = find_sources([f"{tmp_path}/*.zarr.zip"], {})
    assert [Path(url).name for url in urls] == ["a.zarr.zip", "b.zarr.zip"]
    assert [spec.name for spec in open_data_set([f"{tmp_path}/*.zip"], Overrides(), {})] == ["a", "b"]
    assert source_names(["x/a.zarr.zip", "y/a.zarr"]) == ["x/a", "y/a"]


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("s3://b/a.zarr.zip", ("s3://b/a.zarr.zip", "")),
        ("s3://b/a.ZIP/labels", ("s3://b/a.ZIP", "labels")),
        ("/d/a.zarr.zip/x/y/", ("/d/a.zarr.zip", "x/y")),
        ("s3://b/a.zarr", None),
        ("s3://b/zip/a", None),
    ],
)
def test_archive_url_is_split(url: str, parts: tuple[str, str] | None) -> None:
    assert split_archive_url(url) == parts


def test_directory_named_zip_is_a_directory(tmp_path: Path) -> None:
    data = make_data()
    write_source(tmp_path / "a.zip/b.zarr", data)
    np.testing.assert_array_equal(read_all(str(tmp_path / "a.zip/b.zarr")), data.predictions)
    path = archive(tmp_path / "a.zip/b.zarr")
    np.testing.assert_array_equal(read_all(str(path)), data.predictions)


@pytest.mark.parametrize("deflated", [False, True])
def test_missing_and_damaged_members_are_lost_chunks(tmp_path: Path, deflated: bool) -> None:
    def leave_out(name: str, data: bytes) -> bytes | None:
        return None if name == "predictions/c/1/0/0/0" else data

    path = archive(write_source(tmp_path / "a.zarr", codec="none").path, deflated=deflated, change=leave_out)
    with zipfile.ZipFile(path) as file:
        info = file.getinfo("predictions/c/2/0/0/0")
    content = bytearray(path.read_bytes())
    content[info.header_offset + 30 + len(info.filename) + 9] ^= 64
    path.write_bytes(content)
    reader = ArrayReader(open_source(str(path), Overrides(), {}).predictions, {})
    rest = slice(0, 4), slice(0, 8), slice(0, 10)
    with pytest.raises(MissingChunkError, match=r"chunk c/1/0/0/0 of .* does not exist"):
        reader.read(slice(2, 4), *rest)
    with pytest.raises(ChunkDecodeError, match=r"chunk c/2/0/0/0 of .* does not decode"):
        reader.read(slice(4, 6), *rest)
    assert reader.read(slice(0, 2), *rest).shape == (2, 4, 8, 10)


def test_member_that_inflates_to_more_is_unreadable(tmp_path: Path) -> None:
    def bomb(name: str, data: bytes) -> bytes:
        return bytes(1 << 24) if name == "predictions/c/0/0/0/0" else data

    path = archive(write_source(tmp_path / "a.zarr").path, deflated=True, change=bomb)
    with pytest.raises(ChunkDecodeError, match="it has 16,777,216 bytes, where at most"):
        read_all(str(path))


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x05\x06" + bytes(18), b"PK\x05\x06" + b"\xff" * 18])
def test_file_without_a_source_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zarr.zip").write_bytes(content)
    with raises(DataError, match=r"(The metadata of .* cannot be parsed|There is no Zarr group)"):
        open_source(str(tmp_path / "a.zarr.zip"), Overrides(), {})


def test_missing_archive_is_refused(tmp_path: Path) -> None:
    with raises(DataError, match=r"There is no Zarr group at .*a\.zarr\.zip"):
        open_source(str(tmp_path / "a.zarr.zip"), Overrides(), {})


def test_archive_is_no_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_source(tmp_path / "a.zarr")
    assert exit_code("run", "--source", source, "--out", tmp_path / "out.zarr.zip") == 2
    assert "names a zip archive" in error_message(capsys)
    with raises(UsageError, match="is a zip archive"):
        open_store(str(tmp_path / "out.zarr.zip"), {}, read_only=False)
