"""Review decisions as truth: accepted images are wrong, rejected ones right, others are not measured."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from evaluation.evaluate.helpers import PlantedErrors, evaluate, plant_errors, read_metric, read_metrics, run_planted
from review.helpers import image_decision, read_regions, region_decision, write_decisions
from support.cli import error_message
from support.results import read_rows
from support.sources import make_data, write_source


@pytest.fixture(scope="module")
def planted() -> PlantedErrors:
    return plant_errors()


@pytest.fixture(scope="module")
def run(planted: PlantedErrors, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_planted(planted, tmp_path_factory.mktemp("decisions"), "--regions.min_area", 1)


def test_decisions_measure_only_reviewed_images(
    run: Path, planted: PlantedErrors, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reviewed = read_rows(run)[:14]
    labels = ["accept" if row["index"] in planted.images else "reject" for row in reviewed]
    decisions = [image_decision(row, value) for row, value in zip(reviewed, labels, strict=True)]
    unsure = image_decision(read_rows(run)[20], "unsure")
    file = write_decisions(tmp_path / "decisions.json", run, *decisions, unsure)
    assert evaluate(run, file, tmp_path / "ev") == 0
    wrong = np.array([label == "accept" for label in labels])
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


def decide_on_regions(run: Path) -> list[dict[str, Any]]:
    """Decisions on four images with several regions: one region accepted, all rejected, all but one rejected, and all
    decided with one unsure."""
    by_image: dict[int, list[dict[str, Any]]] = {}
    for row in read_regions(run):
        by_image.setdefault(row["index"], []).append(row)
    accepted, rejected, partial, unsure = [rows for rows in by_image.values() if len(rows) > 1][:4]
    decisions = [region_decision(accepted[0], "reject"), region_decision(accepted[-1], "accept")]
    decisions += [region_decision(row, "reject") for row in [*rejected, *partial[1:], *unsure[1:]]]
    return [*decisions, region_decision(unsure[0], "unsure")]


def test_image_is_right_only_if_all_listed_regions_are_rejected(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_decisions(tmp_path / "decisions.json", run, *decide_on_regions(run))
    assert evaluate(run, file, tmp_path / "ev") == 0
    row = read_metric(tmp_path / "ev", "softmin", "auroc")
    assert (row["images"], row["errors"]) == (2, 1)
    printed = capsys.readouterr().out
    assert "2 of 24 images were accepted or rejected." in printed
    assert "1 reviewed images are marked unsure and are not measured." in printed
    assert "1 images are partly reviewed" in printed


def test_decisions_on_another_run_use_the_numbers_of_listed_regions_in_the_file(run: Path, tmp_path: Path) -> None:
    decisions = decide_on_regions(run)
    listed = Counter(row["index"] for row in read_regions(run))
    complete = [{**decision, "listed_regions": listed[decision["index"]]} for decision in decisions]
    for name, entries, expected in (("old", decisions, (1, 1)), ("new", complete, (2, 1))):
        file = write_decisions(tmp_path / f"{name}.json", run, *entries, fingerprint="f00d" * 16)
        assert evaluate(run, file, tmp_path / name) == 0
        row = read_metric(tmp_path / name, "softmin", "auroc")
        assert (row["images"], row["errors"]) == expected


def test_decisions_on_a_run_with_a_cut_region_table_count_its_rows(planted: PlantedErrors, tmp_path: Path) -> None:
    out = run_planted(planted, tmp_path, "--regions.top", 3)
    regions = read_regions(out)
    assert len(regions) == 3
    decisions = [region_decision(row, "reject") for row in regions]
    assert evaluate(out, write_decisions(tmp_path / "decisions.json", out, *decisions), tmp_path / "ev") == 0
    row = read_metric(tmp_path / "ev", "softmin", "auroc")
    assert (row["images"], row["errors"]) == (len({row["index"] for row in regions}), 0)


def test_decisions_on_other_sources_match_by_image_id(
    run: Path, planted: PlantedErrors, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = ["accept" if row["index"] in planted.images else "reject" for row in read_rows(run)]
    decisions = [image_decision(row, value) for row, value in zip(read_rows(run), values, strict=True)]
    assert evaluate(run, write_decisions(tmp_path / "own.json", run, *decisions), tmp_path / "own") == 0
    elsewhere = [{**decision, "source": "elsewhere", "index": 99 - decision["index"]} for decision in decisions]
    other = write_decisions(tmp_path / "other.json", run, *elsewhere, fingerprint="f00d" * 16)
    capsys.readouterr()
    assert evaluate(run, other, tmp_path / "other") == 0
    assert "The decisions refer to the run f00df00df00d, whose labels may differ." in capsys.readouterr().out
    assert read_metrics(tmp_path / "other") == read_metrics(tmp_path / "own")
    elsewhere.append({**elsewhere[0], "index": 3})
    twice = write_decisions(tmp_path / "twice.json", run, *elsewhere)
    assert evaluate(run, twice, tmp_path / "twice") == 2
    assert "contains several images with the id 'scene-0000', and the run has other sources" in error_message(capsys)


def test_decision_on_unknown_image_is_reported(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = read_rows(run)[:2]
    unknown = {**image_decision(first, "reject"), "source": "gone", "image_id": "unknown-image"}
    decisions = (image_decision(first), image_decision(second, "reject"), unknown)
    assert evaluate(run, write_decisions(tmp_path / "decisions.json", run, *decisions), tmp_path / "ev") == 3
    printed = capsys.readouterr()
    assert "1 images of the truth are not in the run (unknown-image)" in printed.err
    assert read_metric(tmp_path / "ev", "softmin", "auroc")["images"] == 2


@pytest.mark.parametrize("decision", ["accept", "reject", "unsure"])
def test_equal_decisions_measure_nothing(
    decision: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decisions = [image_decision(row, decision) for row in read_rows(run)[:5]]
    assert evaluate(run, write_decisions(tmp_path / "decisions.json", run, *decisions), tmp_path / "ev") == 0
    assert "nothing is measured: " in capsys.readouterr().out


def test_decisions_on_quarantined_images_are_not_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from review.helpers import run_sources

    data = make_data()
    data.labels[3] = 255
    write_source(tmp_path / "a.zarr", data)
    out = run_sources(tmp_path / "run", tmp_path / "a.zarr")
    decisions = [image_decision(row, "accept" if row["index"] in (1, 3) else "reject") for row in read_rows(out)]
    assert evaluate(out, write_decisions(tmp_path / "decisions.json", out, *decisions), tmp_path / "ev") == 0
    assert "they include 1 of the wrong images, which are not measured" in capsys.readouterr().out
    row = read_metric(tmp_path / "ev", "softmin", "auroc")
    assert (row["images"], row["errors"]) == (7, 1)
