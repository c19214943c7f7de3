"""Trainers: the protocol, and how a trainer is built from its name."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

from masksift.core.errors import DataError, UsageError
from masksift.storage.credentials import StorageOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "HUB",
    "HUB_PREFIX",
    "ONLY_PREDICT",
    "ONNX",
    "PIXELS",
    "TORCH",
    "Checkpoint",
    "Trainer",
    "TrainerSpec",
    "trainer_kind",
]

PIXELS, TORCH, MODULE, ONNX, HUB = "pixels", "torch", "module", "onnx", "transformers"
ONLY_PREDICT = (ONNX, HUB)
"""Kinds of models that were trained elsewhere."""
HUB_PREFIX = "hf:"


class Trainer(Protocol):
    """Model that is trained on images and labels and predicts probabilities.

    A factory `MODULE:FACTORY` is called with the keyword arguments ``classes`` (K), ``ignored`` (class number of
    ignored pixels) and ``seed``, and returns a trainer. Trainers are pickled after `fit` into the output directory, and
    workers unpickle them from there: anyone who can write that directory can run code in the workers, and so can the
    named module.

    Two methods are optional. ``set_checkpoint(checkpoint)`` is called before `fit` with a `Checkpoint`, in which the
    trainer may save intermediate states. ``memory(images, height, width)`` returns the bytes it needs at most.
    """

    def fit(self, images: Sequence[NDArray[np.uint8]], labels: Sequence[NDArray[np.unsignedinteger[Any]]]) -> object:
        """Train on images and labels.

        Both sequences read from the store on access, image by image: together they may be larger than memory.

        Args:
            images: RGB images, (H, W, 3) uint8 each.
            labels: Class numbers, (H, W) each, uint8 (uint16 for more than 254 classes).

        Returns:
            Any object; the result is not used.
        """

    def predict_proba(self, images: NDArray[np.uint8]) -> NDArray[np.floating[Any]]:
        """Predict probabilities (n, K, H, W), with a sum of 1 over K, for images (n, H, W, 3) uint8."""


class Checkpoint(Protocol):
    """Storage for the intermediate state of one trainer, from which it resumes after it was killed."""

    def load(self) -> bytes | None:
        """Return the last saved state, or None."""

    def save(self, data: bytes) -> None:
        """Replace the saved state."""


def trainer_kind(name: str) -> str:
    """Classify a trainer name, else UsageError.

    Args:
        name: pixels, torch, MODULE:FACTORY, FILE.onnx or hf:NAME.

    Returns:
        "pixels", "torch", "module", "onnx" or "transformers".

    Raises:
        UsageError: The name has another form.
    """
    if name in (PIXELS, TORCH):
        return name
    if name.startswith(HUB_PREFIX) and len(name) > len(HUB_PREFIX):
        return HUB
    if name.endswith(".onnx"):
        return ONNX
    module, _, factory = name.partition(":")
    if factory.isidentifier() and all(part.isidentifier() for part in module.split(".")):
        return MODULE
    raise UsageError(f"trainer is {name!r}", "Use pixels, torch, MODULE:FACTORY, FILE.onnx or hf:NAME")


@dataclass(frozen=True)
class TrainerSpec:
    """Everything needed to build a trainer on any worker."""

    name: str
    directory: str  # where the command was started; modules and files are found relative to it
    classes: int
    ignored: int
    seed: int
    balance: float
    settings: Mapping[str, Any]  # keys of the trainer's own section of the configuration
    options: StorageOptions = field(repr=False)
    class_names: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """Kind of the trainer, see `trainer_kind`."""
        return trainer_kind(self.name)

    def add_import_path(self) -> None:
        """Make the user's modules importable, at the end of the path, so that they hide no installed module."""
        if self.directory not in sys.path:
            sys.path.append(self.directory)

    def build(self, fold: int) -> Trainer:
        """Build an untrained trainer with the random seed of a fold; UsageError or DataError if impossible."""
        seed = int.from_bytes(hashlib.sha256(f"trainer\0{self.seed}\0{fold}".encode()).digest()[:4])
        args: dict[str, Any] = {"classes": self.classes, "ignored": self.ignored, "seed": seed}
        if self.kind == MODULE:
            trainer: Trainer = self._import_factory()(**args)
            return trainer
        if self.kind == PIXELS:
            from masksift.prepare.predict.trainers.pixel_mlp import PixelTrainer

            return PixelTrainer(**args, balance=self.balance)
        try:
            if self.kind == TORCH:
                from masksift.prepare.predict.trainers.segmentation_network import NetworkTrainer

                return NetworkTrainer(**args, balance=self.balance, **self.settings)
            if self.kind == HUB:
                from masksift.prepare.predict.trainers.transformers_model import TransformersModel

                return TransformersModel(self.name.removeprefix(HUB_PREFIX), self.directory, self.class_names)
            from masksift.prepare.predict.trainers.onnx_model import OnnxModel

            return OnnxModel(self.name, self.read_model(), self.classes, **self.settings)
        except ImportError as e:
            raise UsageError(
                f"Trainer {self.name} requires packages that are not installed ({e})",
                f"Run pip install 'masksift[{self.kind}]'",
            ) from e

    def model_hash(self) -> str:
        """Hash the weights of a model that only predicts; UsageError or DataError if it cannot be loaded."""
        if self.kind == HUB:
            fingerprint: str = cast(Any, self.build(0)).fingerprint
            return fingerprint
        return hashlib.sha256(self.read_model()).hexdigest()

    def read_model(self) -> bytes:
        """Read the ONNX file; DataError if it does not exist."""
        from masksift.storage.objects import ObjectDirectory
        from masksift.storage.urls import is_absolute, split_url

        url, name = split_url(self.name if is_absolute(self.name) else f"{self.directory}/{self.name}")
        data = ObjectDirectory(url, self.options).read(name)
        if data is None:
            raise DataError(f"{self.name} does not exist", "Pass the path or URL of an ONNX file to --trainer")
        return data

    def _import_factory(self) -> Callable[..., Any]:
        self.add_import_path()
        module, _, name = self.name.partition(":")
        try:
            factory: Callable[..., Any] = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as e:
            raise UsageError(
                f"Trainer {self.name} cannot be imported ({e})",
                f"Use a MODULE:FACTORY that Python can import from {self.directory}",
            ) from e
        return factory
