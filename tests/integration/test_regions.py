"""Regions of whole runs."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr

from masksift.engine.planning import layout
from support.cli import run_cli
from support.datasets import Data
from support.results import read_files, read_rows
from support.sources import write_source

HEIGHT, WIDTH = 20, 24
LABELLED, IGNORED = (slice(4, 10), slice(3, 11)), (slice(8, 18), slice(13, 23))
"""Box of the wrong label in even images, and of the unlabeled pixels in odd ones."""
INNER = [9, 14, 17, 22]


def make_planted_data(images: int = 6) -> Data:
    """Make images with halves of class 0 and 1, predicted with 0.9, and a rectangle labeled as class 2 or ignored."""
    truth = np.zeros((images, HEIGHT, WIDTH), np.int64)
    truth[:, :, WIDTH // 2 :] = 1
    predictions = np.full((images, 3, HEIGHT, WIDTH), 0.05, np.float32)
    np.put_along_axis(predictions, truth[:, None], np.float32(0.9), axis=1)
    labels = truth.astype(np.uint8)
    labels[0::2, *LABELLED] = 2
    labels[1::2, *IGNORED] = 255
    predictions[0::2, 2, -1] = 0.9  # a class needs predictions for a meaningful threshold
    predictions[0::2, 0:2, -1] = 0.05
    labels[0::2, -1] = 2
    return Data(predictions, labels, (255,))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(
        tmp_path_factory.mktemp("source") / "a.zarr", make_planted_data(), chunks=(1, 3, HEIGHT, WIDTH)
    ).path


@pytest.fixture(scope="module")
def out(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("run") / "out"
    assert run_cli("run", "--source", source, "--out", place) == 0
    return place


def bounding_box(row: dict[str, Any], prefix: str = "") -> list[int]:
    return [row[f"{prefix}{name}"] for name in ("y0", "x0", "y1", "x1")]


def test_planted_errors_are_regions_at_their_location(out: Path) -> None:
    found = read_rows(out, "regions")
    labels = [row for row in found if row["kind"] == "label"]
    omissions = [row for row in found if row["kind"] == "omission"]
    assert [row["index"] for row in labels] == [0, 2, 4]
    assert [row["index"] for row in omissions] == [1, 3, 5]
    assert all(
        (row["given"], row["suggested"], row["area"], bounding_box(row)) == (2, 0, 48, [4, 3, 10, 11]) for row in labels
    )
    assert all((row["given"], row["suggested"], bounding_box(row)) == (None, 1, INNER) for row in omissions)
    assert [row["rank"] for row in found] == list(range(1, 7))
    assert [row["priority"] for row in found] == sorted((row["priority"] for row in found), reverse=True)
    assert labels[0]["evidence"] == pytest.approx(48 * 0.85, rel=1e-3)
    assert labels[0]["mean_self_confidence"] == pytest.approx(0.05, rel=1e-3)
    assert (labels[0]["centroid_y"], labels[0]["centroid_x"]) == (6.5, 6.5)


def test_images_and_ranking_have_the_worst_region(out: Path) -> None:
    regions = {row["index"]: row for row in read_rows(out, "regions")}
    for table in ("images", "ranking"):
        for row in read_rows(out, table):
            assert bounding_box(row, "region_") == ([4, 3, 10, 11] if row["index"] % 2 == 0 else INNER)
            for name in ("priority", "evidence"):
                assert row[f"region_{name}"] == regions[row["index"]][name]


@pytest.mark.parametrize("args", [("--regions.min_area", "49"), ("--methods", "softmin,clc")])
def test_small_regions_and_disabled_omissions_are_not_listed(out: Path, tmp_path: Path, args: tuple[str, str]) -> None:
    again = tmp_path / "again"
    assert run_cli("score", out, "--out", again, *args) == 0
    kinds = {row["kind"] for row in read_rows(again, "regions")}
    assert kinds == ({"omission"} if "49" in args else {"label"})
    without = [row["index"] for row in read_rows(again) if row["region_evidence"] is None]
    assert without == ([0, 2, 4] if "49" in args else [1, 3, 5])


def test_rescored_run_has_the_same_regions(out: Path, tmp_path: Path) -> None:
    assert run_cli("score", out, "--out", tmp_path / "again") == 0
    assert read_rows(tmp_path / "again", "regions") == read_rows(out, "regions")


@pytest.mark.parametrize("top", [1, 4])
def test_top_regions_are_the_same_for_any_block_size(
    source: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, top: int
) -> None:
    for name in ("MIN_BLOCK_BYTES", "CHUNK_BYTES"):
        monkeypatch.setattr(layout, name, 1)
    monkeypatch.setattr(layout, "TARGET_BLOCKS", 1 << 30)
    place = tmp_path / "out"
    assert run_cli("run", "--source", source, "--out", place, "--regions.top", top) == 0
    assert json.loads((place / "run.json").read_text())["blocks"] == 6
    assert read_rows(place, "regions") == read_rows(out, "regions")[:top]


def test_resumed_run_lists_each_region_once(source: Path, out: Path, tmp_path: Path) -> None:
    place = tmp_path / "out"
    assert run_cli("run", "--source", source, "--out", place) == 0
    before = read_files(place / "regions")
    (place / "run.json").unlink()
    shutil.rmtree(place / "regions")
    assert run_cli("run", "--source", source, "--out", place) == 0
    assert read_files(place / "regions") == before
    assert read_rows(place, "regions") == read_rows(out, "regions")


def test_run_length_code_of_a_padded_image_has_the_unpadded_size(source: Path, out: Path, tmp_path: Path) -> None:
    data, sizes = make_planted_data(), np.full((6, 2), (HEIGHT, WIDTH))
    padded = Data(
        np.pad(data.predictions, ((0, 0), (0, 0), (0, 5), (0, 3)), constant_values=1 / 3),
        np.pad(data.labels, ((0, 0), (0, 5), (0, 3)), constant_values=1),
        (255,),
    )
    place = write_source(tmp_path / "a.zarr", padded, chunks=(2, 3, 25, 27)).path
    group = zarr.open_group(place)
    for axis, name in enumerate(("height", "width")):
        group.create_array(name, shape=(6,), dtype="int32", chunks=(6,))[:] = sizes[:, axis]
    assert run_cli("run", "--source", place, "--out", tmp_path / "out") == 0
    assert read_rows(tmp_path / "out", "regions") == read_rows(out, "regions")
    assert {(row["height"], row["width"]) for row in read_rows(out, "regions")} == {(HEIGHT, WIDTH)}


def test_run_without_regions_has_an_empty_table(tmp_path: Path) -> None:
    data = make_planted_data(2)
    right = data._replace(labels=data.predictions.argmax(axis=1).astype(np.uint8))
    source = write_source(tmp_path / "a.zarr", right, chunks=(2, 3, HEIGHT, WIDTH)).path
    assert run_cli("run", "--source", source, "--out", tmp_path / "out") == 0
    assert read_rows(tmp_path / "out", "regions") == []
    assert all(row["region_y0"] is None for row in read_rows(tmp_path / "out", "ranking"))


@pytest.mark.parametrize(("rank_by", "column"), [("class", "class_priority"), ("evidence", "evidence")])
def test_rescored_run_ranks_the_same_regions_by_another_column(
    out: Path, tmp_path: Path, rank_by: str, column: str
) -> None:
    assert run_cli("score", out, "--out", tmp_path / "again", "--regions.rank_by", rank_by) == 0
    found = read_rows(tmp_path / "again", "regions")
    values = [row[column] for row in found]
    assert values == sorted(values, reverse=True)
    before = sorted(read_rows(out, "regions"), key=lambda row: (-row[column], row["index"]))
    assert [row | {"rank": 0} for row in found] == [row | {"rank": 0} for row in before]


def test_frozen_totals_compare_each_image_with_the_other_run(source: Path, out: Path, tmp_path: Path) -> None:
    """The pair of the planted errors has evidence in three images: elsewhere now means in all of them."""
    again = tmp_path / "again"
    assert run_cli("run", "--source", source, "--out", again, "--thresholds_from", out) == 0
    (pair,) = pq.read_table(out / "class_pairs.parquet").to_pylist()
    counts = {row["class_id"]: row for row in pq.read_table(out / "thresholds.parquet").to_pylist()}
    before = {row["index"]: row for row in read_rows(out, "regions")}
    for row in read_rows(again, "regions"):
        if row["kind"] == "omission":
            assert row == before[row["index"]] | {"rank": row["rank"]}
            continue
        predicted, labeled = counts[row["suggested"]]["predicted_pixels"], counts[row["given"]]["pixels"]
        expected = max(
            row["suggested_pixels"] * pair["evidence"] / (predicted + 1),
            row["given_pixels"] * pair["evidence"] / (labeled + 1),
        )
        assert row["usual_evidence"] == expected
        alone = before[row["index"]]["priority"] * math.sqrt(1 + before[row["index"]]["usual_evidence"])
        assert row["priority"] == pytest.approx(alone / math.sqrt(1 + expected), rel=1e-14)
