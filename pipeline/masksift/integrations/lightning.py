"""Lightning: write evidence during `Trainer.predict`, `validate` and `test`."""

from __future__ import annotations

from typing import Any

from torch.utils.data import RandomSampler

from masksift.integrations.batches import BatchKeys, Key, check_order, find_logits, write_batch
from masksift.prepare.writers.evidence import EvidenceWriter

try:
    from lightning.pytorch import Callback
except ImportError:
    from pytorch_lightning import Callback

__all__ = ["EvidenceCallback"]


class EvidenceCallback(Callback):
    """Callback that writes the evidence of each batch, in `Trainer.predict`, `validate` and `test`.

    The step of the module returns predictions (n, K, h, w): a tensor, or a dict with "logits" or "out". Pass
    ``return_predictions=False`` to `Trainer.predict`, which else keeps all of them. Validation within `Trainer.fit`
    writes nothing. The loader begins at `writer.next_image`: see `masksift.integrations.torch.remaining`.

    Args:
        writer: Open writer, with ``kind="logits"`` unless the module returns probabilities.
        labels: Key or position of the labels in a batch, or function of the batch; default as in
            `masksift.integrations.torch.write_evidence`.
        image_ids: The same for the ids.
        pictures: The same for RGB images, for a writer with ``pictures=True``.

    Raises:
        UsageError: The loader shuffles, or several processes share it.
        DataError: A batch or the output of the step is not recognized, or does not fit the writer.
    """

    def __init__(
        self,
        writer: EvidenceWriter,
        *,
        labels: Key | None = None,
        image_ids: Key | None = None,
        pictures: Key | None = None,
    ) -> None:
        self._writer, self._keys = writer, BatchKeys(None, labels, image_ids, pictures)

    def on_predict_start(self, trainer: Any, pl_module: Any) -> None:
        """Refuse loaders that give images in another order than the data set's."""
        _check_order(trainer, trainer.predict_dataloaders)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Refuse loaders that give images in another order than the data set's."""
        if trainer.state.fn == "validate":
            _check_order(trainer, trainer.val_dataloaders)

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        """Refuse loaders that give images in another order than the data set's."""
        _check_order(trainer, trainer.test_dataloaders)

    def on_predict_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Write a batch."""
        self._write(outputs, batch)

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Write a batch, except within `Trainer.fit`."""
        if trainer.state.fn == "validate":
            self._write(outputs, batch)

    def on_test_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Write a batch."""
        self._write(outputs, batch)

    def _write(self, outputs: Any, batch: Any) -> None:
        keys = self._keys
        labels, ids, rgb_images = keys.read_labels(batch), keys.read_image_ids(batch), keys.read_pictures(batch)
        write_batch(self._writer, find_logits(outputs), labels, ids, rgb_images)


def _check_order(trainer: Any, loaders: Any) -> None:
    for loader in loaders if isinstance(loaders, (list, tuple)) else [loaders]:
        check_order(trainer.world_size, isinstance(getattr(loader, "sampler", None), RandomSampler), "Lightning")
