"""Trainer `hf:NAME`: classes of the model and of the data set, and predictions with a small random SegFormer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from integrations.frameworks import framework
from integrations.segformer import make_segformer, save_segformer
from masksift.core.errors import DataError, UsageError
from prepare.ingest.helpers import save_image
from prepare.predict.helpers import NAMES, make_images, predict, read_array, read_record, write_images
from support.cli import run_cli
from support.errors import raises

torch, transformers = framework("torch"), framework("transformers")
from masksift.prepare.predict.trainers.transformers_model import TransformersModel, match_classes  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")

MORE = ("Road", "wall", "sky", "door", "TREE")
"""Classes of a model: those of the data set in another order and case, and two others."""


@pytest.mark.parametrize(
    ("model", "data", "outputs"),
    [
        (MORE, NAMES, [2, 0, 4]),
        (("LABEL_0", "LABEL_1", "LABEL_2"), NAMES, [0, 1, 2]),
        (NAMES, ("class 0", "class 1", "class 2"), [0, 1, 2]),
    ],
    ids=["by name", "model without names", "data set without names"],
)
def test_classes_are_matched_by_name_or_without_names_by_number(
    model: tuple[str, ...], data: tuple[str, ...], outputs: list[int]
) -> None:
    assert match_classes("m", model, data) == outputs


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ("sky", "road"),
            r"hf:m does not have exactly one class for each class of the data set: tree; its 2 classes are sky, road",
        ),
        (("sky", "road", "tree", "Tree"), r"of the data set: tree; its 4 classes"),
        (("LABEL_0", "LABEL_1"), r"of the data set: sky, road, tree; its 2 classes"),
    ],
    ids=["missing", "ambiguous", "unnamed"],
)
def test_class_without_one_output_is_refused(names: tuple[str, ...], message: str) -> None:
    with raises(UsageError, message + r".*Pass --classes with the names that the model uses"):
        match_classes("hf:m", names, NAMES)


def expected_probabilities(images: Any, processor: Any, outputs: list[int], names: tuple[str, ...] = MORE) -> Any:
    """Probabilities of the model, conditional on the data set's classes: without the others, divided by the sum."""
    model = make_segformer(names)
    found = []
    for image in images:  # as `predict` calls it
        pixels = processor(images=[image], return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            logits = model(pixels).logits.double()
        full = torch.nn.functional.interpolate(logits, size=image.shape[:2], mode="bilinear")
        chosen = full.softmax(1)[0, outputs].numpy()
        found.append(chosen / chosen.sum(axis=0))
    return np.stack(found)


def test_prediction_leaves_out_classes_that_the_data_set_does_not_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    images, labels = make_images(images=3)
    source = write_images(tmp_path / "a.zarr", images, labels)
    save_segformer(tmp_path / "model", MORE)
    out = predict(source, tmp_path / "out", "--trainer", "hf:model")
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "model")
    expected = expected_probabilities(images, processor, [2, 0, 4])
    assert expected.max() > 0.5, "the random model distinguishes classes"
    np.testing.assert_allclose(read_array(out, "predictions") / 255, expected, atol=0.51 / 255)
    record = read_record(out)
    assert record["out_of_sample"] is False
    assert record["versions"]["transformers"] == transformers.__version__
    printed = capsys.readouterr()
    assert "hf:model: 2 classes that the data set does not have are left out (wall, door)" in printed.out
    assert "hf:model may have been trained on these images" in printed.out
    save_segformer(tmp_path / "model", NAMES)
    assert run_cli("predict", "--source", source, "--out", out, "--trainer", "hf:model") == 2, "another model"


def test_cropping_of_the_processor_is_switched_off(tmp_path: Path) -> None:
    save_segformer(tmp_path / "plain", NAMES)
    save_segformer(tmp_path / "cropping", NAMES, do_center_crop=True, crop_size={"height": 8, "width": 8})
    image = make_images(images=1)[0]
    plain, cropping = (
        TransformersModel(name, str(tmp_path), NAMES).predict_proba(image) for name in ("plain", "cropping")
    )
    np.testing.assert_array_equal(plain, cropping)


def test_quickstart_predicts_with_a_model(tmp_path: Path) -> None:
    images, labels = make_images(images=3)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        save_image(tmp_path / f"images/{i}.png", image)
        save_image(tmp_path / f"labels/{i}.png", label)
    model = save_segformer(tmp_path / "model", ("LABEL_0", "LABEL_1", "LABEL_2"))
    args = ("--images", tmp_path / "images", "--labels", tmp_path / "labels", "--model", f"hf:{model}")
    assert run_cli("quickstart", *args, "--out", tmp_path / "out") == 0
    assert (tmp_path / "out/results/report/index.html").exists()


def test_models_that_cannot_be_used_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with raises(UsageError, r"hf:masksift-tests/absent cannot be loaded .*reaches huggingface\.co or has the model"):
        TransformersModel("masksift-tests/absent", str(tmp_path), NAMES)
    bert = transformers.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    bert.save_pretrained(tmp_path / "bert")
    with raises(UsageError, r"hf:bert cannot be loaded as a semantic segmentation model"):
        TransformersModel("bert", str(tmp_path), NAMES)
    save_segformer(tmp_path / "encoder")
    transformers.SegformerModel(make_segformer().config).save_pretrained(tmp_path / "encoder")
    with raises(DataError, r"hf:encoder has no weights for decode_head.*They would be random"):
        TransformersModel("encoder", str(tmp_path), NAMES)
