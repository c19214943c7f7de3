"""An export as a command: every format from a run, twice the same bytes, and never among the files of others."""

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
from review.export.helpers import Made, export
from support.camvid import CAMVID
from support.cli import error_message, exit_code, run_cli
from support.results import read_files, read_rows
from support.s3_server import S3Server
from support.sources import erase_chunks

EVERY = list(FORMATS)


@pytest.mark.parametrize("form", EVERY)
def test_the_same_export_has_the_same_bytes_wherever_it_goes(made: Made, tmp_path: Path, form: str) -> None:
    assert export(form, made.out, tmp_path / "a/x") == 0
    assert export(form, made.out, tmp_path / "b/x") == 0
    found = read_files(tmp_path / "a/x")
    assert read_files(tmp_path / "b/x") == found
    assert {name.split("/")[0] for name in found} <= {"export.json", *FORMATS[form].outputs}


@pytest.mark.parametrize("form", EVERY)
def test_an_export_that_was_killed_is_made_again(made: Made, tmp_path: Path, form: str) -> None:
    assert export(form, made.out, tmp_path / "x") == 0
    whole = read_files(tmp_path / "x")
    for name in [name for name in whole if name != "export.json"][::2]:
        (tmp_path / "x" / name).unlink()
    left = tmp_path / "x/labels.json.0123.partial"
    left.write_bytes(b"half")
    assert export(form, made.out, tmp_path / "x") == 0
    left.unlink()
    assert read_files(tmp_path / "x") == whole


@pytest.mark.parametrize("form", EVERY)
def test_files_of_others_stay_alone(made: Made, tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    assert export(form, made.out, tmp_path) == 2
    assert "holds what is not this export (thesis.tex)" in error_message(capsys)
    assert read_files(tmp_path) == {"thesis.tex": b"mine"}


@pytest.mark.parametrize("words", [("--top", "3"), ("--min_area", "5"), ("--pictures", "false")])
def test_another_export_stays_alone(
    made: Made, tmp_path: Path, words: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert export("coco", made.out, tmp_path / "x") == 0
    before = read_files(tmp_path / "x")
    capsys.readouterr()
    assert export("coco", made.out, tmp_path / "x", *words) == 2
    assert "holds what is not this export by its export.json" in error_message(capsys)
    assert read_files(tmp_path / "x") == before


def test_a_folder_that_looks_like_an_export_and_is_none_stays_alone(made: Made, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/mine.png").write_bytes(b"x")
    assert export("coco", made.out, tmp_path) == 2
    assert read_files(tmp_path) == {"images/mine.png": b"x"}


def test_a_run_is_never_exported_into_itself(made: Made) -> None:
    before = read_files(made.out)
    assert export("datumaro", made.out, made.out) == 2
    assert read_files(made.out) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("coco", "nowhere", "--out", "x"), "nowhere holds no complete run"),
        (("coco", "RUN"), "--out is required"),
        (("coco", "RUN", "--out", "x", "--tops", "3"), r"Unknown flag '--tops'.*Did you mean --top\?"),
        (("coco", "RUN", "--out", "x", "--verdicts", "none.json"), "none.json does not exist"),
        (("coco", "RUN", "--out", "x", "--images_at", "y"), "Unknown flag '--images_at'"),
        (("yolo", "RUN", "--out", "x"), "Unknown format 'yolo'. The formats are coco, cvat"),
    ],
)
def test_what_is_no_export_is_refused_in_a_sentence(
    made: Made,
    tmp_path: Path,
    words: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    form, *rest = (str(made.out) if word == "RUN" else word for word in words)
    assert exit_code("export", form, *rest) == 2
    assert re.search(said, error_message(capsys))
    assert read_files(tmp_path) == {}


@pytest.mark.parametrize("form", ["coco", "datumaro"])
def test_a_package_that_is_missing_is_named(
    made: Made, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    assert export(form, made.out, tmp_path / "x") == 2
    assert "pip install 'masksift[export]'" in error_message(capsys)
    assert export("cvat", made.out, tmp_path / "y") == 0


def test_a_picture_that_is_lost_is_said_and_all_else_is_exported(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(made.out.parent, tmp_path / "all")
    record = tmp_path / "all/out/run.json"
    record.write_text(record.read_text().replace(str(made.out.parent), str(tmp_path / "all")))
    erase_chunks(tmp_path / "all/s.zarr/images", slice(2, 4))
    assert export("coco", tmp_path / "all/out", tmp_path / "x") == 0
    said = capsys.readouterr().out
    assert "11 regions of 10 images, 6 pictures" in said
    assert re.search(r"\n  .*s\.zarr/images.*", said)


def test_a_source_that_is_gone_is_named_and_the_regions_alone_are_still_exported(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(made.out, tmp_path / "out")
    record = tmp_path / "out/run.json"
    record.write_text(record.read_text().replace(str(made.out.parent), str(tmp_path)))
    assert export("cvat-mask", tmp_path / "out", tmp_path / "x") == 2
    assert "the source s is not where the run has read it" in error_message(capsys)
    for form in ("coco", "cvat", "label-studio", "datumaro"):
        assert export(form, tmp_path / "out", tmp_path / form, "--pictures", "false") == 0


def test_what_was_exported_says_of_which_run_and_how(made: Made, tmp_path: Path) -> None:
    assert export("cvat", made.out, tmp_path / "x", "--top", 4) == 0
    told = json.loads((tmp_path / "x/export.json").read_text())
    assert (told["format"], told["top"], told["min_area"]) == ("cvat", 4, 1)
    assert told["run"] == json.loads((made.out / "run.json").read_text())["fingerprint"]


@pytest.mark.parametrize("form", EVERY)
def test_help_reads_well(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("export", form, "--help") == 0
    said = capsys.readouterr().out
    assert "--top" in said
    assert FORMATS[form].text in " ".join(said.split())


def test_exports_go_to_s3_archives_and_all(
    made: Made, tmp_path: Path, s3_server: S3Server, s3_credentials: None
) -> None:
    words = ("--storage.endpoint_url", s3_server.url)
    for form in EVERY:
        assert export(form, made.out, tmp_path / form) == 0
        assert export(form, made.out, f"s3://lake/{form}", *words) == 0
        assert export(form, made.out, f"s3://lake/{form}", *words) == 0
        folder = ObjectDirectory(f"s3://lake/{form}", _options(s3_server))
        for name, data in read_files(tmp_path / form).items():
            if name != "tasks.json":  # it names the pictures where they are
                assert folder.read(name) == data
    told = json.loads(ObjectDirectory("s3://lake/label-studio", _options(s3_server)).read("tasks.json") or b"")
    assert told[0]["data"]["image"].startswith("s3://lake/label-studio/images/")


def _options(server: S3Server) -> dict[str, object]:
    return dict(StorageSection(endpoint_url=server.url).options(["s3://lake"]))


@pytest.mark.skipif(not CAMVID.exists(), reason="the CamVid sample does not lie beside this checkout")
def test_camvid_goes_into_every_format(tmp_path: Path) -> None:
    words = ("--methods", "softmin,clc")
    assert run_cli("run", "--source", CAMVID / "camvid.zarr", "--out", tmp_path / "run", *words) == 0
    worst = read_rows(tmp_path / "run", "regions")[:20]
    for form in EVERY:
        assert export(form, tmp_path / "run", tmp_path / form, "--top", 20) == 0
    tree = json.loads((tmp_path / "coco/annotations/instances_default.json").read_text())
    assert [one["area"] for one in tree["annotations"]] == [row["area"] for row in worst]
    names = zipfile.ZipFile(tmp_path / "cvat/dataset.zip").namelist()
    assert len(names) == 1 + len({row["index"] for row in worst})
