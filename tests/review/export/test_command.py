"""`masksift export`: reproducible bytes, output directories, errors and S3."""

from __future__ import annotations

import json
import re
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from masksift.config.sections import StorageSection
from masksift.review.export import FORMATS
from masksift.storage.objects import ObjectDirectory
from review.export.helpers import ExportedRun, export
from support.camvid import CAMVID
from support.cli import error_message, exit_code, run_cli
from support.moved_sources import move_sources
from support.results import read_files, read_rows
from support.s3_server import S3Server
from support.sources import erase_chunks

ALL_FORMATS = [name for name, form in FORMATS.items() if not form.on_map]


@pytest.mark.parametrize("form", ALL_FORMATS)
def test_equal_exports_have_equal_bytes(run: ExportedRun, tmp_path: Path, form: str) -> None:
    assert export(form, run.out, tmp_path / "a/x") == 0
    assert export(form, run.out, tmp_path / "b/x") == 0
    files = read_files(tmp_path / "a/x")
    assert read_files(tmp_path / "b/x") == files
    assert {name.split("/")[0] for name in files} <= {"export.json", "images.csv", *FORMATS[form].outputs}


@pytest.mark.parametrize("form", ALL_FORMATS)
def test_killed_export_can_be_repeated(run: ExportedRun, tmp_path: Path, form: str) -> None:
    assert export(form, run.out, tmp_path / "x") == 0
    complete = read_files(tmp_path / "x")
    for name in [name for name in complete if name != "export.json"][::2]:
        (tmp_path / "x" / name).unlink()
    partial_file = tmp_path / "x/labels.json.0123.partial"
    partial_file.write_bytes(b"half")
    assert export(form, run.out, tmp_path / "x") == 0
    partial_file.unlink()
    assert read_files(tmp_path / "x") == complete


@pytest.mark.parametrize("form", ALL_FORMATS)
def test_directory_with_other_files_is_rejected(
    run: ExportedRun, tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    assert export(form, run.out, tmp_path) == 2
    assert "contains files that are not this export (thesis.tex)" in error_message(capsys)
    assert read_files(tmp_path) == {"thesis.tex": b"mine"}


@pytest.mark.parametrize("args", [("--top", "3"), ("--min_area", "5"), ("--pictures", "false")])
def test_directory_with_another_export_is_rejected(
    run: ExportedRun, tmp_path: Path, args: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert export("coco", run.out, tmp_path / "x") == 0
    before = read_files(tmp_path / "x")
    capsys.readouterr()
    assert export("coco", run.out, tmp_path / "x", *args) == 2
    assert "contains another export, according to its export.json" in error_message(capsys)
    assert read_files(tmp_path / "x") == before


def test_directory_without_marker_is_rejected(run: ExportedRun, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/mine.png").write_bytes(b"x")
    assert export("coco", run.out, tmp_path) == 2
    assert read_files(tmp_path) == {"images/mine.png": b"x"}


def test_export_into_the_run_is_rejected(run: ExportedRun) -> None:
    before = read_files(run.out)
    assert export("datumaro", run.out, run.out) == 2
    assert read_files(run.out) == before


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("coco", "nowhere", "--out", "x"), "nowhere holds no complete run"),
        (("coco", "RUN"), "--out is required"),
        (("coco", "RUN", "--out", "x", "--tops", "3"), r"Unknown flag '--tops'.*Did you mean --top\?"),
        (("coco", "RUN", "--out", "x", "--verdicts", "none.json"), "none.json does not exist"),
        (("coco", "RUN", "--out", "x", "--images_at", "y"), "Unknown flag '--images_at'"),
        (("yolo", "RUN", "--out", "x"), "Unknown format 'yolo'. The formats are coco, cvat"),
    ],
)
def test_invalid_arguments_are_rejected(
    run: ExportedRun,
    tmp_path: Path,
    args: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    form, *rest = (str(run.out) if arg == "RUN" else arg for arg in args)
    assert exit_code("export", form, *rest) == 2
    assert re.search(message, error_message(capsys))
    assert read_files(tmp_path) == {}


@pytest.mark.parametrize("form", ["coco", "datumaro"])
def test_missing_pycocotools_names_the_extra_to_install(
    run: ExportedRun, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    assert export(form, run.out, tmp_path / "x") == 2
    assert "pip install 'masksift[export]'" in error_message(capsys)
    assert export("cvat", run.out, tmp_path / "y") == 0


def test_missing_rgb_chunk_is_reported(run: ExportedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(run.out.parent, tmp_path / "all")
    move_sources(tmp_path / "all/out", run.out.parent, tmp_path / "all")
    erase_chunks(tmp_path / "all/s.zarr/images", slice(2, 4))
    assert export("coco", tmp_path / "all/out", tmp_path / "x") == 0
    printed = capsys.readouterr().out
    assert "11 regions of 10 images, 6 pictures" in printed
    assert re.search(r"\n  .*s\.zarr/images.*", printed)


def test_deleted_source_allows_exports_of_regions_only(
    run: ExportedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run.out, tmp_path / "out")
    move_sources(tmp_path / "out", run.out.parent, tmp_path)
    assert export("cvat-mask", tmp_path / "out", tmp_path / "x") == 2
    assert "Source s is no longer where the run read it" in error_message(capsys)
    for form in ("coco", "cvat", "label-studio", "datumaro"):
        assert export(form, tmp_path / "out", tmp_path / form, "--pictures", "false") == 0


def test_marker_identifies_run_and_options(run: ExportedRun, tmp_path: Path) -> None:
    assert export("cvat", run.out, tmp_path / "x", "--top", 4) == 0
    tree = json.loads((tmp_path / "x/export.json").read_text())
    assert (tree["format"], tree["top"], tree["min_area"]) == ("cvat", 4, 1)
    assert tree["run"] == json.loads((run.out / "run.json").read_text())["fingerprint"]


@pytest.mark.parametrize("form", ALL_FORMATS)
def test_help_describes_the_format(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("export", form, "--help") == 0
    printed = capsys.readouterr().out
    assert "--top" in printed
    assert FORMATS[form].text in " ".join(printed.split())


def test_exports_on_s3_equal_local_exports(
    run: ExportedRun, tmp_path: Path, s3_server: S3Server, s3_credentials: None
) -> None:
    args = ("--storage.endpoint_url", s3_server.url)
    for form in ALL_FORMATS:
        assert export(form, run.out, tmp_path / form) == 0
        assert export(form, run.out, f"s3://lake/{form}", *args) == 0
        assert export(form, run.out, f"s3://lake/{form}", *args) == 0
        directory = ObjectDirectory(f"s3://lake/{form}", _options(s3_server))
        for name, data in read_files(tmp_path / form).items():
            if name != "tasks.json":  # contains the URLs of the images
                assert directory.read(name) == data
    tree = json.loads(ObjectDirectory("s3://lake/label-studio", _options(s3_server)).read("tasks.json") or b"")
    assert tree[0]["data"]["image"].startswith("s3://lake/label-studio/images/")


def _options(server: S3Server) -> dict[str, object]:
    return dict(StorageSection(endpoint_url=server.url).options(["s3://lake"]))


@pytest.mark.skipif(not CAMVID.exists(), reason="the CamVid sample is not next to this checkout")
def test_camvid_exports_to_every_format(tmp_path: Path) -> None:
    args = ("--methods", "softmin,clc")
    assert run_cli("run", "--source", CAMVID / "camvid.zarr", "--out", tmp_path / "run", *args) == 0
    worst = read_rows(tmp_path / "run", "regions")[:20]
    for form in ALL_FORMATS:
        assert export(form, tmp_path / "run", tmp_path / form, "--top", 20) == 0
    tree = json.loads((tmp_path / "coco/annotations/instances_default.json").read_text())
    assert [annotation["area"] for annotation in tree["annotations"]] == [row["area"] for row in worst]
    names = zipfile.ZipFile(tmp_path / "cvat/dataset.zip").namelist()
    assert len(names) == 1 + len({row["index"] for row in worst})
