"""Base of the writers that create a source where a model runs, and `condense` for one image."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from masksift.config.sections import StorageSection
from masksift.core.errors import DataError, UsageError
from masksift.core.specs import ArraySpec, Block, EvidenceLocation, SourceSpec
from masksift.core.status import ALL_IGNORED, SCORED
from masksift.engine.planning.layout import Settings
from masksift.engine.planning.plan import make_plan
from masksift.engine.work_items import BlockTask
from masksift.scoring.image import EvidencePlanes, condense_image
from masksift.storage.credentials import StorageOptions
from masksift.storage.sources.open import make_source_spec
from masksift.storage.sources.overrides import Overrides
from masksift.storage.urls import join, local_path
from masksift.storage.zarr.writer import write_image_ids

LABELS = "labels"
SHARD_BYTES = 128 << 20
"""Size of a shard of predictions: several images per object, so that objects are few."""


def condense(
    pred_probs: Any,
    labels: Any,
    *,
    ignore: int | Sequence[int] = (),
    kind: str = "probabilities",
    scale: float | None = None,
    sum_tolerance: float | None = None,
    evidence_dtype: str = "auto",
) -> EvidencePlanes:
    """Condense the predictions of one image into evidence, as a run does.

    Args:
        pred_probs: Predictions (K, H, W); a numpy array, or any object with ``__array__`` or ``__dlpack__``.
        labels: Given labels (H, W), integers.
        ignore: Ignored label values.
        kind: "probabilities" or "logits".
        scale: Probability per step of integer predictions; default: 1 / maximum of the dtype.
        sum_tolerance: Largest accepted distance of a pixel's sum of probabilities from 1; default: as in a run.
        evidence_dtype: Precision of the evidence of 32- and 64-bit predictions: "auto" (float16) or "float32".

    Returns:
        ``self_confidence`` and ``predicted_confidence`` in the evidence dtype, and ``predicted_class``, (H, W) each.

    Raises:
        DataError: If shapes do not fit, or labels or probabilities are invalid.
    """
    label_array, predictions = to_array(labels), to_array(pred_probs)
    if predictions.ndim != 3 or predictions.shape[1:] != label_array.shape:
        raise DataError(
            f"labels have the shape {label_array.shape}, pred_probs {predictions.shape}",
            "Pass one image: labels (H, W) and pred_probs (K, H, W)",
        )
    spec = _make_spec(
        "memory",
        (1, *predictions.shape),
        dtype=predictions.dtype.name,
        label_dtype=label_array.dtype.name,
        overrides=Overrides(
            classes=_class_names(predictions.shape[0]),
            ignore=_as_tuple(ignore),
            kind=kind,
            scale=scale,
            sum_tolerance=sum_tolerance,
        ),
    )
    task = make_task(spec, Settings(evidence_dtype), "memory")
    image = condense_image(label_array, [predictions], task.condense_config(0), spec.ignore)
    planes, status = image.planes, image.status
    if status.status not in (SCORED, ALL_IGNORED):
        raise DataError(f"The image has {status.reason}", "Correct it, or leave it out")
    dtype = task.encoding.dtype
    return EvidencePlanes(
        planes.self_confidence.view(dtype), planes.predicted_class, planes.predicted_confidence.view(dtype)
    )


class SourceWriter(ABC):
    """Writer of a new source, or of a part of it, that takes images in order.

    Several processes may share a source: each passes ``part=(i, n)`` and writes the images of its `range`. A new
    writer with the same arguments resumes at `next_image`. As a context manager, a writer checks at the end that it
    has written all its images.

    Args:
        url: URL of the new source, a Zarr group.
        images: Number of images of the whole source.
        height: Rows of an image.
        width: Columns of an image.
        classes: Class names, or their number.
        ignore: Ignored label values.
        kind: "probabilities" or "logits".
        dtype: Dtype of the predictions.
        label_dtype: Dtype of the written labels.
        scale: Probability per step of integer predictions; default: 1 / maximum of the dtype.
        sum_tolerance: Largest accepted distance of a pixel's sum of probabilities from 1; default: as in a run.
        part: (i, n): this is writer i of n, counted from 0.
        storage: Storage options, with the keys of `[storage]`.

    Raises:
        UsageError: If ``part`` is invalid, or the URL holds another source.
        DataError: If the other arguments do not describe a valid source.
    """

    def __init__(
        self,
        url: str,
        *,
        images: int,
        height: int,
        width: int,
        classes: int | Sequence[str],
        ignore: int | Sequence[int] = (),
        kind: str = "probabilities",
        dtype: str = "float32",
        label_dtype: str = "uint8",
        scale: float | None = None,
        sum_tolerance: float | None = None,
        part: tuple[int, int] = (0, 1),
        storage: dict[str, Any] | None = None,
    ) -> None:
        if not (0 <= part[0] < part[1]):
            raise UsageError(f"part is {part}", "Pass (i, n) with 0 <= i < n")
        self._url = local_path(url) or url.rstrip("/")
        # tasks bring resolved options with them
        resolved = storage if isinstance(storage, StorageOptions) else StorageSection(**(storage or {})).options([url])
        self._options = resolved
        names = _class_names(classes)
        self._spec = _make_spec(
            self._url,
            (images, len(names), height, width),
            dtype=dtype,
            label_dtype=label_dtype,
            overrides=Overrides(
                classes=names, ignore=_as_tuple(ignore), kind=kind, scale=scale, sum_tolerance=sum_tolerance
            ),
        )
        self._part = part
        self._ids: list[str] = []
        self._next = 0

    @property
    def range(self) -> range:
        """Images of this writer."""
        unit = self._unit()
        (i, n), images = self._part, self._spec.images
        return range(min(images, self.shards * i // n * unit), min(images, self.shards * (i + 1) // n * unit))

    @property
    def shards(self) -> int:
        """Number of shards of the whole source, which limits the number of writers."""
        return -(-self._spec.images // self._unit())

    @property
    def next_image(self) -> int:
        """Index of the next image to write."""
        return self._next

    def write(self, pred_probs: Any, labels: Any, image_ids: Sequence[str] | None = None) -> None:
        """Write the next images, in order.

        Args:
            pred_probs: Predictions (n, K, H, W).
            labels: Given labels (n, H, W), integers.
            image_ids: Image ids (n,); default: `<source>/<index>`.

        Raises:
            DataError: If shapes or dtypes do not fit the source, or there are more images than `range` holds.
        """
        predictions, label_array, spec = to_array(pred_probs), to_array(labels), self._spec
        expected = ((spec.classes, spec.height, spec.width), (spec.height, spec.width))
        if (predictions.shape[1:], label_array.shape[1:]) != expected or len(predictions) != len(label_array):
            raise DataError(
                f"{self._url} holds predictions of {expected[0]} and labels of {expected[1]}, but received shapes "
                f"{predictions.shape} and {label_array.shape}",
                "Pass (n, K, H, W) and (n, H, W)",
            )
        if predictions.dtype.name != spec.predictions.dtype:
            predictions = self._convert(predictions)
        if label_array.dtype.kind not in "iu" or (label_array != label_array.astype(spec.labels.dtype)).any():
            raise DataError(
                f"{self._url} stores labels as {spec.labels.dtype}, which cannot hold some of the {label_array.dtype} "
                "labels",
                "Pass a label_dtype that holds them to the writer",
            )
        if image_ids is not None and len(image_ids) != len(label_array):
            raise DataError(
                f"{self._url} received {len(image_ids)} image ids for {len(label_array)} images",
                "Pass one id per image",
            )
        stop = self.range.stop
        for i in range(len(predictions)):
            if self._next >= stop:
                raise DataError(
                    f"{self._url} received more than the {len(self.range):,} images of part {self._part}",
                    "Pass each writer the images of its range",
                )
            self._ids.append("" if image_ids is None else str(image_ids[i]))
            self._add(predictions[i], label_array[i].astype(spec.labels.dtype))
            self._next += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._next < self.range.stop:
            written, images = self._next - self.range.start, len(self.range)
            raise DataError(
                f"{self._url} is incomplete: {written:,} of the {images:,} images of part {self._part} were written",
                "Continue at next_image with a new writer",
            )

    def _convert(self, predictions: NDArray[Any]) -> NDArray[Any]:
        raise DataError(
            f"{self._url} stores predictions as {self._spec.predictions.dtype}, but received {predictions.dtype}",
            f"Pass dtype={predictions.dtype.name!r} to the writer",
        )

    def _write_ids(self, stop: int) -> None:
        """Write the ids, if any were passed, of the shard that ends before ``stop``."""
        if any(self._ids):
            write_image_ids(self._url, self._options, self._spec.images, self._unit(), stop - len(self._ids), self._ids)
        self._ids = []

    @abstractmethod
    def _unit(self) -> int:
        """Return the number of images of a shard, which only one writer writes."""

    @abstractmethod
    def _add(self, predictions: NDArray[Any], labels: NDArray[Any]) -> None:
        """Take the next image."""


def to_array(value: Any) -> NDArray[Any]:
    """Convert an array-like to numpy, without a copy if it is in the memory of this machine."""
    if isinstance(value, np.ndarray):
        return value
    return np.asarray(value) if hasattr(value, "__array__") else np.from_dlpack(value)


def _class_names(classes: int | Sequence[str]) -> tuple[str, ...]:
    return tuple(f"class {k}" for k in range(classes)) if isinstance(classes, int) else tuple(classes)


def _as_tuple(ignore: int | Sequence[int]) -> tuple[int, ...]:
    return (ignore,) if isinstance(ignore, int) else tuple(ignore)


def _make_spec(url: str, shape: tuple[int, ...], *, dtype: str, label_dtype: str, overrides: Overrides) -> SourceSpec:
    """Describe a source to be written, predictions of ``shape`` (N, K, H, W), with the checks of an opened one."""
    images, _, height, width = shape
    predictions = ArraySpec(
        join(url, "predictions"), shape, (1, *shape[1:]), dtype, np.dtype(dtype).itemsize, (0, 1, 2, 3)
    )
    labels = ArraySpec(
        join(url, LABELS),
        (images, height, width),
        (1, height, width),
        label_dtype,
        np.dtype(label_dtype).itemsize,
        (0, 1, 2),
    )
    return make_source_spec(url, predictions, labels, overrides)


def make_task(spec: SourceSpec, settings: Settings, url: str, lattice: int = 4) -> BlockTask:
    """Make one task of the whole source, with its layout and the location of its evidence."""
    identity = {
        "masksift": version("masksift"),
        "source": spec.as_json(),
        "lattice": lattice,
        "evidence": settings.evidence_dtype,
    }
    layout = make_plan([spec], settings, identity).layouts[0]
    data = json.dumps({**identity, "layout": asdict(layout)}, sort_keys=True).encode()
    location = EvidenceLocation(url, hashlib.sha256(data).hexdigest(), 0, url)
    return BlockTask(Block(0, 0, 0, spec.images), spec, layout, location, 0)
