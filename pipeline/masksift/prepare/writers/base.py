"""Sources written where a model runs: the evidence alone (3 to 5 bytes a pixel), or the predictions as they are.

    with EvidenceWriter("s3://lake/seg/dt=2026-11-23", images=2975, height=1024, width=2048, classes=NAMES,
                        ignore=255, kind="logits") as writer:
        for pictures, labels in loader:              # batches of any size, in order
            writer.write(model(pictures), labels)

Several processes may share a source: each gives ``part=(i, n)``, and writes the images of its ``range``.
"""

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
from masksift.core.status import ALL_IGNORED, SCORED, ImageStatus
from masksift.engine.planning.layout import Layout, Settings
from masksift.engine.planning.plan import make_plan
from masksift.engine.work_items import BlockTask
from masksift.scoring.image import EvidencePlanes, ImageCondenser, LabelValidator
from masksift.scoring.kernels.condense import CondenseConfig, class_dtype
from masksift.scoring.statistics.class_statistics import ClassStatistics
from masksift.storage.credentials import StorageOptions
from masksift.storage.sources.open import make_source_spec
from masksift.storage.sources.overrides import Overrides
from masksift.storage.urls import join, local_path
from masksift.storage.zarr.writer import write_ids

LABELS = "labels"
SHARD_BYTES = 128 << 20
"""A shard of predictions: some images together, so that objects are few."""


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
    """Condense one image where its model runs: ``pred_probs`` (K, H, W) as a run reads them, ``labels`` (H, W), whole
    numbers; numpy arrays or anything with ``__array__`` or ``__dlpack__``.

    Answers the evidence, (H, W) each: ``self_confidence`` and ``predicted_confidence`` in the precision in which they
    are kept, ``predicted_class``. Raises DataError where labels or probabilities are none.
    """
    given, predictions = to_array(labels)[None], to_array(pred_probs)[None]
    if predictions.ndim != 4 or predictions.shape[2:] != given.shape[1:]:
        raise DataError(
            f"labels have the shape {given.shape[1:]}, pred_probs {predictions.shape[1:]}",
            "they must be (H, W) and (K, H, W)",
            "Give one image",
        )
    height, width = given.shape[1:]
    spec = _spec(
        "memory",
        1,
        height,
        width,
        predictions.shape[1],
        ignore,
        kind,
        predictions.dtype.name,
        scale,
        sum_tolerance,
        given.dtype.name,
    )
    part = make_task(spec, Settings(evidence_dtype), "memory")
    planes, verdict, _ = condense_image(predictions[0], given[0], part, part.condense_config(0))
    if verdict.status not in (SCORED, ALL_IGNORED):
        raise DataError(f"the image has {verdict.reason}", "there is no evidence of it", "Mend it, or leave it out")
    kept = part.encoding.dtype
    return EvidencePlanes(
        planes.self_confidence.view(kept), planes.predicted_class, planes.predicted_confidence.view(kept)
    )


class ImageWriter(ABC):
    """What both writers share: the source's facts, the range of this one, and images that come in order."""

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
        """``url``: of the new source; ``images`` of ``height`` x ``width`` in all of it; ``classes``: their names, or
        how many; ``dtype``: of the predictions; ``part``: (i, n), this writer's share; ``storage``: as `[storage]`.

        Raises DataError, UsageError.
        """
        if not (0 <= part[0] < part[1]):
            raise UsageError(f"part is {part}", "which images are this writer's is not known", "Give (i, n), i < n")
        self._url = local_path(url) or url.rstrip("/")
        # keys that came with a task are not looked for again
        own = storage if isinstance(storage, StorageOptions) else StorageSection(**(storage or {})).options([url])
        self._options = own
        self._spec = _spec(
            self._url, images, height, width, classes, ignore, kind, dtype, scale, sum_tolerance, label_dtype
        )
        self._share = part
        self._ids: list[str] = []
        self._next = 0

    @property
    def range(self) -> range:
        """The images that are this writer's."""
        unit = self._unit()
        units = -(-self._spec.images // unit)
        (i, n), images = self._share, self._spec.images
        return range(min(images, units * i // n * unit), min(images, units * (i + 1) // n * unit))

    @property
    def shards(self) -> int:
        """Pieces of the whole source: the most writers that can share it."""
        return -(-self._spec.images // self._unit())

    @property
    def next_image(self) -> int:
        """The image that is expected next: after an interruption, where to go on."""
        return self._next

    def write(self, pred_probs: Any, labels: Any, image_ids: Sequence[str] | None = None) -> None:
        """Take in the next images, in order: ``pred_probs`` (n, K, H, W), ``labels`` (n, H, W), and what they are
        called (n,), else `<source>/<index>`. Raises DataError."""
        predictions, given = to_array(pred_probs), to_array(labels)
        spec = self._spec
        wanted = ((spec.classes, spec.height, spec.width), (spec.height, spec.width))
        if (predictions.shape[1:], given.shape[1:]) != wanted or len(predictions) != len(given):
            raise DataError(
                f"predictions of the shape {predictions.shape} and labels of {given.shape} came to {self._url}",
                f"it holds images of {wanted[0]} and {wanted[1]}",
                "Give (n, K, H, W) and (n, H, W)",
            )
        if predictions.dtype.name != spec.predictions.dtype:
            predictions = self._converted(predictions)
        if given.dtype.kind not in "iu" or (given != given.astype(spec.labels.dtype)).any():
            raise DataError(
                f"labels of {given.dtype} came to {self._url}, some of which {spec.labels.dtype} cannot hold",
                "they would be other labels",
                "Give the writer a label_dtype that holds them",
            )
        if image_ids is not None and len(image_ids) != len(given):
            raise DataError(
                f"{len(image_ids)} image ids came to {self._url} with {len(given)} images",
                "which is whose is not known",
                "Give one an image",
            )
        stop = self.range.stop
        for i in range(len(predictions)):
            if self._next >= stop:
                raise DataError(
                    f"more than the {len(self.range):,} images of part {self._share} came to {self._url}",
                    "they are another writer's",
                    "Give each writer the images of its range",
                )
            self._ids.append("" if image_ids is None else str(image_ids[i]))
            self._take(predictions[i], given[i].astype(spec.labels.dtype))
            self._next += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._next < self.range.stop:
            written, images = self._next - self.range.start, len(self.range)
            raise DataError(
                f"{written:,} of the {images:,} images of part {self._share} of {self._url} were written",
                "the source stays half written",
                "Go on from next_image with a new writer",
            )

    def _converted(self, predictions: NDArray[Any]) -> NDArray[Any]:
        raise DataError(
            f"predictions of {predictions.dtype} came to {self._url}, which was told {self._spec.predictions.dtype}",
            "what is counted would not be what is there",
            f"Give the writer dtype={predictions.dtype.name!r}",
        )

    def _name(self, stop: int) -> None:
        """Write the ids of the piece that ends before ``stop``, where any were given."""
        if any(self._ids):
            write_ids(self._url, self._options, self._spec.images, self._unit(), stop - len(self._ids), self._ids)
        self._ids = []

    @abstractmethod
    def _unit(self) -> int:
        """Images of the smallest piece that one writer has alone."""

    @abstractmethod
    def _take(self, predictions: NDArray[Any], labels: NDArray[Any]) -> None:
        """One image, the next."""


def to_array(value: Any) -> NDArray[Any]:
    """An array-like as a numpy array, without a copy where it lies in this machine's memory."""
    if isinstance(value, np.ndarray):
        return value
    return np.asarray(value) if hasattr(value, "__array__") else np.from_dlpack(value)


def _spec(
    url: str,
    images: int,
    height: int,
    width: int,
    classes: int | Sequence[str],
    ignore: int | Sequence[int],
    kind: str,
    dtype: str,
    scale: float | None,
    tolerance: float | None,
    label_dtype: str,
) -> SourceSpec:
    """The facts of a source that is about to be written, judged as those of one that is opened."""
    names = tuple(f"class {k}" for k in range(classes)) if isinstance(classes, int) else tuple(classes)
    shape = (images, len(names), height, width)
    itemsize = np.dtype(dtype).itemsize
    predictions = ArraySpec(join(url, "predictions"), shape, (1, *shape[1:]), dtype, itemsize, (0, 1, 2, 3))
    labels = ArraySpec(
        join(url, LABELS),
        (images, height, width),
        (1, height, width),
        label_dtype,
        np.dtype(label_dtype).itemsize,
        (0, 1, 2),
    )
    listed = (ignore,) if isinstance(ignore, int) else tuple(ignore)
    told = Overrides(classes=names, ignore=listed, kind=kind, scale=scale, sum_tolerance=tolerance)
    return make_source_spec(url, predictions, labels, told)


def make_task(spec: SourceSpec, settings: Settings, place: str, lattice: int = 4) -> BlockTask:
    """The whole source as one part, with its layout and home."""
    identity = {
        "masksift": version("masksift"),
        "source": spec.as_json(),
        "lattice": lattice,
        "evidence": settings.evidence_dtype,
    }
    layout: Layout = make_plan([spec], settings, identity).layouts[0]
    told = json.dumps({**identity, "layout": asdict(layout)}, sort_keys=True)
    home = EvidenceLocation(place, hashlib.sha256(told.encode()).hexdigest(), 0, place)
    return BlockTask(Block(0, 0, 0, spec.images), spec, layout, home, 0)


def condense_image(
    predictions: NDArray[Any], labels: NDArray[Any], part: BlockTask, recipe: CondenseConfig
) -> tuple[EvidencePlanes, ImageStatus, ClassStatistics | None]:
    """One image: its evidence as codes, a verdict and its statistics."""
    check = LabelValidator(part.spec.classes, part.spec.ignore)
    plane = check.to_class_indices(labels).astype(class_dtype(part.spec.classes))
    planes = EvidencePlanes.empty(part.spec.height, part.spec.width, recipe)
    if check.verdict is not None:
        return planes, check.verdict, None
    condensing = ImageCondenser(plane, planes, recipe)
    condensing.add_window(predictions)
    return planes, *condensing.finish()
