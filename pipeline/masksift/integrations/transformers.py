"""Hugging Face Transformers: write evidence during `Trainer.predict` and `evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import distributed

from masksift.core.errors import DataError
from masksift.integrations.batches import check_order, find_logits, write_batch
from masksift.prepare.writers.evidence import EvidenceWriter

__all__ = ["preprocess_logits"]


def preprocess_logits(
    writer: EvidenceWriter, image_ids: Sequence[str] | None = None
) -> Callable[[Any, Any], torch.Tensor]:
    """Make the argument `preprocess_logits_for_metrics` of `Trainer`, which writes the evidence of each batch.

    `Trainer` passes it the logits on their device and the labels. The trainer then keeps one zero per image in place
    of the logits of the whole data set. `Trainer.predict` keeps the labels too, `Trainer.evaluate` with
    ``batch_eval_metrics=True`` does not; `evaluate` calls the function only if there is `compute_metrics`.

    The data set begins at `writer.next_image`: see `masksift.integrations.torch.remaining`.

    Args:
        writer: Open writer, with ``kind="logits"``.
        image_ids: Image ids of the whole source, (N,); default: `<source>/<index>`.

    Returns:
        A function of logits (n, K, h, w) and labels (n, H, W) that returns zeros (n,).

    Raises:
        UsageError: Several processes predict, which Trainer gives images in turn.
        DataError: The number of ids differs from the number of images.
    """
    if image_ids is not None and len(image_ids) != writer.spec.images:
        raise DataError(
            f"There are {len(image_ids):,} image ids for {writer.spec.images:,} images", "Pass one id per image"
        )

    def preprocess(logits: Any, labels: Any) -> torch.Tensor:
        processes = distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
        check_order(processes, False, "Trainer")
        if labels is None:
            raise DataError("The data set of Trainer has no labels", "Add the key 'labels' to its items")
        start = writer.next_image
        predictions = find_logits(logits)
        ids = None if image_ids is None else image_ids[start : start + len(labels)]
        write_batch(writer, predictions, labels, ids)
        return torch.zeros(len(labels), device=predictions.device)

    return preprocess
