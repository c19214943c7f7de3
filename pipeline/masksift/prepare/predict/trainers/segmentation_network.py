"""The trainer `torch`: U-Net, FPN or DeepLabV3+ of segmentation-models-pytorch, the models of Lad & Mueller (2023).

Deterministic on a CPU: one thread, torch's deterministic algorithms, and all that is drawn is drawn by the seed and the
epoch. On a GPU torch has no such algorithm for some layers, and warns.
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

Pictures = Sequence[NDArray[np.uint8]]
Planes = Sequence[NDArray[np.unsignedinteger[Any]]]

ARCHITECTURES = {"unet": "Unet", "fpn": "FPN", "deeplabv3plus": "DeepLabV3Plus"}
MULTIPLE = 32
"""Height and width that networks of five halvings take: images are padded to multiples of it."""
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pictures, on which encoders are pretrained."""
POWER = 0.9
"""The learning rate falls as (1 - step / steps) to this power (Chen et al. 2017, arXiv 1706.05587)."""


class NetworkTrainer:
    """One network. What is pickled of it is its settings and its state_dict."""

    def __init__(
        self,
        *,
        classes: int,
        ignored: int,
        seed: int,
        balance: float,
        model: str,
        encoder: str,
        weights: str | None,
        epochs: int,
        batch: int,
        rate: float,
        crop: int | None,
    ) -> None:
        """The last seven: keys of `[torch]`. Raises UsageError where the encoder is none."""
        self._classes, self._ignored, self._seed, self._balance = classes, ignored, seed, balance
        self._model, self._encoder, self._epochs, self._batch, self._rate = model, encoder, epochs, batch, rate
        self._crop = crop
        self._place: Checkpoint | None = None
        self._start(weights)

    def _start(self, weights: str | None) -> None:
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True, warn_only=self._device != "cpu")
        torch.manual_seed(self._seed)
        build = getattr(smp, ARCHITECTURES[self._model])
        try:
            network = build(self._encoder, encoder_weights=weights, in_channels=3, classes=self._classes)
        except (KeyError, ValueError) as e:  # which names every encoder there is
            given = "" if weights is None else f" with torch.weights {weights!r}"
            raise UsageError(
                f"torch.encoder is {self._encoder!r}{given}, of which there is no {self._model}",
                "there is no network to train",
                "Give an encoder of segmentation-models-pytorch, such as resnet34",
            ) from e
        self._network = network.to(self._device)

    def keep_in(self, place: Checkpoint) -> None:
        """Where what is learnt is left after each epoch."""
        self._place = place

    def fit(self, images: Pictures, labels: Planes) -> NetworkTrainer:
        """As `Trainer.fit`, from the epoch on that was kept last."""
        network = self._network.train()
        optimizer = torch.optim.AdamW(network.parameters(), self._rate)
        weights = torch.from_numpy(class_weights(labels, self._classes, self._balance)).to(self._device)
        batches = -(-len(images) // self._batch)
        for epoch in range(self._resumed(optimizer), self._epochs):
            generator = np.random.default_rng([self._seed, epoch])
            order = generator.permutation(len(images))
            torch.manual_seed(self._seed + epoch)  # what layers draw for themselves
            for number, places in enumerate(np.array_split(order, batches)):
                share = (epoch * batches + number) / (self._epochs * batches)
                optimizer.param_groups[0]["lr"] = self._rate * (1 - share) ** POWER
                pairs = [self._drawn(images[i], labels[i], generator) for i in places.tolist()]
                pairs *= 2 if len(pairs) == 1 else 1  # batch normalisation wants two
                given = np.stack([plane for _, plane in pairs]).astype(np.int64)
                if (given == self._ignored).all():
                    continue
                answer = network(self._input(np.stack([image for image, _ in pairs])))
                target = torch.from_numpy(given).to(self._device)
                loss = cross_entropy(
                    answer[..., : given.shape[1], : given.shape[2]], target, weights, ignore_index=self._ignored
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            self._keep(epoch, optimizer)
        return self

    def _drawn(
        self, image: NDArray[np.uint8], plane: NDArray[Any], generator: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """An image and its labels, cropped where they are larger than `crop`, every second one mirrored."""
        (height, width), size = plane.shape, self._crop
        if size is not None:
            y, x = (int(generator.integers(0, max(0, side - size) + 1)) for side in (height, width))
            image, plane = image[y : y + size, x : x + size], plane[y : y + size, x : x + size]
        mirrored = generator.random() < 0.5
        return (image[:, ::-1], plane[:, ::-1]) if mirrored else (image, plane)

    def _input(self, images: NDArray[np.uint8]) -> torch.Tensor:
        """Images (n, H, W, 3) as (n, 3, H', W') float32, padded at their end."""
        mean, spread = (np.array(value, np.float32) for value in (MEAN, SPREAD))
        scaled = (images.astype(np.float32) / 255 - mean) / spread
        tensor = torch.from_numpy(np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))).to(self._device)
        height, width = images.shape[1:3]
        return pad(tensor, (0, -width % MULTIPLE, 0, -height % MULTIPLE))

    def predict_proba(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As `Trainer.predict_proba`."""
        self._network.eval()
        with torch.no_grad():
            answer = torch.softmax(self._network(self._input(images)), dim=1)
        cropped: NDArray[np.float32] = answer[..., : images.shape[1], : images.shape[2]].cpu().numpy()
        return cropped

    def _keep(self, epoch: int, optimizer: torch.optim.Optimizer) -> None:
        if self._place is not None:
            buffer = io.BytesIO()
            state = {"next": epoch + 1, "network": self._network.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(state, buffer)
            self._place.save(buffer.getvalue())

    def _resumed(self, optimizer: torch.optim.Optimizer) -> int:
        """The epoch that comes next."""
        data = None if self._place is None else self._place.load()
        if data is None:
            return 0
        state = torch.load(io.BytesIO(data), map_location=self._device, weights_only=True)
        self._network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        return int(state["next"])

    def __getstate__(self) -> dict[str, Any]:
        buffer = io.BytesIO()
        torch.save(self._network.state_dict(), buffer)
        own = {name: value for name, value in vars(self).items() if name not in ("_network", "_place", "_device")}
        return own | {"state": buffer.getvalue()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        data = state.pop("state")
        vars(self).update(state, _place=None)
        self._start(None)
        self._network.load_state_dict(torch.load(io.BytesIO(data), map_location=self._device, weights_only=True))


def class_weights(labels: Planes, classes: int, balance: float) -> NDArray[np.float32]:
    """(K,) float32: what a pixel of each class counts in the loss, area^(balance - 1), with a mean of 1 over the
    labelled pixels; 0 for a class that no label has."""
    counts = np.zeros(classes, np.int64)
    for plane in labels:
        counts += np.bincount(plane[plane < classes], minlength=classes)
    area = np.maximum(counts, 1) / max(1, counts.sum())
    weights = np.where(counts > 0, area ** (balance - 1), 0)
    return (weights / max(float((weights * area).sum()), 1e-12)).astype(np.float32)
