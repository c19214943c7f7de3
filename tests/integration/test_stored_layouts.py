"""Sources of any stored layout, at any spelling of their URL, have the results of the plainest one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
import zarr.codecs.numcodecs as v3
from zarr.codecs import BytesCodec, TransposeCodec

from support.cli import run_cli
from support.results import read_rows
from support.sources import make_data, write_source

DATA = make_data(images=4, dtype="uint16")


def create(path: Path, predictions: dict[str, Any], labels: dict[str, Any], **both: Any) -> None:
    """Write a source whose arrays have options of zarr, and may have other ``values``."""
    group = zarr.open_group(path, mode="w", zarr_format=both.get("zarr_format", 3), attributes={"ignore": [255]})
    for name, values, options in (("predictions", DATA.predictions, predictions), ("labels", DATA.labels, labels)):
        options = {"values": values, "chunks": (2, *values.shape[1:])} | options | both
        stored = options.pop("values")
        dtype = options.pop("dtype", None) or stored.dtype
        options.pop("zarr_format", None)
        if callable(options.get("filters")):
            options["filters"] = [options["filters"](stored.dtype.str)]
        array = group.create_array(name, shape=stored.shape, dtype=dtype, **options)
        array.with_config({"write_empty_chunks": True})[...] = stored


LAST = {"values": DATA.predictions.transpose(0, 2, 3, 1), "chunks": (2, 8, 10, 4)}

LAYOUTS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "format 2": ({}, {}, {"zarr_format": 2}),
    "format 2, order F": ({}, {}, {"zarr_format": 2, "order": "F"}),
    "format 2, order F, big-endian": ({"dtype": ">u2"}, {"dtype": ">i4"}, {"zarr_format": 2, "order": "F"}),
    "format 2, Delta": ({}, {}, {"zarr_format": 2, "filters": numcodecs.Delta}),
    "big-endian": ({"serializer": BytesCodec(endian="big")}, {"values": DATA.labels.astype(np.int32),
                   "serializer": BytesCodec(endian="big")}, {}),
    "Delta": ({}, {}, {"filters": lambda dtype: v3.Delta(dtype=dtype)}),
    "shards": ({"chunks": (1, 4, 4, 5), "shards": (2, 4, 8, 10)}, {"chunks": (1, 4, 5), "shards": (2, 8, 10)}, {}),
    "transposed chunks": ({"filters": [TransposeCodec(order=(3, 2, 1, 0))]},
                          {"filters": [TransposeCodec(order=(2, 1, 0))]}, {}),
    "channels last": ({**LAST, "dimension_names": ("image", "y", "x", "class")}, {}, {}),
    "labels by column": ({}, {"values": DATA.labels.transpose(0, 2, 1), "chunks": (2, 10, 8),
                         "dimension_names": ("image", "x", "y")}, {}),
}  # fmt: skip


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory with a plain source `a source.zarr` and its run `out`."""
    directory = tmp_path_factory.mktemp("plain")
    write_source(directory / "a source.zarr", DATA)
    assert run_cli("run", "--source", directory / "a source.zarr", "--out", directory / "out") == 0
    return directory


def assert_same(plain: Path, out: Path) -> None:
    def scores(directory: Path) -> list[dict[str, Any]]:
        names = ("image_id", "source")
        return [{k: v for k, v in row.items() if k not in names} for row in read_rows(directory)]

    assert scores(out) == scores(plain / "out")


@pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3")
@pytest.mark.parametrize("name", LAYOUTS)
def test_stored_layout_changes_no_result(plain: Path, tmp_path: Path, name: str) -> None:
    predictions, labels, both = LAYOUTS[name]
    create(tmp_path / "a.zarr", predictions, labels, **both)
    assert run_cli("run", "--source", tmp_path / "a.zarr", "--out", tmp_path / "out") == 0
    assert_same(plain, tmp_path / "out")


def test_axes_without_names_are_named_by_an_option(plain: Path, tmp_path: Path) -> None:
    create(tmp_path / "a.zarr", LAST, {})
    args = ("--arrays.predictions_axes", "image,y,x,class")
    assert run_cli("run", "--source", tmp_path / "a.zarr", *args, "--out", tmp_path / "out") == 0
    assert_same(plain, tmp_path / "out")


@pytest.mark.parametrize(
    "form",
    ["{}/a source.zarr/", "{}//a source.zarr", "file://{}/a%20source.zarr/", "{}/a source.*", "{}/x/../a source.zarr"],
)
def test_url_of_any_spelling_opens_the_source(plain: Path, tmp_path: Path, form: str) -> None:
    assert run_cli("run", "--source", form.format(plain), "--out", f"{tmp_path}/out/") == 0
    assert_same(plain, tmp_path / "out")
