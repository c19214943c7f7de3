"""Verdicts of reviewers as the truth: accepted images are wrong, rejected ones right, and all others count nowhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from evaluation.evaluate.helpers import Planted, evaluate, plant_errors, read_metric, read_metrics, run_planted
from review.helpers import of_image, of_region, regions_of, review
from support.cli import error_message
from support.results import read_rows
from support.sources import make_data, write_source


@pytest.fixture(scope="module")
def planted() -> Planted:
    return plant_errors()


@pytest.fixture(scope="module")
def run(planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_planted(planted, tmp_path_factory.mktemp("verdicts"))


def test_images_are_measured_as_far_as_they_were_reviewed(
    run: Path, planted: Planted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reviewed = read_rows(run)[:14]
    words = ["accept" if row["index"] in planted.images else "reject" for row in reviewed]
    verdicts = [of_image(row, word) for row, word in zip(reviewed, words, strict=True)]
    unsure = of_image(read_rows(run)[20], "unsure")
    file = review(tmp_path / "verdicts.json", run, *verdicts, unsure)
    assert evaluate(run, file, tmp_path / "ev") == 0
    wrong = np.array([word == "accept" for word in words])
    for score in ("softmin", "clc"):
        values = np.array([row[score] for row in reviewed])
        row = read_metric(tmp_path / "ev", score, "auroc")
        assert row["value"] == pytest.approx(roc_auc_score(wrong, 1 - values), abs=1e-12)
        assert (row["images"], row["errors"]) == (14, wrong.sum())
        row = read_metric(tmp_path / "ev", score, "average_precision")
        assert row["value"] == pytest.approx(average_precision_score(wrong, 1 - values), abs=1e-12)
    printed = capsys.readouterr().out
    assert f"truth: decisions in {file}" in printed
    assert "14 of 24 images were accepted or rejected." in printed
    assert "1 reviewed images are marked unsure and are not measured." in printed
    assert "recall refers to the reviewed images" in (tmp_path / "ev/report.md").read_text()
    assert "The decisions refer to the run" not in printed


def test_an_image_is_wrong_where_one_of_its_regions_is(run: Path, tmp_path: Path) -> None:
    """Accepted in one region: wrong. Rejected in all that were looked at: right. Unsure in one: not known."""
    images = list(dict.fromkeys(row["index"] for row in regions_of(run)))[:3]
    regions = [[row for row in regions_of(run) if row["index"] == index][:2] for index in images]
    verdicts = [of_region(regions[0][0], "reject"), of_region(regions[0][-1], "accept")]
    verdicts += [of_region(row, "reject") for row in regions[1]]
    verdicts += [of_region(regions[2][0], "unsure")]
    assert evaluate(run, review(tmp_path / "verdicts.json", run, *verdicts), tmp_path / "ev") == 0
    row = read_metric(tmp_path / "ev", "softmin", "auroc")
    assert (row["images"], row["errors"]) == (2, 1)


def test_a_run_of_other_sources_goes_by_the_ids(
    run: Path, planted: Planted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["accept" if row["index"] in planted.images else "reject" for row in read_rows(run)]
    verdicts = [of_image(row, word) for row, word in zip(read_rows(run), words, strict=True)]
    assert evaluate(run, review(tmp_path / "own.json", run, *verdicts), tmp_path / "own") == 0
    elsewhere = [{**verdict, "source": "elsewhere", "index": 99 - verdict["index"]} for verdict in verdicts]
    other = review(tmp_path / "other.json", run, *elsewhere, fingerprint="f00d" * 16)
    capsys.readouterr()
    assert evaluate(run, other, tmp_path / "other") == 0
    assert "The decisions refer to the run f00df00df00d, whose labels may differ." in capsys.readouterr().out
    assert read_metrics(tmp_path / "other") == read_metrics(tmp_path / "own")
    elsewhere.append({**elsewhere[0], "index": 3})
    twice = review(tmp_path / "twice.json", run, *elsewhere)
    assert evaluate(run, twice, tmp_path / "twice") == 2
    assert "contains several images with the id 'scene-0000', and the run has other sources" in error_message(capsys)


def test_an_image_that_the_run_does_not_have_is_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = read_rows(run)[:2]
    strange = {**of_image(first, "reject"), "source": "gone", "image_id": "stranger"}
    verdicts = (of_image(first), of_image(second, "reject"), strange)
    assert evaluate(run, review(tmp_path / "verdicts.json", run, *verdicts), tmp_path / "ev") == 3
    printed = capsys.readouterr()
    assert "1 images of the truth are not in the run (stranger)" in printed.err
    assert read_metric(tmp_path / "ev", "softmin", "auroc")["images"] == 2


@pytest.mark.parametrize("verdict", ["accept", "reject", "unsure"])
def test_where_all_is_alike_nothing_is_measured_and_it_is_said(
    verdict: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdicts = [of_image(row, verdict) for row in read_rows(run)[:5]]
    assert evaluate(run, review(tmp_path / "verdicts.json", run, *verdicts), tmp_path / "ev") == 0
    assert "nothing is measured: " in capsys.readouterr().out


def test_quarantined_images_count_nowhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from review.helpers import run as make

    data = make_data()
    data.labels[3] = 255
    write_source(tmp_path / "a.zarr", data)
    out = make(tmp_path / "run", tmp_path / "a.zarr")
    verdicts = [of_image(row, "accept" if row["index"] in (1, 3) else "reject") for row in read_rows(out)]
    assert evaluate(out, review(tmp_path / "verdicts.json", out, *verdicts), tmp_path / "ev") == 0
    assert "they include 1 of the wrong images, which are not measured" in capsys.readouterr().out
    row = read_metric(tmp_path / "ev", "softmin", "auroc")
    assert (row["images"], row["errors"]) == (7, 1)
