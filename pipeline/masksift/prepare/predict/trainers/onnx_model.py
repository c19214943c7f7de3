"""Trainer `FILE.onnx`: a model that was trained elsewhere and only predicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from masksift.core.errors import DataError, UsageError

SUM_TOLERANCE = 1e-3
"""Output in [0, 1] with sums within this distance of 1 is taken as probabilities, any other output as logits."""


class OnnxModel:
    """Single-threaded session, so that results do not depend on the number of cores."""

    def __init__(self, name: str, model: bytes, classes: int, *, mean: Sequence[float], std: Sequence[float]) -> None:
        self._name, self._classes = name, classes
        self._mean, self._std = np.array(mean, np.float32), np.array(std, np.float32)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as e:  # onnxruntime has a different class for each fault of a file
            raise DataError(f"{name} cannot be loaded by onnxruntime ({e})", "Export the model again") from e
        model_input = self._session.get_inputs()[0]
        self._input, self._takes_uint8 = model_input.name, model_input.type == "tensor(uint8)"
        shape: list[Any] = model_input.shape
        if len(shape) != 4 or 3 not in (shape[1], shape[3]):
            raise DataError(
                f"{name} has a first input of shape {shape}, but images are (n, 3, H, W) or (n, H, W, 3)",
                "Export a model that takes images, with a fixed axis of three channels",
            )
        self._channels_last = shape[1] != 3

    def fit(self, images: Any, labels: Any) -> object:
        """Raise UsageError: the model is already trained."""
        raise UsageError(f"{self._name} is already trained and only predicts", "Pass another --trainer")

    def predict_proba(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict as `Trainer.predict_proba`; DataError if the output has another shape."""
        batch: NDArray[Any] = (
            images if self._takes_uint8 else (images.astype(np.float32) / 255 - self._mean) / self._std
        )
        batch = batch if self._channels_last else np.ascontiguousarray(batch.transpose(0, 3, 1, 2))
        output = np.asarray(self._session.run(None, {self._input: batch})[0], np.float32)
        if output.shape != (expected := (len(images), self._classes, *images.shape[1:3])):
            raise DataError(
                f"{self._name} returns {output.shape} for images of {images.shape}, expected {expected}",
                "Export a model whose first output has a plane per class, of the size of the image",
            )
        normalized = output.min() >= 0 and np.abs(output.sum(axis=1) - 1).max() <= SUM_TOLERANCE
        return output if normalized else _softmax(output)


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    quotient: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
    return quotient
