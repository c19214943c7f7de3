"""`masksift compare`: what differs between two runs, by their own tables, and what got better."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr

from review.helpers import correct, of_region, record, regions_of, review, run
from support.datasets import Data
from support.sources import complaint, erase, plain, rows, typed, write_source

IDS = [f"scene-{i}" for i in range(8)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over two sources, and one over corrected labels of the second."""
    place = tmp_path_factory.mktemp("compare")
    for name, seed in (("a", 1), ("b", 2)):
        write_source(place / f"{name}.zarr", plain(seed=seed), ids=[f"{name}-{one}" for one in IDS])
    run(place / "old", place / "[ab].zarr", words=("--classes", "road,sky,car,tree"))
    verdicts = review(place / "v.json", place / "old", *map(of_region, regions_of(place / "old", source="b")))
    correct(place / "old", verdicts, place / "fixed")
    words = ("--classes", "road,sky,car,tree", "--labels_from", place / "fixed", "--softmin.temperature", 0.2)
    run(place / "new", place / "[ab].zarr", words=words)
    return place


def found(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    capsys.readouterr()
    assert typed("compare", *words, "--json") == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def text(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    assert typed("compare", *words) == 0
    return capsys.readouterr().out


def by_id(out: Path, table: str = "ranking") -> dict[str, dict[str, Any]]:
    return {row["image_id"]: row for row in rows(out, table)}


def test_the_numbers_are_those_of_the_tables(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = found(capsys, folder / "old", folder / "new", "--top", 100)
    old, new = by_id(folder / "old"), by_id(folder / "new")
    assert told["images"]["scored_in_both"] == len(old) == 16
    for way, sign in (("up", 1), ("down", -1)):
        changes = {name: new[name]["percentile"] - old[name]["percentile"] for name in old}
        wanted = sorted(
            (-abs(change), new[name]["source"], new[name]["index"])
            for name, change in changes.items()
            if change * sign > 0
        )
        assert [(row["source"], row["index"]) for row in told[way]] == [one[1:] for one in wanted]
        for row in told[way]:
            assert row["old_rank"] == old[row["image_id"]]["rank"]
            assert row["new_score"] == new[row["image_id"]]["softmin"]
            assert row["change"] == changes[row["image_id"]]
    assert told["up"]
    assert told["down"]
    for score in told["scores"]:
        name = score["method"]
        assert score["old"] == pytest.approx(np.mean([row[name] for row in old.values()]), abs=1e-15)
        assert score["new"] == pytest.approx(np.mean([row[name] for row in new.values()]), abs=1e-15)
        assert score["rose"] == sum(new[one][name] > old[one][name] for one in old)
    for side in ("old", "new"):
        facts = record(folder / side)
        quality = pq.read_table(folder / side / "class_quality.parquet").to_pylist()
        assert told[side]["flagged_pixels"] == facts["flagged_pixels"]
        assert told[side]["flagged_share"] == facts["flagged_pixels"] / sum(row["pixels"] for row in quality)
        assert told[side]["counts"] == {"scored": 16}
        for row in told["classes"]:
            (own,) = [one for one in quality if one["class_name"] == row["class"]]
            assert (row[f"pixels_{side}"], row[f"quality_{side}"]) == (own["pixels"], own["quality"])
    changes = [abs(row["change"]) for row in told["classes"]]
    assert changes == sorted(changes, reverse=True)
    assert changes[0] > 0


def test_what_differs_is_said_a_line_each(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = text(capsys, folder / "old", folder / "new", "-n", 2)
    assert (
        f'what differs:\n  labels_from: not set -> "{folder}/fixed"\n  softmin.temperature: 0.1 -> 0.2\n'
        f"  labels of b: {folder}/b.zarr/labels -> {folder}/fixed/b.zarr/labels\n\n"
    ) in told
    assert "most changed in rank, later in the ranking" in told
    assert len(told.split("earlier in the ranking")[1].splitlines()) <= 4
    keys = {one["key"] for one in found(capsys, folder / "old", folder / "new")["differences"]}
    assert keys == {"labels_from", "softmin.temperature"}


def test_a_run_compared_with_itself_is_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = found(capsys, folder / "old", folder / "old")
    assert (told["differences"], told["up"], told["down"]) == ([], [], [])
    assert {row["change"] for row in told["classes"]} == {0.0}
    assert all(score["old"] == score["new"] and not score["rose"] for score in told["scores"])
    assert "what differs: no key and no source" in text(capsys, folder / "old", folder / "old")


def test_the_change_may_be_that_of_a_score(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = found(capsys, folder / "old", folder / "new", "--by", "clc")
    old, new = by_id(folder / "old"), by_id(folder / "new")
    best = max(old, key=lambda name: new[name]["clc"] - old[name]["clc"])
    assert told["up"][0]["image_id"] == best
    assert told["up"][0]["change"] == new[best]["clc"] - old[best]["clc"]
    assert "most changed in clc, higher" in text(capsys, folder / "old", folder / "new", "--by", "clc")
    assert typed("compare", folder / "old", folder / "new", "--by", "clcc") == 2
    assert "by is 'clcc', and the scores of both runs are ccp, " in complaint(capsys)


def test_images_that_lie_elsewhere_are_known_by_their_ids(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first four images of `b` turned around, in a source of another name, beside one that is new."""
    data = plain(seed=2)
    turned = Data(data.predictions[3::-1], data.labels[3::-1], data.ignore)
    write_source(tmp_path / "c.zarr", turned, ids=[f"b-{IDS[i]}" for i in (3, 2, 1)] + ["fresh"])
    out = run(tmp_path / "out", tmp_path / "c.zarr", folder / "a.zarr", words=("--classes", "road,sky,car,tree"))
    told = found(capsys, folder / "old", out)
    assert told["sources"]["only_old"] == {"count": 1, "first": ["b"]}
    assert told["sources"]["only_new"] == {"count": 1, "first": ["c"]}
    assert (told["images"]["both"], told["images"]["only_old"], told["images"]["only_new"]) == (11, 5, 1)
    assert [row["image_id"] for row in told["only_new"]] == ["fresh"]
    printed = text(capsys, folder / "old", out, "-n", 2)
    assert "5 images in the old run alone:\n  b-scene-0  b/0  scored\n  b-scene-4  b/4  scored\n  and 3 more" in printed
    assert "source c: in the new run alone" in printed


def test_ids_of_several_images_are_left_out_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place in ("x", "y"):
        write_source(tmp_path / place / "a.zarr", ids=["one", "one", *IDS[2:]])
        run(tmp_path / place / "out", tmp_path / place / "a.zarr")
    words = (tmp_path / "x/out", tmp_path / "y/out")
    told = found(capsys, *words)
    assert (told["images"]["both"], told["images"]["ids_that_occur_twice"]) == (6, 1)
    printed = text(capsys, *words)
    assert "1 id of several images: left out, since nothing tells which is which (one)" in printed
    assert f"source a: {tmp_path}/x/a.zarr -> {tmp_path}/y/a.zarr" in printed


def test_an_image_at_its_place_with_another_id_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_source(tmp_path / "a.zarr", ids=IDS)
    old = run(tmp_path / "old", tmp_path / "a.zarr")
    zarr.open_group(tmp_path / "a.zarr", mode="r+")["image_id"][2] = "renamed"  # type: ignore[index]
    new = run(tmp_path / "new", tmp_path / "a.zarr", words=("--rank_by", "clc"))
    printed = text(capsys, old, new)
    assert "1 image at the same place with another id: see that they are the same" in printed
    assert "the old run ranks by softmin, the new one by clc: ranks are places in different orders" in printed
    assert '  rank_by: "softmin" -> "clc"\n' in printed


def test_images_that_are_quarantined_in_one_run_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_source(tmp_path / "a.zarr", ids=IDS)
    old = run(tmp_path / "old", source)
    erase(source.predictions, slice(2, 4))
    new = run(tmp_path / "new", source)
    told = found(capsys, old, new)
    assert (told["images"]["quarantined_in_new"], told["images"]["quarantined_in_old"]) == (2, 0)
    assert [row["image_id"] for row in told["quarantined_in_new"]] == ["scene-2", "scene-3"]
    assert told["new"]["counts"] == {"missing_chunk": 2, "scored": 6}
    printed = text(capsys, old, new)
    assert "  contents of a: " not in printed.split("classes, those")[1]
    assert "  contents of a: changed\n" in printed
    assert "2 images quarantined in the new run alone:\n  scene-2  a/2  missing_chunk: chunk " in printed


def test_classes_are_known_by_their_names(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another order, one that is gone, one that is new, and two of one name."""
    new = run(tmp_path / "new", folder / "a.zarr", words=("--classes", "sky,road,car,car", "--methods", "softmin"))
    told = found(capsys, folder / "old", new)
    by_name = [(row["class"], row["quality_old"] is None, row["quality_new"] is None) for row in told["classes"]]
    assert sorted(by_name) == [
        ("car", False, False),
        ("car", True, False),
        ("road", False, False),
        ("sky", False, False),
        ("tree", False, True),
    ]
    assert {row["class"] for row in told["classes"][-2:]} == {"car", "tree"}
    assert [score["method"] for score in told["scores"]] == ["softmin"]
    assert '  classes: ["road", "sky", "car", "tree"] -> ["sky", "road", "car", "car"]\n' in text(
        capsys, folder / "old", new
    )


def test_runs_without_a_common_score_and_without_a_scored_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = plain()
    source = write_source(tmp_path / "a.zarr", data, ids=IDS)
    old = run(tmp_path / "old", source, words=("--methods", "clc", "--rank_by", "clc"))
    new = run(tmp_path / "new", source, words=("--methods", "softmin"))
    told = found(capsys, old, new)
    assert (told["scores"], told["shown"], told["images"]["scored_in_both"]) == ([], None, 8)
    assert "rank before" in text(capsys, old, new)
    data.labels[:] = 255
    nothing = run(tmp_path / "nothing", write_source(tmp_path / "b.zarr", data, ids=IDS))
    told = found(capsys, nothing, nothing)
    assert told["old"]["flagged_share"] is None
    assert told["images"]["both"] == 8
    assert "of all labelled" in text(capsys, nothing, nothing)


def test_what_is_no_complete_run_is_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    for words in ((folder / "old", tmp_path), (tmp_path, folder / "new")):
        assert typed("compare", *words) == 2
        assert f"{tmp_path} holds no complete run" in complaint(capsys)
