"""Invalid options, sources and trainers of `masksift predict` are refused, with nothing written."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from masksift.storage.lock import RunLock
from masksift.storage.objects import ObjectDirectory
from prepare.predict.helpers import MEMORIZER, make_images, predict, write_images
from support.cli import error_message, exit_code

TRAINERS = (
    MEMORIZER
    + '''

class Invalid(Memorizer):
    """Returns invalid output, by the method with the name of the class."""

    def predict_proba(self, images):
        return getattr(self, type(self).__name__.lower())(super().predict_proba(images))


class TwoPlanes(Invalid):
    def twoplanes(self, output):
        return output[:, :2]


class Integers(Invalid):
    def integers(self, output):
        return output.astype(int)


class Logits(Invalid):
    def logits(self, output):
        return output * 9 - 4


class NaN(Invalid):
    def nan(self, output):
        return output * np.nan


class FailsToTrain(Memorizer):
    def fit(self, images, labels):
        raise ValueError("no money for a GPU")


class FailsToPredict(Memorizer):
    def predict_proba(self, images):
        raise MemoryError("so large")
'''
)

INVALID_OPTIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "unknown trainer": (("--trainer", "pixel"), r"trainer is 'pixel'. Use pixels, torch, MODULE:FACTORY, FILE"),
    "missing module": (("--trainer", "nomodule:make"), r"nomodule:make cannot be imported \(No module named"),
    "missing factory": (("--trainer", "invalidmodels:make"), r"invalidmodels:make cannot be imported .*import from /"),
    "missing file": (("--trainer", "no/model.onnx"), r"no/model\.onnx does not exist"),
    "one fold": (("--folds", "1"), r"folds must be a number greater than or equal to 2"),
    "more folds than images": (("--folds", "10"), r"There are 10 folds, but only 9 group.*Pass --folds 9"),
    "two kinds of groups": (("--groups", "video", "--group_pattern", "a"), r"groups is 'video' and group_pattern is"),
    "missing groups": (("--groups", "vido"), r"'vido'"),
    "groups of another shape": (("--groups", "labels"), r"uint8 .*\(9, 16, 20\)"),
    "pattern without a match": (("--group_pattern", "x(.)"), r"does not match the image 'a/0'"),
    "missing images": (("--arrays.images", "pictures"), r"'pictures'.*images NAME"),
    "labels as images": (("--arrays.images", "labels"), r"'labels' .*\(9, 16, 20\)"),
    "missing labels": (("--arrays.labels", "lables"), r"'lables'.*--arrays\.labels labels"),
    "one class": (("--classes", "sky"), r"class_names .*'sky'.*--classes a,b,c"),
    "option of another trainer": (("--torch.epochs", "3"), r"torch is set, but trainer 'pixels' does not use it"),
    "folds without training": (("--trainer", "m.onnx", "--folds", "3"), r"folds is set, but trainer 'm\.onnx' does"),
    "unknown network": (("--trainer", "torch", "--torch.model", "vnet"), r"torch\.model must be"),
    "two channels": (("--trainer", "m.onnx", "--onnx.mean", "0,1"), r"onnx\.mean"),
    "balance above 1": (("--balance", "2"), r"balance must be a number less than or equal to 1"),
    "unknown flag": (("--fold", "3"), r"Unknown flag '--fold'. Did you mean --folds\?"),
    "evidence of padded images without an ignore value": (
        ("--write", "evidence", "--arrays.height", "video", "--ignore", ""),
        r"has padded images, but no ignore value.* Pass --ignore 255, or --write predictions",
    ),
}
INVALID_TRAINERS: dict[str, tuple[int, str]] = {
    "TwoPlanes": (2, r"returns float32 of shape \(1, 2, 16, 20\) for image 'a/0', expected floats .*\(1, 3, 16, 20\)"),
    "Integers": (2, r"returns int64 of shape \(1, 3, 16, 20\)"),
    "Logits": (2, r"values from -1 to -1 for image 'a/0', with sums up to 4 away from 1.* a softmax"),
    "NaN": (2, r"values from nan to nan for image"),
    "FailsToTrain": (
        5,
        r"raised ValueError while training fold 0 on 6 images: no money .*invalidmodels\.py, line \d+\)",
    ),
    "FailsToPredict": (5, r"raised MemoryError while predicting image 'a/0': so large"),
}


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "invalidmodels.py").write_text(TRAINERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return write_images(tmp_path / "a.zarr", *make_images(), video=np.full(9, 16))


def assert_prediction_fails(
    code: int, match: str, capsys: pytest.CaptureFixture[str], source: Path, *flags: str
) -> None:
    args = ("--source", source, *flags, "--out", "out", "--executor.kind", "serial", "--log-format", "quiet")
    assert exit_code("predict", *args) == code
    message = error_message(capsys)
    assert re.search(match, message), message


@pytest.mark.parametrize("case", INVALID_OPTIONS)
def test_invalid_options_are_refused_before_anything_is_written(
    case: str, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags, match = INVALID_OPTIONS[case]
    assert_prediction_fails(2, match, capsys, source, *flags)
    assert not Path("out").exists()


@pytest.mark.parametrize("name", INVALID_TRAINERS)
def test_trainer_that_fails_or_returns_no_probabilities_is_reported(
    name: str, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, match = INVALID_TRAINERS[name]
    assert_prediction_fails(code, match, capsys, source, "--trainer", f"invalidmodels:{name}", "--folds", "3")


def test_labels_of_one_class_are_refused_with_the_fold(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, labels = make_images()
    write_images(source, images, np.where(labels == 255, 255, 1).astype(np.uint8))
    match = "Fold 0: 6 training images hold 1 class. Use labels of at least two classes"
    assert_prediction_fails(2, match, capsys, source, "--folds", "3")


def test_workers_with_too_little_memory_are_refused_before_anything_is_written(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    match = r"trainer pixels on these images needs [\d.]+ MiB per worker, and this process has 300\.0 MiB"
    assert_prediction_fails(4, match, capsys, source, "--executor.memory", "300 MiB")
    assert not Path("out").exists()


def test_output_directory_with_other_files_is_refused(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("out").mkdir()
    (Path("out") / "thesis.txt").write_text("years")
    match = r"out contains files that `masksift predict` did not write \(thesis\.txt\)"
    assert_prediction_fails(2, match, capsys, source, "--folds", "2")


def test_source_as_output_is_refused(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("predict", "--source", source, "--out", source, "--executor.kind", "serial", "--folds", "2") == 2
    assert "is the input" in error_message(capsys)


def test_concurrent_predictions_into_one_output_are_refused(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunLock(ObjectDirectory(str(Path("out/predict").absolute())), print):
        assert_prediction_fails(2, "is in use", capsys, source, "--folds", "2")
    predict(source, Path("out"), "--folds", 2, "--trainer", "invalidmodels:Memorizer")
