"""Reports: rows, regions, summary and images equal the stored results; repeated, partial and refused reports."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr

from masksift.core.errors import UsageError
from masksift.engine import result_tables as results
from masksift.review.report import command, run_summary, tasks, writer
from masksift.review.report import regions as report_regions
from review.report.report_files import Page, make_rgb, write_rgb_source
from support.cli import error_message, exit_code, run_cli
from support.datasets import Data
from support.errors import raises
from support.results import read_files, read_rows
from support.sources import erase_chunks, make_data, write_source

NAMES = ("<img src=x onerror=alert(1)>", 'Straße & "Weg"', "道路\u2028</script>", "line\nbreak, 'quoted' \\")
IDS = ("<b>0</b>", "ä\n1", "صورة-2", "x", "&amp;4", "\U0001f6f8", "-->", "</script><script>alert(7)</script>")


def run(source: object, out: Path, *args: object, code: int = 0) -> Page:
    assert run_cli("run", "--source", source, "--out", out, *args) == code
    return Page(out)


def read_table(out: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(out / name).to_pylist()
    return rows


@pytest.fixture(autouse=True)
def small_ranking_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read and write the ranking in parts of three rows."""
    monkeypatch.setattr(results, "RANKING_PART_ROWS", 3)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, Data]:
    """A report on six of eight images, with several files of each kind."""
    directory, data = tmp_path_factory.mktemp("report"), make_data(dtype="uint8")
    write_rgb_source(directory / "s.zarr", data, classes=NAMES, ids=IDS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "RANKING_PART_ROWS", 3)
        patch.setattr(results, "REGION_PART_ROWS", 4)
        for module in (run_summary, writer):
            patch.setattr(module, "IMAGES_PER_FILE", 4)
            patch.setattr(module, "REGION_IMAGES_PER_FILE", 2)
        page = run(directory / "s.zarr", directory / "out", "--report.top", 6, "--regions.min_area", 1)
    return page, data


def test_rows_are_the_first_of_the_ranking(report: tuple[Page, Data]) -> None:
    page, _ = report
    ranked = read_rows(page.out, "ranking")[:6]
    images = {row["image_id"]: row for row in read_rows(page.out)}
    assert len(page.rows) == page.summary["rows"] == 6
    for row, expected in zip(page.rows, ranked, strict=True):
        image = images[expected["image_id"]]
        assert [row[name] for name in ("rank", "image_id", "index", "status", "reason")] == [
            expected["rank"],
            expected["image_id"],
            expected["index"],
            "scored",
            None,
        ]
        assert page.summary["sources"][row["source"]] == expected["source"]
        assert [row[name] for name in page.summary["methods"]] == [
            round(expected[m], 6) for m in page.summary["methods"]
        ]
        assert row["flagged"] == image["flagged_pixels"]
        assert row["size"] == row["view_size"] == [8, 10]
        worst = [image["worst_given"], image["worst_suggested"]]
        assert row["pair"] == (None if None in worst else worst)
        z = image["worst_class_z"] or 0
        assert row["agrees_less"] == ([image["worst_class"], z >= 4] if z >= 2 else None)
        assert row["misplaced"] == ""  # the images are too small
        assert row["warnings"] == []
    assert len(list((page.directory / "data").glob("rows-*.js"))) == 2


def test_regions_are_those_of_the_region_table(report: tuple[Page, Data]) -> None:
    page, _ = report
    all_regions = read_rows(page.out, "regions")
    assert any(page.regions)
    for row, regions in zip(page.rows, page.regions, strict=True):
        own = [one for one in all_regions if one["image_id"] == row["image_id"]]
        expected = [
            [round(v, 4) if isinstance(v, float) else v for v in map(one.get, report_regions.COLUMNS)] for one in own
        ]
        assert regions == expected
        assert row["regions"] == row["listed_regions"] == len(own)
        assert {tuple(pair) for pair in row["pairs"]} == {(one["given"], one["suggested"]) for one in own}
        assert len(row["pairs"]) == len({tuple(pair) for pair in row["pairs"]})
    assert len(list((page.directory / "data").glob("regions-*.js"))) == 3


def test_number_of_regions_per_image_is_limited(
    report: tuple[Page, Data], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = report
    shutil.copytree(whole.out, tmp_path / "out")
    monkeypatch.setattr(report_regions, "MAX_REGIONS_PER_IMAGE", 2)
    assert run_cli("report", tmp_path / "out") == 0
    page = Page(tmp_path / "out")
    assert page.regions == [regions[:2] for regions in whole.regions]
    assert [row["listed_regions"] for row in page.rows] == [len(regions) for regions in whole.regions]
    assert max(map(len, whole.regions)) > 2


def test_summary_equals_record_and_tables(report: tuple[Page, Data]) -> None:
    page, _ = report
    summary, record = page.summary, json.loads((page.out / "run.json").read_text())
    assert summary["run"] == record["fingerprint"]
    for name in ("started", "images", "counts", "flagged_pixels", "estimated_issues"):
        assert summary[name] == record[name], name
    assert (summary["format"], summary["finished"], summary["scored"], summary["ranked_by"]) == (2, None, 8, "combined")
    assert summary["methods"] == record["configuration"]["methods"]
    assert summary["masksift"] == record["versions"]["masksift"]
    assert [stage["name"] for stage in summary["stages"]] == ["condense", "thresholds", "score", "rank"]
    assert [stage["name"] for stage in record["stages"]][-1] == "report"
    assert record["stages"][-1]["puts"] >= len(read_files(page.directory))
    quality, thresholds = (read_table(page.out, f"{name}.parquet") for name in ("class_quality", "thresholds"))
    assert [one["name"] for one in summary["classes"]] == list(NAMES)
    for one, row, limit in zip(summary["classes"], quality, thresholds, strict=True):
        assert [one[name] for name in ("pixels", "flagged", "quality")] == [
            row["pixels"],
            row["flagged"],
            row["quality"],
        ]
        assert one["confident_threshold"] == limit["confident_threshold"]
        assert one["decision_threshold"] == limit["decision_threshold"]
    assert len({one["color"] for one in summary["classes"]}) == 4
    assert summary["pixels"] == sum(one["pixels"] for one in quality)
    pairs = read_table(page.out, "class_pairs.parquet")
    assert summary["pairs"] == [[one[name] for name in ("given", "suggested", "pixels", "images")] for one in pairs]


def test_histograms_and_budget_cover_all_scored_images(report: tuple[Page, Data]) -> None:
    page, _ = report
    ranked = read_rows(page.out, "ranking")
    assert len(ranked) > len(page.rows)
    for name, counts in page.summary["distribution"].items():
        values = np.array([row[name] for row in ranked])
        expected = [int(((values >= k / 100) & (values < (k + 1) / 100)).sum()) for k in range(100)]
        expected[99] += int((values == 1).sum())
        assert counts == expected, name
    assert page.summary["budget"] == [[k + 1, round(row["score"], 6)] for k, row in enumerate(ranked)]


def test_names_are_escaped_in_all_files(report: tuple[Page, Data]) -> None:
    page, _ = report
    for name, data in read_files(page.directory / "data").items():
        text = data.decode("ascii")
        assert not set("<>&") & set(text), name
        assert text.count("\n") == 1
    assert {row["image_id"] for row in page.rows} <= set(IDS)
    assert [one["name"] for one in page.summary["classes"]] == list(NAMES)


def test_planes_and_images_equal_the_stored_arrays(report: tuple[Page, Data]) -> None:
    page, data = report
    masks = zarr.open_array(page.out / "evidence/s.zarr/issue_mask", mode="r")[...]
    for number, row in enumerate(page.rows):
        index = row["index"]
        planes, labels = page.planes(number), data.labels[index].astype(int)
        assert row["planes"] == "gpi"
        np.testing.assert_array_equal(planes["g"], np.where(labels == 255, 0, labels + 1))
        predicted = data.predictions[index].argmax(axis=0)
        np.testing.assert_array_equal(planes["p"], predicted + 1)
        np.testing.assert_array_equal(planes["i"], np.where(np.asarray(masks[index]) > 0, 255, 0))
        assert row["classes"] == sorted({*np.unique(labels[labels != 255]), *np.unique(predicted)})
        assert row["picture"]
        assert np.abs(page.rgb(number).astype(int) - make_rgb(data)[index]).max() <= 8
    (first,) = {row["sheet"][0] for row in page.rows}
    assert page.image_files == {f"{first:08d}.jpg", f"{first:08d}.png"}, "small images share the files"


def test_large_image_is_downscaled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "MAX_SIDE_PIXELS", 4)
    write_rgb_source(tmp_path / "s.zarr", make_data(images=2))
    page = run(tmp_path / "s.zarr", tmp_path / "out")
    assert {(tuple(row["size"]), tuple(row["view_size"])) for row in page.rows} == {((8, 10), (3, 4))}
    assert page.rgb(0).shape == (3, 4, 3)
    assert page.planes(1)["g"].shape == (3, 4)


def test_source_without_images_shows_planes_and_warns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_source(tmp_path / "s.zarr", make_data(images=3))
    assert exit_code("run", "--source", source, "--out", tmp_path / "out", "--executor.kind", "serial") == 0
    page = Page(tmp_path / "out")
    assert [(row["picture"], row["planes"], row["warnings"]) for row in page.rows] == [(False, "gpi", [])] * 3
    assert page.image_files == {f"{page.rows[0]['sheet'][0]:08d}.png"}
    printed = capsys.readouterr()
    assert (
        f"no images: {source} contains no array 'images': the report shows the planes without images\n" in printed.err
    )
    assert f"report: {tmp_path / 'out'}/report/index.html\n" in printed.out


def test_images_array_may_have_another_name_or_url(tmp_path: Path) -> None:
    data = make_data(images=2)
    write_source(tmp_path / "s.zarr", data)
    write_rgb_source(tmp_path / "photos" / "s.zarr", data)
    out = tmp_path / "out"
    page = run(tmp_path / "s.zarr", out, "--arrays.images", f"{tmp_path}/photos/{{source}}.zarr/images")
    assert [row["picture"] for row in page.rows] == [True, True]
    assert run_cli("report", out, "--arrays.images", "photos") == 0
    assert [row["picture"] for row in Page(out).rows] == [False, False]
    assert run_cli("report", out) == 0
    assert [row["picture"] for row in Page(out).rows] == [True, True], "the array of the run is the default"


@pytest.mark.parametrize("classes", [150, 254, 300])
def test_many_classes_have_distinct_planes(tmp_path: Path, classes: int) -> None:
    data = make_data(images=2, classes=classes, ignore=None)
    write_source(tmp_path / "s.zarr", data)
    page = run(tmp_path / "s.zarr", tmp_path / "out", "--methods", "softmin")
    own = [[int(one["color"][at : at + 2], 16) for at in (1, 3, 5)] for one in page.summary["classes"]]
    assert len(own) == classes
    for number, row in enumerate(page.rows):
        planes, labels = page.planes(number), data.labels[row["index"]]
        if classes <= 254:
            np.testing.assert_array_equal(planes["g"], labels + 1)
            continue
        np.testing.assert_array_equal(planes["g"][..., :3], np.array(own)[labels])
        assert (planes["g"][..., 3] == 255).all()
        flagged = planes["i"][..., 3] > 0
        mask = zarr.open_array(tmp_path / "out/evidence/s.zarr/issue_mask", mode="r")[row["index"]]
        np.testing.assert_array_equal(flagged, np.asarray(mask) > 0)


def test_padded_image_is_cropped_to_its_size(tmp_path: Path) -> None:
    data = make_data(images=3)
    source = write_rgb_source(tmp_path / "s.zarr", data)
    group = zarr.open_group(source.path, mode="a")
    for name, own in {"height": [8, 5, 7], "width": [10, 9, 3]}.items():
        group.create_array(name, data=np.array(own, np.int32), chunks=(3,))
    page = run(source, tmp_path / "out")
    for number, row in enumerate(page.rows):
        height, width = [(8, 10), (5, 9), (7, 3)][row["index"]]
        assert row["size"] == row["view_size"] == [height, width]
        assert page.rgb(number).shape == (height, width, 3)
        labels = data.labels[row["index"], :height, :width].astype(int)
        np.testing.assert_array_equal(page.planes(number)["g"], np.where(labels == 255, 0, labels + 1))


def test_quarantined_images_follow_with_their_reasons(tmp_path: Path) -> None:
    source = write_rgb_source(tmp_path / "s.zarr", make_data())
    erase_chunks(source.predictions, slice(2, 6))
    page = run(source, tmp_path / "out", "--report.top", 3, code=3)
    assert [row["rank"] for row in page.rows] == [1, 2, 3, None, None, None]
    quarantined = [row for row in read_rows(tmp_path / "out") if row["status"] != "scored"][:3]
    for row, image in zip(page.rows[3:], quarantined, strict=True):
        assert (row["image_id"], row["status"], row["reason"]) == (
            image["image_id"],
            "missing_chunk",
            image["reason"],
        )
        assert [row[name] for name in page.summary["methods"]] == [None] * len(page.summary["methods"])
        assert (row["flagged"], row["pair"], row["regions"]) == (None, None, 0)
        assert (row["picture"], row["planes"]) == (True, "g")
    assert page.summary["counts"] == {"scored": 4, "missing_chunk": 4}
    (cause,) = page.summary["quarantine"]
    assert (cause["status"], cause["images"], cause["reason"]) == ("missing_chunk", 4, quarantined[0]["reason"])
    assert "were not written" in cause["advice"]


def test_valid_part_of_bad_labels_is_shown(tmp_path: Path) -> None:
    data = make_data(images=3)
    data.labels[1, 2, 3] = 77
    page = run(write_rgb_source(tmp_path / "s.zarr", data), tmp_path / "out", code=3)
    (row,) = [row for row in page.rows if row["status"] == "bad_labels"]
    assert "label 77 at (y=2, x=3)" in row["reason"]
    assert row["warnings"] == []
    given = page.planes(2)["g"]
    assert given[2, 3] == 0
    np.testing.assert_array_equal(given, np.where(data.labels[1] < 4, data.labels[1] + 1, 0))


def test_run_without_scored_images_has_a_report(tmp_path: Path) -> None:
    data = make_data(images=3)
    source = write_rgb_source(tmp_path / "s.zarr", data._replace(labels=np.full_like(data.labels, 255)))
    page = run(source, tmp_path / "out", code=3)
    assert [(row["rank"], row["status"]) for row in page.rows] == [(None, "all_ignored")] * 3
    assert (page.summary["scored"], page.summary["budget"], page.summary["pairs"]) == (0, [], [])
    assert not any(any(counts) for counts in page.summary["distribution"].values())
    assert [one["quality"] for one in page.summary["classes"]] == [None] * 4
    assert (page.planes(0)["g"] == 0).all()


def test_deleted_arrays_are_reported_with_each_row(tmp_path: Path) -> None:
    source = write_rgb_source(tmp_path / "s.zarr", make_data(images=4))
    out = run(source, tmp_path / "out").out
    shutil.rmtree(source.path / "images/c/0")
    shutil.rmtree(source.labels)
    assert run_cli("report", out) == 0
    page = Page(out)
    for row in page.rows:
        assert row["planes"] == "pi"
        assert row["picture"] == (row["index"] > 1)
        assert any("labels" in warning for warning in row["warnings"])
        assert any("images" in warning for warning in row["warnings"]) == (row["index"] < 2)
    shutil.rmtree(source.path)
    assert run_cli("report", out) == 0
    assert {row["planes"] for row in Page(out).rows} == {"pi"}


def test_run_without_kept_evidence_shows_predictions_once(tmp_path: Path) -> None:
    source = write_rgb_source(tmp_path / "s.zarr", make_data(images=3))
    page = run(source, tmp_path / "out", "--evidence.keep", "false")
    assert not (page.out / "evidence/s.zarr/predicted_class").exists()
    assert page.summary["keeps_evidence"]
    assert {row["planes"] for row in page.rows} == {"gpi"}
    assert run_cli("report", page.out) == 0
    page = Page(page.out)
    assert not page.summary["keeps_evidence"]
    assert {row["planes"] for row in page.rows} == {"gi"}


def test_page_of_many_sources_has_their_path_columns(tmp_path: Path) -> None:
    for day, seed in (("21", 1), ("22", 2), ("23", 3)):
        write_rgb_source(tmp_path / f"dt={day}", make_data(images=3, seed=seed))
    write_source(tmp_path / "other.zarr", make_data(images=2, seed=4))
    args = ("--source", tmp_path / "other.zarr", "--report.top", 20)
    page = run(tmp_path / "dt=*", tmp_path / "out", *args)
    assert page.summary["columns"] == ["dt"]
    assert page.summary["sources"] == ["dt=21", "dt=22", "dt=23", "other"]
    for row, expected in zip(page.rows, read_rows(tmp_path / "out", "ranking"), strict=True):
        assert page.summary["sources"][row["source"]] == expected["source"]
        assert (row["index"], row["dt"]) == (expected["index"], expected["dt"])
        assert row["picture"] == (expected["source"] != "other")


def test_run_with_reused_evidence_shows_predictions(tmp_path: Path) -> None:
    first = write_rgb_source(tmp_path / "a.zarr", make_data(images=3))
    base = run(first, tmp_path / "base").out
    write_rgb_source(tmp_path / "b.zarr", make_data(images=2, seed=5))
    page = run(tmp_path / "*.zarr", tmp_path / "out", "--base", base)
    assert {(row["planes"], row["picture"]) for row in page.rows} == {("gpi", True)}
    before = read_files(page.directory / "pictures")
    assert run_cli("report", page.out) == 0
    assert read_files(page.directory / "pictures") == before
    again = tmp_path / "again"
    assert run_cli("score", page.out, "--out", again, "--softmin.temperature", 0.5, "--report.top", 2) == 0
    assert [row["planes"] for row in Page(again).rows] == ["gpi", "gpi"]


def test_cluster_renders_equal_bytes(report: tuple[Page, Data], tmp_path: Path, scheduler_address: str) -> None:
    page, _ = report
    shutil.copytree(page.out, tmp_path / "out")
    shutil.rmtree(tmp_path / "out/report")
    args = ("--executor.kind", "dask", "--executor.address", scheduler_address, "--log-format", "quiet")
    assert exit_code("report", tmp_path / "out", *args) == 0
    again = Page(tmp_path / "out")
    assert read_files(again.directory / "pictures") == read_files(page.directory / "pictures")
    assert (again.rows, again.regions) == (page.rows, page.regions)
    assert again.summary["finished"] is not None
    assert [stage["name"] for stage in again.summary["stages"]][-1] == "report"


def test_smaller_report_removes_files_of_a_larger_one(
    report: tuple[Page, Data], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, _ = report
    shutil.copytree(page.out, tmp_path / "out")
    assert run_cli("report", tmp_path / "out", "--top", 2) == 0
    small = Page(tmp_path / "out")
    assert [row | {"sheet": None} for row in small.rows] == [row | {"sheet": None} for row in page.rows[:2]]
    assert {path.name for path in (small.directory / "data").iterdir()} == {
        "run.js",
        "rows-00000.js",
        "regions-00000.js",
    }
    (first,) = {row["sheet"][0] for row in small.rows}
    assert small.image_files == {f"{first:08d}.jpg", f"{first:08d}.png"}
    assert run_cli("report", tmp_path / "out") == 0
    assert len(Page(tmp_path / "out").rows) == 6, "the number of the run"


def test_page_is_missing_while_a_report_is_made(
    report: tuple[Page, Data], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, _ = report
    shutil.copytree(page.out, tmp_path / "out")
    index = tmp_path / "out/report/index.html"
    with monkeypatch.context() as patch:
        patch.setattr(command, "render", lambda context, task: 1 / 0)
        assert index.exists()
        assert run_cli("report", tmp_path / "out") == 5
        assert not index.exists()
    assert run_cli("report", tmp_path / "out") == 0
    assert index.exists()


def test_run_killed_before_its_record_makes_the_report_again(report: tuple[Page, Data], tmp_path: Path) -> None:
    page, _ = report
    shutil.copytree(page.out.parent, tmp_path, dirs_exist_ok=True)
    source, out = tmp_path / "s.zarr", tmp_path / "out"
    for name in ("out/run.json", "out/manifest/plan.json"):  # the source has moved too
        file = tmp_path / name
        file.write_text(file.read_text().replace(str(page.out.parent), str(tmp_path)))
    shutil.rmtree(out)
    run(source, out, "--report.top", 6, "--regions.min_area", 1)
    before = read_files(out / "report/pictures")
    (out / "run.json").unlink()
    run(source, out, "--report.top", 6, "--regions.min_area", 1)
    assert read_files(out / "report/pictures") == before == read_files(page.directory / "pictures")


def test_run_without_report_has_no_report_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_rgb_source(tmp_path / "s.zarr", make_data(images=2))
    out = run(source, tmp_path / "out", "--report.top", 0).out
    assert "index.html" not in capsys.readouterr().out
    assert not (out / "report").exists()
    assert [stage["name"] for stage in json.loads((out / "run.json").read_text())["stages"]][-1] == "rank"
    assert run_cli("report", out) == 0, "it may be report later"
    assert len(Page(out).rows) == 2


def test_static_files_are_copied(report: tuple[Page, Data]) -> None:
    static = Path(writer.__file__).parent / "static"
    for path in static.iterdir():
        assert (report[0].directory / path.name).read_bytes() == path.read_bytes()
    assert (static / "index.html").exists()


def test_report_of_an_incomplete_run_is_rejected(
    report: tuple[Page, Data], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli("report", tmp_path) == 2
    assert "holds no complete run" in error_message(capsys)
    assert run_cli("report", report[0].out, "--top", 0) == 2
    assert "top must be a number greater than or equal to 1" in error_message(capsys)


def test_worker_with_too_little_memory_is_rejected(
    report: tuple[Page, Data], capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_files(report[0].out)
    assert run_cli("report", report[0].out, "--executor.memory", "64 MiB") == 4
    assert "Drawing the report needs" in error_message(capsys)
    assert read_files(report[0].out) == before


def test_concurrent_reports_of_one_run_are_rejected(report: tuple[Page, Data], tmp_path: Path) -> None:
    from masksift.review.report.config import ReportConfig
    from masksift.runtime.progress import ProgressReporter
    from masksift.storage.lock import RunLock
    from masksift.storage.objects import ObjectDirectory

    shutil.copytree(report[0].out, tmp_path / "out")
    config = ReportConfig(run=str(tmp_path / "out"), executor={"kind": "serial"})  # type: ignore[arg-type]
    with (
        RunLock(ObjectDirectory(str(tmp_path / "out")), lambda text: None),
        raises(UsageError, match="is running|another"),
    ):
        command.report(config, ProgressReporter("quiet"))
