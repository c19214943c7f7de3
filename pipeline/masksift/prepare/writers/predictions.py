"""Writer of a source that holds predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError
from masksift.prepare.writers.base import SHARD_BYTES, SourceWriter, to_array
from masksift.storage.zarr.writer import PredictionArrays


class PredictionWriter(SourceWriter):
    """Writer of a source that holds full predictions, in shards of about 128 MiB.

    With ``dtype`` uint8 or uint16, float predictions are rounded to steps of ``scale``.

    Args:
        url: URL of the new source, a Zarr group.
        pictures: Whether `write` gets RGB images.
        padded: Whether `write` gets the unpadded sizes of images.
        shard_bytes: Bytes of predictions per stored object.
        **args: Arguments of `SourceWriter`: images, height, width, classes and more.
    """

    def __init__(
        self, url: str, *, pictures: bool = False, padded: bool = False, shard_bytes: int | None = None, **args: Any
    ) -> None:
        super().__init__(url, **args)
        spec = self._spec
        image_bytes = spec.classes * spec.pixels * spec.predictions.itemsize
        self.images_per_shard = min(spec.images, max(1, (shard_bytes or SHARD_BYTES) // image_bytes))
        attributes = {"class_names": list(spec.class_names), "ignore": list(spec.ignore), "kind": spec.prediction_kind}
        attributes |= {"scale": spec.scale} if spec.predictions.dtype.startswith("uint") else {}
        self._arrays = PredictionArrays(
            self._url, spec, self.images_per_shard, attributes, self._options, with_images=pictures, padded=padded
        )
        self._pictures, self._padded = pictures, padded
        self._extras: list[dict[str, NDArray[Any]]] = []
        self._shard: dict[str, NDArray[Any]] = {}
        images = self.range
        starts = (start for start in images[:: self.images_per_shard] if not self._arrays.has(start))
        self._next = next(starts, images.stop)

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
        """Write the next images, in order.

        Args:
            pred_probs: Predictions (n, K, H, W).
            labels: Given labels (n, H, W), integers.
            image_ids: Image ids (n,); default: `<source>/<index>`.
            pictures: RGB images (n, H, W, 3) uint8 for review, if the writer has ``pictures=True``.
            sizes: Rows and columns (n, 2) of each image without padding, if the writer has ``padded=True``.

        Raises:
            DataError: If shapes or dtypes do not fit the source, or there are more images than `range` holds.
        """
        count, (height, width) = len(labels), (self._spec.height, self._spec.width)
        extras: dict[str, NDArray[Any]] = {}
        for name, value, flag, expected, shape, dtype in (
            ("pictures", pictures, "pictures", self._pictures, (count, height, width, 3), "uint8"),
            ("sizes", sizes, "padded", self._padded, (count, 2), "int64"),
        ):
            if (value is not None) != expected:
                raise DataError(
                    f"{self._url} received {'no ' if expected else ''}{name}, but the writer has {flag}={expected}",
                    f"Pass {flag}={not expected} to the writer",
                )
            if not expected:
                continue
            extras[name] = array = to_array(value)
            if array.shape != shape or not np.can_cast(array.dtype, dtype):
                raise DataError(
                    f"{self._url} received {name} of shape {array.shape} and dtype {array.dtype}",
                    f"Pass {dtype} of shape {shape}",
                )
        self._extras = [{name: values[i] for name, values in extras.items()} for i in range(count)]
        super().write(pred_probs, labels, image_ids)

    def _unit(self) -> int:
        return self.images_per_shard

    def _convert(self, predictions: NDArray[Any]) -> NDArray[Any]:
        spec = self._spec
        if not (spec.predictions.dtype.startswith("uint") and predictions.dtype.kind == "f"):
            return super()._convert(predictions)
        steps = np.rint(predictions.astype(np.float32) / np.float32(spec.scale))
        rounded: NDArray[Any] = np.clip(steps, 0, np.iinfo(spec.predictions.dtype).max).astype(spec.predictions.dtype)
        return rounded

    def _add(self, predictions: NDArray[Any], labels: NDArray[Any]) -> None:
        extras = self._extras.pop(0)
        image = {"predictions": predictions, "labels": labels}
        image |= {"images": extras["pictures"]} if self._pictures else {}
        image |= dict(zip(("height", "width"), extras["sizes"], strict=True)) if self._padded else {}
        index, stop = self._next % self.images_per_shard, self._next + 1
        for name, value in image.items():
            if index == 0:
                self._shard[name] = np.empty((self.images_per_shard, *value.shape), value.dtype)
            self._shard[name][index] = value
        if stop % self.images_per_shard == 0 or stop == self._spec.images:
            self._write_ids(stop)
            self._arrays.write(stop - index - 1, {name: values[: index + 1] for name, values in self._shard.items()})
            self._shard = {}
