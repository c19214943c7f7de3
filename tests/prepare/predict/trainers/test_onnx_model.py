"""Trainer `FILE.onnx`: accepted inputs and outputs of a model, and a prediction with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from masksift.core.errors import DataError
from prepare.ingest.helpers import save_image
from prepare.predict.helpers import make_images, predict, read_array, read_folds, read_record, write_images
from support.cli import run_cli
from support.errors import raises

pytest.importorskip("onnxruntime", reason="onnxruntime is an extra: pip install 'masksift[onnx]'")
onnx = pytest.importorskip("onnx", reason="onnx writes the files of these tests")
OnnxModel = pytest.importorskip("masksift.prepare.predict.trainers.onnx_model").OnnxModel

WEIGHTS = np.array([[-3, -1, 4], [2, -1, -1], [-2, 5, -3]], np.float32)
NO_SCALING: dict[str, Any] = {"mean": (0, 0, 0), "std": (1, 1, 1)}


def make_model(
    *, softmax: bool = False, channels_last: bool = False, takes_uint8: bool = False, channels: int = 3
) -> bytes:
    """Make an ONNX file with a convolution of one pixel."""
    helper, types = onnx.helper, onnx.TensorProto
    shape = ["n", "h", "w", channels] if channels_last else ["n", channels, "h", "w"]
    model_input = helper.make_tensor_value_info("image", types.UINT8 if takes_uint8 else types.FLOAT, shape)
    output = helper.make_tensor_value_info("output", types.FLOAT, ["n", 3, "h", "w"])
    values = np.resize(WEIGHTS, 3 * channels).tolist()
    weights = helper.make_tensor("weights", types.FLOAT, (3, channels, 1, 1), values)
    nodes, last = [], "image"
    if takes_uint8:
        nodes.append(helper.make_node("Cast", [last], ["floats"], to=types.FLOAT))
        last = "floats"
    if channels_last:
        nodes.append(helper.make_node("Transpose", [last], ["planes"], perm=[0, 3, 1, 2]))
        last = "planes"
    nodes.append(helper.make_node("Conv", [last, "weights"], ["logits" if softmax else "output"]))
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["output"], axis=1))
    graph = helper.make_graph(nodes, "pixelwise", [model_input], [output], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    data: bytes = model.SerializeToString()
    return data


def expected_probabilities(images: np.ndarray, mean: Any = 0.0, std: Any = 1.0) -> np.ndarray:
    logits = np.einsum("kc,nhwc->nkhw", WEIGHTS, (images / 255 - np.array(mean)) / np.array(std))
    powers = np.exp(logits)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("softmax", [False, True], ids=["logits", "probabilities"])
@pytest.mark.parametrize("channels_last", [False, True], ids=["NCHW", "NHWC"])
def test_model_of_any_layout_predicts_probabilities(softmax: bool, channels_last: bool) -> None:
    images = make_images(images=2)[0]
    model = OnnxModel("m.onnx", make_model(softmax=softmax, channels_last=channels_last), 3, **NO_SCALING)
    np.testing.assert_allclose(model.predict_proba(images), expected_probabilities(images), atol=1e-5)


def test_float_input_is_standardized_and_uint8_input_is_not() -> None:
    images = make_images(images=2)[0]
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    model = OnnxModel("m.onnx", make_model(), 3, mean=mean, std=std)
    np.testing.assert_allclose(model.predict_proba(images), expected_probabilities(images, mean, std), atol=1e-5)
    model = OnnxModel("m.onnx", make_model(takes_uint8=True), 3, mean=mean, std=std)
    dark = images // 99
    np.testing.assert_allclose(model.predict_proba(dark), expected_probabilities(dark.astype(int) * 255), atol=1e-5)


def test_unusable_models_are_refused() -> None:
    with raises(DataError, r"m\.onnx cannot be loaded by onnxruntime"):
        OnnxModel("m.onnx", b"weights", 3, **NO_SCALING)
    with raises(DataError, r"m\.onnx has a first input of shape .*, but images are \(n, 3, H, W\)"):
        OnnxModel("m.onnx", make_model(channels=4), 3, **NO_SCALING)
    with raises(DataError, r"m\.onnx returns \(1, 3, 16, 20\) for images of .*, expected \(1, 5, 16, 20\)"):
        OnnxModel("m.onnx", make_model(), 5, **NO_SCALING).predict_proba(make_images(images=1)[0])


def test_prediction_with_a_model_is_not_out_of_sample(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    images, labels = make_images(images=4)
    source = write_images(tmp_path / "a.zarr", images, labels)
    (tmp_path / "m.onnx").write_bytes(make_model())
    out = predict(source, tmp_path / "out", "--trainer", "m.onnx")
    np.testing.assert_array_equal(read_array(out, "predictions"), np.rint(expected_probabilities(images) * 255))
    assert read_array(out, "fold").tolist() == [-1] * 4
    assert {row["fold"] for row in read_folds(out)} == {-1}
    assert read_record(out)["out_of_sample"] is False
    assert "m.onnx may have been trained on these images" in capsys.readouterr().out
    (tmp_path / "m.onnx").write_bytes(make_model(softmax=True))
    assert run_cli("predict", "--source", source, "--out", out, "--trainer", "m.onnx") == 2
    assert "(model was" in capsys.readouterr().err


def test_quickstart_predicts_with_a_model(tmp_path: Path) -> None:
    images, labels = make_images(images=4)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        save_image(tmp_path / f"images/{i}.png", image)
        save_image(tmp_path / f"labels/{i}.png", label)
    (tmp_path / "m.onnx").write_bytes(make_model(softmax=True))
    args = ("--images", tmp_path / "images", "--labels", tmp_path / "labels", "--model", tmp_path / "m.onnx")
    assert run_cli("quickstart", *args, "--out", tmp_path / "out") == 0
    assert (tmp_path / "out/results/report/index.html").exists()
    assert not read_record(tmp_path / "out/predictions.zarr")["out_of_sample"]
    assert {row["fold"] for row in read_folds(tmp_path / "out/predictions.zarr")} == {-1}
