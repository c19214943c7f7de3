"""`masksift quickstart` end to end: a folder of files to the report, and the commands it prints."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from prepare.ingest.helpers import read_source, save_image
from prepare.predict.helpers import MEMORIZER, make_images
from support.cli import error_message, exit_code
from support.results import read_files, read_rows

IDS = [f"{video}_{i:02d}" for i, video in enumerate("aabbbbccd")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working directory with `images`, `labels` of three classes and 255, and a trainer."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mymodels.py").write_text(MEMORIZER)
    for name, image, label in zip(IDS, *make_images(), strict=True):
        save_image(tmp_path / "images" / f"{name}.png", image)
        save_image(tmp_path / "labels" / f"{name}_mask.png", label)
    return tmp_path


def quickstart(*args: object, images: bool = True) -> int:
    given = ("--images", "images") if images else ()
    return exit_code("quickstart", "--labels", "labels", *given, "--executor", "serial", *args)


def steps(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """Return the commands of the steps that were printed."""
    return [shlex.split(line) for line in re.findall(r"^step \d of \d: masksift (.*)$", capsys.readouterr().err, re.M)]


def save_predictions(folder: Path) -> None:
    """Write a prediction for each image that is certain of its label."""
    for name, label in zip(IDS, make_images()[1], strict=True):
        one_hot = label == np.arange(3).reshape(3, 1, 1)
        (folder / "predictions").mkdir(exist_ok=True)
        np.save(folder / "predictions" / f"{name}.npy", np.where(label == 255, 1 / 3, one_hot).astype(np.float32))


def test_quickstart_with_images_makes_a_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert quickstart("--group_pattern", "^(.)", "--out", "out") == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-3:] == [
        f"9 of 9 images scored, {printed.out.split(' images scored, ')[1].split()[0]} pixels flagged",
        "results: out/results",
        "report: out/results/report/index.html",
    ]
    assert "inferred: label value 255 is ignored (--ignore)\n" in printed.err
    assert "inferred: 3 classes, the label values 0 to 2 (--classes names them)\n" in printed.err
    assert (folder / "out/results/report/index.html").exists()
    assert [row["image_id"] for row in read_rows(folder / "out/results")] == IDS


def test_printed_commands_repeat_the_quickstart(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = ("--trainer", "mymodels:Memorizer")
    assert quickstart(*trainer, "--classes", '["sky, blue", "road", "tree"]', "--out", "first") == 0
    commands = steps(capsys)
    assert [words[0] for words in commands] == ["ingest", "predict", "run"]
    for words in commands:
        assert exit_code(*(word.replace("first/", "second/") for word in words), "--log-format", "quiet") == 0
    for name in ("source.zarr/labels", "source.zarr/images", "predictions.zarr/predictions"):
        assert read_files(folder / "first" / name) == read_files(folder / "second" / name), name
    first, second = (read_rows(folder / name / "results") for name in ("first", "second"))
    assert [{**row, "source": ""} for row in first] == [{**row, "source": ""} for row in second]


def test_quickstart_repeated_returns_the_same_results(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ("--trainer", "mymodels:Memorizer", "--out", "out")
    assert quickstart(*args) == 0
    expected, files = capsys.readouterr().out, read_files(folder / "out")
    assert quickstart(*args) == 0
    assert capsys.readouterr().out == expected
    assert read_files(folder / "out") == files


def test_quickstart_with_a_label_offset_ignores_smaller_values(folder: Path) -> None:
    for name, label in zip(IDS, make_images()[1], strict=True):
        save_image(folder / "labels" / f"{name}_mask.png", np.where(label == 255, 0, label + 1).astype("u1"))
    assert quickstart("--trainer", "mymodels:Memorizer", "--label_offset", 1, "--out", "out") == 0
    np.testing.assert_array_equal(read_source(folder / "out/source.zarr")["labels"], make_images()[1])


def test_quickstart_with_few_images_uses_as_many_folds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in IDS[3:]:
        (folder / "images" / f"{name}.png").unlink()
        (folder / "labels" / f"{name}_mask.png").unlink()
    assert quickstart("--trainer", "mymodels:Memorizer") == 0
    assert steps(capsys)[1][-2:] == ["--folds", "3"]
    assert (folder / "quickstart-run/results/run.json").exists()


def test_quickstart_with_predictions_runs_on_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_predictions(folder)
    assert quickstart("--predictions", "predictions", "--out", "out", images=False) == 0
    assert [words[0] for words in steps(capsys)] == ["ingest", "run"]
    assert not (folder / "out/predictions.zarr").exists()
    assert len(read_rows(folder / "out/results")) == len(IDS)


def test_quickstart_does_not_copy_predictions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_predictions(folder)
    assert quickstart("--predictions", "predictions", "--out", "out", images=False) == 0
    first, second = steps(capsys)
    assert first[-6:-1] == ["--link", "true", "--out", "out/source.zarr", "--executor.kind"]
    assert not (folder / "out/source.zarr/predictions/c").exists()
    assert exit_code(*(word.replace("out/", "again/") for word in first), "--log-format", "quiet") == 0
    assert exit_code(*(word.replace("out/", "again/") for word in second), "--log-format", "quiet") == 0
    assert read_rows(folder / "again/results") == read_rows(folder / "out/results")


def test_quickstart_converts_predictions_of_class_numbers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "predictions").mkdir()
    for name, label in zip(IDS, make_images()[1], strict=True):
        np.save(folder / "predictions" / f"{name}.npy", np.where(label == 255, 0, label))
    assert quickstart("--predictions", "predictions", "--classes", "a,b,c", "--out", "out", images=False) == 0
    assert "--link" not in steps(capsys)[0]
    assert (folder / "out/source.zarr/predictions/c").exists()


def test_quickstart_with_color_labels_writes_a_table_of_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = make_images()[1]
    palette = np.zeros((256, 3), np.uint8)
    palette[:3] = [(9, 9, 200), (9, 200, 9), (200, 9, 9)]
    for name, label in zip(IDS, labels, strict=True):
        save_image(folder / "labels" / f"{name}_mask.png", palette[label])
    args = ("--trainer", "mymodels:Memorizer", "--out", "out")
    assert quickstart(*args) == 0
    table = folder / "out/colors.csv"
    lines = ["name,r,g,b", "#000000,0,0,0", "#0909c8,9,9,200", "#09c809,9,200,9", "#c80909,200,9,9"]
    assert table.read_text().splitlines() == lines
    stored = read_source(folder / "out/source.zarr")["labels"]
    np.testing.assert_array_equal(stored, np.where(labels == 255, 0, labels + 1))

    table.write_text(table.read_text().replace("#000000", "ignore"))
    capsys.readouterr()
    assert quickstart(*args) == 2
    assert "out/colors.csv is not the table that these labels give" in capsys.readouterr().err
    assert quickstart(*args[:-1], "edited", "--colors", table) == 0
    np.testing.assert_array_equal(read_source(folder / "edited/source.zarr")["labels"], labels)


def test_quickstart_recognizes_a_preset_by_file_names(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, label in zip(IDS, make_images()[1], strict=True):
        (folder / "labels" / f"{name}_mask.png").unlink()
        save_image(folder / "labels" / f"{name}_gtFine_labelIds.png", np.where(label == 255, 0, label + 7).astype("u1"))
        (folder / "images" / f"{name}.png").rename(folder / "images" / f"{name}_leftImg8bit.png")
    assert quickstart("--trainer", "mymodels:Memorizer", "--out", "out") == 0
    assert "inferred: the names of the label files are those of cityscapes (--preset)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "images and predictions are missing"),
        (("--images", "images", "--model", "m.pt"), "model is 'm.pt'. Pass the path of a FILE.onnx, or hf:NAME"),
        (("--predictions", "p", "--trainer", "torch"), "predictions and trainer are set"),
        (("--images", "images", "--model", "m.onnx", "--trainer", "torch"), "model and trainer are set"),
        (("--predictions", "p", "--group_pattern", "x"), "predictions and group_pattern are set"),
    ],
)
def test_quickstart_with_contradictory_options_fails(
    folder: Path, capsys: pytest.CaptureFixture[str], args: tuple[str, ...], message: str
) -> None:
    assert quickstart(*args, images=False) == 2
    assert message in error_message(capsys)


def test_quickstart_into_its_labels_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert quickstart("--out", "labels/out") == 2
    assert "labels" in error_message(capsys)
    assert not (folder / "labels/out").exists()
