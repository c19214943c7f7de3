"""`masksift evaluate`: metrics, forms of truth, outputs, errors."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from PIL import Image
from scipy.stats import kendalltau
from sklearn.metrics import average_precision_score, roc_auc_score

from evaluation.evaluate.helpers import (
    PlantedErrors,
    evaluate,
    image_name,
    read_metric,
    read_metrics,
    write_image_list,
    write_simulation,
)
from masksift.scoring.methods import score_names
from support.cli import error_message, exit_code, run_cli
from support.results import read_files, read_rows
from support.run_processes import write_dataset_source
from support.sources import write_source


@pytest.fixture(scope="module")
def completed(run: Path, right: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Completed evaluation."""
    out = tmp_path_factory.mktemp("completed") / "ev"
    assert evaluate(run, right, out) == 0
    return out


def image_rows(planted: PlantedErrors, **more: object) -> list[dict[str, object]]:
    return [{"image_id": image_name(i), "changed_share": float(planted.shares[i])} | more for i in planted.images]


# ------------------------------------------------------------------------------------------------- the figures


def test_metrics_of_every_score_equal_sklearn_and_scipy(run: Path, completed: Path, planted: PlantedErrors) -> None:
    images = [row for row in read_rows(run) if row["status"] == "scored"]
    wrong = np.array([row["index"] in planted.images for row in images])
    shares = planted.shares[[row["index"] for row in images]]
    for score in score_names():
        values = np.array([row[score] for row in images])
        for measure, expected in (
            ("auroc", roc_auc_score(wrong, 1 - values)),
            ("average_precision", average_precision_score(wrong, 1 - values)),
            ("kendall_tau", kendalltau(1 - values, shares).statistic),
        ):
            row = read_metric(completed, score, measure)
            assert row["value"] == pytest.approx(expected, abs=1e-12), (score, measure)
            assert row["low"] - 1e-12 <= row["value"] <= row["high"] + 1e-12
            assert (row["images"], row["errors"]) == (23, 6)


def test_precision_and_lift_equal_the_top_of_the_ranking(run: Path, completed: Path, planted: PlantedErrors) -> None:
    top = [row["index"] in planted.images for row in read_rows(run, "ranking")][:6]
    assert read_metric(completed, "combined", "precision", "errors")["value"] == np.mean(top)
    assert read_metric(completed, "combined", "lift", "errors")["value"] == pytest.approx(np.mean(top) * 23 / 6)
    row = read_metric(completed, "softmin", "precision", "100")
    assert (row["value"], row["note"]) == (None, "only 23 images are ranked")


def test_intervals_depend_on_the_seed_only(run: Path, right: Path, completed: Path, tmp_path: Path) -> None:
    assert evaluate(run, right, tmp_path / "same") == 0
    assert evaluate(run, right, tmp_path / "other", "--seed", 1) == 0
    assert read_metrics(tmp_path / "same") == read_metrics(completed)
    assert read_metrics(tmp_path / "other") != read_metrics(completed)
    assert [row["value"] for row in read_metrics(tmp_path / "other")] == [
        row["value"] for row in read_metrics(completed)
    ]


def test_zero_resamples_give_no_intervals(run: Path, right: Path, tmp_path: Path) -> None:
    assert evaluate(run, right, tmp_path / "ev", "--bootstrap", 0) == 0
    assert {row["low"] for row in read_metrics(tmp_path / "ev")} == {None}


def test_intervals_of_random_scores_contain_chance() -> None:
    from masksift.evaluation.evaluate.bootstrap import percentile_interval, resample
    from masksift.evaluation.evaluate.metrics import sort_by_score

    rng = np.random.default_rng(8)
    wrong = np.arange(2000) % 10 == 0
    scores = {name: rng.permutation(2000) / 2000 for name in "abcd"}
    orders = {name: sort_by_score(values, wrong) for name, values in scores.items()}
    samples = resample(orders, (100,), scores, wrong, wrong * 0.5, np.zeros((2000, 0), np.int64), {}, 200, 0)
    for name in scores:
        for key, chance in ((("auroc", ""), 0.5), (("lift", "100"), 1.0), (("kendall_tau", ""), 0.0)):
            interval = percentile_interval(samples.scores[name][key])
            assert interval is not None
            assert interval.low < chance < interval.high, (name, key)
            assert interval.resamples == 200


# -------------------------------------------------------------------------------------------- forms of the truth


@pytest.mark.parametrize("name", ["wrong.csv", "wrong.parquet"])
def test_image_list_gives_the_image_metrics_of_corrected_labels(
    name: str, run: Path, completed: Path, planted: PlantedErrors, tmp_path: Path
) -> None:
    truth = write_image_list(tmp_path / name, image_rows(planted, remark="a, b"))
    assert evaluate(run, truth, tmp_path / "ev") == 0
    image_metrics = [row for row in read_metrics(completed) if not row["measure"].startswith(("pixel", "region"))]
    assert read_metrics(tmp_path / "ev") == image_metrics
    assert "not wrong pixels" in (tmp_path / "ev/report.md").read_text()


def test_image_list_without_shares_has_no_tau_and_allows_duplicates(
    run: Path, completed: Path, planted: PlantedErrors, tmp_path: Path
) -> None:
    names = [{"file": image_name(i)} for i in (*planted.images, planted.images[0])]
    assert evaluate(run, write_image_list(tmp_path / "wrong.csv", names), tmp_path / "ev", "--column", "file") == 0
    row = read_metric(tmp_path / "ev", "softmin", "kendall_tau")
    assert (row["value"], row["note"]) == (None, "the share of wrong pixels is unknown")
    assert read_metric(tmp_path / "ev", "softmin", "auroc") == read_metric(completed, "softmin", "auroc")


def test_numeric_image_ids_are_text(tmp_path: Path) -> None:
    write_source(tmp_path / "s.zarr", ids=[f"{i:04d}" for i in range(8)])
    assert run_cli("run", "--source", tmp_path / "s.zarr", "--out", tmp_path / "out") == 0
    truth = write_image_list(tmp_path / "wrong.csv", [{"image_id": "0001"}, {"image_id": "0007"}])
    assert evaluate(tmp_path / "out", truth, tmp_path / "ev") == 0
    assert read_metric(tmp_path / "ev", "softmin", "auroc")["errors"] == 2


def test_simulation_of_other_sources_matches_by_image_id(run: Path, planted: PlantedErrors, tmp_path: Path) -> None:
    truth = write_simulation(tmp_path / "sim", planted, source="elsewhere")
    assert evaluate(run, truth, tmp_path / "ev") == 0
    assert read_metric(tmp_path / "ev", "softmin", "auroc")["errors"] == 6
    assert not [row for row in read_metrics(tmp_path / "ev") if row["measure"].startswith("pixel")]


def test_simulation_matches_by_source_if_image_ids_repeat(planted: PlantedErrors, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_dataset_source(tmp_path / f"{name}.zarr", planted.data)
    args = ("--source", f"{tmp_path}/[ab].zarr", "--out", tmp_path / "out", "--max_quarantined", 2)
    assert run_cli("run", *args) == 0
    truth = write_simulation(tmp_path / "sim", planted, source="b")
    array = zarr.create_group(str(truth / "labels/a.zarr")).create_array(
        "truth", shape=planted.wrong.shape, dtype="uint8", config={"write_empty_chunks": True}
    )
    array[:] = 0
    assert evaluate(tmp_path / "out", truth, tmp_path / "ev") == 0
    assert read_metric(tmp_path / "ev", "softmin", "auroc")["errors"] == 6
    assert read_metric(tmp_path / "ev", "softmin", "auroc")["images"] == 46


def test_corrected_labels_of_several_sources_match_by_name(planted: PlantedErrors, tmp_path: Path) -> None:
    for place, labels in (("given", planted.given), ("right", planted.right)):
        for name in ("a", "b"):  # b has no corrections
            (tmp_path / place).mkdir(exist_ok=True)
            write_dataset_source(
                tmp_path / place / f"{name}.zarr",
                planted.data._replace(labels=labels if name == "a" else planted.given),
            )
    args = ("--source", f"{tmp_path}/given/*.zarr", "--out", tmp_path / "out", "--max_quarantined", 2)
    assert run_cli("run", *args) == 0
    assert evaluate(tmp_path / "out", f"{tmp_path}/right/*.zarr", tmp_path / "glob") == 0
    reversed_order = ",".join(f"{tmp_path}/right/{name}.zarr" for name in "ba")
    assert evaluate(tmp_path / "out", reversed_order, tmp_path / "reversed_order") == 0
    assert read_metric(tmp_path / "glob", "softmin", "auroc")["errors"] == 6
    assert read_metrics(tmp_path / "glob") == read_metrics(tmp_path / "reversed_order")


def test_quarantined_wrong_images_are_reported(
    run: Path, planted: PlantedErrors, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = write_image_list(
        tmp_path / "wrong.csv", [*image_rows(planted), {"image_id": image_name(3), "changed_share": 0.5}]
    )
    assert evaluate(run, truth, tmp_path / "ev") == 0
    note = "1 of 24 images are not ranked (quarantined): they include 1 of the wrong images, which are not measured."
    assert note in capsys.readouterr().out
    assert note in (tmp_path / "ev/report.md").read_text()
    assert read_metric(tmp_path / "ev", "softmin", "auroc")["errors"] == 6


def test_unknown_images_are_reported_with_exit_code_3(
    run: Path, planted: PlantedErrors, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unknown = [{"image_id": f"other {i}", "changed_share": 0.5} for i in range(7)]
    assert (
        evaluate(run, write_image_list(tmp_path / "wrong.csv", [*image_rows(planted), *unknown]), tmp_path / "ev") == 3
    )
    printed = capsys.readouterr()
    assert "7 images of the truth are not in the run: other 0, other 1, other 2, other 3, other 4, ..." in printed.out
    assert printed.err.startswith("masksift: 7 images of the truth are not in the run")
    assert read_metric(tmp_path / "ev", "softmin", "auroc")["errors"] == 6


def test_truth_without_errors_measures_nothing(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert evaluate(run, run.parent / "given.zarr", tmp_path / "ev") == 0
    assert "nothing is measured: no ranked image is wrong" in capsys.readouterr().out
    metrics = read_metrics(tmp_path / "ev")
    assert {
        row["value"] for row in metrics if row["measure"] not in ("pixel_precision", "pixel_iou", "region_precision")
    } == {None}
    assert all(row["note"] for row in metrics if row["value"] is None)
    assert not (tmp_path / "ev/precision_recall.png").exists()
    assert pq.read_table(tmp_path / "ev/curves.parquet").num_rows == 0


# ------------------------------------------------------------------------------------------------ what it leaves


def test_evaluation_writes_tables_plots_and_report(completed: Path) -> None:
    assert set(read_files(completed)) == {
        "measures.parquet",
        "curves.parquet",
        "report.md",
        "precision_recall.png",
        "recall_over_effort.png",
        "region_precision.png",
    }
    for name in ("precision_recall.png", "recall_over_effort.png"):
        with Image.open(completed / name) as picture:
            assert min(picture.size) > 600
    curves = pq.read_table(completed / "curves.parquet").to_pylist()
    scores = {row["score"] for row in curves if not row["score"].startswith("regions by ")}
    assert scores == set(score_names())
    report = (completed / "report.md").read_text()
    for score in score_names():
        assert len(re.findall(rf"^\| `{score}` \|", report, re.MULTILINE)) == 4
    assert "none: only 23 images are ranked." in report


def test_console_text_names_the_best_score(
    run: Path, right: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(run, right, tmp_path / "ev") == 0
    text = capsys.readouterr().out
    assert re.search(r"best score by AUPRC: \w+, \d\.\d{3} \[\d\.\d{3}, \d\.\d{3}\]; AUROC \d\.\d{3}", text)
    assert re.search(r"reviewing in its order, \d+ images find 50% and \d+ images find 80% of the wrong ones", text)


def test_evaluation_replaces_an_earlier_one(run: Path, right: Path, completed: Path, tmp_path: Path) -> None:
    assert evaluate(run, run.parent / "given.zarr", tmp_path / "ev") == 0
    assert evaluate(run, right, tmp_path / "ev") == 0
    assert read_metrics(tmp_path / "ev") == read_metrics(completed)
    assert evaluate(run, run.parent / "given.zarr", tmp_path / "ev") == 0
    assert sorted(read_files(tmp_path / "ev")) == ["curves.parquet", "measures.parquet", "report.md"]


# ------------------------------------------------------------------------------------------------------ refusals


def assert_refused(capsys: pytest.CaptureFixture[str], match: str, *args: object) -> None:
    capsys.readouterr()
    assert exit_code("evaluate", *args, "--executor.kind", "serial", "--log-format", "quiet") == 2
    assert re.search(match, error_message(capsys))


def test_required_arguments_are_named(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused(capsys, "--truth is required", run, "--out", tmp_path / "ev")
    assert_refused(capsys, "--out is required", run, "--truth", "t.csv")
    assert_refused(capsys, "arguments are required: RUN", "--truth", "t.csv")


def test_evaluation_of_something_else_than_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused(capsys, "holds no complete run", tmp_path, "--truth", "t.csv", "--out", tmp_path / "ev")


def test_output_directory_with_other_files_is_refused(
    run: Path, right: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(capsys, "contains files that are not an evaluation", run, "--truth", right, "--out", run)


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        (("--at", "10,half"), "at contains 'half'"),
        (("--bootstrap", "-1"), "bootstrap must be a number greater than or equal to 0, got '-1'"),
        (("--colum", "name"), "Unknown flag '--colum'"),
        (("--run", "x"), "Unknown flag '--run'"),
    ],
)
def test_invalid_flag_is_refused(
    flags: tuple[str, ...], match: str, run: Path, right: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(capsys, match, run, "--truth", right, "--out", tmp_path / "ev", *flags)


@pytest.mark.parametrize(
    ("table", "match"),
    [
        ([{"name": "a"}], "has no column 'image_id', only name"),
        ([{"image_id": "a", "changed_share": "much"}], "cannot be read as a table"),
        ([{"image_id": "a", "changed_share": 1.5}], r"changed_share of a in .* must be between 0 and 1, got 1\.5"),
        (
            [{"image_id": "a", "changed_share": 0.5}] * 2,
            "The changed_share of an image is ambiguous",
        ),
    ],
)
@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_invalid_image_list_is_refused(
    name: str,
    table: list[dict[str, object]],
    match: str,
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert_refused(capsys, match, run, "--truth", write_image_list(tmp_path / name, table), "--out", tmp_path / "ev")


def test_image_list_with_missing_id_or_missing_file_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = write_image_list(tmp_path / "t.parquet", [{"image_id": "a"}, {"image_id": None}])
    assert_refused(capsys, "has 1 rows without an image", run, "--truth", truth, "--out", tmp_path / "ev")
    assert_refused(capsys, "There is no file", run, "--truth", tmp_path / "none.csv", "--out", tmp_path / "ev")


def test_incomplete_simulation_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sim").mkdir()
    (tmp_path / "sim/simulate.json").write_text("{}")
    assert_refused(capsys, "contains no truth/part", run, "--truth", tmp_path / "sim", "--out", tmp_path / "ev")


def test_unsuitable_corrected_labels_are_refused(
    run: Path, right: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--out", tmp_path / "ev")
    assert_refused(
        capsys, "There is no Zarr group at .*none.*the array 'labels'", run, "--truth", tmp_path / "none.zarr", *out
    )
    assert_refused(capsys, "contains no array 'better'", run, "--truth", right, "--arrays.labels", "better", *out)
    assert_refused(
        capsys,
        "matches 2 groups of corrected labels, but the run has 1",
        run,
        "--truth",
        f"{right},{run.parent}/given.zarr",
        *out,
    )
    group = zarr.create_group(str(tmp_path / "small.zarr"))
    group.create_array("labels", shape=(24, 8, 8), dtype="uint8")
    assert_refused(
        capsys,
        "has 24 images of 8 x 8, but the labels of given are 24 of 16 x 20",
        run,
        "--truth",
        tmp_path / "small.zarr",
        *out,
    )


def test_missing_matplotlib_names_the_extra(
    run: Path,
    right: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert_refused(capsys, r"pip install 'masksift\[show\]'", run, "--truth", right, "--out", tmp_path / "ev")
