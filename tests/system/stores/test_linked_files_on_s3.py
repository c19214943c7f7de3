"""Sources that refer to prediction files on a real S3 server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from masksift.config.sections import StorageSection
from masksift.storage.sources.open import open_source
from masksift.storage.sources.overrides import Overrides
from masksift.storage.zarr.reader import ArrayReader
from masksift.storage.zarr.validation import ChunkDecodeError
from prepare.ingest.helpers import InputFiles
from support.cli import run_cli
from support.results import read_rows
from support.s3_server import S3Server


def own(path: Path) -> list[dict[str, object]]:
    """Return the rows of the images of a run, without the name of its source."""
    return [{**row, "source": ""} for row in read_rows(path)]


@pytest.mark.parametrize("client", ["obstore", "s3fs"])
@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_run_of_files_on_s3_has_the_results_of_local_copies(
    s3_server: S3Server, s3_credentials: None, tmp_path: Path, client: str, ending: str
) -> None:
    files = InputFiles(tmp_path)
    if ending == "npz":
        for name, values in zip(files.names, files.data.predictions, strict=True):
            (files.predictions / f"{name}.npy").unlink()
            np.savez_compressed(files.predictions / f"{name}.npz", np.moveaxis(values, 0, -1))
    assert run_cli("ingest", *files.args()) == 0
    assert run_cli("run", "--source", files.out, "--out", tmp_path / "expected") == 0
    prefix = f"lake/linked-{client}-{ending}"
    for name in ("labels", "predictions"):
        s3_server.filesystem().put(f"{tmp_path / name}/", f"{prefix}/{name}/", recursive=True)
    server = (*s3_server.cli_args, "--storage.client", client)
    inputs = ("--labels", f"s3://{prefix}/labels/*", "--predictions", f"s3://{prefix}/predictions/*", "--ignore", 255)
    for out in (tmp_path / "out", f"s3://{prefix}/out"):
        assert run_cli("run", *inputs, "--out", out, *server) == 0
        assert run_cli("run", "--source", f"{out}/linked.zarr", "--out", out, *server) == 0, "the printed command"
    assert own(tmp_path / "out") == own(tmp_path / "expected")
    s3_server.filesystem().get(f"{prefix}/out/images", str(tmp_path / "s3/images"), recursive=True)
    assert own(tmp_path / "s3") == own(tmp_path / "expected")
    assert not s3_server.filesystem().exists(f"{prefix}/out/linked.zarr/predictions/c")


def test_object_replaced_during_a_run_is_a_damaged_chunk(
    s3_server: S3Server, s3_credentials: None, tmp_path: Path
) -> None:
    files, prefix = InputFiles(tmp_path), "lake/linked-changed"
    store = s3_server.filesystem()
    store.put(f"{files.predictions}/", f"{prefix}/predictions/", recursive=True)
    places = ("--labels", files.labels, "--predictions", f"s3://{prefix}/predictions", "--ignore", 255)
    assert run_cli("ingest", *places, "--link", "--out", files.out, *s3_server.cli_args) == 0
    options = StorageSection(endpoint_url=s3_server.url).options(["s3://lake"])
    spec = open_source(str(files.out), Overrides(), options).predictions
    reader, image = ArrayReader(spec, options), [slice(0, size) for size in spec.shape[1:]]
    values = files.data.predictions
    np.testing.assert_array_equal(reader.read(slice(1, 2), *image)[0], values[1])
    store.pipe_file(f"{prefix}/predictions/scene_03.npy", (files.predictions / "scene_02.npy").read_bytes())
    with pytest.raises(ChunkDecodeError, match=r"c/3/0/0/0 of .*scene_03\.npy has changed since it was linked"):
        reader.read(slice(3, 4), *image)
    store.rm_file(f"{prefix}/predictions/scene_04.npy")
    out = tmp_path / "out"
    assert run_cli("run", "--source", files.out, "--out", out, *s3_server.cli_args) == 2, "the changed object"
    store.pipe_file(f"{prefix}/predictions/scene_03.npy", (files.predictions / "scene_03.npy").read_bytes())
    assert run_cli("run", "--source", files.out, "--out", out, *s3_server.cli_args) == 3
    assert [row["status"] for row in read_rows(out)] == [*["scored"] * 4, "missing_chunk"]
