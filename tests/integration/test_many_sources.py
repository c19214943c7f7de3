"""Runs over several sources: splits, padding, dtypes and remapped labels do not change the results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr

from support.cli import run_cli
from support.datasets import Data, make_dataset
from support.results import read_rows
from support.sources import drop_images, make_data, write_source

SCORES = ("ccp", "tccp", "cil", "softmin", "clc", "iou", "coco")


def image_scores(out: Path) -> list[tuple[Any, ...]]:
    """Return the results of each image, in order, without its name."""
    return [
        tuple(row[name] for name in (*SCORES, "valid_pixels", "flagged_pixels", "status")) for row in read_rows(out)
    ]


def read_class_tables(out: Path) -> list[list[dict[str, Any]]]:
    names = ("thresholds.parquet", "class_pairs.parquet", "class_quality.parquet")
    return [pq.read_table(out / name).to_pylist() for name in names]


def read_masks(out: Path, name: str) -> np.ndarray[Any, Any]:
    found = zarr.open_array(out / "evidence" / f"{name}.zarr" / "issue_mask", mode="r")
    return np.asarray(found[:])


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_run_over_a_split_data_set_equals_the_run_over_the_whole(tmp_path: Path, dtype: str) -> None:
    whole = make_data(images=9, dtype=dtype)
    write_source(tmp_path / "whole.zarr", whole)
    for name, (start, stop) in {"a": (0, 4), "b": (4, 5), "c": (5, 9)}.items():
        write_source(tmp_path / f"part={name}.zarr", drop_images(whole, [i for i in range(9) if not start <= i < stop]))
    flags = ("--evidence.dtype", "float32") if dtype == "float32" else ()
    assert run_cli("run", "--source", tmp_path / "whole.zarr", "--out", tmp_path / "one", *flags) == 0
    assert run_cli("run", "--source", tmp_path / "part=*", "--out", tmp_path / "many", *flags) == 0
    assert image_scores(tmp_path / "many") == image_scores(tmp_path / "one")
    assert read_class_tables(tmp_path / "many") == read_class_tables(tmp_path / "one")
    together = np.concatenate([read_masks(tmp_path / "many", f"part={name}") for name in "abc"])
    np.testing.assert_array_equal(together, read_masks(tmp_path / "one", "whole"))


def test_path_columns_are_in_images_and_ranking(tmp_path: Path) -> None:
    (tmp_path / "dt=2026-11-23").mkdir()
    write_source(tmp_path / "dt=2026-11-23" / "site=a.zarr", make_data(images=2))
    write_source(tmp_path / "site=b.zarr", make_data(images=2, seed=4))
    out = tmp_path / "out"
    args = ("--source", tmp_path / "dt=*" / "*", "--source", tmp_path / "site=b.zarr", "--out", out)
    assert run_cli("run", *args) == 0
    found = [(row["image_id"], row["source"], row["index"], row["dt"], row["site"]) for row in read_rows(out)]
    assert found == [
        *((f"dt=2026-11-23/site=a/{i}", "dt=2026-11-23/site=a", i, "2026-11-23", "a") for i in range(2)),
        *((f"site=b/{i}", "site=b", i, None, "b") for i in range(2)),
    ]
    ranked = read_rows(out, "ranking")
    assert {(row["source"], row["dt"], row["site"]) for row in ranked} == {
        found[0][1:2] + found[0][3:],
        ("site=b", None, "b"),
    }
    assert (out / "evidence" / "dt=2026-11-23" / "site=a.zarr" / "issue_mask").exists()


# ---------------------------------------------------------------------------------------------------------- precisions


def test_sources_of_different_dtypes_share_thresholds(tmp_path: Path) -> None:
    """Compare with a computation from the stored evidence, value by value."""
    dtypes = ("uint8", "uint16", "float16", "float32")
    data = [
        make_dataset(seed, images=3, classes=4, height=12, width=16, dtype=dtype) for seed, dtype in enumerate(dtypes)
    ]
    for dtype, one in zip(dtypes, data, strict=True):
        write_source(tmp_path / f"{dtype}.zarr", one)
    out = tmp_path / "out"
    sources = [arg for dtype in dtypes for arg in ("--source", tmp_path / f"{dtype}.zarr")]
    assert run_cli("run", *sources, "--out", out, "--evidence.dtype", "float32") == 0
    own, best, winner, given, flagged = [], [], [], [], []
    for dtype, one in zip(dtypes, data, strict=True):
        group = zarr.open_group(out / "evidence" / f"{dtype}.zarr", mode="r")
        scale = 1 / np.iinfo(dtype).max if dtype.startswith("u") else 1.0
        valid = ~np.isin(one.labels, one.ignore)
        own.append(np.asarray(group["self_confidence"])[valid].astype(float) * scale)
        best.append(np.asarray(group["predicted_confidence"])[valid].astype(float) * scale)
        winner.append(np.asarray(group["predicted_class"])[valid])
        flagged.append(np.asarray(group["issue_mask"])[valid])
        given.append(one.labels[valid].astype(int))
    s, m, a, labels, mask = map(np.concatenate, (own, best, winner, given, flagged))
    thresholds = np.array([s[labels == k].mean() for k in range(4)])
    table = pq.read_table(out / "thresholds.parquet")
    np.testing.assert_allclose(table["confident_threshold"].to_numpy(), thresholds, rtol=1e-12)
    assert table["pixels"].to_pylist() == [int((labels == k).sum()) for k in range(4)]
    issues = int(((a != labels) & (m >= table["confident_threshold"].to_numpy()[a] - 1e-6)).sum())
    assert issues > 0
    cut = np.sort(s)[issues - 1]
    np.testing.assert_array_equal(mask, (a != labels) & (s <= cut))


def test_rescored_sources_have_the_same_tables(tmp_path: Path) -> None:
    for dtype in ("uint8", "float16"):
        write_source(tmp_path / f"{dtype}.zarr", make_data(dtype=dtype))
    assert run_cli("run", "--source", tmp_path / "*.zarr", "--out", tmp_path / "one") == 0
    assert run_cli("score", tmp_path / "one", "--out", tmp_path / "two") == 0
    assert image_scores(tmp_path / "two") == image_scores(tmp_path / "one")
    assert read_class_tables(tmp_path / "two") == read_class_tables(tmp_path / "one")


# ------------------------------------------------------------------------------------------------------------- padding


def write_padded_source(path: Path, data: Data, sizes: list[tuple[int, int]], chunks: Any = None) -> None:
    """Write the images cropped to these sizes and padded with invalid labels and probabilities."""
    predictions, labels = data.predictions.copy(), data.labels.copy()
    for i, (height, width) in enumerate(sizes):
        for part in ((slice(height, None), slice(None)), (slice(None), slice(width, None))):
            predictions[(i, slice(None), *part)] = 0
            labels[(i, *part)] = 99
    write_source(path, Data(predictions, labels, data.ignore), chunks=chunks)
    group = zarr.open_group(path, mode="r+")
    for name, axis in (("height", 0), ("width", 1)):
        array = group.create_array(name, shape=(len(sizes),), dtype="int32", chunks=(2,))
        array[:] = np.array([size[axis] for size in sizes], np.int32)


@pytest.mark.parametrize("chunks", [None, (1, 4, 3, 4)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_padded_images_have_the_scores_of_unpadded_ones(tmp_path: Path, dtype: str, chunks: Any) -> None:
    data, sizes = make_data(images=5, dtype=dtype), [(8, 10), (5, 10), (8, 3), (1, 1), (4, 7)]
    (tmp_path / "apart").mkdir()
    for i, (height, width) in enumerate(sizes):
        one = Data(
            data.predictions[i : i + 1, :, :height, :width], data.labels[i : i + 1, :height, :width], data.ignore
        )
        write_source(tmp_path / "apart" / f"{i}.zarr", one)
    write_padded_source(tmp_path / "padded.zarr", data, sizes, chunks)
    limit = ("--max_quarantined", 5)  # the only pixel of an image may be ignored
    assert run_cli("run", "--source", tmp_path / "apart" / "*", "--out", tmp_path / "one", *limit) == 0
    assert run_cli("run", "--source", tmp_path / "padded.zarr", "--out", tmp_path / "two", *limit) == 0
    assert image_scores(tmp_path / "two") == image_scores(tmp_path / "one")
    assert read_class_tables(tmp_path / "two") == read_class_tables(tmp_path / "one")
    assert [(row["height"], row["width"]) for row in read_rows(tmp_path / "two")] == sizes
    mask = read_masks(tmp_path / "two", "padded")
    for i, (height, width) in enumerate(sizes):
        np.testing.assert_array_equal(mask[i, :height, :width], read_masks(tmp_path / "one", str(i))[0])
        assert not mask[i, height:].any()
        assert not mask[i, :, width:].any()


@pytest.mark.parametrize("size", [(0, 10), (9, 10), (8, -1)])
def test_invalid_size_quarantines_only_its_image(tmp_path: Path, size: tuple[int, int]) -> None:
    data = make_data(images=3)
    write_padded_source(tmp_path / "a.zarr", data, [(8, 10), (8, 10), (8, 10)])
    for name, value in zip(("height", "width"), size, strict=True):
        zarr.open_array(tmp_path / "a.zarr" / name, mode="r+")[1] = value
    assert run_cli("run", "--source", tmp_path / "a.zarr", "--out", tmp_path / "out") == 3
    found = read_rows(tmp_path / "out")
    assert [row["status"] for row in found] == ["scored", "bad_labels", "scored"]
    assert found[1]["reason"] == f"unpadded size {size[0]} x {size[1]} does not fit into 8 x 10 stored pixels"


# --------------------------------------------------------------------------------------------------------------- remap


def test_remapped_label_values_have_the_scores_of_class_indices(tmp_path: Path) -> None:
    """Label values 7, 11, 21, 26 are the classes 0 to 3, as in Cityscapes; 5 and 255 are ignored."""
    data = make_data(images=4)
    ids = np.array([7, 11, 21, 26])
    labels = np.where(data.labels == 255, 255, ids[np.minimum(data.labels, 3)])
    labels[0, :2] = 5
    class_labels = np.where(labels == 5, 255, data.labels)
    write_source(tmp_path / "own.zarr", Data(data.predictions, class_labels.astype(np.uint8), (255,)))
    for dtype in ("uint8", "int16", "int64"):
        write_source(tmp_path / f"{dtype}.zarr", Data(data.predictions, labels.astype(dtype), (255,)))
    assert run_cli("run", "--source", tmp_path / "own.zarr", "--out", tmp_path / "own") == 0
    for dtype in ("uint8", "int16", "int64"):
        args = (
            "--source",
            tmp_path / f"{dtype}.zarr",
            "--out",
            tmp_path / dtype,
            "--remap",
            "7:0,11:1,21:2,26:3,5:255",
        )
        assert run_cli("run", *args) == 0
        assert image_scores(tmp_path / dtype) == image_scores(tmp_path / "own")


def test_label_value_outside_the_remap_is_a_bad_label(tmp_path: Path) -> None:
    write_source(tmp_path / "a.zarr", make_data(images=2))
    out = tmp_path / "out"
    assert run_cli("run", "--source", tmp_path / "a.zarr", "--out", out, "--remap", "0:0,1:1,2:2") == 3
    reasons = [row["reason"] for row in read_rows(out) if row["status"] == "bad_labels"]
    assert reasons
    assert all(reason.startswith("label 3 at") and "neither one of the 3 of remap nor" in reason for reason in reasons)
