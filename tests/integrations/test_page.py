"""The examples of the page "At inference time" run where their framework exists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from docs.pages import ROOT, blocks
from integrations.frameworks import framework
from support.cli import run_cli

PAGE = ROOT / "docs/guides/inference.md"
EXAMPLES = [block.text for block in blocks(PAGE) if block.language == "python"]
NAMES = tuple(f"class {k}" for k in range(3))


def example(word: str) -> str:
    (text,) = (text for text in EXAMPLES if word in text)
    return text


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def images_and_labels(images: int = 2) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.random((images, 3, 512, 1024), np.float32), rng.integers(0, 3, (images, 512, 1024))


def check(directory: Path, logits: Any) -> None:
    predicted = np.asarray(zarr.open_array(directory / "street.zarr/predicted_class", mode="r"))
    np.testing.assert_array_equal(predicted, np.asarray(logits).argmax(axis=1))
    assert run_cli("run", "--source", "street.zarr", "--out", "quality") == 0


def test_page_has_an_example_for_each_framework() -> None:
    assert len(EXAMPLES) == 5


def test_example_of_torch_runs(directory: Path) -> None:
    torch = framework("torch")
    images, labels = map(torch.from_numpy, images_and_labels())
    dataset = torch.utils.data.TensorDataset(images, labels)
    model = torch.nn.Conv2d(3, 3, 1)
    loader = torch.utils.data.DataLoader(dataset, batch_size=1)
    exec(
        example("write_evidence(model, loader, writer)"),
        {"NAMES": NAMES, "dataset": dataset, "model": model, "loader": loader},
    )
    check(directory, torch.cat([model(image[None]).detach() for image in images]))


@pytest.mark.filterwarnings("default")
def test_example_of_lightning_runs(directory: Path) -> None:
    torch, pl = framework("torch"), framework("lightning.pytorch")

    class Module(pl.LightningModule):  # type: ignore[misc,name-defined]
        def predict_step(self, batch: Any, batch_idx: int) -> Any:
            return batch[0]

    images, labels = map(torch.from_numpy, images_and_labels())
    dataset = torch.utils.data.TensorDataset(images, labels)
    names = {"dataset": dataset, "module": Module(), "DataLoader": torch.utils.data.DataLoader, "Trainer": pl.Trainer}
    exec(example("EvidenceCallback"), {"NAMES": NAMES, **names})
    check(directory, images)


@pytest.mark.filterwarnings("default")
def test_example_of_transformers_runs(directory: Path) -> None:
    torch, transformers = framework("torch"), framework("transformers")
    framework("accelerate")

    class Model(torch.nn.Module):  # type: ignore[misc,name-defined]
        def forward(self, pixel_values: Any, labels: Any) -> Any:
            return {"loss": pixel_values.mean(), "logits": pixel_values}

    images, labels = map(torch.from_numpy, images_and_labels())
    dataset = [{"pixel_values": image, "labels": plane} for image, plane in zip(images, labels, strict=True)]
    args = transformers.TrainingArguments("trainer", report_to=[], use_cpu=True)
    names = {"dataset": dataset, "model": Model(), "args": args, "Trainer": transformers.Trainer}
    exec(example("preprocess_logits"), {"NAMES": NAMES, **names})
    check(directory, images)


def test_example_of_mmsegmentation_is_a_configuration() -> None:
    mmengine = framework("mmengine.config")
    framework("mmengine.runner")
    config = mmengine.Config.fromstring(example("custom_hooks"), ".py")
    from mmengine.registry import HOOKS

    assert type(HOOKS.build(config.custom_hooks[0])).__module__ == "masksift.integrations.mmengine"


def test_example_of_onnx_runs(directory: Path) -> None:
    onnx = framework("onnx")
    framework("onnxruntime")
    helper, types = onnx.helper, onnx.TensorProto
    value = [helper.make_tensor_value_info(name, types.FLOAT, ["n", 3, "h", "w"]) for name in ("images", "logits")]
    graph = helper.make_graph([helper.make_node("Neg", ["images"], ["logits"])], "negative", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (directory / "model.onnx").write_bytes(model.SerializeToString())
    images, labels = images_and_labels()
    names = {"dataset": images, "batches": [(images, labels)], "NAMES": NAMES}
    exec(example("InferenceSession"), names)
    check(directory, -images)
