"""Trainer `hf:NAME`: a semantic segmentation model of Hugging Face Transformers, which only predicts."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation
from transformers.utils.logging import disable_progress_bar

from masksift.core.errors import DataError, UsageError

_NO_NAME = re.compile(r"label_\d+|class \d+")
"""Names that Transformers and masksift give to classes without a name."""
_CROPPING = ("do_center_crop", "do_pad")
"""Steps of image processors after which the output has another extent than the image."""
_SHOWN = 12


class TransformersModel:
    """Model and image processor of a name on the Hub or of a local folder.

    Its classes are matched with those of the data set by name, ignoring case. Logits of classes that the data set does
    not have are left out before the softmax: labels can name only the data set's classes, so that the question is which
    of these a pixel has. The result is the conditional probability, given that it has one of them.

    Args:
        name: Name or folder, without `hf:`.
        directory: Directory to which a relative folder refers.
        class_names: Names of the classes of the data set.

    Raises:
        UsageError: The model cannot be loaded, has no head for segmentation, or lacks a class.
    """

    def __init__(self, name: str, directory: str, class_names: Sequence[str]) -> None:
        folder = os.path.join(directory, os.path.expanduser(name))
        self._name = f"hf:{name}"
        place, changed = (folder, _last_change(folder)) if os.path.isdir(folder) else (name, 0.0)
        self._network, self._processor = _load(self._name, place, changed)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.set_num_threads(1)  # results do not depend on the number of cores
        self._network.to(self._device)
        labels = self._network.config.id2label
        names = [str(labels[k]) for k in sorted(labels)]
        self._outputs = match_classes(self._name, names, class_names)
        left_out = [names[k] for k in range(len(names)) if k not in self._outputs]
        self.notes = (
            (
                f"{self._name}: {len(left_out)} classes that the data set does not have are left out "
                f"({_listed(left_out)})",
            )
            if left_out
            else ()
        )

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides the predictions: weights and configurations."""
        digest = hashlib.sha256(self._network.config.to_json_string().encode())
        digest.update(self._processor.to_json_string().encode())
        for key, tensor in self._network.state_dict().items():
            digest.update(key.encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def fit(self, images: Any, labels: Any) -> object:
        """Raise UsageError: the model is already trained."""
        raise UsageError(f"{self._name} is already trained and only predicts", "Pass another --trainer")

    def predict_proba(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict as `Trainer.predict_proba`: logits of the data set's classes, resized to the images, and softmax."""
        unused = {step: False for step in _CROPPING if getattr(self._processor, step, False)}
        batch = self._processor(images=list(images), return_tensors="pt", input_data_format="channels_last", **unused)
        with torch.inference_mode():
            logits = self._network(pixel_values=batch["pixel_values"].to(self._device)).logits[:, self._outputs]
            size = images.shape[1:3]
            resized = torch.nn.functional.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)
            probabilities: NDArray[np.float32] = resized.softmax(dim=1).cpu().numpy()
        return probabilities


def match_classes(model: str, names: Sequence[str], class_names: Sequence[str]) -> list[int]:
    """Find the output of a model for each class of a data set.

    Args:
        model: Name of the model, for errors.
        names: Names of the model's classes, by output.
        class_names: Names of the data set's classes.

    Returns:
        Number of the output for each class (K,). Classes are matched by number if either side has no names, but the
        same number of classes; else by name, ignoring case.

    Raises:
        UsageError: A class has no output of its name, or two.
    """
    unnamed = any(all(_NO_NAME.fullmatch(name.casefold()) for name in side) for side in (names, class_names))
    if unnamed and len(names) == len(class_names):
        return list(range(len(names)))
    outputs: dict[str, list[int]] = {}
    for k, name in enumerate(names):
        outputs.setdefault(name.strip().casefold(), []).append(k)
    found = [outputs.get(name.strip().casefold(), []) for name in class_names]
    unmatched = [name for name, numbers in zip(class_names, found, strict=True) if len(numbers) != 1]
    if unmatched or len({numbers[0] for numbers in found}) < len(found):
        raise UsageError(
            f"{model} does not have exactly one class for each class of the data set: {_listed(unmatched)}; "
            f"its {len(names)} classes are {_listed(names)}",
            "Pixels of a class without an output would all look mislabeled",
            "Pass --classes with the names that the model uses, in the order of the labels",
        )
    return [numbers[0] for numbers in found]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _last_change(folder: str) -> float:
    with os.scandir(folder) as files:
        return max((file.stat().st_mtime for file in files), default=0.0)


@lru_cache(maxsize=1)
def _load(name: str, place: str, changed: float) -> tuple[Any, Any]:
    """Load a model and its image processor; one is kept until its folder changes: a worker predicts many shards."""
    disable_progress_bar()  # that of loading; downloads show theirs
    try:
        network, loading = AutoModelForSemanticSegmentation.from_pretrained(place, output_loading_info=True)
        processor = AutoImageProcessor.from_pretrained(place)
    except (OSError, ValueError) as e:  # as Transformers raises for absent, offline, private and other models
        text = re.sub(r"<class '[\w.]*?(\w+)'>", r"\1", " ".join(str(e).split()))
        raise UsageError(
            f"{name} cannot be loaded as a semantic segmentation model ({text.partition('. ')[0].rstrip('.:')})",
            "Check the name, and that this machine reaches huggingface.co or has the model in its cache; "
            "or pass hf:FOLDER with a model saved by save_pretrained",
        ) from e
    missing = sorted(key for key in loading["missing_keys"] if not key.startswith("auxiliary_head."))
    if missing:
        raise DataError(
            f"{name} has no weights for {_listed(missing)}",
            "They would be random",
            "Pass a model that was trained for semantic segmentation",
        )
    return network.float().eval(), processor
