"""ONNX Runtime: write the evidence of a session over batches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from masksift.integrations.batches import BatchKeys, Key, find_logits, write_batch
from masksift.prepare.writers.evidence import EvidenceWriter
from masksift.scoring.arrays import to_numpy

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["write_evidence"]


def write_evidence(
    session: onnxruntime.InferenceSession,
    batches: Iterable[Any],
    writer: EvidenceWriter,
    *,
    inputs: Key | None = None,
    labels: Key | None = None,
    image_ids: Key | None = None,
    pictures: Key | None = None,
) -> None:
    """Predict batches by the first output of a session, and write their evidence.

    Predictions of a lower resolution are resized to the labels, bilinearly with half-pixel centers. ONNX Runtime
    returns its output in main memory, also from a GPU.

    Args:
        session: Session of a model with one input, such as images (n, 3, H, W), and predictions (n, K, h, w).
        batches: Dicts, or tuples (inputs, labels) with or without ids, of arrays or tensors. They begin at the first
            image of `writer.range`; images before `writer.next_image` are not predicted again.
        writer: Open writer, with ``kind="logits"`` unless the model returns probabilities.
        inputs: Key or position of the inputs in a batch, or function of the batch; default as in
            `masksift.integrations.torch.write_evidence`.
        labels: The same for the labels (n, H, W) or (n, 1, H, W).
        image_ids: The same for the ids.
        pictures: The same for RGB images, for a writer with ``pictures=True``.

    Raises:
        DataError: A batch or the output is not recognized, or does not fit the writer.
    """
    keys, skip = BatchKeys(inputs, labels, image_ids, pictures), writer.next_image - writer.range.start
    name, output = session.get_inputs()[0].name, session.get_outputs()[0].name
    for batch in batches:
        label_batch = keys.read_labels(batch)
        if skip >= len(label_batch):
            skip -= len(label_batch)
            continue
        logits = session.run([output], {name: to_numpy(keys.read_inputs(batch))})[0]
        write_batch(
            writer, find_logits(logits), label_batch, keys.read_image_ids(batch), keys.read_pictures(batch), skip=skip
        )
        skip = 0
