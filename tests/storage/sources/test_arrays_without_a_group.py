"""Sources of arrays that are in no group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from masksift.core.errors import DataError
from masksift.storage.sources.images_array import open_images_array
from masksift.storage.sources.open import open_source
from masksift.storage.sources.overrides import Overrides
from support.cli import exit_code, run_cli
from support.datasets import Array
from support.errors import raises
from support.results import read_rows
from support.sources import make_data, write_source


def write_bare(path: Path, values: Array, **options: Any) -> Path:
    zarr.create_array(
        path, shape=values.shape, dtype=values.dtype, chunks=(2, *values.shape[1:]), fill_value=0, **options
    )
    zarr.open_array(path, mode="r+").with_config({"write_empty_chunks": True})[...] = values
    return path


@pytest.fixture
def arrays(tmp_path: Path) -> dict[str, Path]:
    data = make_data()
    write_source(tmp_path / "group.zarr", data)
    pictures = np.zeros((*data.labels.shape, 3), np.uint8)
    return {
        "labels": write_bare(tmp_path / "masks.zarr", data.labels, attributes={"ignore": [255]}),
        "predictions": write_bare(tmp_path / "probabilities.zarr", data.predictions, attributes={"scale": None}),
        "images": write_bare(tmp_path / "rgb.zarr", pictures),
    }


def flags(arrays: dict[str, Path], *names: str) -> list[str]:
    return [text for name in names for text in (f"--{name}", str(arrays[name]))]


def test_two_arrays_without_a_group_are_scored_like_their_group(tmp_path: Path, arrays: dict[str, Path]) -> None:
    given = flags(arrays, "labels", "predictions", "images")
    assert run_cli("run", *given, "--out", tmp_path / "a") == 0
    assert run_cli("run", "--source", tmp_path / "group.zarr", "--out", tmp_path / "b") == 0
    own = ("source", "image_id")
    rows = [[{k: v for k, v in row.items() if k not in own} for row in read_rows(tmp_path / n)] for n in ("a", "b")]
    assert rows[0] == rows[1]
    assert read_rows(tmp_path / "a")[3]["image_id"] == "masks/3"
    assert (tmp_path / "a/report/index.html").exists()
    assert run_cli("run", *given, "--out", tmp_path / "a") == 0, "the same command finds its results"


@pytest.mark.parametrize("labels", ["s3://lake/masks", "/data/masks", "file:/data/masks"])
def test_copy_of_labels_with_a_url_is_named_labels(labels: str) -> None:
    assert Overrides(labels=labels).label_name == "labels"
    assert Overrides(labels="masks").label_name == "masks"


def test_missing_label_array_of_a_group_is_named_with_the_flag_of_labels(
    tmp_path: Path, arrays: dict[str, Path]
) -> None:
    labels = f"{tmp_path / 'group.zarr'}/labelz"
    overrides = Overrides(labels=labels, predictions=str(arrays["predictions"]))
    with raises(DataError, r"contains no array 'labelz', only .*: --arrays\.labels labels"):
        open_source(labels, overrides, {})


def test_completed_run_of_two_arrays_is_scored_again(tmp_path: Path, arrays: dict[str, Path]) -> None:
    assert run_cli("run", *flags(arrays, "labels", "predictions"), "--report.top", 0, "--out", tmp_path / "a") == 0
    assert exit_code("score", tmp_path / "a", "--out", tmp_path / "b", "--softmin.temperature", 0.05) == 0


def test_relative_paths_and_ensembles_are_read(
    tmp_path: Path, arrays: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bare(tmp_path / "other.zarr", make_data(seed=3).predictions)
    monkeypatch.chdir(tmp_path)
    members = "probabilities.zarr,other.zarr"
    assert exit_code("plan", "--labels", "masks.zarr", "--predictions", members, "--out", "out") == 0


def test_plan_and_sweep_take_two_arrays(tmp_path: Path, arrays: dict[str, Path]) -> None:
    given = flags(arrays, "labels", "predictions")
    assert exit_code("plan", *given, "--out", tmp_path / "out") == 0
    assert run_cli("sweep", *given, "--kinds", "drop", "--shares", "0.5", "--out", tmp_path / "out") == 0


def test_arrays_of_a_group_may_be_given_by_their_urls(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.zarr", ids=list("abcdefgh"))
    labels, predictions = str(source.labels), str(source.predictions)
    spec = open_source(labels, Overrides(labels=labels, predictions=predictions), {})
    assert spec.image_id is not None
    assert spec.ignore == (255,)


def test_images_of_another_size_are_refused_with_their_url(tmp_path: Path, arrays: dict[str, Path]) -> None:
    urls = {name: str(path) for name, path in arrays.items()}
    spec = open_source(urls["labels"], Overrides(labels=urls["labels"], predictions=urls["predictions"]), {})
    assert getattr(open_images_array(spec, urls["images"], {}), "url", None) == urls["images"]
    assert "masks.zarr has shape (8, 8, 10)" in str(open_images_array(spec, urls["labels"], {}))


@pytest.mark.parametrize(
    ("names", "more", "message"),
    [
        (["labels"], [], "--labels is given without --predictions"),
        (["predictions", "images"], [], "--predictions and --images is given without --labels"),
        (["labels", "predictions"], ["--source", "a.zarr"], "--labels and --predictions and --source are given"),
        (
            ["labels", "predictions"],
            ["--arrays.labels", "b"],
            "--labels and --predictions and --arrays.labels are given",
        ),
    ],
)
def test_conflicting_options_are_refused(
    arrays: dict[str, Path],
    names: list[str],
    more: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert exit_code("run", *flags(arrays, *names), *more, "--out", tmp_path / "out") == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("role", ["labels", "predictions"])
@pytest.mark.parametrize("url", ["missing.zarr", "file.npy"])
def test_url_without_a_zarr_array_is_refused(tmp_path: Path, arrays: dict[str, Path], role: str, url: str) -> None:
    np.save(tmp_path / "file.npy", np.zeros(3))
    urls = {name: str(path) for name, path in arrays.items()} | {role: str(tmp_path / url)}
    with raises(DataError, rf"There is no Zarr array at .*{url}\. .*`masksift ingest` converts"):
        open_source(urls["labels"], Overrides(labels=urls["labels"], predictions=urls["predictions"]), {})
