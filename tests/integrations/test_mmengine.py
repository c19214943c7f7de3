"""`masksift.integrations.mmengine`: evidence written by a hook of the runner, from samples like MMSegmentation's."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import zarr

from integrations.frameworks import framework
from integrations.helpers import IMAGES, NAMES, SIZE, check_evidence, make_labels, make_pictures
from masksift.core.errors import DataError, UsageError
from support.errors import raises

torch = framework("torch")
framework("mmengine.runner")
from mmengine.dataset import pseudo_collate  # noqa: E402
from mmengine.evaluator import Evaluator  # noqa: E402
from mmengine.model import BaseModel  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from mmengine.structures import BaseDataElement, PixelData  # noqa: E402

from masksift.integrations.mmengine import EvidenceHook  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")


class Dataset(torch.utils.data.Dataset):  # type: ignore[misc,name-defined]
    """BGR images and data samples, as `PackSegInputs` makes them."""

    metainfo: ClassVar = {"classes": NAMES}

    def __init__(self, labeled: bool = True) -> None:
        self.labeled = labeled

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, i: int) -> dict[str, Any]:
        sample = BaseDataElement(metainfo={"img_path": f"images/{i:03d}.png", "ori_shape": SIZE})
        if self.labeled:
            sample.gt_sem_seg = PixelData(data=torch.from_numpy(make_labels()[i])[None])
        bgr = make_pictures()[i][..., ::-1].transpose(2, 0, 1).copy()
        return {"inputs": torch.from_numpy(bgr), "data_samples": sample}


class Model(BaseModel):  # type: ignore[misc]
    """Logits of one convolution, in the samples, as MMSegmentation's `postprocess_result` writes them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Conv2d(3, 3, 1)

    def logits(self, image: Any) -> Any:
        return self.layer(image.flip(0)[None].float() / 255)[0]

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = "predict") -> Any:
        for image, sample in zip(inputs, data_samples, strict=True):
            logits = self.logits(image)
            sample.seg_logits = PixelData(data=logits)
            sample.pred_sem_seg = PixelData(data=logits.argmax(0, keepdim=True))
        return data_samples


class NoMetric(Evaluator):  # type: ignore[misc]
    """Evaluator without a metric."""

    def __init__(self) -> None:
        super().__init__([])

    def evaluate(self, size: int) -> dict[str, float]:
        return {}


def run_test(tmp_path: Path, model: Model, *, labeled: bool = True, shuffle: bool = False, **args: Any) -> None:
    loader = {
        "dataset": Dataset(labeled),
        "batch_size": 2,
        "sampler": {"type": "DefaultSampler", "shuffle": shuffle},
        "collate_fn": pseudo_collate,
    }
    hook = {"type": "EvidenceHook", "url": str(tmp_path / "a.zarr"), "height": SIZE[0], "width": SIZE[1]}
    runner = Runner(
        model,
        work_dir=str(tmp_path / "work"),
        test_dataloader=loader,
        test_cfg={},
        test_evaluator=NoMetric(),
        custom_hooks=[{**hook, "ignore": 255, **args}],
        default_scope="mmengine",
        log_level="ERROR",
        experiment_name=tmp_path.name,
    )
    runner.test()


def test_runner_writes_logits_labels_ids_and_pictures(tmp_path: Path) -> None:
    model = Model()
    run_test(tmp_path, model, pictures=True)
    with torch.inference_mode():
        logits = [model.logits(Dataset()[i]["inputs"]).numpy() for i in range(IMAGES)]
    ids = [f"{i:03d}" for i in range(IMAGES)]
    check_evidence(tmp_path / "a.zarr", np.stack(logits), make_labels(), ids)
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    np.testing.assert_array_equal(np.asarray(group["images"]), make_pictures())
    assert group.attrs["class_names"] == list(NAMES)


def test_runner_that_shuffles_and_samples_without_labels_are_refused(tmp_path: Path) -> None:
    with raises(UsageError, r"MMEngine shuffles the images"):
        run_test(tmp_path, Model(), shuffle=True)
    with raises(DataError, r"A data sample has no gt_sem_seg\. Add LoadAnnotations to the test pipeline"):
        run_test(tmp_path, Model(), labeled=False)


def test_validation_within_training_writes_nothing(tmp_path: Path) -> None:
    hook = EvidenceHook(url=str(tmp_path / "a.zarr"), height=16, width=20)
    hook.before_train(None)
    hook.before_val(None)
    hook.after_val_iter(None, 0, {}, [])
    hook.after_val(None)
    assert not (tmp_path / "a.zarr").exists()
