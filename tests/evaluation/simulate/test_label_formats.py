"""Label copies in every storage format; damaged and padded labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from evaluation.simulate.helpers import make_images, read_planes, read_record, simulate, source_labels
from support.cli import run_cli
from support.datasets import Data
from support.results import read_files, read_rows
from support.sources import Source, erase_chunks, write_source


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return write_source(tmp_path / "a.zarr", make_images(), ids=[f"scene-{i}" for i in range(10)])


FORMS: dict[str, dict[str, Any]] = {
    "version 2": {"zarr_format": 2, "codec": "blosc"},
    "axes in another order": {"label_order": ("y", "x", "image"), "dimension_names": True},
    "shards": {"label_chunks": (1, 12, 16), "label_shards": (4, 24, 32)},
    "small chunks": {"label_chunks": (3, 10, 7), "codec": "crc32c"},
    "one chunk": {"label_chunks": (10, 24, 32), "codec": "none", "label_fill": 255},
}


@pytest.mark.parametrize("form", FORMS)
def test_label_copy_has_the_storage_format_of_the_source(form: str, tmp_path: Path) -> None:
    data = make_images()
    source = write_source(tmp_path / "a.zarr", data, **FORMS[form])
    out = simulate("swap", source, tmp_path / "out", "--share", 0.5)
    group, original = zarr.open_group(out / "labels/a.zarr", mode="r"), zarr.open_array(source.labels, mode="r")
    assert group["labels"].metadata == original.metadata
    assert sorted(name for name in read_files(out / "labels/a.zarr/labels")) == sorted(read_files(source.labels))
    order = [0, 1, 2] if original.shape[0] == 10 else [2, 0, 1]
    labels, truth = np.asarray(group["labels"]).transpose(order), np.asarray(group["truth"])
    np.testing.assert_array_equal(truth, labels != data.labels)
    assert len(read_rows(out, "truth")) == 5
    assert dict(group.attrs) == {"class_names": [f"class {k}" for k in range(4)], "ignore": [255]}


@pytest.mark.parametrize("dtype", ["int16", ">u2", "uint8", "int64"])
def test_simulated_labels_use_the_stored_values_of_the_source(dtype: str, tmp_path: Path) -> None:
    """Stored values differ from class indices, and two of them mean the same class."""
    data, ignore = make_images(), -7 if dtype.startswith("int") else 200
    values = np.full(256, ignore, np.int64)
    values[:4] = (30, 20, 10, 5)
    labels = values[data.labels].astype(dtype)
    source = write_source(tmp_path / "a.zarr", Data(data.predictions, labels, (ignore,)))
    args = ("--remap", "30:0,20:1,10:2,5:3,11:2", "--share", 1)
    out = simulate("swap", source, tmp_path / "out", *args, "--objects", "one")
    changed, truth = read_planes(out)
    np.testing.assert_array_equal(truth, changed != labels)
    assert set(changed[truth == 1].tolist()) == {30, 20, 10, 5}
    plain = simulate(
        "swap", write_source(tmp_path / "b" / "a.zarr", data), tmp_path / "plain", "--share", 1, "--objects", "one"
    )
    np.testing.assert_array_equal(read_planes(plain)[1], truth)


def test_class_with_an_ignored_label_value_is_not_assigned(source: Source, tmp_path: Path) -> None:
    out = simulate("swap", source, tmp_path / "out", "--share", 1, "--objects", "one", "--ignore", "1,255")
    labels, truth = read_planes(out)
    assert set(labels[truth == 1].tolist()) == {0, 2, 3}
    assert set(source_labels(source)[truth == 1].tolist()) == {0, 2, 3}


def test_padding_pixels_stay_unchanged(tmp_path: Path) -> None:
    data = make_images(ignored_image=None)
    source = write_source(tmp_path / "a.zarr", data)
    group = zarr.open_group(source.path, mode="r+")
    for name, side in (("height", 15), ("width", 20)):
        sides = group.create_array(name, shape=(10,), dtype="int32", chunks=(10,))
        sides[:] = [side] * 9 + [0]
    for kind in ("drop", "shift", "missing_region"):
        out = simulate(kind, source, tmp_path / kind, "--share", 1)
        _, truth = read_planes(out)
        assert truth[:, :15, :20].any()
        assert not truth[:, 15:].any()
        assert not truth[:, :, 20:].any()
        assert read_record(out)["unchanged"] == {"bad_labels": 1}


def test_label_copy_keeps_the_array_name(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.zarr", make_images(), names=("predictions", "masks"))
    out = tmp_path / "out"
    args = ("--source", source, "--arrays.labels", "masks")
    assert run_cli("simulate", "swap", *args, "--out", out) == 0
    assert sorted(name for name, _ in zarr.open_group(out / "labels/a.zarr", mode="r").arrays()) == ["masks", "truth"]
    assert run_cli("run", *args, "--labels_from", out / "labels", "--out", tmp_path / "run") == 3
    assert [row["status"] for row in read_rows(tmp_path / "run")].count("scored") == 9, "one image has no label"


def test_missing_inner_chunk_of_a_shard_affects_one_image_of_the_copy(tmp_path: Path) -> None:
    data = make_images(ignored_image=None)
    source = write_source(tmp_path / "a.zarr", data, label_chunks=(1, 12, 16), label_shards=(4, 24, 32))
    erase_chunks(source.labels, slice(5, 6), slice(0, 12))
    out = simulate("swap", source, tmp_path / "out", "--share", 1)
    labels, truth = read_planes(out)
    others = [i for i in range(10) if i != 5]
    np.testing.assert_array_equal(truth[others], labels[others] != data.labels[others])
    assert truth[others].any(axis=(1, 2)).all()
    assert not truth[5].any()
    args = ("--source", source, "--labels_from", out / "labels", "--out", tmp_path / "run")
    assert run_cli("run", *args) == 3
    assert [row["status"] for row in read_rows(tmp_path / "run")] == ["scored"] * 5 + ["missing_chunk"] + ["scored"] * 4
