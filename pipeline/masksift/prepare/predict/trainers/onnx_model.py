"""A model that was trained elsewhere, in an ONNX file: it only predicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from masksift.core.errors import DataError, UsageError

SUM_TOLERANCE = 1e-3
"""What comes out is taken for probabilities where it lies in [0, 1] and adds up to 1 within this; else for logits."""


class ExportedModel:
    """One session of one thread: the same bits wherever it runs on one kind of machine."""

    def __init__(self, name: str, model: bytes, classes: int, *, mean: Sequence[float], std: Sequence[float]) -> None:
        """``name``: for errors; ``mean``, ``std``: of the three channels, of 0 to 1. Raises DataError where the model
        takes no pictures."""
        self._name, self._classes = name, classes
        self._mean, self._std = np.array(mean, np.float32), np.array(std, np.float32)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = settings.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
        except Exception as e:  # onnxruntime has a class of its own for each fault of a file
            raise DataError(
                f"{name} is no model that onnxruntime can load ({e})",
                "there is nothing to predict by",
                "Export it again",
            ) from e
        wanted = self._session.get_inputs()[0]
        self._input, self._bytes = wanted.name, wanted.type == "tensor(uint8)"
        shape: list[Any] = wanted.shape
        if len(shape) != 4 or 3 not in (shape[1], shape[3]):
            raise DataError(
                f"the first input of {name} has the shape {shape}",
                "pictures are (n, 3, H, W) or (n, H, W, 3)",
                "Export a model that takes them, with its three channels fixed",
            )
        self._channels_last = shape[1] != 3

    def fit(self, images: Any, labels: Any) -> object:
        """Raises UsageError: it has been fitted."""
        raise UsageError(f"{self._name} was trained elsewhere", "it cannot be fitted here", "Give another --trainer")

    def predict_proba(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As `Trainer.predict_proba`. Raises DataError where the model answers no such thing."""
        given: NDArray[Any] = images if self._bytes else (images.astype(np.float32) / 255 - self._mean) / self._std
        given = given if self._channels_last else np.ascontiguousarray(given.transpose(0, 3, 1, 2))
        answer = np.asarray(self._session.run(None, {self._input: given})[0], np.float32)
        if answer.shape != (wanted := (len(images), self._classes, *images.shape[1:3])):
            raise DataError(
                f"{self._name} answers {answer.shape} for pictures of {images.shape}",
                f"it should be {wanted}",
                "Export a model whose first output has a plane a class, of the size of the picture",
            )
        proper = answer.min() >= 0 and np.abs(answer.sum(axis=1) - 1).max() <= SUM_TOLERANCE
        return answer if proper else _softmax(answer)


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    quotient: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
    return quotient
