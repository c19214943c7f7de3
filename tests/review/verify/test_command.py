"""`masksift verify`: complete agreement with good runs, and what it finds in changed ones."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr

from masksift import EvidenceWriter
from masksift.review.verify import with_cleanlab
from review.helpers import read_record, run_sources
from support.cli import error_message, exit_code, run_cli
from support.datasets import Data, make_dataset
from support.results import read_rows
from support.s3_server import S3Server
from support.sources import erase_chunks, make_data, truncate_file, write_source

NEEDS_CLEANLAB = pytest.mark.skipif(find_spec("cleanlab") is None, reason="cleanlab is not installed")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run over 8 images, and its source `a.zarr` in the same directory."""
    directory = tmp_path_factory.mktemp("verify")
    source = write_source(directory / "a.zarr", make_data(dtype="uint8"), ids=[f"scene-{i}" for i in range(8)])
    return run_sources(directory / "out", source, args=("--classes", "road,sky,car,tree"))


@pytest.fixture
def changed(good: Path, tmp_path: Path) -> Path:
    """Copy of the run, to be changed by a test."""
    shutil.copytree(good, tmp_path / "out")
    return tmp_path / "out"


def verify_json(capsys: pytest.CaptureFixture[str], out: object, *args: object, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert exit_code("verify", out, *args, "--json", "--log-format", "quiet") == code, capsys.readouterr().out
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert result["passed"] == (code == 0)
    return result


def verify_text(capsys: pytest.CaptureFixture[str], out: object, *args: object, code: int = 0) -> str:
    capsys.readouterr()
    assert exit_code("verify", out, *args, "--log-format", "quiet") == code
    return capsys.readouterr().out


def verify_source(capsys: pytest.CaptureFixture[str], source: object, *args: object) -> dict[str, Any]:
    """Run over a source, and verify all of its images."""
    out = Path(str(source)).parent / "out"
    run_sources(out, source, args=("--quarantine", "continue", "--report.top", 0, *args))
    return verify_json(capsys, out, "--sample", "all")


def compared(result: dict[str, Any]) -> dict[str, int]:
    """Number of compared values by quantity."""
    return {one["name"]: one["values"] for one in result["comparisons"]}


def not_checked(result: dict[str, Any]) -> str:
    return "\n".join(entry["what"] for entry in result["not_checked"])


def change_table(file: Path, column: str, row: int, value: object) -> None:
    table = pq.read_table(file)
    values = table[column].to_pylist()
    values[row] = value
    number = table.schema.get_field_index(column)
    field = table.schema.field(number).with_nullable(True)
    pq.write_table(table.set_column(number, field, pa.array(values, field.type)), file)


def only_file(directory: Path) -> Path:
    [file] = directory.iterdir()
    return file


# ----------------------------------------------------------------------------------------------------- good runs


def test_all_results_of_a_whole_run_agree(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = verify_json(capsys, good, "--sample", "all")
    counts, methods = compared(result), read_record(good)["configuration"]["methods"]
    assert {name: counts[name] for name in methods} == dict.fromkeys(methods, 8)
    planes = ("issue_mask", "self_confidence", "predicted_class", "predicted_confidence")
    assert {name: counts[name] for name in planes} == dict.fromkeys(planes, 8 * 80)
    assert counts["regions: evidence"] == len(read_rows(good, "regions")) > 4
    assert counts["thresholds: confident_threshold"] == counts["thresholds: agreement_center"] == 4
    assert counts["run.json: cut"] == counts["run.json: estimated_issues"] == 1
    assert (result["recomputed"], result["images"], result["differing"]) == (8, 8, 0)
    assert result["values"] == sum(counts.values())
    assert all(one["largest_difference"] < 1e-12 for one in result["comparisons"])


@pytest.mark.parametrize(
    "args",
    [
        ("--evidence.dtype", "float32"),
        ("--evidence.keep", "false", "--regions.top", 3),
        (
            "--clc.rule",
            "confident",
            "--tccp.tau",
            "confident",
            "--coco.aggregate",
            "min",
            "--softmin.temperature",
            "inf",
        ),
        ("--tccp.tau", 0.3, "--tccp.lattice", 3, "--coco.sources", "labels", "--softmin.temperature", 0.001),
    ],
    ids=["float32 evidence", "discarded evidence", "confident", "parameters"],
)
def test_options_of_a_run_are_followed(
    args: tuple[object, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_dataset(5, images=5, classes=6, height=33, width=41, dtype="float32", ignored_image=3)
    result = verify_source(capsys, write_source(tmp_path / "a.zarr", data), *args)
    skipped = not_checked(result)
    assert (
        ("evidence planes" in skipped)
        == ("evidence planes: the run did not keep them" in skipped)
        == ("--evidence.keep" in args)
    )
    assert ("regions that are not listed" in skipped) == ("--regions.top" in args)


@pytest.mark.parametrize("dtype", ["uint16", "float16", "float32", "float64"])
def test_any_dtype_of_predictions_agrees(dtype: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_dataset(7, images=4, classes=3, height=20, width=31, dtype=dtype)
    verify_source(capsys, write_source(tmp_path / "a.zarr", data))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_logits_agree_to_the_last_bit_of_their_evidence(
    dtype: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_dataset(4, images=4, classes=7, height=64, width=80, dtype="float64")
    logits = (3 * np.log(data.predictions)).astype(dtype)
    result = verify_source(
        capsys, write_source(tmp_path / "a.zarr", data._replace(predictions=logits)), "--kind", "logits"
    )
    [softmax] = [one for one in result["comparisons"] if one["name"] == "softmax in float32"]
    assert 0 < softmax["largest_difference"] < 1e-6


@pytest.mark.parametrize("kind", ["probabilities", "logits"])
def test_ensemble_of_several_dtypes_agrees(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_dataset(2, images=4, classes=5, height=24, width=30, dtype="float64")
    source = write_source(tmp_path / "a.zarr", data)
    group, rng = zarr.open_group(source.path, mode="a"), np.random.default_rng(1)
    for name, dtype in (("b", "float32"), ("c", "float16" if kind == "logits" else "uint8")):
        mixed = data.predictions + np.moveaxis(rng.dirichlet([0.3] * 5, data.labels.shape), -1, 1)
        mixed /= mixed.sum(axis=1, keepdims=True)
        values = np.log(mixed + 1e-4) if kind == "logits" else np.rint(mixed * 255) if dtype == "uint8" else mixed
        group.create_array(name, data=values.astype(dtype))
    verify_source(capsys, source, "--arrays.predictions", "b,c", "--kind", kind)


def test_labels_with_other_numbers_and_padding_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_dataset(1, images=6, classes=5, height=30, width=26, dtype="uint8")
    values = np.array([7, 3, 11, 26, 40])
    labels = np.where(data.labels == 255, 255, values[np.minimum(data.labels, 4)]).astype(np.uint8)
    source = write_source(tmp_path / "a.zarr", data._replace(labels=labels))
    group = zarr.open_group(source.path, mode="a")
    group.create_array("height", data=np.array([30, 20, 3, 30, 1, 0], np.int32))
    group.create_array("width", data=np.array([26, 9, 26, 2, 1, 5], np.int32))
    result = verify_source(capsys, source, "--remap", "7:0,3:1,11:2,26:3,40:4")
    assert compared(result)["issue_mask"] == 30 * 26 + 20 * 9 + 3 * 26 + 30 * 2 + 1 < 6 * 30 * 26
    assert [row["status"] for row in read_rows(tmp_path / "out")].count("bad_labels") == 1


@pytest.mark.parametrize("form", ["binary", "packed", "resized"])
def test_decoded_predictions_agree(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_dataset(6, images=4, classes=2, height=24, width=36, dtype="float32")
    args: tuple[object, ...] = ()
    predictions, attributes = data.predictions[:, 1], {}
    if form == "packed":
        predictions, attributes = np.rint(data.predictions * 250).astype(np.uint8), {"scale_factor": 1 / 250}
        attributes |= {"_FillValue": 255}
        predictions[2, 0, 3, 4] = 255
    elif form == "resized":
        predictions, args = np.log(data.predictions[:, :, ::3, ::2]), ("--resize", "predictions", "--kind", "logits")
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", attributes={"ignore": [255]})
    group.create_array("predictions", data=predictions, attributes=attributes)
    group.create_array("labels", data=data.labels)
    verify_source(capsys, tmp_path / "a.zarr", *args)
    statuses = [row["status"] for row in read_rows(tmp_path / "out")]
    assert statuses.count("bad_probabilities") == (form == "packed")


def test_quarantined_images_agree_in_status_and_first_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_data(dtype="float32")
    predictions, labels = data.predictions.copy(), data.labels.copy()
    predictions[0, 2, 5, 7], predictions[1, :, 3, 2], labels[2, 4, 6], labels[3] = np.nan, 0, 77, 255
    source = write_source(tmp_path / "a.zarr", Data(predictions, labels, (255,)), chunks=(1, 4, 8, 10))
    erase_chunks(source.predictions, slice(4, 5))
    truncate_file(source.chunk_file("predictions", 5, 0, 0, 0), 0.5)
    result = verify_source(capsys, source)
    assert compared(result)["place of the first fault"] == 3
    columns = list(read_rows(tmp_path / "out")[0])
    assert compared(result)["columns of images without scores"] == 6 * len(columns[columns.index("reason") + 1 :])
    statuses = {row["status"] for row in read_rows(tmp_path / "out")}
    assert statuses == {"bad_probabilities", "bad_labels", "all_ignored", "missing_chunk", "unreadable", "scored"}


def test_thresholds_of_another_run_are_used_and_named(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_source(tmp_path / "b.zarr", make_data(seed=3, images=3))
    args = ("--thresholds_from", good, "--classes", "road,sky,car,tree")
    result = verify_source(capsys, source, *args)
    assert f"thresholds: they are those of {good}" in not_checked(result)
    assert "thresholds: pixels" in compared(result)
    assert "thresholds: confident_threshold" not in compared(result)
    assert compared(result)["combined"] == 3


def test_sample_is_drawn_by_its_seed(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = verify_json(capsys, good, "--sample", 3)
    assert (result["sampled"], result["seed"], compared(result)["softmin"]) == (3, 0, 3)
    assert compared(result)["combined"] == 8, "combined depends on all images"
    assert "thresholds, class_pairs and class_quality" in not_checked(result)
    assert verify_json(capsys, good, "--sample", 3) == result
    assert compared(verify_json(capsys, good, "--sample", 3, "--seed", 1)) != compared(result)
    assert verify_json(capsys, good, "--sample", 8)["seed"] is None, "a sample of all images recomputes the thresholds"


def test_summary_says_what_was_compared(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = verify_text(capsys, good, "--sample", 3).splitlines()
    assert lines[0].startswith(f"run: {good} (")
    assert lines[1].endswith("predictions and labels: 3 of 8 images (a random sample, seed 0)")
    assert lines[2].startswith("thresholds: those of the run")
    table = {line.split("  ")[0]: line.split()[-3:] for line in lines if line.startswith(("issue_mask", "softmin "))}
    assert table["issue_mask"] == ["240", "0", "0"]
    assert table["softmin"][0] == "3"
    assert "not checked:" in lines
    assert lines[-1].startswith("passed: ")
    assert lines[-1].endswith(" values agree; real numbers within 1e-09")
    whole = verify_text(capsys, good, "--sample", "all")
    assert "thresholds: recomputed from all images and compared\n" in whole


def test_run_in_object_storage_is_verified(
    s3_server: S3Server, s3_credentials: None, good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    s3_server.filesystem().put(f"{good.parent}/a.zarr", "lake/a.zarr", recursive=True)
    run_args = ("--source", "s3://lake/a.zarr", "--out", "s3://lake/out", *s3_server.cli_args)
    assert run_cli("run", *run_args) == 0
    result = verify_json(capsys, "s3://lake/out", "--sample", "all", *s3_server.cli_args)
    assert (result["recomputed"], compared(result)["issue_mask"]) == (8, 640)


# -------------------------------------------------------------------------------------------------- changed runs


def test_changed_score_is_found(changed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = only_file(changed / "images")
    before = read_rows(changed)[2]["softmin"]
    change_table(file, "softmin", 2, before + 1e-6)
    text = verify_text(capsys, changed, code=6)
    assert f"softmin of scene-2 (a/2): stored {before + 1e-6:.12g}, computed {before:.12g}" in text
    assert text.splitlines()[-1].startswith("FAILED: ")
    change_table(file, "softmin", 2, None)
    result = verify_json(capsys, changed, code=6)
    [mismatch] = [one for one in result["mismatches"] if one["compared"] == "softmin"]
    assert (mismatch["stored"], mismatch["computed"]) == (None, pytest.approx(before, abs=1e-12))


@pytest.mark.parametrize(
    ("column", "value", "names"),
    [
        ("combined", 0.5, {"combined", "scores of the ranking"}),
        ("worst_class_z", 99.0, {"worst_class_z"}),
        ("flagged_pixels", 79, {"flagged_pixels"}),
        ("region_evidence", 1e3, {"region_evidence"}),
        ("region_x0", 9, {"worst region"}),
        ("status", "bad_labels", {"status", "columns of images without scores", "issue_mask"}),
    ],
)
def test_changed_column_of_an_image_is_found(
    column: str, value: object, names: set[str], changed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = next(i for i, row in enumerate(read_rows(changed)) if row["flagged_pixels"] and row["region_x0"] != 9)
    change_table(only_file(changed / "images"), column, row, value)
    result = verify_json(capsys, changed, code=6)
    assert {one["compared"] for one in result["mismatches"]} >= names


@pytest.fixture(scope="module")
def misplaced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run over 6 images of 32 x 48 pixels: 1 is rolled, 3 and 4 are exchanged."""
    directory = tmp_path_factory.mktemp("misplaced")
    data = make_dataset(2, images=6, classes=4, height=32, width=48, dtype="uint8")
    labels = data.labels.copy()
    labels[1] = np.roll(labels[1], (8, -12), axis=(0, 1))
    labels[[3, 4]] = labels[[4, 3]]
    source = write_source(directory / "a.zarr", data._replace(labels=labels))
    return run_sources(directory / "out", source)


def test_transforms_of_misplaced_labels_agree(misplaced: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = [row["suspected_transform"] for row in read_rows(misplaced)]
    assert stored == [None, "roll(dy=8, dx=-12)", None, "neighbor(+1)", "neighbor(-1)", None]
    result = verify_json(capsys, misplaced)
    assert compared(result)["suspected_transform"] == compared(result)["transform_gain"] == 6
    assert "suspected_transform: that the labels do not fit a neighboring image better" in not_checked(result)


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [
        (0, "suspected_transform", "flip(lr)"),
        (0, "suspected_transform", "neighbor(-1)"),
        (1, "suspected_transform", None),
        (1, "suspected_transform", "neighbor(+1)"),
        (3, "suspected_transform", "neighbor(+2)"),
        (4, "transform_gain", 0.3),
    ],
)
def test_changed_transform_is_found(
    row: int, column: str, value: object, misplaced: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(misplaced, tmp_path / "out")
    change_table(only_file(tmp_path / "out/images"), column, row, value)
    result = verify_json(capsys, tmp_path / "out", code=6)
    assert column in {one["compared"] for one in result["mismatches"]}


def test_flipped_mask_pixel_is_found(changed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask = zarr.open_array(changed / "evidence/a.zarr/issue_mask", mode="r+")
    flag = int(mask[5, 3, 7])  # type: ignore[call-overload]
    mask[5, 3, 7] = 1 - flag
    text = verify_text(capsys, changed, code=6)
    assert f"  issue_mask of scene-5 (a/5), pixel (y=3, x=7): stored {1 - flag}, computed {flag}" in text
    assert [line.split()[1:] for line in text.splitlines() if line.startswith("issue_mask")] == [
        ["640", "1.0e+00", "1"]
    ]


def test_missing_mask_is_found(changed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(changed / "evidence/a.zarr/issue_mask")
    result = verify_json(capsys, changed, code=6)
    assert result["mismatches"][0]["stored"].startswith("cannot be read")


@pytest.mark.parametrize(
    "column", ["sum", "confident_threshold", "decision_threshold", "ignored_share", "agreement_spread"]
)
def test_changed_threshold_is_found(column: str, changed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    value = read_rows(changed, "thresholds.parquet")[1][column]
    other = value + 1e-7 * max(1, value)
    change_table(changed / "thresholds.parquet", column, 1, other)
    text = verify_text(capsys, changed, "--sample", "all", code=6)
    assert f"thresholds: {column} of class sky: stored {other:.12g}, computed {value:.12g}" in text


def test_changed_cut_is_found_in_masks_and_by_its_rank(changed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = read_record(changed)
    (changed / "run.json").write_text(json.dumps(record | {"cut": record["cut"] + 0.2}))
    assert "issue_mask" in {
        one["compared"] for one in verify_json(capsys, changed, "--sample", 7, code=6)["mismatches"]
    }
    result = verify_json(capsys, changed, "--sample", "all", code=6)
    [cut] = [one for one in result["mismatches"] if one["compared"] == "run.json: cut"]
    assert cut["computed"].startswith(f"the {record['estimated_issues']}th smallest self-confidence")


def test_changed_region_is_found(changed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, rows = only_file(changed / "regions"), read_rows(changed, "regions")
    change_table(file, "evidence", 0, rows[0]["evidence"] + 1e-5)
    change_table(file, "rle", 1, [0, *rows[1]["rle"]])
    result = verify_json(capsys, changed, code=6)
    found = {one["compared"]: one for one in result["mismatches"]}
    assert set(found) == {"regions: evidence", "regions: pixels"}
    assert found["regions: evidence"]["where"].endswith(", region of rank 1")
    assert found["regions: pixels"]["computed"] == "no such region"
    pq.write_table(pq.read_table(file).slice(2), file)
    assert {one["compared"] for one in verify_json(capsys, changed, code=6)["mismatches"]} == {"regions: number"}


def test_changed_class_tables_are_found(changed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_table(changed / "class_pairs.parquet", "pixels", 0, 1)
    change_table(changed / "class_quality.parquet", "quality", 0, 0.5)
    result = verify_json(capsys, changed, "--sample", "all", code=6)
    assert {one["compared"] for one in result["mismatches"]} == {"class_pairs: pixels", "class_quality: quality"}


def test_changed_predictions_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_source(tmp_path / "a.zarr", make_data(dtype="uint8"))
    out = run_sources(tmp_path / "out", source)
    array = zarr.open_array(source.predictions, mode="r+")
    array[1] = np.roll(array[1], 1, axis=0)  # type: ignore[call-overload,arg-type]
    result = verify_json(capsys, out, "--top", 1, code=6)
    wrong = {one["name"]: one["mismatches"] for one in result["comparisons"] if one["mismatches"]}
    assert wrong["softmin"] == wrong["ccp"] == 1
    assert len(result["mismatches"]) == len(wrong), "one is listed for each quantity"
    assert " more\n" in verify_text(capsys, out, "--top", 1, code=6)


# --------------------------------------------------------------------------------------------- what is not checked


def test_regions_beyond_the_limit_are_counted(
    good: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("masksift.review.verify.command.MAX_REGIONS", 2)
    result, rows = verify_json(capsys, good, "--sample", "all"), read_rows(good, "regions")
    assert f"{len(rows) - 2} listed regions, those after the first 2" in not_checked(result)
    assert compared(result)["regions: pixels"] == 2
    assert "regions: number" not in compared(result)


def test_images_whose_predictions_were_removed_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources = [write_source(tmp_path / f"{name}.zarr", make_data(seed=seed)) for seed, name in enumerate("ab")]
    out = run_sources(tmp_path / "out", *sources)
    shutil.rmtree(sources[0].path)
    result = verify_json(capsys, out, "--sample", "all")
    assert (result["recomputed"], compared(result)["softmin"]) == (8, 8)
    assert {
        "what": f"images of a: its predictions or labels do not exist any more at {sources[0]}",
        "images": 8,
    } in result["not_checked"]
    assert "some images cannot be recomputed" in not_checked(result)
    shutil.rmtree(sources[1].path)
    assert "FAILED: no image could be recomputed" in verify_text(capsys, out, code=6)


def test_run_over_evidence_cannot_be_recomputed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_data()
    with EvidenceWriter(str(tmp_path / "e.zarr"), images=8, height=8, width=10, classes=4, ignore=255) as writer:
        writer.write(data.predictions, data.labels)
    out = run_sources(tmp_path / "out", tmp_path / "e.zarr")
    result = verify_json(capsys, out, code=6)
    assert "images of e: the source holds evidence and no predictions" in not_checked(result)
    assert result["differing"] == 0
    assert compared(result)["combined"] == 8


def test_verify_without_run_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("verify", tmp_path) == 2
    assert f"{tmp_path} holds no complete run" in error_message(capsys)


# ---------------------------------------------------------------------------------------------------- cleanlab


@NEEDS_CLEANLAB
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_softmin_and_issues_equal_those_of_cleanlab(
    dtype: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_dataset(0, images=4, classes=5, height=37, width=40, dtype=dtype)
    result = verify_source(capsys, write_source(tmp_path / "a.zarr", data), "--softmin.temperature", 0.3)
    counts = compared(result)
    assert counts[with_cleanlab.SOFTMIN] == 4
    valid = int((data.labels != 255).sum())
    assert 0.9 * valid < counts[with_cleanlab.ISSUES] <= valid, "all but those that tie with the cut"
    assert "cleanlab" not in not_checked(result)
    zarr.open_array(tmp_path / "out/evidence/a.zarr/issue_mask", mode="r+")[...] = 1
    changed = verify_json(capsys, tmp_path / "out", "--sample", "all", code=6)
    [first] = [one for one in changed["mismatches"] if one["compared"] == with_cleanlab.ISSUES][:1]
    assert (first["where"].split(",")[0], first["stored"], first["computed"]) == ("a/0", 1, 0)


@NEEDS_CLEANLAB
def test_issues_of_a_large_run_are_left_out(
    good: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("masksift.review.verify.command.MAX_PROBABILITIES_BYTES", 1 << 10)
    result = verify_json(capsys, good, "--sample", "all")
    assert "issues of cleanlab: it needs" in not_checked(result)
    assert with_cleanlab.SOFTMIN in compared(result)


def test_absence_of_cleanlab_is_reported(
    good: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("masksift.review.verify.command.cleanlab_version", lambda: None)
    result = verify_json(capsys, good)
    assert "comparison with cleanlab: it is not installed" in not_checked(result)
    assert with_cleanlab.SOFTMIN not in compared(result)
