"""`masksift.integrations.torch`: evidence of a model over a loader, and the bytes that leave its device."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import zarr

from integrations.frameworks import framework
from integrations.helpers import IMAGES, SIZE, check_evidence, make_labels, make_pictures, open_writer
from masksift.core.errors import DataError, UsageError
from masksift.engine.planning import layout
from support.cli import run_cli
from support.errors import raises

torch = framework("torch")
from torch.nn.functional import interpolate  # noqa: E402
from torch.utils.data import DataLoader, IterableDataset  # noqa: E402

from masksift.integrations.torch import remaining, write_evidence  # noqa: E402


class Dataset:
    """Normalized images with their labels, ids and pictures, as tuples or dicts."""

    def __init__(self, keys: tuple[str, ...] = ()) -> None:
        self.pictures, self.labels, self.keys = make_pictures(), make_labels(), keys
        self.images = (self.pictures.transpose(0, 3, 1, 2) / np.float32(255)).astype(np.float32)
        self.read: list[int] = []

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, i: int) -> Any:
        self.read.append(i)
        item = (self.images[i], self.labels[i], f"scene {i}", self.pictures[i])
        return dict(zip(self.keys, item, strict=True)) if self.keys else item


class Output(NamedTuple):
    """Output in which the predictions are not first."""

    loss: Any
    logits: Any


class Model(torch.nn.Module):  # type: ignore[name-defined]
    """Model with random layers, in which training and evaluation differ, and with an output of half the size."""

    def __init__(self, form: str = "tensor") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 2, stride=2), torch.nn.Dropout(0.5))
        self.form, self.calls = form, 0

    def forward(self, images: Any) -> Any:
        assert torch.is_inference_mode_enabled()
        self.calls += 1
        logits = self.layers(images)
        forms = {
            "tensor": logits,
            "tuple": (logits, None),
            "object": SimpleNamespace(logits=logits),
            "named tuple": Output(loss=torch.zeros(()), logits=logits),
        }
        return forms.get(self.form, {self.form: logits})


def expected_logits(model: Model, dataset: Dataset) -> Any:
    model.eval()
    with torch.inference_mode():
        small = torch.cat([model.layers(torch.from_numpy(image)[None]) for image in dataset.images])
        return interpolate(small, size=SIZE, mode="bilinear", align_corners=False).numpy()


@pytest.mark.parametrize("form", ["tensor", "tuple", "logits", "out", "object", "named tuple"])
def test_output_of_any_form_is_resized_and_written(tmp_path: Path, form: str) -> None:
    model, dataset = Model(form), Dataset()
    model.train()
    with open_writer(tmp_path / "a.zarr") as writer:
        write_evidence(model, DataLoader(dataset, batch_size=2, shuffle=True), writer)
    assert model.training, "the mode of the model is restored"
    check_evidence(
        tmp_path / "a.zarr", expected_logits(model, dataset), dataset.labels, [f"scene {i}" for i in range(5)]
    )
    assert run_cli("run", "--source", tmp_path / "a.zarr", "--out", tmp_path / "out") == 0


def test_dict_batches_and_pictures_are_written(tmp_path: Path) -> None:
    model, dataset = Model(), Dataset(("pixel_values", "labels", "image_id", "rgb"))
    with open_writer(tmp_path / "a.zarr", pictures=True) as writer:
        write_evidence(model, DataLoader(dataset, batch_size=2), writer, pictures="rgb")
    check_evidence(
        tmp_path / "a.zarr", expected_logits(model, dataset), dataset.labels, [f"scene {i}" for i in range(5)]
    )
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a.zarr/images", mode="r")[:], dataset.pictures)
    with open_writer(tmp_path / "b.zarr", pictures=True) as writer:  # the picture is computed from the normalized image
        write_evidence(
            model,
            DataLoader(dataset, batch_size=2),
            writer,
            pictures=lambda batch: (batch["pixel_values"] * 255).round().byte(),
        )
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "b.zarr/images", mode="r")[:], dataset.pictures)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MIN_BLOCK_BYTES", 2000)


@pytest.mark.usefixtures("small_blocks")
def test_interrupted_loader_resumes_without_predicting_again(tmp_path: Path) -> None:
    model, dataset = Model(), Dataset()

    def failing(images: Any) -> Any:
        if model.calls == 3:
            raise KeyboardInterrupt
        return model.eval()(images)

    with pytest.raises(KeyboardInterrupt):
        write_evidence(failing, DataLoader(dataset, batch_size=1), open_writer(tmp_path / "a.zarr"))
    dataset.read.clear()
    with open_writer(tmp_path / "a.zarr") as writer:
        first = writer.next_image
        assert 0 < first < IMAGES
        write_evidence(model, DataLoader(dataset, batch_size=2), writer)
    assert dataset.read == list(range(first, IMAGES))
    check_evidence(tmp_path / "a.zarr", expected_logits(model, dataset), dataset.labels)


@pytest.mark.usefixtures("small_blocks")
def test_ranks_write_their_parts(tmp_path: Path) -> None:
    model, dataset = Model(), Dataset()
    for rank in range(2):
        with open_writer(tmp_path / "a.zarr", part=(rank, 2)) as writer:
            assert [*remaining(dataset, writer).indices] == [*writer.range] != []
            write_evidence(model, DataLoader(dataset, batch_size=2), writer)
    check_evidence(tmp_path / "a.zarr", expected_logits(model, dataset), dataset.labels)


def test_iterable_data_set_begins_at_the_range_of_the_writer(tmp_path: Path) -> None:
    class Stream(IterableDataset[Any]):  # type: ignore[misc]
        def __iter__(self) -> Any:
            return (Dataset()[i] for i in range(IMAGES))

    model = Model()
    with open_writer(tmp_path / "a.zarr") as writer:
        write_evidence(model, DataLoader(Stream(), batch_size=2), writer)
    check_evidence(tmp_path / "a.zarr", expected_logits(model, Dataset()), make_labels())


def test_images_of_several_sizes_are_padded(tmp_path: Path) -> None:
    model, dataset = Model(), Dataset()
    sizes = [(16, 20), (10, 20), (16, 8), (10, 8), (16, 20)]
    images = [dataset.images[i][:, :h, :w] for i, (h, w) in enumerate(sizes)]
    labels = [dataset.labels[i][:h, :w] for i, (h, w) in enumerate(sizes)]
    batches = [
        (torch.from_numpy(x.copy())[None], torch.from_numpy(y)[None]) for x, y in zip(images, labels, strict=True)
    ]
    with open_writer(tmp_path / "a.zarr", padded=True) as writer:
        write_evidence(model, batches, writer)
    with torch.inference_mode():
        logits = [interpolate(model.eval()(x), size=y.shape[1:], mode="bilinear")[0].numpy() for x, y in batches]
    check_evidence(tmp_path / "a.zarr", logits, labels)
    assert zarr.open_array(tmp_path / "a.zarr/height", mode="r")[:].tolist() == [h for h, _ in sizes]
    with raises(DataError, r"Image 0 has 16 x 20 pixels, the writer 8 x 20"):
        write_evidence(model, batches, open_writer(tmp_path / "b.zarr", height=8, padded=True))


def test_half_precision_logits_are_cast_to_the_dtype_of_the_writer(tmp_path: Path) -> None:
    logits = torch.randn(IMAGES, 3, *SIZE, generator=torch.Generator().manual_seed(3)).to(torch.bfloat16)
    labels = torch.from_numpy(make_labels())
    with open_writer(tmp_path / "a.zarr") as writer:
        write_evidence(lambda images: images, [(logits, labels[:, None])], writer)
    check_evidence(tmp_path / "a.zarr", logits.float().numpy(), labels.numpy())


class DeviceTensor(torch.Tensor):  # type: ignore[misc,name-defined]
    """Tensor that states to be on a CUDA device, and counts the bytes that are copied from there."""

    copied = 0

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def cpu(self, *args: Any, **kwargs: Any) -> Any:
        DeviceTensor.copied += self.numel() * self.element_size()
        return self.as_subclass(torch.Tensor)

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("can't convert a tensor on a device to numpy")

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("can't convert a tensor on a device to numpy")


def test_only_the_evidence_leaves_the_device(tmp_path: Path) -> None:
    classes, side = 19, 64
    logits = torch.randn(2, classes, side // 4, side // 4, generator=torch.Generator().manual_seed(3))
    labels = np.random.default_rng(0).integers(0, classes, (2, side, side))
    batch = (logits.as_subclass(DeviceTensor), torch.from_numpy(labels).as_subclass(DeviceTensor))
    args = {"images": 2, "height": side, "width": side, "class_names": None, "classes": classes}
    DeviceTensor.copied = 0
    with open_writer(tmp_path / "a.zarr", **args) as writer:
        write_evidence(lambda images: images, [batch], writer)
    pixels = 2 * side * side
    evidence, given, histograms = (2 + 1 + 2) * pixels, pixels, 2 * 2 * (classes * 256 + 1) * 8
    assert DeviceTensor.copied == evidence + given + histograms
    full = interpolate(logits, size=(side, side), mode="bilinear").numpy()
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    predicted = np.asarray(group["predicted_class"])
    np.testing.assert_array_equal(predicted, full.argmax(axis=1))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_model_on_a_gpu_gives_the_evidence_of_the_cpu(tmp_path: Path) -> None:
    model, dataset = Model().to("cuda"), Dataset()
    with open_writer(tmp_path / "a.zarr") as writer:
        write_evidence(model, DataLoader(dataset, batch_size=2, pin_memory=True), writer)
    logits = expected_logits(model.to("cpu"), dataset)
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    stored = np.asarray(group["predicted_confidence"]).astype(np.float32)
    np.testing.assert_allclose(stored, probabilities.max(axis=1), atol=2e-3)


def test_unusable_batches_and_outputs_are_refused(tmp_path: Path) -> None:
    labels, logits = torch.from_numpy(make_labels()), torch.zeros(IMAGES, 3, *SIZE)
    writer = open_writer(tmp_path / "a.zarr")
    with raises(DataError, r"A batch has the keys x, y, in which labels are not recognized\. Pass labels=KEY"):
        write_evidence(torch.nn.Identity(), [{"x": logits, "y": labels}], writer)
    with raises(DataError, r"A batch has 1 elements, in which labels 1 is missing"):
        write_evidence(torch.nn.Identity(), [(logits,)], writer)
    with raises(DataError, r"The model returns dict with the keys loss\. Return predictions"):
        write_evidence(lambda x: {"loss": x}, [(logits, labels)], writer)
    with raises(DataError, r"The model returns masks of queries, not logits per pixel"):
        write_evidence(lambda x: {"class_queries_logits": x}, [(logits, labels)], writer)
    with raises(DataError, r"A batch has 5 labels, but 4 predictions"):
        write_evidence(lambda x: x[:4], [(logits, labels)], writer)
    with raises(UsageError, r"The data set has 5 images, the writer 6\. Pass images=len\(dataset\)"):
        write_evidence(Model(), DataLoader(Dataset()), open_writer(tmp_path / "b.zarr", images=6))
    with raises(DataError, r"A picture has shape \(4, 4, 3\) and dtype uint8, but its labels are 16 x 20"):
        small = np.zeros((IMAGES, 4, 4, 3), np.uint8)
        pictured = open_writer(tmp_path / "c.zarr", pictures=True)
        write_evidence(lambda x: x, [(logits, labels, small)], pictured, pictures=2)
    assert writer.next_image == 0
