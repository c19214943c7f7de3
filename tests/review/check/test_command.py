"""`masksift check`: limits held against a run's own tables; the exit code is the answer."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from masksift.core.errors import UsageError
from masksift.review.check.config import CheckConfig
from review.helpers import record, run
from support.sources import complaint, erase, plain, refuses, rows, typed, write_source

CLASSES = ("--classes", "road,sky,car,tree")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Yesterday's run, and today's: labels of another image each where most are wrong now, and two images lost."""
    place = tmp_path_factory.mktemp("check")
    data = plain(seed=1)
    write_source(place / "a.zarr", data, ids=[f"scene-{i}" for i in range(8)])
    run(place / "old", place / "a.zarr", words=CLASSES)
    data.labels[:] = data.labels[[1, 2, 3, 4, 5, 6, 7, 0]]
    source = write_source(place / "b.zarr", data, ids=[f"scene-{i}" for i in range(8)])
    erase(source.predictions, slice(2, 4))
    run(place / "new", place / "b.zarr", words=CLASSES)
    return place


def found(capsys: pytest.CaptureFixture[str], code: int, *words: object) -> dict[str, Any]:
    capsys.readouterr()
    assert typed("check", *words, "--json") == code
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def quality(out: Path) -> dict[str, tuple[int, int]]:
    """(flagged, pixels) of each class."""
    return {
        row["class_name"]: (row["flagged"], row["pixels"])
        for row in pq.read_table(out / "class_quality.parquet").to_pylist()
    }


def test_flagged_pixels_are_held_against_a_share_and_against_a_number(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder / "new"
    flagged, pixels = record(out)["flagged_pixels"], sum(pixels for _, pixels in quality(out).values())
    assert flagged > 1
    (limit,) = found(capsys, 0, out, "--max-flagged", flagged)["limits"]
    assert limit == {"limit": "max_flagged", "allowed": str(flagged), "found": flagged, "of": pixels, "passed": True}
    assert not found(capsys, 6, out, "--max-flagged", flagged - 1)["passed"]
    assert found(capsys, 0, out, "--max-flagged", "100%")["passed"]
    assert not found(capsys, 6, out, "--max-flagged", f"{99 * flagged / pixels:.6f}%")["passed"]


def test_a_limit_in_per_cent_is_exact() -> None:
    """0.07 x 100 is 7.000000000000001 in binary digits."""
    config = CheckConfig(run="r", max_drop_in_class_quality="7%")
    assert config.drop() == Fraction(7, 100)


def test_quarantined_images_are_counted_and_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "new"
    told = found(capsys, 6, out, "--max-quarantined", "0")
    assert (told["limits"][0]["found"], told["limits"][0]["of"]) == (2, 8)
    assert told["counts"] == {"missing_chunk": 2, "scored": 6}
    left_out = [row for row in rows(out, "images") if row["status"] != "scored"]
    names = ("image_id", "source", "index", "status", "reason")
    assert told["quarantined"] == [{name: row[name] for name in names} for row in left_out]
    assert found(capsys, 0, out, "--max-quarantined", "25%")["passed"]
    assert len(found(capsys, 0, out, "--max-quarantined", "2", "--top", 1)["quarantined"]) == 1
    assert found(capsys, 0, folder / "old", "--max-quarantined", 0)["quarantined"] == []


def test_what_a_workflow_notes_down_of_a_run_stands_beside_the_limits(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told, kept = found(capsys, 0, folder / "new", "--max-quarantined", "100%"), record(folder / "new")
    for name in ("fingerprint", "started", "finished", "seconds", "images", "flagged_pixels", "bytes_read", "retries"):
        assert told[name] == kept[name], name


def test_the_class_that_lost_most_decides(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = quality(folder / "old"), quality(folder / "new")
    drops = {name: Fraction(*new[name]) - Fraction(*old[name]) for name in old}
    worst = max(drops, key=lambda name: drops[name])
    assert drops[worst] > 0
    words = (folder / "new", "--base", folder / "old", "--max-drop-in-class-quality")
    told = found(capsys, 6, *words, "0%")
    assert (told["limits"][0]["class"], told["limits"][0]["found"]) == (worst, float(drops[worst]))
    assert {row["class"] for row in told["classes"]} == {name for name in drops if drops[name] > 0}
    assert told["classes"][0]["class"] == worst
    told = found(capsys, 0, *words, "100%")
    assert (told["classes"], told["base"]) == ([], str(folder / "old"))
    told = found(capsys, 0, folder / "old", "--base", folder / "old", "--max-drop-in-class-quality", 0)
    assert told["limits"][0]["found"] == 0
    capsys.readouterr()
    assert typed("check", folder / "old", "--base", folder / "old", "--max-drop-in-class-quality", 0) == 0
    assert re.search(r"  no class lost any; (road|sky|car|tree) gained least, 0.00 points\n", capsys.readouterr().out)


def test_an_increment_is_held_against_its_own_base(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run(tmp_path / "out", folder / "a.zarr", words=("--base", folder / "old", *CLASSES))
    assert found(capsys, 0, out, "--max-drop-in-class-quality", "5%")["base"] == str(folder / "old")
    assert typed("check", folder / "new", "--max-drop-in-class-quality", "5%") == 2
    assert f"the run at {folder}/new has no base; what its class quality was before is not known" in complaint(capsys)


def test_all_limits_at_once_in_words(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    words = (
        "--base",
        folder / "old",
        "--max-flagged",
        "100%",
        "--max-quarantined",
        "0",
        "--max-drop-in-class-quality",
        "0.01%",
        "--top",
        "1",
    )
    assert typed("check", folder / "new", *words) == 6
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[:3]] == [
        ["kept", "max_flagged", "100%"],
        ["BROKEN", "max_quarantined", "0"],
        ["BROKEN", "max_drop_in_class_quality", "0.01%"],
    ]
    assert lines[1].endswith("2 of 8 images quarantined (25.00 %)")
    assert re.search(r"  (road|sky|car|tree) lost \d+\.\d\d points, the most of all classes$", lines[2])
    assert lines[3] == f"classes that lost more, since {folder}/old:"
    assert lines[-3] == "quarantined:"
    assert lines[-2].startswith("  scene-2  b/2  missing_chunk  chunk ")
    assert lines[-1] == "  and 1 more"


def test_a_run_without_any_labelled_pixel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = plain()
    data.labels[:] = 255
    out = run(tmp_path / "out", write_source(tmp_path / "a.zarr", data))
    assert found(capsys, 0, out, "--max-flagged", "0%")["limits"][0]["of"] == 0
    capsys.readouterr()
    assert typed("check", out, "--max-flagged", "0%") == 0
    assert capsys.readouterr().out.startswith("kept  max_flagged  0%  0 of 0 labelled pixels flagged\n")
    assert typed("check", out, "--base", out, "--max-drop-in-class-quality", "0") == 2
    assert f"no class has labelled pixels in both {out} and {out}" in complaint(capsys)


def test_what_cannot_be_checked_is_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("check", tmp_path, "--max-flagged", "2%") == 2
    assert f"{tmp_path} holds no complete run" in complaint(capsys)
    assert typed("check", folder / "new") == 2
    assert "no limit is given; there is nothing to check" in complaint(capsys)
    assert typed("check", folder / "new", "--max-flagged", "2%", "--base", folder / "old") == 2
    assert "no drop is asked about; the base would not be read" in complaint(capsys)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("max_flagged", "0.02", "is '0.02', which is no number of pixels and no share"),
        ("max_quarantined", "few", "is 'few', which is no number of images and no share"),
        ("max_drop_in_class_quality", "5", "is '5', which is no share"),
        ("max_drop_in_class_quality", "-1%", "is '-1%', which is no number of points and no share"),
    ],
)
def test_what_is_no_limit_is_refused(key: str, value: str, said: str) -> None:
    with refuses(UsageError, f"{key} {said}"):
        CheckConfig(run="r", **{key: value})  # type: ignore[arg-type]
