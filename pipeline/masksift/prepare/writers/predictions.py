"""Writer of a source that holds predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.prepare.writers.base import SHARD_BYTES, SourceWriter
from masksift.scoring.arrays import dtype_name, is_on_device, to_numpy
from masksift.scoring.device import round_on_device
from masksift.storage.zarr.writer import PredictionArrays


class PredictionWriter(SourceWriter):
    """Writer of a source that holds full predictions, in shards of about 128 MiB.

    With ``dtype`` uint8 or uint16, float predictions are rounded to steps of ``scale``.

    Args:
        url: URL of the new source, a Zarr group.
        predictions: Whether `write` gets predictions. False, with ``pictures=True``, makes a source of images and
            labels that `masksift predict` takes; ``pred_probs`` is then None.
        shard_bytes: Bytes of predictions per stored object, or of images without predictions.

    The other arguments are those of `SourceWriter`.
    """

    def __init__(
        self,
        url: str,
        *,
        images: int,
        height: int,
        width: int,
        classes: int | Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
        class_colors: Any = None,
        ignore: int | Sequence[int] = (),
        kind: str = "probabilities",
        dtype: str = "float32",
        label_dtype: str = "uint8",
        scale: float | None = None,
        sum_tolerance: float | None = None,
        predictions: bool = True,
        pictures: bool = False,
        padded: bool = False,
        shard_bytes: int | None = None,
        part: tuple[int, int] = (0, 1),
        storage: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            url,
            images=images,
            height=height,
            width=width,
            classes=classes,
            class_names=class_names,
            class_colors=class_colors,
            ignore=ignore,
            kind=kind,
            dtype=dtype,
            label_dtype=label_dtype,
            scale=scale,
            sum_tolerance=sum_tolerance,
            predictions=predictions,
            pictures=pictures,
            padded=padded,
            part=part,
            storage=storage,
        )
        spec = self._spec
        image_bytes = spec.pixels * (spec.classes * spec.predictions.itemsize if predictions else 3)
        self.images_per_shard = min(spec.images, max(1, (shard_bytes or SHARD_BYTES) // image_bytes))
        attributes: dict[str, Any] = {**self._class_attributes(), "ignore": list(spec.ignore)}
        if predictions:
            attributes["kind"] = spec.prediction_kind
            attributes |= {"scale": spec.scale} if spec.predictions.dtype.startswith("uint") else {}
        self._arrays = PredictionArrays(
            self._url,
            spec,
            self.images_per_shard,
            attributes,
            self._options,
            with_predictions=predictions,
            with_images=pictures,
            padded=padded,
        )
        self._shard: dict[str, NDArray[Any]] = {}
        own = self.range
        starts = (start for start in own[:: self.images_per_shard] if not self._arrays.has(start))
        self._next = next(starts, own.stop)

    @property
    def bytes_written(self) -> int:
        """Bytes that this writer has put into the store."""
        return self._arrays.written

    def _unit(self) -> int:
        return self.images_per_shard

    def _convert(self, predictions: Any) -> Any:
        spec = self._spec
        if not (spec.predictions.dtype.startswith("uint") and dtype_name(predictions).startswith("float")):
            return super()._convert(predictions)
        if is_on_device(predictions):
            return round_on_device(predictions, spec.scale, spec.predictions.dtype)
        steps = np.rint(to_numpy(predictions).astype(np.float32) / np.float32(spec.scale))
        rounded: NDArray[Any] = np.clip(steps, 0, np.iinfo(spec.predictions.dtype).max).astype(spec.predictions.dtype)
        return rounded

    def _add(self, predictions: Any, arrays: Mapping[str, Any]) -> None:
        image = {**arrays} if predictions is None else {"predictions": to_numpy(predictions), **arrays}
        index, stop = self._next % self.images_per_shard, self._next + 1
        for name, value in image.items():
            if index == 0:
                self._shard[name] = np.empty((self.images_per_shard, *value.shape), value.dtype)
            self._shard[name][index] = value
        if stop % self.images_per_shard == 0 or stop == self._spec.images:
            self._write_ids(stop)
            self._arrays.write(stop - index - 1, {name: values[: index + 1] for name, values in self._shard.items()})
            self._shard = {}
