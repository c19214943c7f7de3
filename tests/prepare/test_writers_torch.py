"""Writers fed by a torch model, as the README and the guide show."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import masksift
from docs.pages import ROOT, blocks
from support.cli import run_cli

torch = pytest.importorskip("torch", reason="torch is an extra: pip install 'masksift[torch]'")


class Dataset:
    """Two images of 19 classes."""

    class_names = tuple(f"class {k}" for k in range(19))

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.pictures = rng.integers(0, 256, (2, 512, 1024, 3), np.uint8)
        self.labels = rng.integers(0, 19, (2, 512, 1024))

    def __len__(self) -> int:
        return 2


@pytest.mark.parametrize("page", ["README.md", "docs/guides/writers.md"])
def test_snippet_of_the_page_runs_with_a_torch_model(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (snippet,) = (block.text for block in blocks(ROOT / page) if "EvidenceWriter(" in block.text)
    dataset = Dataset()
    pictures = torch.from_numpy(dataset.pictures)
    images, labels = pictures.permute(0, 3, 1, 2).float() / 255, torch.from_numpy(dataset.labels)
    model = torch.nn.Conv2d(3, 19, 1)
    batches = [(images[i : i + 1], labels[i : i + 1], [f"image {i}"], pictures[i : i + 1]) for i in range(2)]
    loader = batches if "pictures" in snippet else [batch[:3] for batch in batches]
    exec(snippet, {"dataset": dataset, "loader": loader, "model": model})
    group = zarr.open_group("street.zarr", mode="r")
    logits = model(images).detach().numpy()
    for i in range(2):
        wanted = masksift.condense(logits[i], dataset.labels[i], kind="logits", ignore=255)
        for name in ("self_confidence", "predicted_class", "predicted_confidence"):
            np.testing.assert_array_equal(np.asarray(group[name][i]), getattr(wanted, name))
    if "pictures" in snippet:
        np.testing.assert_array_equal(np.asarray(group["images"]), dataset.pictures)
    assert run_cli("run", "--source", "street.zarr", "--out", "quality") == 0


def devices() -> list[str]:
    return ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.mark.parametrize("device", devices())
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_tensors_give_the_evidence_of_their_numbers(tmp_path: Path, dtype: str, device: str) -> None:
    logits = torch.randn(3, 5, 16, 20, generator=torch.Generator().manual_seed(1))
    probabilities = logits.softmax(1).to(getattr(torch, dtype))
    labels = probabilities.float().argmax(1)
    values = probabilities.float().numpy().astype("float32" if dtype == "bfloat16" else dtype)
    given = probabilities.to(device).requires_grad_()
    stored = values.dtype.name
    args: dict[str, Any] = {"images": 3, "height": 16, "width": 20, "classes": 5, "dtype": stored}
    groups = []
    for name, predictions, own in (("tensor", given, labels.to(device)), ("numpy", values, labels.numpy())):
        with masksift.EvidenceWriter(str(tmp_path / name), **args) as writer:
            writer.write(predictions, own)
        groups.append(zarr.open_group(tmp_path / name, mode="r"))
        assert len(masksift.audit(own, predictions).ranking) == 3
    for plane in ("self_confidence", "predicted_class", "predicted_confidence", "labels"):
        np.testing.assert_array_equal(*(np.asarray(group[plane]) for group in groups))
    with masksift.PredictionWriter(str(tmp_path / "steps"), **{**args, "dtype": "uint8"}) as steps:
        steps.write(given, labels)
    written = np.asarray(zarr.open_group(tmp_path / "steps", mode="r")["predictions"])
    np.testing.assert_array_equal(written, np.rint(values.astype(np.float32) / np.float32(1 / 255)).astype(np.uint8))
    assert given.requires_grad, "the caller's tensor is unchanged"


def test_errors_of_tensors_name_the_argument(tmp_path: Path) -> None:
    args: dict[str, Any] = {"images": 1, "height": 4, "width": 4, "classes": 2}
    writer = masksift.EvidenceWriter(str(tmp_path / "a"), **args)
    half = torch.full((1, 2, 4, 4), 0.5, dtype=torch.float16)
    with pytest.raises(masksift.DataError, match=r"received float16\. Pass dtype='float16' to the writer"):
        writer.write(half, torch.zeros(1, 4, 4, dtype=torch.int64))
    with pytest.raises(masksift.DataError, match=r"labels have dtype float32\. Cast them to integers"):
        writer.write(half.float(), torch.zeros(1, 4, 4))
    with contextlib.suppress(masksift.DataError):
        writer.write(half.float(), torch.full((1, 4, 4), 300))
    assert writer.next_image == 0
