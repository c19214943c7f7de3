"""Base of the writers that create a source where a model runs, and `condense` for one image."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
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
from masksift.prepare.inputs import (
    argument_names,
    as_batch,
    check_predictions,
    ignore_values,
    read_class_colors,
    read_labels,
    read_predictions,
)
from masksift.scoring.arrays import dtype_name, image_at, is_on_device, to_numpy
from masksift.scoring.device import narrow_on_device
from masksift.scoring.image import EvidencePlanes, condense_image
from masksift.scoring.kernels.condense import CondenseConfig
from masksift.scoring.kernels.decode import complete_binary
from masksift.storage.credentials import StorageOptions
from masksift.storage.sources.open import make_source_spec
from masksift.storage.sources.overrides import Overrides
from masksift.storage.sources.validate import default_class_names
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
        pred_probs: Predictions (K, H, W), or (H, W) of the positive class of two: an array of any library, or a nested
            list. A tensor on a GPU is condensed there, and the three planes are copied.
        labels: Given labels (H, W), integers. Masked pixels (`numpy.ma`) are ignored.
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
    label_array, ignored = read_labels(as_batch(labels, "labels"), ignore_values(ignore))
    predictions = read_predictions(as_batch(pred_probs, "pred_probs"))
    shape, dtype = tuple(predictions.shape), dtype_name(predictions)
    if len(shape) not in (2, 3) or shape[-2:] != label_array.shape:
        raise DataError(
            f"labels have the shape {label_array.shape}, pred_probs {shape}",
            "Pass one image: labels (H, W) and pred_probs (K, H, W), or (H, W) of the positive class",
        )
    check_predictions("pred_probs", dtype, kind, scale)
    if len(shape) == 2 or shape[0] == 1:
        predictions = complete_binary(to_numpy(predictions).reshape(shape[-2:]), kind, scale)
        shape, dtype = predictions.shape, predictions.dtype.name
    config = CondenseConfig.for_predictions(shape[0], dtype, kind, scale, sum_tolerance, evidence_dtype, lattice=0)
    image = condense_image(label_array, [predictions], config, ignored)
    planes, status = image.planes, image.status
    if status.status not in (SCORED, ALL_IGNORED):
        raise DataError(f"The image has {status.reason}", "Correct it, or leave it out")
    dtype = config.evidence.dtype
    return EvidencePlanes(
        planes.self_confidence.view(dtype), planes.predicted_class, planes.predicted_confidence.view(dtype)
    )


class SourceWriter(ABC):
    """Writer of a new source, or of a part of it, that takes images in order.

    Several processes may share a source: each passes ``part=(i, n)`` and writes the images of its `range`. A new
    writer with the same arguments resumes at `next_image`. As a context manager, a writer checks at the end that it
    has written all its images.

    Both writers have these arguments, and some more.

    Args:
        url: URL of the new source, a Zarr group.
        images: Number of images of the whole source.
        height: Rows of an image.
        width: Columns of an image.
        classes: Number of classes, or their names.
        class_names: Names of the classes; default: "class 0", "class 1", ...
        class_colors: sRGB colors of the classes (K, 3), uint8, which reports and exports show; default: generated ones.
        ignore: Ignored label values.
        kind: "probabilities" or "logits".
        dtype: Dtype of the predictions; that of bfloat16 tensors is float32.
        label_dtype: Dtype of the written labels.
        scale: Probability per step of integer predictions; default: 1 / maximum of the dtype.
        sum_tolerance: Largest accepted distance of a pixel's sum of probabilities from 1; default: as in a run.
        pictures: Whether `write` gets RGB images, which reports and exports show.
        padded: Whether `write` gets the unpadded sizes of images.
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
        classes: int | Sequence[str] | None,
        class_names: Sequence[str] | None,
        class_colors: Any,
        ignore: int | Sequence[int],
        kind: str,
        dtype: str,
        label_dtype: str,
        scale: float | None,
        sum_tolerance: float | None,
        predictions: bool = True,
        pictures: bool,
        padded: bool,
        part: tuple[int, int],
        storage: Mapping[str, Any] | None,
    ) -> None:
        if not (0 <= part[0] < part[1]):
            raise UsageError(f"part is {part}", "Pass (i, n) with 0 <= i < n")
        self._url = local_path(url) or url.rstrip("/")
        # tasks bring resolved options with them
        resolved = storage if isinstance(storage, StorageOptions) else StorageSection(**(storage or {})).options([url])
        self._options = resolved
        names = _class_names(classes, class_names)
        overrides = Overrides(
            classes=names, ignore=ignore_values(ignore), kind=kind, scale=scale, sum_tolerance=sum_tolerance
        )
        with argument_names(classes="class_names"):
            self._spec = _make_spec(
                self._url,
                (images, len(names), height, width),
                dtype,
                label_dtype=label_dtype,
                overrides=overrides,
                class_colors=class_colors,
            )
        self._predictions, self._pictures, self._padded, self._part = predictions, pictures, padded, part
        self._ids: list[str] = []
        self._next = 0

    @property
    def spec(self) -> SourceSpec:
        """Description of the source: sizes, classes, ignore values and dtypes."""
        return self._spec

    @property
    def padded(self) -> bool:
        """True if `write` gets the unpadded sizes of images."""
        return self._padded

    @property
    def has_pictures(self) -> bool:
        """True if `write` gets RGB images."""
        return self._pictures

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

    def write(
        self,
        pred_probs: Any,
        labels: Any,
        image_ids: Sequence[str] | None = None,
        pictures: Any = None,
        sizes: Any = None,
    ) -> None:
        """Write the next images, in order. Arrays are of any library, or lists of images.

        Args:
            pred_probs: Predictions (n, K, H, W), or (n, H, W) or (n, 1, H, W) of the positive class of two. None if
                the source has none.
            labels: Given labels (n, H, W), integers. Masked pixels (`numpy.ma`) get the first ignore value.
            image_ids: Image ids (n,); default: `<source>/<index>`.
            pictures: RGB images (n, H, W, 3) uint8 for review, if the writer has ``pictures=True``.
            sizes: Rows and columns (n, 2) of each image without padding, if the writer has ``padded=True``.

        Raises:
            DataError: If shapes or dtypes do not fit the source, or there are more images than `range` holds.
        """
        label_array = self._read_labels(labels)
        predictions = self._read_predictions(pred_probs, label_array)
        expected, count = (self._spec.height, self._spec.width), len(label_array)
        if image_ids is not None and len(image_ids) != count:
            raise DataError(
                f"{self._url} received {len(image_ids)} image ids for {count} images", "Pass one id per image"
            )
        rgb_images = self._read_extra("pictures", "pictures", pictures, self._pictures, (count, *expected, 3), "uint8")
        unpadded = self._read_extra("sizes", "padded", sizes, self._padded, (count, 2), "int64")
        stop = self.range.stop
        for i in range(count):
            if self._next >= stop:
                raise DataError(
                    f"{self._url} received more than the {len(self.range):,} images of part {self._part}",
                    "Pass each writer the images of its range",
                )
            self._ids.append("" if image_ids is None else str(image_ids[i]))
            arrays = {} if rgb_images is None else {"images": rgb_images[i]}
            arrays |= {} if unpadded is None else dict(zip(("height", "width"), unpadded[i], strict=True))
            self._add(None if predictions is None else image_at(predictions, i), {"labels": label_array[i], **arrays})
            self._next += 1

    def _read_predictions(self, pred_probs: Any, labels: NDArray[Any]) -> Any:
        """Convert predictions to (n, K, H, W) in the dtype of the source, or return None if it has none."""
        spec = self._spec
        if (pred_probs is not None) != self._predictions:
            raise DataError(
                f"{self._url} received {'no ' if pred_probs is None else ''}predictions, but the writer has "
                f"predictions={self._predictions}",
                f"Pass predictions={not self._predictions} to the writer",
            )
        expected = ((spec.classes, spec.height, spec.width), (spec.height, spec.width))
        if pred_probs is None:
            if labels.shape[1:] != expected[1]:
                raise DataError(
                    f"{self._url} holds labels of {expected[1]}, but received shape {labels.shape}", "Pass (n, H, W)"
                )
            return None
        predictions = read_predictions(as_batch(pred_probs, "pred_probs"))
        shape = tuple(predictions.shape)
        if spec.classes == 2 and shape[1:] in ((spec.height, spec.width), (1, spec.height, spec.width)):
            positive = to_numpy(predictions).reshape(-1, spec.height, spec.width)
            predictions = complete_binary(positive, spec.prediction_kind, spec.scale)
            shape = predictions.shape
        if (shape[1:], labels.shape[1:]) != expected or shape[0] != len(labels):
            raise DataError(
                f"{self._url} holds predictions of {expected[0]} and labels of {expected[1]}, but received shapes "
                f"{shape} and {labels.shape}",
                "Pass (n, K, H, W) and (n, H, W)",
            )
        if dtype_name(predictions) != spec.predictions.dtype:
            predictions = self._convert(predictions)
        return predictions

    def _read_labels(self, labels: Any) -> NDArray[Any]:
        """Convert labels to the dtype that is stored."""
        dtype = self._spec.labels.dtype
        labels = as_batch(labels, "labels")
        if is_on_device(labels):
            labels = narrow_on_device(labels, dtype)
        array, ignore = read_labels(labels, self._spec.ignore)
        if ignore != self._spec.ignore:
            raise DataError(
                f"labels have masked pixels, but {self._url} has no ignore value", "Pass ignore=VALUE to the writer"
            )
        stored = array.astype(dtype)
        if (array != stored).any():
            raise DataError(
                f"{self._url} stores labels as {dtype}, which cannot hold some of the {array.dtype} labels",
                "Pass a label_dtype that holds them to the writer",
            )
        return stored

    def _read_extra(
        self, name: str, flag: str, value: Any, expected: bool, shape: tuple[int, ...], dtype: str
    ) -> NDArray[Any] | None:
        """Check an argument that is passed with all images or with none."""
        if (value is not None) != expected:
            raise DataError(
                f"{self._url} received {'no ' if expected else ''}{name}, but the writer has {flag}={expected}",
                f"Pass {flag}={not expected} to the writer",
            )
        if not expected:
            return None
        array = to_numpy(as_batch(value, name))
        if array.shape != shape or not np.can_cast(array.dtype, dtype):
            raise DataError(
                f"{self._url} received {name} of shape {array.shape} and dtype {array.dtype}",
                f"Pass {dtype} of shape {shape}",
            )
        return array

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

    def _convert(self, predictions: Any) -> Any:
        """Convert predictions of another dtype than the source's."""
        name = dtype_name(predictions)
        raise DataError(
            f"{self._url} stores predictions as {self._spec.predictions.dtype}, but received {name}",
            f"Pass dtype={name!r} to the writer",
        )

    def _write_ids(self, stop: int) -> None:
        """Write the ids, if any were passed, of the shard that ends before ``stop``."""
        if any(self._ids):
            write_image_ids(self._url, self._options, self._spec.images, self._unit(), stop - len(self._ids), self._ids)
        self._ids = []

    def _class_attributes(self) -> dict[str, Any]:
        """Return the attributes that name and color the classes."""
        colors = {"class_colors": [list(color) for color in self._spec.class_colors]} if self._spec.class_colors else {}
        return {"class_names": list(self._spec.class_names), **colors}

    @abstractmethod
    def _unit(self) -> int:
        """Return the number of images of a shard, which only one writer writes."""

    @abstractmethod
    def _add(self, predictions: Any, arrays: Mapping[str, Any]) -> None:
        """Take the next image: predictions of any library, and the values of the other arrays by name."""


def _class_names(classes: int | Sequence[str] | None, class_names: Sequence[str] | None) -> tuple[str, ...]:
    if isinstance(class_names, str) or isinstance(classes, str):
        raise UsageError(f"class_names is one text, {class_names or classes!r}", "Pass a list of names")
    if not isinstance(classes, (int, np.integer)):
        if class_names is not None and classes is not None and tuple(class_names) != tuple(classes):
            raise UsageError("classes and class_names hold different names", "Pass one of them")
        classes, class_names = None, class_names or classes
    if class_names is not None:
        if classes is not None and len(class_names) != classes:
            raise UsageError(
                f"classes is {classes}, but there are {len(class_names)} class_names", "Pass one name per class"
            )
        return tuple(class_names)
    if classes is None:
        raise UsageError("classes is missing", "Pass the number of classes, or class_names")
    return default_class_names(classes)


def _make_spec(
    url: str,
    shape: tuple[int, ...],
    dtype: str,
    *,
    label_dtype: str,
    overrides: Overrides,
    class_colors: Any,
) -> SourceSpec:
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
    colors = read_class_colors(class_colors, shape[1])
    return replace(make_source_spec(url, predictions, labels, overrides), class_colors=colors)


def make_task(spec: SourceSpec, settings: Settings, url: str, lattice: int = 4) -> BlockTask:
    """Make one task of the whole source, with its layout and the location of its evidence."""
    identity = {
        "masksift": version("masksift"),
        "source": spec.identity(),
        "lattice": lattice,
        "evidence": settings.evidence_dtype,
    }
    layout = make_plan([spec], settings, identity).layouts[0]
    data = json.dumps({**identity, "layout": asdict(layout)}, sort_keys=True).encode()
    location = EvidenceLocation(url, hashlib.sha256(data).hexdigest(), 0, url)
    return BlockTask(Block(0, 0, 0, spec.images), spec, layout, location, 0)
