"""A model in an ONNX file, where onnxruntime is installed: what it takes and answers is found out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from masksift.core.errors import DataError
from prepare.predict.helpers import drawn_pictures, folds_of, predict, record, result, write_pictures
from support.cli import exit_code
from support.errors import raises

pytest.importorskip("onnxruntime", reason="onnxruntime is an extra: pip install 'masksift[onnx]'")
onnx = pytest.importorskip("onnx", reason="onnx makes the files of these tests")
ExportedModel = pytest.importorskip("masksift.prepare.predict.trainers.onnx_model").ExportedModel

WEIGHTS = np.array([[-3, -1, 4], [2, -1, -1], [-2, 5, -3]], np.float32)
PLAIN: dict[str, Any] = {"mean": (0, 0, 0), "std": (1, 1, 1)}


def model(*, softmax: bool = False, channels_last: bool = False, takes_bytes: bool = False, channels: int = 3) -> bytes:
    """A convolution of one pixel, as a file."""
    helper, kinds = onnx.helper, onnx.TensorProto
    shape = ["n", "h", "w", channels] if channels_last else ["n", channels, "h", "w"]
    given = helper.make_tensor_value_info("picture", kinds.UINT8 if takes_bytes else kinds.FLOAT, shape)
    answer = helper.make_tensor_value_info("answer", kinds.FLOAT, ["n", 3, "h", "w"])
    weights = helper.make_tensor("weights", kinds.FLOAT, (3, channels, 1, 1), np.resize(WEIGHTS, 3 * channels).tolist())
    nodes, last = [], "picture"
    if takes_bytes:
        nodes.append(helper.make_node("Cast", [last], ["floats"], to=kinds.FLOAT))
        last = "floats"
    if channels_last:
        nodes.append(helper.make_node("Transpose", [last], ["planes"], perm=[0, 3, 1, 2]))
        last = "planes"
    nodes.append(helper.make_node("Conv", [last, "weights"], ["logits" if softmax else "answer"]))
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["answer"], axis=1))
    graph = helper.make_graph(nodes, "pixelwise", [given], [answer], [weights])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    data: bytes = made.SerializeToString()
    return data


def expected(pictures: np.ndarray, mean: Any = 0.0, std: Any = 1.0) -> np.ndarray:
    logits = np.einsum("kc,nhwc->nkhw", WEIGHTS, (pictures / 255 - np.array(mean)) / np.array(std))
    powers = np.exp(logits)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("softmax", [False, True], ids=["logits", "probabilities"])
@pytest.mark.parametrize("channels_last", [False, True], ids=["NCHW", "NHWC"])
def test_whatever_it_takes_and_answers_probabilities_come_of_it(softmax: bool, channels_last: bool) -> None:
    pictures = drawn_pictures(images=2)[0]
    made = ExportedModel("m.onnx", model(softmax=softmax, channels_last=channels_last), 3, **PLAIN)
    np.testing.assert_allclose(made.predict_proba(pictures), expected(pictures), atol=1e-5)


def test_channels_are_standardised_as_it_is_told_and_bytes_stay_bytes() -> None:
    pictures = drawn_pictures(images=2)[0]
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    made = ExportedModel("m.onnx", model(), 3, mean=mean, std=std)
    np.testing.assert_allclose(made.predict_proba(pictures), expected(pictures, mean, std), atol=1e-5)
    made = ExportedModel("m.onnx", model(takes_bytes=True), 3, mean=mean, std=std)
    dark = pictures // 99
    np.testing.assert_allclose(made.predict_proba(dark), expected(dark.astype(int) * 255), atol=1e-5)


def test_what_is_no_such_model_is_refused() -> None:
    with raises(DataError, r"m\.onnx is no model that onnxruntime can load"):
        ExportedModel("m.onnx", b"weights", 3, **PLAIN)
    with raises(DataError, r"the first input of m\.onnx has the shape .*; pictures are \(n, 3, H, W\)"):
        ExportedModel("m.onnx", model(channels=4), 3, **PLAIN)
    with raises(DataError, r"m\.onnx answers \(1, 3, 16, 20\) for pictures .*; it should be \(1, 5, 16, 20\)"):
        ExportedModel("m.onnx", model(), 5, **PLAIN).predict_proba(drawn_pictures(images=1)[0])


def test_as_a_whole_it_predicts_and_says_what_nobody_can_prove(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pictures, labels = drawn_pictures(images=4)
    source = write_pictures(tmp_path / "a.zarr", pictures, labels)
    (tmp_path / "m.onnx").write_bytes(model())
    out = predict(source, tmp_path / "out", "--trainer", "m.onnx")
    np.testing.assert_array_equal(result(out, "predictions"), np.rint(expected(pictures) * 255))
    assert result(out, "fold").tolist() == [-1] * 4
    assert {row["fold"] for row in folds_of(out)} == {-1}
    assert record(out)["out_of_sample"] is False
    assert "m.onnx was trained elsewhere: nobody can prove that it never saw" in capsys.readouterr().out
    (tmp_path / "m.onnx").write_bytes(model(softmax=True))
    words = ("--out", out, "--trainer", "m.onnx", "--executor.kind", "serial")
    assert exit_code("predict", "--source", source, *words) == 2
    assert "holds results of other inputs or settings (model was" in capsys.readouterr().err
