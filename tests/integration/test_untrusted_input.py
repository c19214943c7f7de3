"""Untrusted sources, files and names run no code and read or write nothing outside their place."""

from __future__ import annotations

import json
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import numcodecs.pickles
import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from PIL import EpsImagePlugin, Image

import masksift as package
from masksift.config.sections import StorageSection
from masksift.core.errors import DataError, UsageError
from masksift.engine.completed_run import open_completed_run
from masksift.prepare.ingest.array_formats import read_array, read_header
from masksift.prepare.ingest.raster import read_raster
from masksift.storage.credentials import StoreConfig, reject_password, resolve_options
from masksift.storage.objects import ObjectDirectory
from masksift.storage.sources.naming import source_names
from masksift.storage.sources.open import open_source
from masksift.storage.sources.overrides import Overrides
from masksift.storage.tables.duckdb_connection import duckdb_connection
from masksift.storage.zarr.metadata import open_group
from support.cli import error_message, exit_code, run_cli
from support.errors import raises
from support.sources import Source, make_data, write_source


class Program:
    """Object that creates a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


# ------------------------------------------------------------------------------------------------------ no code is run


PICKLED = {"id": "pickle", "protocol": 4}


@pytest.mark.parametrize("metadata", [{"compressor": PICKLED}, {"compressor": None, "filters": [PICKLED]}])
@pytest.mark.parametrize("array", ["predictions", "labels"])
def test_array_with_a_pickle_codec_is_rejected(tmp_path: Path, array: str, metadata: dict[str, Any]) -> None:
    source = write_pickled_source(tmp_path, array, **metadata)
    assert run_cli("run", "--source", source, "--out", tmp_path / "out") == 2
    assert not (tmp_path / "trace").exists()


def test_pickled_image_ids_are_not_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_pickled_source(tmp_path, "image_id", compressor=PICKLED, filters=[{"id": "vlen-utf8"}])
    monkeypatch.setattr(numcodecs.pickles, "ALLOW_UNSAFE_PICKLE_DECODE", True)
    assert run_cli("run", "--source", source, "--out", tmp_path / "out") == 2
    assert not (tmp_path / "trace").exists()
    with suppress(Exception):  # the object is no array
        zarr.open_array(source.path / "image_id", mode="r")[:1]
    assert (tmp_path / "trace").exists(), "the payload works"


def write_pickled_source(folder: Path, array: str, **metadata: Any) -> Source:
    """Write a source whose first chunk creates a file if it is unpickled as its metadata demands."""
    data = make_data()
    source = write_source(folder / "a.zarr", data, zarr_format=2, ids=[str(i) for i in range(len(data.labels))])
    metadata_file = source.path / array / ".zarray"
    stored = json.loads(metadata_file.read_text())
    source.chunk_file(array, *(0 for _ in stored["shape"])).write_bytes(pickle.dumps(Program(folder / "trace")))
    metadata_file.write_text(json.dumps({**stored, **metadata}))
    return source


@pytest.mark.parametrize("ending", [".npy", ".npz"])
def test_npy_file_with_python_objects_is_rejected(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"a{ending}"
    values = np.array([Program(tmp_path / "trace")], dtype=object)
    np.save(file, values, allow_pickle=True) if ending == ".npy" else np.savez(file, values)
    for read in (read_header, read_array):
        with raises(DataError, r"a\.np[yz] cannot be read as an array \(.*(Python objects|Object arrays)"):
            read(str(file), {})
    assert not (tmp_path / "trace").exists()


def test_postscript_file_named_png_starts_no_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*_: object, **__: object) -> None:
        pytest.fail("Ghostscript was started")

    Image.new("RGB", (4, 4)).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", started)
    with raises(DataError, r"a\.png cannot be read as an image"):
        read_raster(str(tmp_path / "a.png"), {})


def test_sql_queries_cannot_read_files(tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    with duckdb_connection() as connection:
        for query in (f"FROM '{secret}'", f"COPY (SELECT 1) TO '{tmp_path}/new'", "SET enable_external_access = true"):
            with pytest.raises(Exception, match=r"(?i)disabled|cannot (be )?(change|enable)"):
                connection.sql(query).fetchall()
    assert not (tmp_path / "new").exists()


# ---------------------------------------------------------------------------------------- no access outside the source


def test_evidence_source_cannot_point_to_another_location(tmp_path: Path) -> None:
    data = make_data()
    n, classes, height, width = data.predictions.shape
    for name in ("a.zarr", "other.zarr"):
        with package.EvidenceWriter(
            str(tmp_path / name), images=n, height=height, width=width, classes=classes, dtype="float32", ignore=255
        ) as writer:
            writer.write(data.predictions, data.labels, None if name == "a.zarr" else ["secret"] * n)
    group = zarr.open_group(tmp_path / "a.zarr", mode="r+")
    attributes: Any = group.attrs["masksift"]
    elsewhere = {
        **attributes["spec"]["labels"],
        "url": str(tmp_path / "other.zarr/image_id"),
        "shape": [n],
        "dtype": "object",
    }
    attributes["spec"] |= {"image_id": elsewhere, "size_arrays": [elsewhere, elsewhere], "url": "elsewhere"}
    attributes["spec"]["labels"]["url"] = attributes["spec"]["predictions"]["url"] = str(tmp_path / "other.zarr/labels")
    group.attrs["masksift"] = attributes
    del group["image_id"]
    spec = open_source(str(tmp_path / "a.zarr"), Overrides(), {})
    assert spec.image_id is None
    assert spec.size_arrays == (None, None)
    assert spec.members == ()
    assert {spec.labels.url, spec.predictions.url} == {
        str(tmp_path / f"a.zarr/{name}") for name in ("labels", "predictions")
    }


@pytest.mark.parametrize("url", ["s3://lake/dt=1/../../../x.zarr", "s3://lake/a/..", "s3://lake/dt=1/./x"])
def test_source_name_cannot_leave_the_output_directory(url: str) -> None:
    (name,) = source_names([url])
    assert not {".", "..", ""} & set(name.split("/"))


def test_path_part_is_not_used_as_an_image_url(tmp_path: Path) -> None:
    (tmp_path / "image=elsewhere").mkdir()
    source = write_source(tmp_path / "image=elsewhere/a.zarr", make_data())
    assert run_cli("run", "--source", source, "--out", tmp_path / "out", "--regions.min_area", "1") == 0
    assert exit_code("export", "label-studio", tmp_path / "out", "--out", tmp_path / "tasks") == 0
    tasks = json.loads((tmp_path / "tasks/tasks.json").read_text())
    assert {task["data"]["image"].partition("?")[0] for task in tasks} == {"/data/local-files/"}


# ---------------------------------------------------------------------------------------------- no secrets are printed


@pytest.mark.parametrize("place", ["https://me:secret@host/a.zarr", "sftp://me:secret@host/a.zarr"])
def test_url_with_a_password_is_rejected_without_repeating_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    write_source(tmp_path / "a.zarr", make_data())
    for args in (("--source", place, "--out", tmp_path / "out"), ("--source", tmp_path / "a.zarr", "--out", place)):
        assert run_cli("run", *args) == 2
        message = error_message(capsys)
        assert "contains a password. It would be stored with the results and printed" in message
        assert "secret" not in message
    for open_url in (lambda: ObjectDirectory(place).read("a"), lambda: open_group(place, {})):
        with raises(UsageError, r"://\*\*\*@host"):
            open_url()


def test_endpoint_with_a_password_is_rejected() -> None:
    with raises(UsageError, r"https://\*\*\*@minio:9000 contains a password"):
        resolve_options(StoreConfig(endpoint_url="https://me:secret@minio:9000"), ["s3://lake"])


@pytest.mark.parametrize("url", ["s3://lake/a:b@c/x.zarr", "a:b@c", "sftp://me@host/x", "https://host:9000/a@b", ""])
def test_url_without_a_password_is_accepted(url: str) -> None:
    reject_password(url)


# ------------------------------------------------------------------------------- no control characters in the terminal


def test_control_characters_in_names_are_escaped(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data, odd = make_data(), "\x1b[2Jgone\x07\u202e"
    data.labels[1] = 77  # quarantined, with a reason
    names = [f"{i}{odd}" for i in range(len(data.labels))]
    for name in ("old", "new"):
        write_source(
            tmp_path / f"{name}.zarr",
            data,
            ids=names if name == "old" else [*names[:-1], odd],
            attributes={"class_names": [f"{k}{odd}" for k in range(4)], "ignore": [255]},
        )
        assert (
            run_cli("run", "--source", tmp_path / f"{name}.zarr", "--out", tmp_path / name, "--regions.min_area", "1")
            == 3
        )
    assert exit_code("top", tmp_path / "old") == 0
    assert exit_code("top", tmp_path / "old", "--regions") == 0
    assert exit_code("compare", tmp_path / "old", tmp_path / "new") == 0
    assert exit_code("check", tmp_path / "new", "--max-quarantined", "0") == 6
    assert exit_code("show", tmp_path / "new", f"nobody{odd}") == 2
    output = "".join(capfd.readouterr())
    assert r"\x1b[2Jgone\x07\u202e" in output
    assert not {"\x1b", "\x07", "\u202e"} & set(output)
    assert names[0] in pq.read_table(tmp_path / "old/images").column("image_id").to_pylist()
    assert open_completed_run(str(tmp_path / "old"), StorageSection()).class_names[0] == f"0{odd}"
