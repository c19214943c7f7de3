"""Labels of every form: the copy is stored as they are, and what they lack it lacks."""

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
def test_labels_are_stored_as_those_of_the_source(form: str, tmp_path: Path) -> None:
    data = make_images()
    source = write_source(tmp_path / "a.zarr", data, **FORMS[form])
    out = simulate("swap", source, tmp_path / "out", "--share", 0.5)
    group, theirs = zarr.open_group(out / "labels/a.zarr", mode="r"), zarr.open_array(source.labels, mode="r")
    assert group["labels"].metadata == theirs.metadata
    assert sorted(name for name in read_files(out / "labels/a.zarr/labels")) == sorted(read_files(source.labels))
    order = [0, 1, 2] if theirs.shape[0] == 10 else [2, 0, 1]
    labels, truth = np.asarray(group["labels"]).transpose(order), np.asarray(group["truth"])
    np.testing.assert_array_equal(truth, labels != data.labels)
    assert len(read_rows(out, "truth")) == 5
    assert dict(group.attrs) == {"class_names": [f"class {k}" for k in range(4)], "ignore": [255]}


@pytest.mark.parametrize("dtype", ["int16", ">u2", "uint8", "int64"])
def test_labels_of_any_integer_are_changed_into_labels_of_the_same(dtype: str, tmp_path: Path) -> None:
    """Values that are no class numbers, and several that mean the same."""
    data, ignore = make_images(), -7 if dtype.startswith("int") else 200
    values = np.full(256, ignore, np.int64)
    values[:4] = (30, 20, 10, 5)
    labels = values[data.labels].astype(dtype)
    source = write_source(tmp_path / "a.zarr", Data(data.predictions, labels, (ignore,)))
    words = ("--remap", "30:0,20:1,10:2,5:3,11:2", "--share", 1)
    out = simulate("swap", source, tmp_path / "out", *words, "--objects", "one")
    found, truth = read_planes(out)
    np.testing.assert_array_equal(truth, found != labels)
    assert set(found[truth == 1].tolist()) == {30, 20, 10, 5}
    plain_words = simulate(
        "swap", write_source(tmp_path / "b" / "a.zarr", data), tmp_path / "plain", "--share", 1, "--objects", "one"
    )
    np.testing.assert_array_equal(read_planes(plain_words)[1], truth)


def test_a_class_whose_number_is_an_ignore_value_is_given_to_nobody(source: Source, tmp_path: Path) -> None:
    out = simulate("swap", source, tmp_path / "out", "--share", 1, "--objects", "one", "--ignore", "1,255")
    labels, truth = read_planes(out)
    assert set(labels[truth == 1].tolist()) == {0, 2, 3}
    assert set(source_labels(source)[truth == 1].tolist()) == {0, 2, 3}


def test_the_pixels_that_only_pad_an_image_are_left_alone(tmp_path: Path) -> None:
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


def test_labels_may_have_another_name(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.zarr", make_images(), names=("predictions", "masks"))
    out = tmp_path / "out"
    words = ("--source", source, "--arrays.labels", "masks")
    assert run_cli("simulate", "swap", *words, "--out", out) == 0
    assert sorted(name for name, _ in zarr.open_group(out / "labels/a.zarr", mode="r").arrays()) == ["masks", "truth"]
    assert run_cli("run", *words, "--labels_from", out / "labels", "--out", tmp_path / "run") == 3
    assert [row["status"] for row in read_rows(tmp_path / "run")].count("scored") == 9, "and one has no label at all"


def test_what_is_lost_in_a_shard_is_lost_in_the_copy_alone(tmp_path: Path) -> None:
    data = make_images(ignored_image=None)
    source = write_source(tmp_path / "a.zarr", data, label_chunks=(1, 12, 16), label_shards=(4, 24, 32))
    erase_chunks(source.labels, slice(5, 6), slice(0, 12))
    out = simulate("swap", source, tmp_path / "out", "--share", 1)
    labels, truth = read_planes(out)
    others = [i for i in range(10) if i != 5]
    np.testing.assert_array_equal(truth[others], labels[others] != data.labels[others])
    assert truth[others].any(axis=(1, 2)).all()
    assert not truth[5].any()
    words = ("--source", source, "--labels_from", out / "labels", "--out", tmp_path / "run")
    assert run_cli("run", *words) == 3
    assert [row["status"] for row in read_rows(tmp_path / "run")] == ["scored"] * 5 + ["missing_chunk"] + ["scored"] * 4
