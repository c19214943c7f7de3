"""What is trained: any object with `fit(images, labels)` and `predict_proba(images)`, built by its words.

A factory is called with `classes` (K), `ignored` (the number of pixels that do not count) and `seed`, by these names,
and answers a trainer. Trainers are pickled after `fit`, into the run's own folder, and unpickled from there by the
workers: whoever may write that folder may run code in them, as may the module that is named.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError, UsageError
from masksift.storage.credentials import StorageOptions
from masksift.storage.objects import ObjectDirectory

__all__ = ["ONNX", "PIXELS", "TORCH", "Checkpoint", "Trainer", "TrainerSpec", "kind_of"]

PIXELS, TORCH, MODULE, ONNX = "pixels", "torch", "module", "onnx"


class Trainer(Protocol):
    """What every trainer can do. One that also has `keep_in(place)` is given a `Checkpoint` before `fit`,
    where it may leave what it has learned so far. One with `memory(images, height, width)` returns the bytes it
    takes at most."""

    def fit(self, images: Sequence[NDArray[np.uint8]], labels: Sequence[NDArray[np.unsignedinteger[Any]]]) -> object:
        """Learn from ``images``, (H, W, 3) uint8 each, and ``labels``, (H, W) class numbers each, uint8 (uint16 beyond
        254 classes), in which ``ignored`` marks the pixels that do not count. Both have a length and are read from the
        store image by image when they are asked for: together they may be larger than memory."""

    def predict_proba(self, images: NDArray[np.uint8]) -> NDArray[np.floating[Any]]:
        """Probabilities (n, K, H, W) of images (n, H, W, 3) uint8, adding up to 1 over K."""


class Checkpoint(Protocol):
    """Where a trainer keeps what is half learnt, so that a killed one goes on."""

    def load(self) -> bytes | None:
        """What was saved last, None where nothing was."""

    def save(self, data: bytes) -> None:
        """Keep this in place of what was saved before."""


def kind_of(words: str) -> str:
    """`pixels`, `torch`, `module` (of `MODULE:FACTORY`) or `onnx` (of `FILE.onnx`). Raises UsageError for others."""
    if words in (PIXELS, TORCH):
        return words
    if words.endswith(".onnx"):
        return ONNX
    module, _, factory = words.partition(":")
    if factory.isidentifier() and all(part.isidentifier() for part in module.split(".")):
        return MODULE
    raise UsageError(
        f"trainer is {words!r}",
        "there is nothing of that name to train",
        "Give pixels, torch, MODULE:FACTORY or FILE.onnx",
    )


@dataclass(frozen=True)
class TrainerSpec:
    """How a trainer is built, wherever it is needed. ``home``: the folder in which the command was typed, where its
    modules may lie; ``told``: the trainer's own keys; ``balance``: see the configuration."""

    words: str
    home: str
    classes: int
    ignored: int
    seed: int
    balance: float
    told: Mapping[str, Any]
    options: StorageOptions = field(repr=False)

    @property
    def kind(self) -> str:
        return kind_of(self.words)

    def find(self) -> None:
        """Let a user's module be found. At the end of the path: it hides nothing that is installed."""
        if self.home not in sys.path:
            sys.path.append(self.home)

    def trainer(self, fold: int) -> Trainer:
        """An untrained trainer for a fold. Raises UsageError, DataError where there is none."""
        seed = int.from_bytes(hashlib.sha256(f"trainer\0{self.seed}\0{fold}".encode()).digest()[:4])
        facts: dict[str, Any] = {"classes": self.classes, "ignored": self.ignored, "seed": seed}
        if self.kind == MODULE:
            made: Trainer = self._factory()(**facts)
            return made
        needed = {PIXELS: "predict", TORCH: "torch", ONNX: "onnx"}[self.kind]
        try:
            if self.kind == PIXELS:
                from masksift.prepare.predict.trainers.pixel_mlp import PixelTrainer

                return PixelTrainer(**facts, balance=self.balance)
            if self.kind == TORCH:
                from masksift.prepare.predict.trainers.segmentation_network import NetworkTrainer

                return NetworkTrainer(**facts, balance=self.balance, **self.told)
            from masksift.prepare.predict.trainers.onnx_model import ExportedModel

            return ExportedModel(self.words, self.file(), self.classes, **self.told)
        except ImportError as e:
            raise UsageError(
                f"the trainer {self.words} cannot be built ({e})",
                "there is nothing to train",
                f"Install what it needs: pip install 'masksift[{needed}]'",
            ) from e

    def file(self) -> bytes:
        """The bytes of an exported model. Raises DataError where there are none."""
        parent, _, name = self.words.rpartition("/")
        url = parent if "://" in parent else f"{self.home}/{parent}" if not parent.startswith("/") else parent or "/"
        data = ObjectDirectory(url, self.options).read(name)
        if data is None:
            raise DataError(f"there is no file {self.words}", "there is no model to predict by", "Give its path or URL")
        return data

    def _factory(self) -> Callable[..., Any]:
        self.find()
        module, _, name = self.words.partition(":")
        try:
            found: Callable[..., Any] = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as e:
            raise UsageError(
                f"the trainer {self.words} cannot be found ({e})",
                "there is nothing to train",
                f"Give MODULE:FACTORY of what Python can import from {self.home}",
            ) from e
        return found
