"""Trainer `torch`: U-Net, FPN or DeepLabV3+ of segmentation-models-pytorch, the models of Lad & Mueller (2023).

Training on a CPU is deterministic: one thread, torch's deterministic algorithms, random numbers from seed and epoch.
On a GPU torch has no deterministic algorithm for some layers, and warns.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import segmentation_models_pytorch as smp
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy, pad

from masksift.core.errors import UsageError
from masksift.prepare.predict.trainers import Checkpoint

Images = Sequence[NDArray[np.uint8]]
Planes = Sequence[NDArray[np.unsignedinteger[Any]]]

ARCHITECTURES = {"unet": "Unet", "fpn": "FPN", "deeplabv3plus": "DeepLabV3Plus"}
SIZE_MULTIPLE_PIXELS = 32
"""Images are padded to multiples of this size, because the networks halve them five times."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Channel statistics of ImageNet, on which encoders are pretrained."""
RATE_DECAY = 0.9
"""The learning rate falls as (1 - step / steps) to this power (Chen et al. 2017, arXiv 1706.05587)."""


class NetworkTrainer:
    """Trainer of one network with the settings of `[torch]`; its pickle holds the settings and the state_dict."""

    def __init__(self, *, classes: int, ignored: int, seed: int, balance: float, **settings: Any) -> None:
        self._classes, self._ignored, self._seed, self._balance = classes, ignored, seed, balance
        self._settings = settings
        self._checkpoint: Checkpoint | None = None
        self._build(settings["weights"])

    def _build(self, weights: str | None) -> None:
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True, warn_only=self._device != "cpu")
        torch.manual_seed(self._seed)
        model, encoder = self._settings["model"], self._settings["encoder"]
        build = getattr(smp, ARCHITECTURES[model])
        try:
            network = build(encoder, encoder_weights=weights, in_channels=3, classes=self._classes)
        except (KeyError, ValueError) as e:  # its message lists every encoder
            with_weights = "" if weights is None else f" with torch.weights {weights!r}"
            raise UsageError(
                f"torch.encoder is {encoder!r}{with_weights}, which {model} does not support",
                "Use an encoder of segmentation-models-pytorch, such as resnet34",
            ) from e
        self._network = network.to(self._device)

    def set_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Save the state to a checkpoint after each epoch, and resume from it."""
        self._checkpoint = checkpoint

    def fit(self, images: Images, labels: Planes) -> NetworkTrainer:
        """Train as `Trainer.fit`, from the epoch after the checkpoint on."""
        network = self._network.train()
        epochs, rate = self._settings["epochs"], self._settings["rate"]
        optimizer = torch.optim.AdamW(network.parameters(), rate)
        weights = torch.from_numpy(class_weights(labels, self._classes, self._balance)).to(self._device)
        steps = -(-len(images) // self._settings["batch"])
        for epoch in range(self._load_checkpoint(optimizer), epochs):
            rng = np.random.default_rng([self._seed, epoch])
            order = rng.permutation(len(images))
            torch.manual_seed(self._seed + epoch)  # for random layers
            for step, indices in enumerate(np.array_split(order, steps)):
                progress = (epoch * steps + step) / (epochs * steps)
                optimizer.param_groups[0]["lr"] = rate * (1 - progress) ** RATE_DECAY
                pairs = [self._augment(images[i], labels[i], rng) for i in indices.tolist()]
                pairs *= 2 if len(pairs) == 1 else 1  # batch normalization requires two
                planes = np.stack([plane for _, plane in pairs]).astype(np.int64)
                if (planes == self._ignored).all():
                    continue
                output = network(self._to_input(np.stack([image for image, _ in pairs])))
                target = torch.from_numpy(planes).to(self._device)
                loss = cross_entropy(
                    output[..., : planes.shape[1], : planes.shape[2]], target, weights, ignore_index=self._ignored
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            self._save_checkpoint(epoch, optimizer)
        return self

    def _augment(
        self, image: NDArray[np.uint8], plane: NDArray[Any], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """Crop an image and its labels at random if they are larger than the crop, and mirror every second one."""
        (height, width), size = plane.shape, self._settings["crop"]
        if size is not None:
            y, x = (int(rng.integers(0, max(0, side - size) + 1)) for side in (height, width))
            image, plane = image[y : y + size, x : x + size], plane[y : y + size, x : x + size]
        return (image[:, ::-1], plane[:, ::-1]) if rng.random() < 0.5 else (image, plane)

    def _to_input(self, images: NDArray[np.uint8]) -> torch.Tensor:
        """Convert images (n, H, W, 3) to (n, 3, H', W') float32, standardized and padded at their end."""
        mean, std = (np.array(value, np.float32) for value in (MEAN, STD))
        scaled = (images.astype(np.float32) / 255 - mean) / std
        tensor = torch.from_numpy(np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))).to(self._device)
        height, width = images.shape[1:3]
        return pad(tensor, (0, -width % SIZE_MULTIPLE_PIXELS, 0, -height % SIZE_MULTIPLE_PIXELS))

    def predict_proba(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict as `Trainer.predict_proba`."""
        self._network.eval()
        with torch.no_grad():
            output = torch.softmax(self._network(self._to_input(images)), dim=1)
        cropped: NDArray[np.float32] = output[..., : images.shape[1], : images.shape[2]].cpu().numpy()
        return cropped

    def _save_checkpoint(self, epoch: int, optimizer: torch.optim.Optimizer) -> None:
        if self._checkpoint is not None:
            buffer = io.BytesIO()
            state = {"next": epoch + 1, "network": self._network.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(state, buffer)
            self._checkpoint.save(buffer.getvalue())

    def _load_checkpoint(self, optimizer: torch.optim.Optimizer) -> int:
        """Restore the saved state and return the next epoch."""
        data = None if self._checkpoint is None else self._checkpoint.load()
        if data is None:
            return 0
        state = torch.load(io.BytesIO(data), map_location=self._device, weights_only=True)
        self._network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        return int(state["next"])

    def __getstate__(self) -> dict[str, Any]:
        buffer = io.BytesIO()
        torch.save(self._network.state_dict(), buffer)
        skipped = ("_network", "_checkpoint", "_device")
        return {name: value for name, value in vars(self).items() if name not in skipped} | {"state": buffer.getvalue()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        data = state.pop("state")
        vars(self).update(state, _checkpoint=None)
        self._build(None)
        self._network.load_state_dict(torch.load(io.BytesIO(data), map_location=self._device, weights_only=True))


def class_weights(labels: Planes, classes: int, balance: float) -> NDArray[np.float32]:
    """Weight the loss of each class: area^(balance - 1), mean 1 over labeled pixels, 0 for absent classes, (K,)."""
    counts = np.zeros(classes, np.int64)
    for plane in labels:
        counts += np.bincount(plane[plane < classes], minlength=classes)
    area = np.maximum(counts, 1) / max(1, counts.sum())
    weights = np.where(counts > 0, area ** (balance - 1), 0)
    return (weights / max(float((weights * area).sum()), 1e-12)).astype(np.float32)
