"""MMEngine (MMSegmentation): write evidence during `Runner.test` and `val`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from masksift.core.errors import DataError, UsageError
from masksift.integrations.batches import check_order, write_batch
from masksift.prepare.writers.evidence import EvidenceWriter

__all__ = ["EvidenceHook"]


@HOOKS.register_module()
class EvidenceHook(Hook):
    """Hook that writes the evidence of each batch of `Runner.test`, or of `Runner.val`.

    It reads `seg_logits`, `gt_sem_seg` and `img_path` of each `SegDataSample`. Image ids are the file names without
    extension. With ``pictures=True`` it reads the uint8 images of the batch (`inputs`, BGR as MMCV reads them), and
    resizes them to the labels. Validation within `Runner.train` writes nothing.

    In a configuration file::

        custom_imports = dict(imports=["masksift.integrations.mmengine"])
        custom_hooks = [dict(type="EvidenceHook", url="street.zarr", height=1024, width=2048, ignore=255)]

    Args:
        writer: Arguments of `EvidenceWriter`, at least ``url``, ``height`` and ``width``. Defaults: the number of
            images and the class names of the data set, and ``kind="logits"``. A model with one output channel returns
            probabilities: pass ``kind="probabilities"``.

    Raises:
        UsageError: The loader shuffles, or several processes share it.
        DataError: A sample has no logits or no labels, or does not fit the writer.
    """

    priority = "LOW"

    def __init__(self, **writer: Any) -> None:
        self._args = writer
        self._writer: EvidenceWriter | None = None
        self._skip, self._trains = 0, False

    def before_train(self, runner: Any) -> None:
        """Ignore validation until the training ends."""
        self._trains = True

    def after_train(self, runner: Any) -> None:
        """Write again."""
        self._trains = False

    def before_test(self, runner: Any) -> None:
        """Open the writer."""
        self._open(runner.test_dataloader)

    def before_val(self, runner: Any) -> None:
        """Open the writer, except within `Runner.train`."""
        if not self._trains:
            self._open(runner.val_dataloader)

    def after_test_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Write the samples of a batch."""
        self._write(data_batch, outputs)

    def after_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Write the samples of a batch, except within `Runner.train`."""
        if not self._trains:
            self._write(data_batch, outputs)

    def after_test(self, runner: Any) -> None:
        """Check that all images are written."""
        self._close()

    def after_val(self, runner: Any) -> None:
        """Check that all images are written, except within `Runner.train`."""
        if not self._trains:
            self._close()

    def _open(self, loader: Any) -> None:
        check_order(get_world_size(), bool(getattr(loader.sampler, "shuffle", False)), "MMEngine")
        dataset = loader.dataset
        names = getattr(dataset, "metainfo", {}).get("classes")
        defaults = {"images": len(dataset), "kind": "logits", **({"class_names": names} if names else {})}
        self._writer = EvidenceWriter(**{**defaults, **self._args})
        self._skip = self._writer.next_image

    def _write(self, data_batch: Any, samples: Sequence[Any]) -> None:
        assert self._writer is not None, "opened before the first batch"
        writer, inputs = self._writer, data_batch["inputs"] if isinstance(data_batch, Mapping) else None
        for i, sample in enumerate(samples):
            if self._skip:  # written before an interruption
                self._skip -= 1
                continue
            logits, labels = (_plane_data(sample, name) for name in ("seg_logits", "gt_sem_seg"))
            path = getattr(sample, "img_path", None)
            ids = None if path is None else [PurePath(path).stem]
            pictures = None
            if writer.has_pictures:
                if inputs is None:
                    raise DataError("The batch has no inputs for RGB images", "Pass pictures=False")
                pictures = _to_rgb(inputs[i], labels.shape[-2:])[None]
            write_batch(writer, logits[None], labels.reshape(1, *labels.shape[-2:]), ids, pictures)

    def _close(self) -> None:
        assert self._writer is not None, "opened before the first batch"
        self._writer.__exit__(None, None, None)


def _plane_data(sample: Any, name: str) -> torch.Tensor:
    planes = getattr(sample, name, None)
    if planes is None:
        raise DataError(
            f"A data sample has no {name}",
            "Add LoadAnnotations to the test pipeline, after Resize"
            if name == "gt_sem_seg"
            else "Use a model of MMSegmentation whose predictions keep seg_logits",
        )
    data: torch.Tensor = planes.data
    return data


def _to_rgb(image: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Convert a BGR image (3, h, w) uint8 to an RGB image (3, H, W)."""
    if image.dtype != torch.uint8 or image.shape[0] != 3:
        raise UsageError(
            f"An image of the batch has shape {tuple(image.shape)} and dtype {image.dtype}",
            "Only uint8 images of three channels are written for review",
            "Pass pictures=False",
        )
    resized = torch.nn.functional.interpolate(
        image.flip(0)[None].float(), size=tuple(size), mode="bilinear", antialias=True
    )
    return resized[0].round().clip(0, 255).to(torch.uint8)
