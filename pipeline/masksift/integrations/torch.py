"""PyTorch: write the evidence of a model over a `DataLoader`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, Subset

from masksift.core.errors import UsageError
from masksift.integrations.batches import BatchKeys, Key, find_logits, write_batch
from masksift.prepare.writers.evidence import EvidenceWriter

__all__ = ["remaining", "write_evidence"]


def write_evidence(
    model: Callable[..., Any],
    loader: Iterable[Any],
    writer: EvidenceWriter,
    *,
    device: str | torch.device | None = None,
    inputs: Key | None = None,
    labels: Key | None = None,
    image_ids: Key | None = None,
    pictures: Key | None = None,
) -> None:
    """Predict the images that a writer lacks, and write their evidence.

    The images of a `DataLoader` are taken in the order of its data set, whatever its sampler, from `writer.next_image`
    to the end of `writer.range`: an interrupted program continues, and each process of a distributed program passes a
    writer with ``part=(rank, processes)``. Any other iterable begins at the first image of `writer.range`.

    Predictions of a lower resolution are resized to the labels, bilinearly with half-pixel centers. They stay on their
    device: the three planes of the evidence are copied.

    Args:
        model: Model, or function of its inputs, that returns predictions (n, K, h, w): a tensor, a dict or
            object with "logits" or "out", or a tuple that begins with them. It is called in evaluation and inference
            mode.
        loader: Batches: dicts, or tuples (inputs, labels) with or without ids.
        writer: Open writer, with ``kind="logits"`` unless the model returns probabilities.
        device: Device of the inputs; default: that of the model's parameters.
        inputs: Key or position of the inputs in a batch, or function of the batch. A dict is passed as keyword
            arguments. Default: "pixel_values", "image", "images", "inputs", "input" or "img"; the first.
        labels: The same for the labels (n, H, W) or (n, 1, H, W); default: "labels", "label", "masks", "mask",
            "targets" or "target"; the second.
        image_ids: The same for ids; default: "image_ids", "image_id", "ids" or "id"; the third, if it holds strings.
        pictures: The same for RGB images (n, H, W, 3) or (n, 3, H, W) uint8, for a writer with ``pictures=True``.

    Raises:
        UsageError: The data set has another number of images than the writer.
        DataError: A batch or the output of the model is not recognized, or does not fit the writer.
    """
    keys = BatchKeys(inputs, labels, image_ids, pictures)
    module = model if isinstance(model, torch.nn.Module) else None
    if device is None and module is not None:
        device = next((parameter.device for parameter in module.parameters()), None)
    is_training = module is not None and module.training
    if module is not None:
        module.eval()
    batches, skip = _batches(loader, writer)
    try:
        with torch.inference_mode():
            for batch in batches:
                label_batch = keys.read_labels(batch)
                if skip >= len(label_batch):
                    skip -= len(label_batch)
                    continue
                given = _move(keys.read_inputs(batch), device)
                output = model(**given) if isinstance(given, Mapping) else model(given)
                ids, rgb_images = keys.read_image_ids(batch), keys.read_pictures(batch)
                write_batch(writer, find_logits(output), label_batch, ids, rgb_images, skip=skip)
                skip = 0
    finally:
        if module is not None:
            module.train(is_training)


def remaining(dataset: Any, writer: EvidenceWriter) -> Subset[Any]:
    """Return the images of a data set that a writer lacks: those of its part, from `writer.next_image` on.

    Args:
        dataset: Data set of all images of the source, with an index.
        writer: Open writer.

    Returns:
        A subset, in order.

    Raises:
        UsageError: The data set has another number of images than the writer.
    """
    if len(dataset) != writer.spec.images:
        raise UsageError(
            f"The data set has {len(dataset):,} images, the writer {writer.spec.images:,}",
            "Pass images=len(dataset) to the writer",
        )
    return Subset(dataset, range(writer.next_image, writer.range.stop))


def _batches(loader: Iterable[Any], writer: EvidenceWriter) -> tuple[Iterable[Any], int]:
    """Return batches, and the number of images to skip at their start."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset) or batch_sampler is None:
        return loader, writer.next_image - writer.range.start
    images: DataLoader[Any] = DataLoader(
        remaining(loader.dataset, writer),
        batch_size=loader.batch_size or getattr(batch_sampler, "batch_size", 1),
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        prefetch_factor=loader.prefetch_factor,
    )
    return images, 0


def _move(values: Any, device: str | torch.device | None) -> Any:
    if isinstance(values, Mapping):
        return {name: _move(value, device) for name, value in values.items()}
    return values if device is None or not hasattr(values, "to") else values.to(device, non_blocking=True)
