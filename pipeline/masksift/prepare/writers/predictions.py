"""Write a source that holds predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError
from masksift.prepare.writers.base import SHARD_BYTES, ImageWriter, to_array
from masksift.storage.zarr.writer import PredictionArrays


class PredictionWriter(ImageWriter):
    """Writes a source of full predictions, in shards of some images (about 128 MiB). With ``dtype`` uint8 or uint16,
    floats are rounded to steps of ``scale``."""

    def __init__(
        self, url: str, *, pictures: bool = False, padded: bool = False, shard_bytes: int | None = None, **facts: Any
    ) -> None:
        """``pictures``, ``padded``: whether `write` gets them; ``shard_bytes``: of predictions, together in one object;
        all else as `ImageWriter`."""
        super().__init__(url, **facts)
        spec = self._spec
        size = spec.classes * spec.pixels * spec.predictions.itemsize
        self.images_per_shard = min(spec.images, max(1, (shard_bytes or SHARD_BYTES) // size))
        """Images that lie together in one object."""
        attributes = {"class_names": list(spec.class_names), "ignore": list(spec.ignore), "kind": spec.prediction_kind}
        attributes |= {"scale": spec.scale} if spec.predictions.dtype.startswith("uint") else {}
        self._arrays = PredictionArrays(
            self._url, spec, self.images_per_shard, attributes, self._options, pictures=pictures, padded=padded
        )
        self._pictures, self._padded = pictures, padded
        self._kept: dict[str, NDArray[Any]] = {}
        own = self.range
        self._next = next((start for start in own[:: self.images_per_shard] if not self._arrays.has(start)), own.stop)

    @property
    def bytes_written(self) -> int:
        """Bytes that this writer has put into the store."""
        return self._arrays.written

    def write(
        self,
        pred_probs: Any,
        labels: Any,
        image_ids: Sequence[str] | None = None,
        pictures: Any = None,
        sizes: Any = None,
    ) -> None:
        """As `ImageWriter`. ``pictures`` (n, H, W, 3) uint8: for those who review; ``sizes`` (n, 2): how many rows and
        columns are an image's own, where it is padded at its end."""
        count, (height, width) = len(labels), (self._spec.height, self._spec.width)
        more: dict[str, NDArray[Any]] = {}
        for name, value, told, flag, shape, dtype in (
            ("pictures", pictures, self._pictures, "pictures", (count, height, width, 3), "uint8"),
            ("sizes", sizes, self._padded, "padded", (count, 2), "int64"),
        ):
            if (value is not None) != told:
                raise DataError(
                    f"{'no ' if told else ''}{name} came to {self._url}, which was told {flag}={told}",
                    "all images of a source have them, or none",
                    f"Give the writer {flag}={not told}",
                )
            if told and ((found := to_array(value)).shape != shape or not np.can_cast(found.dtype, dtype)):
                raise DataError(
                    f"{name} of the shape {found.shape} and the dtype {found.dtype} came to {self._url}",
                    f"they should be {dtype} of {shape}",
                    "Give one an image",
                )
            more |= {name: found} if told else {}
        self._more = [{name: values[i] for name, values in more.items()} for i in range(count)]
        super().write(pred_probs, labels, image_ids)

    def _unit(self) -> int:
        return self.images_per_shard

    def _converted(self, predictions: NDArray[Any]) -> NDArray[Any]:
        spec = self._spec
        if not (spec.predictions.dtype.startswith("uint") and predictions.dtype.kind == "f"):
            return super()._converted(predictions)
        steps = np.rint(predictions.astype(np.float32) / np.float32(spec.scale))
        whole: NDArray[Any] = np.clip(steps, 0, np.iinfo(spec.predictions.dtype).max).astype(spec.predictions.dtype)
        return whole

    def _take(self, predictions: NDArray[Any], labels: NDArray[Any]) -> None:
        more = self._more.pop(0)
        image = {"predictions": predictions, "labels": labels}
        image |= {"images": more["pictures"]} if self._pictures else {}
        image |= dict(zip(("height", "width"), more["sizes"], strict=True)) if self._padded else {}
        place, after = self._next % self.images_per_shard, self._next + 1
        for name, value in image.items():
            if place == 0:
                self._kept[name] = np.empty((self.images_per_shard, *value.shape), value.dtype)
            self._kept[name][place] = value
        if after % self.images_per_shard == 0 or after == self._spec.images:
            self._name(after)
            self._arrays.write(after - place - 1, {name: kept[: place + 1] for name, kept in self._kept.items()})
            self._kept = {}
