"""What no prediction can be: it is said, with the remedy, and nothing is written."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from prepare.predict.helpers import MEMORISER, drawn_pictures, predict, write_pictures
from support.cli import error_message, exit_code

MODELS = (
    MEMORISER
    + '''

class Wrong(Memoriser):
    """Answers what is no probability, in the way that its name says."""

    def predict_proba(self, images):
        return getattr(self, type(self).__name__.lower())(super().predict_proba(images))


class Planes(Wrong):
    def planes(self, answer):
        return answer[:, :2]


class Whole(Wrong):
    def whole(self, answer):
        return answer.astype(int)


class Logits(Wrong):
    def logits(self, answer):
        return answer * 9 - 4


class Nothing(Wrong):
    def nothing(self, answer):
        return answer * np.nan


class Breaks(Memoriser):
    def fit(self, images, labels):
        raise ValueError("no money for a GPU")


class BreaksLater(Memoriser):
    def predict_proba(self, images):
        raise MemoryError("so large")
'''
)

REFUSALS: dict[str, tuple[tuple[str, ...], str]] = {
    "another trainer": (("--trainer", "pixel"), r"trainer is 'pixel'; .*Give pixels, torch, MODULE:FACTORY or FILE"),
    "no module": (("--trainer", "nomodule:make"), r"nomodule:make cannot be found \(No module named 'nomodule'\)"),
    "no factory": (("--trainer", "faultymodels:make"), r"faultymodels:make cannot be found .*Python can import from /"),
    "no file": (("--trainer", "no/model.onnx"), r"there is no file no/model\.onnx; "),
    "one fold": (("--folds", "1"), r"folds must be a number greater than or equal to 2"),
    "more folds than images": (("--folds", "10"), r"there are 9 groups of images for 10 folds; .*Give --folds 9"),
    "two kinds of groups": (("--groups", "video", "--group_pattern", "a"), r"an image has one group"),
    "an array of groups that is not there": (("--groups", "vido"), r"has no array under the name 'vido'; "),
    "an array of groups of another shape": (("--groups", "labels"), r"has uint8 \(9, 16, 20\) under "),
    "a pattern that matches nothing": (("--group_pattern", "x(.)"), r"does not match the image 'a/0'"),
    "no pictures": (("--arrays.images", "pictures"), r"holds no array 'pictures'; there are no pictures .*images NAME"),
    "labels as pictures": (("--arrays.images", "labels"), r"pictures 'labels' of .* the shape \(9, 16, 20\)"),
    "no labels": (("--arrays.labels", "lables"), r"holds no array 'lables', only .*--arrays\.labels labels"),
    "one class": (("--classes", "sky"), r"the class_names of .* are \('sky',\); .*--classes a,b,c"),
    "a key of another trainer": (("--torch.epochs", "3"), r"trainer is 'pixels' and torch is given; it would change"),
    "folds of nothing": (("--trainer", "m.onnx", "--folds", "3"), r"trainer is 'm\.onnx' and folds is given; "),
    "a network that is none": (("--trainer", "torch", "--torch.model", "vnet"), r"torch\.model must be"),
    "two channels": (("--trainer", "m.onnx", "--onnx.mean", "0,1"), r"onnx\.mean"),
    "a balance beyond all": (("--balance", "2"), r"balance must be a number less than or equal to 1"),
    "an unknown key": (("--fold", "3"), r"Unknown flag '--fold'. Did you mean --folds\?"),
    "evidence of padded images without an ignore value": (
        ("--write", "evidence", "--arrays.height", "video", "--ignore", ""),
        r"images of .* are padded, and it has no ignore value; .*Give --ignore 255, or --write predictions",
    ),
}
FAULTS: dict[str, tuple[int, str]] = {
    "Planes": (2, r"answers float32 of \(1, 2, 16, 20\) for image 'a/0'; it should be floats of \(1, 3, 16, 20\)"),
    "Whole": (2, r"answers int64 of \(1, 3, 16, 20\)"),
    "Logits": (2, r"answers numbers from -1 to -1 for image 'a/0', whose sums lie up to 4 from 1; .*a softmax"),
    "Nothing": (2, r"answers numbers from nan to nan for image"),
    "Breaks": (
        5,
        r"fitting fold 0 to 6 images, the trainer raised ValueError: no money .*faultymodels\.py, line \d+\)",
    ),
    "BreaksLater": (5, r"predicting image 'a/0', the trainer raised MemoryError: so large"),
}


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "faultymodels.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return write_pictures(tmp_path / "a.zarr", *drawn_pictures(), video=np.full(9, 16))


def refused(capsys: pytest.CaptureFixture[str], source: Path, *words: str) -> tuple[int, str]:
    more = ("--out", "out", "--executor.kind", "serial", "--log-format", "quiet")
    return exit_code("predict", "--source", source, *words, *more), error_message(capsys)


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_is_refused_before_anything_is_written(
    case: str, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, match = REFUSALS[case]
    code, said = refused(capsys, source, *words)
    assert re.search(match, said), said
    assert code == 2
    assert not Path("out").exists()


@pytest.mark.parametrize("case", FAULTS)
def test_a_trainer_that_does_not_keep_its_word_is_told_so(
    case: str, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted, match = FAULTS[case]
    code, said = refused(capsys, source, "--trainer", f"faultymodels:{case}", "--folds", "3")
    assert re.search(match, said), said
    assert code == wanted


def test_labels_of_one_class_teach_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures, labels = drawn_pictures()
    source = write_pictures(tmp_path / "a.zarr", pictures, np.where(labels == 255, 255, 1).astype(np.uint8))
    code = exit_code(
        "predict",
        "--source",
        source,
        "--out",
        tmp_path / "out",
        "--executor.kind",
        "serial",
        "--log-format",
        "quiet",
        "--folds",
        "3",
    )
    assert "fold 0: 6 training images hold 1 class; there is nothing to tell apart" in error_message(capsys)
    assert code == 2


def test_a_worker_too_small_for_the_pixels_of_a_model(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = refused(capsys, source, "--executor.memory", "300 MiB")
    assert re.search(
        r"The trainer pixels on these images needs [\d.]+ MiB per worker, and this process has 300\.0 MiB", said
    )
    assert code == 4
    assert not Path("out").exists()


def test_somebody_elses_folder_is_left_alone(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("out").mkdir()
    (Path("out") / "thesis.txt").write_text("years")
    code, said = refused(capsys, source, "--folds", "2")
    assert re.search(r"out holds what no `masksift predict` wrote \(thesis\.txt\)", said)
    assert code == 2


def test_a_source_is_not_written_into_itself(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("predict", "--source", source, "--out", source, "--executor.kind", "serial", "--folds", "2") == 2
    assert "a.zarr holds what no `masksift predict` wrote (images, labels, " in error_message(capsys)


def test_two_runs_at_once_are_refused(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from masksift.storage.lock import RunLock
    from masksift.storage.objects import ObjectDirectory

    with RunLock(ObjectDirectory(str(Path("out/predict").absolute())), print):
        code, said = refused(capsys, source, "--folds", "2")
    assert re.search(r"is in use by another run", said)
    assert code == 2
    predict(source, Path("out"), "--folds", 2, "--trainer", "faultymodels:Memoriser")
