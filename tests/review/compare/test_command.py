"""`masksift compare`: differences of two runs as JSON and as text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr

from review.helpers import export_corrections, read_record, read_regions, region_decision, run_sources, write_decisions
from support.cli import error_message, exit_code
from support.datasets import Data
from support.results import read_rows
from support.sources import erase_chunks, make_data, write_source

IDS = [f"scene-{i}" for i in range(8)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over two sources, and one with corrected labels of the second."""
    directory = tmp_path_factory.mktemp("compare")
    for name, seed in (("a", 1), ("b", 2)):
        write_source(directory / f"{name}.zarr", make_data(seed=seed), ids=[f"{name}-{one}" for one in IDS])
    run_sources(directory / "old", directory / "[ab].zarr", args=("--classes", "road,sky,car,tree"))
    decisions = write_decisions(
        directory / "v.json", directory / "old", *map(region_decision, read_regions(directory / "old", source="b"))
    )
    export_corrections(directory / "old", decisions, directory / "fixed")
    args = ("--classes", "road,sky,car,tree", "--labels_from", directory / "fixed", "--softmin.temperature", 0.2)
    run_sources(directory / "new", directory / "[ab].zarr", args=args)
    return directory


def compare_json(capsys: pytest.CaptureFixture[str], *args: object) -> dict[str, Any]:
    capsys.readouterr()
    assert exit_code("compare", *args, "--json") == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def compare_text(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    capsys.readouterr()
    assert exit_code("compare", *args) == 0
    return capsys.readouterr().out


def by_id(out: Path, table: str = "ranking") -> dict[str, dict[str, Any]]:
    return {row["image_id"]: row for row in read_rows(out, table)}


def test_numbers_equal_those_of_the_tables(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = compare_json(capsys, runs / "old", runs / "new", "--top", 100)
    old, new = by_id(runs / "old"), by_id(runs / "new")
    assert result["images"]["scored_in_both"] == len(old) == 16
    for direction, sign in (("up", 1), ("down", -1)):
        changes = {name: new[name]["percentile"] - old[name]["percentile"] for name in old}
        expected = sorted(
            (-abs(change), new[name]["source"], new[name]["index"])
            for name, change in changes.items()
            if change * sign > 0
        )
        assert [(row["source"], row["index"]) for row in result[direction]] == [key[1:] for key in expected]
        for row in result[direction]:
            assert row["old_rank"] == old[row["image_id"]]["rank"]
            assert row["new_score"] == new[row["image_id"]]["combined"]
            assert row["change"] == changes[row["image_id"]]
    assert result["up"]
    assert result["down"]
    for score in result["scores"]:
        name = score["method"]
        assert score["old"] == pytest.approx(np.mean([row[name] for row in old.values()]), abs=1e-15)
        assert score["new"] == pytest.approx(np.mean([row[name] for row in new.values()]), abs=1e-15)
        assert score["rose"] == sum(new[one][name] > old[one][name] for one in old)
    for side in ("old", "new"):
        facts = read_record(runs / side)
        quality = pq.read_table(runs / side / "class_quality.parquet").to_pylist()
        assert result[side]["flagged_pixels"] == facts["flagged_pixels"]
        assert result[side]["flagged_share"] == facts["flagged_pixels"] / sum(row["pixels"] for row in quality)
        assert result[side]["counts"] == {"scored": 16}
        for row in result["classes"]:
            (expected_row,) = [one for one in quality if one["class_name"] == row["class"]]
            assert (row[f"pixels_{side}"], row[f"quality_{side}"]) == (expected_row["pixels"], expected_row["quality"])
    changes = [abs(row["change"]) for row in result["classes"]]
    assert changes == sorted(changes, reverse=True)
    assert changes[0] > 0


def test_summary_lists_each_difference_on_a_line(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = compare_text(capsys, runs / "old", runs / "new", "-n", 2)
    assert (
        f'differences:\n  labels_from: not set -> "{runs}/fixed"\n  softmin.temperature: 0.1 -> 0.2\n'
        f"  labels of b: {runs}/b.zarr/labels -> {runs}/fixed/b.zarr/labels\n\n"
    ) in result
    assert "largest changes in rank, later in the ranking" in result
    assert len(result.split("earlier in the ranking")[1].splitlines()) <= 4
    keys = {one["key"] for one in compare_json(capsys, runs / "old", runs / "new")["differences"]}
    assert keys == {"labels_from", "softmin.temperature"}


def test_run_compared_with_itself_has_no_differences(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = compare_json(capsys, runs / "old", runs / "old")
    assert (result["differences"], result["up"], result["down"]) == ([], [], [])
    assert {row["change"] for row in result["classes"]} == {0.0}
    assert all(score["old"] == score["new"] and not score["rose"] for score in result["scores"])
    assert "differences: none in configuration and sources" in compare_text(capsys, runs / "old", runs / "old")


def test_by_score_orders_images_by_its_change(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = compare_json(capsys, runs / "old", runs / "new", "--by", "clc")
    old, new = by_id(runs / "old"), by_id(runs / "new")
    best = max(old, key=lambda name: new[name]["clc"] - old[name]["clc"])
    assert result["up"][0]["image_id"] == best
    assert result["up"][0]["change"] == new[best]["clc"] - old[best]["clc"]
    assert "largest changes in clc, higher" in compare_text(capsys, runs / "old", runs / "new", "--by", "clc")
    assert exit_code("compare", runs / "old", runs / "new", "--by", "clcc") == 2
    assert "by must be rank or a score of both runs (ccp, " in error_message(capsys)


def test_images_of_a_moved_source_join_by_id(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another source holds three images of `b` in reverse order, and a new image."""
    data = make_data(seed=2)
    turned = Data(data.predictions[3::-1], data.labels[3::-1], data.ignore)
    write_source(tmp_path / "c.zarr", turned, ids=[f"b-{IDS[i]}" for i in (3, 2, 1)] + ["fresh"])
    out = run_sources(tmp_path / "out", tmp_path / "c.zarr", runs / "a.zarr", args=("--classes", "road,sky,car,tree"))
    result = compare_json(capsys, runs / "old", out)
    assert result["sources"]["only_old"] == {"count": 1, "first": ["b"]}
    assert result["sources"]["only_new"] == {"count": 1, "first": ["c"]}
    assert (result["images"]["both"], result["images"]["only_old"], result["images"]["only_new"]) == (11, 5, 1)
    assert [row["image_id"] for row in result["only_new"]] == ["fresh"]
    printed = compare_text(capsys, runs / "old", out, "-n", 2)
    assert "5 images in the old run only:\n  b-scene-0  b/0  scored\n  b-scene-4  b/4  scored\n  and 3 more" in printed
    assert "source c: in the new run only" in printed


def test_ambiguous_ids_are_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("x", "y"):
        write_source(tmp_path / name / "a.zarr", ids=["one", "one", *IDS[2:]])
        run_sources(tmp_path / name / "out", tmp_path / name / "a.zarr")
    args = (tmp_path / "x/out", tmp_path / "y/out")
    result = compare_json(capsys, *args)
    assert (result["images"]["both"], result["images"]["ids_that_occur_twice"]) == (6, 1)
    printed = compare_text(capsys, *args)
    assert "1 id of several images, not compared because they are ambiguous (one)" in printed
    assert f"source a: {tmp_path}/x/a.zarr -> {tmp_path}/y/a.zarr" in printed


def test_renamed_image_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_source(tmp_path / "a.zarr", ids=IDS)
    old = run_sources(tmp_path / "old", tmp_path / "a.zarr")
    zarr.open_group(tmp_path / "a.zarr", mode="r+")["image_id"][2] = "renamed"  # type: ignore[index]
    new = run_sources(tmp_path / "new", tmp_path / "a.zarr", args=("--rank_by", "clc"))
    printed = compare_text(capsys, old, new)
    assert "1 image with another id at the same index: check that they are the same" in printed
    assert "the old run ranks by combined, the new run by clc: their ranks are not comparable" in printed
    assert '  rank_by: "combined" -> "clc"\n' in printed


def test_images_quarantined_in_one_run_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_source(tmp_path / "a.zarr", ids=IDS)
    old = run_sources(tmp_path / "old", source)
    erase_chunks(source.predictions, slice(2, 4))
    new = run_sources(tmp_path / "new", source)
    result = compare_json(capsys, old, new)
    assert (result["images"]["quarantined_in_new"], result["images"]["quarantined_in_old"]) == (2, 0)
    assert [row["image_id"] for row in result["quarantined_in_new"]] == ["scene-2", "scene-3"]
    assert result["new"]["counts"] == {"missing_chunk": 2, "scored": 6}
    printed = compare_text(capsys, old, new)
    assert "  contents of a: " not in printed.split("classes by change")[1]
    assert "  contents of a: changed\n" in printed
    assert "2 images quarantined in the new run only:\n  scene-2  a/2  missing_chunk: chunk " in printed


def test_classes_join_by_name(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The new run has another order, lacks a class, and has two classes of one name."""
    new = run_sources(tmp_path / "new", runs / "a.zarr", args=("--classes", "sky,road,car,car", "--methods", "softmin"))
    result = compare_json(capsys, runs / "old", new)
    by_name = [(row["class"], row["quality_old"] is None, row["quality_new"] is None) for row in result["classes"]]
    assert sorted(by_name) == [
        ("car", False, False),
        ("car", True, False),
        ("road", False, False),
        ("sky", False, False),
        ("tree", False, True),
    ]
    assert {row["class"] for row in result["classes"][-2:]} == {"car", "tree"}
    assert [score["method"] for score in result["scores"]] == ["softmin"]
    assert '  classes: ["road", "sky", "car", "tree"] -> ["sky", "road", "car", "car"]\n' in compare_text(
        capsys, runs / "old", new
    )


def test_runs_without_common_score_or_scored_image_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_data()
    source = write_source(tmp_path / "a.zarr", data, ids=IDS)
    old = run_sources(tmp_path / "old", source, args=("--methods", "clc", "--rank_by", "clc"))
    new = run_sources(tmp_path / "new", source, args=("--methods", "softmin"))
    result = compare_json(capsys, old, new)
    assert (result["scores"], result["shown"], result["images"]["scored_in_both"]) == ([], None, 8)
    assert "rank before" in compare_text(capsys, old, new)
    data.labels[:] = 255
    nothing = run_sources(tmp_path / "nothing", write_source(tmp_path / "b.zarr", data, ids=IDS))
    result = compare_json(capsys, nothing, nothing)
    assert result["old"]["flagged_share"] is None
    assert result["images"]["both"] == 8
    assert "share of labeled pixels" in compare_text(capsys, nothing, nothing)


def test_incomplete_run_is_rejected(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    for args in ((runs / "old", tmp_path), (tmp_path, runs / "new")):
        assert exit_code("compare", *args) == 2
        assert f"{tmp_path} holds no complete run" in error_message(capsys)
