"""`masksift.integrations.lightning`: evidence written by a callback of the trainer."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from integrations.frameworks import framework
from integrations.helpers import IMAGES, check_evidence, make_labels, make_pictures, open_writer
from masksift.core.errors import UsageError
from support.errors import raises

torch, pl = framework("torch"), framework("lightning.pytorch")
from masksift.integrations.lightning import EvidenceCallback  # noqa: E402
from masksift.integrations.torch import remaining  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")


class Module(pl.LightningModule):  # type: ignore[misc,name-defined]
    """One convolution, whose steps return predictions."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Conv2d(3, 3, 1)

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(batch[0])

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        logits = self.layer(batch[0])
        return {"loss": torch.nn.functional.cross_entropy(logits, batch[1], ignore_index=255), "logits": logits}

    def test_step(self, batch: Any, batch_idx: int) -> Any:
        return self.validation_step(batch, batch_idx)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.validation_step(batch, batch_idx)["loss"]

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.0)


def make_dataset() -> Any:
    images = torch.from_numpy(make_pictures().transpose(0, 3, 1, 2).copy()).float() / 255
    return torch.utils.data.TensorDataset(images, torch.from_numpy(make_labels()))


def make_trainer(*callbacks: Any, **args: Any) -> Any:
    warnings.filterwarnings("ignore", module=r"lightning|pytorch_lightning")
    return pl.Trainer(
        accelerator="cpu",
        callbacks=[*callbacks],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **args,
    )


@pytest.mark.parametrize("stage", ["predict", "validate", "test"])
def test_stage_writes_the_evidence_of_the_step(tmp_path: Path, stage: str) -> None:
    module, dataset = Module(), make_dataset()
    with open_writer(tmp_path / "a.zarr") as writer:
        loader = torch.utils.data.DataLoader(remaining(dataset, writer), batch_size=2)
        args = {"return_predictions": False} if stage == "predict" else {"verbose": False}
        getattr(make_trainer(EvidenceCallback(writer)), stage)(module, loader, **args)
    with torch.inference_mode():
        logits = module.layer(dataset.tensors[0]).numpy()
    check_evidence(tmp_path / "a.zarr", logits, make_labels())


def test_validation_within_training_writes_nothing(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "a.zarr")
    loader = torch.utils.data.DataLoader(make_dataset(), batch_size=2)
    make_trainer(EvidenceCallback(writer), max_epochs=1).fit(Module(), loader, loader)
    assert writer.next_image == 0


def test_loader_that_shuffles_is_refused(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "a.zarr")
    loader = torch.utils.data.DataLoader(make_dataset(), batch_size=IMAGES, shuffle=True)
    with raises(UsageError, r"Lightning shuffles the images\. Evidence is written in the order of the data set"):
        make_trainer(EvidenceCallback(writer)).validate(Module(), loader, verbose=False)
