"""`masksift.integrations.transformers`: evidence written by `Trainer`, which then keeps no logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from integrations.frameworks import framework
from integrations.helpers import IMAGES, SIZE, check_evidence, make_labels, make_pictures, open_writer
from integrations.segformer import make_segformer
from masksift.core.errors import DataError
from support.errors import raises

torch, transformers = framework("torch"), framework("transformers")
framework("accelerate")
from masksift.integrations.torch import remaining  # noqa: E402
from masksift.integrations.transformers import preprocess_logits  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")


class Dataset:
    """Images and labels as an image processor makes them."""

    def __init__(self) -> None:
        self.images = make_pictures().transpose(0, 3, 1, 2).astype(np.float32) / 255
        self.labels = make_labels()

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"pixel_values": torch.from_numpy(self.images[i]), "labels": torch.from_numpy(self.labels[i])}


@pytest.mark.parametrize("method", ["predict", "evaluate"])
def test_trainer_writes_evidence_and_keeps_a_number_per_image(tmp_path: Path, method: str) -> None:
    model, dataset, ids = make_segformer(), Dataset(), [f"scene {i}" for i in range(IMAGES)]
    args = transformers.TrainingArguments(
        tmp_path / "t", per_device_eval_batch_size=2, report_to=[], use_cpu=True, batch_eval_metrics=True
    )
    with open_writer(tmp_path / "a.zarr") as writer:
        trainer = transformers.Trainer(
            model,
            args,
            preprocess_logits_for_metrics=preprocess_logits(writer, ids),
            compute_metrics=lambda prediction, compute_result: {},
        )
        output = getattr(trainer, method)(remaining(dataset, writer))
    if method == "predict":
        assert output.predictions.tolist() == [0] * IMAGES
    with torch.inference_mode():
        small = model.eval()(torch.from_numpy(dataset.images)).logits
        logits = torch.nn.functional.interpolate(small, size=SIZE, mode="bilinear").numpy()
    for i in range(0, IMAGES, 2):  # the batches of the trainer
        with torch.inference_mode():
            batch = model(torch.from_numpy(dataset.images[i : i + 2])).logits
            logits[i : i + 2] = torch.nn.functional.interpolate(batch, size=SIZE, mode="bilinear").numpy()
    check_evidence(tmp_path / "a.zarr", logits, dataset.labels, ids)


def test_missing_labels_and_ids_of_another_number_are_refused(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "a.zarr")
    with raises(DataError, r"There are 1 image ids for 5 images"):
        preprocess_logits(writer, ["a"])
    with raises(DataError, r"The data set of Trainer has no labels\. Add the key 'labels'"):
        preprocess_logits(writer)(torch.zeros(1, 3, 4, 4), None)
