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
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from masksift.config.sections import StorageSection
from masksift.core.errors import DataError, UsageError
from masksift.core.specs import ALL_IGNORED, SCORED, ArraySpec, Block, DataSpec, Home, Receipt, Verdict
from masksift.engine.planning.plan import Layout, Settings, make_plan
from masksift.engine.tasks import CONDENSE, condensed_product
from masksift.engine.work_items import Part
from masksift.scoring.image import Condensing, LabelCheck, Planes
from masksift.scoring.kernels.condense import Recipe, class_dtype
from masksift.scoring.statistics.class_statistics import ClassStatistics
from masksift.storage.credentials import Options
from masksift.storage.manifest import Manifest
from masksift.storage.objects import Folder, join, local_path
from masksift.storage.sources.evidence_source import MARK
from masksift.storage.sources.open import described
from masksift.storage.sources.overrides import Overrides
from masksift.storage.zarr.writer import EVIDENCE, EvidenceArrays, PredictionArrays, write_ids

__all__ = ["EvidenceWriter", "PredictionWriter", "condense"]

LABELS = "labels"
SHARD_BYTES = 128 << 20
"""A shard of predictions: some images together, so that objects are few."""


def condense(
    pred_probs: Any, labels: Any, *, ignore: int | Sequence[int] = (), kind: str = "probabilities",
    scale: float | None = None, sum_tolerance: float | None = None, evidence_dtype: str = "auto",
) -> Planes:  # fmt: skip
    """Condense one image where its model runs: ``pred_probs`` (K, H, W) as a run reads them, ``labels`` (H, W), whole
    numbers; numpy arrays or anything with ``__array__`` or ``__dlpack__``.

    Answers the evidence, (H, W) each: ``self_confidence`` and ``predicted_confidence`` in the precision in which they
    are kept, ``predicted_class``. Raises DataError where labels or probabilities are none.
    """
    given, predictions = _array(labels)[None], _array(pred_probs)[None]
    if predictions.ndim != 4 or predictions.shape[2:] != given.shape[1:]:
        raise DataError(
            f"labels have the shape {given.shape[1:]}, pred_probs {predictions.shape[1:]}",
            "they must be (H, W) and (K, H, W)", "Give one image",
        )  # fmt: skip
    height, width = given.shape[1:]
    spec = _spec("memory", 1, height, width, predictions.shape[1], ignore, kind, predictions.dtype.name, scale,
                 sum_tolerance, given.dtype.name)  # fmt: skip
    part = _part(spec, Settings(evidence_dtype), "memory")
    planes, verdict, _ = _condensed(predictions[0], given[0], part, part.recipe(0))
    if verdict.status not in (SCORED, ALL_IGNORED):
        raise DataError(f"the image has {verdict.reason}", "there is no evidence of it", "Mend it, or leave it out")
    kept = part.evidence.dtype
    return Planes(planes.self_confidence.view(kept), planes.predicted_class, planes.predicted_confidence.view(kept))


class _Writer(ABC):
    """What both writers share: the source's facts, the range of this one, and images that come in order."""

    def __init__(
        self, url: str, *, images: int, height: int, width: int, classes: int | Sequence[str],
        ignore: int | Sequence[int] = (), kind: str = "probabilities", dtype: str = "float32",
        label_dtype: str = "uint8", scale: float | None = None, sum_tolerance: float | None = None,
        part: tuple[int, int] = (0, 1), storage: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """``url``: of the new source; ``images`` of ``height`` x ``width`` in all of it; ``classes``: their names, or
        how many; ``dtype``: of the predictions; ``part``: (i, n), this writer's share; ``storage``: as `[storage]`.

        Raises DataError, UsageError.
        """
        if not (0 <= part[0] < part[1]):
            raise UsageError(f"part is {part}", "which images are this writer's is not known", "Give (i, n), i < n")
        self._url = local_path(url) or url.rstrip("/")
        # keys that came with a task are not looked for again
        own = storage if isinstance(storage, Options) else StorageSection(**(storage or {})).options([url])
        self._options = own
        self._spec = _spec(self._url, images, height, width, classes, ignore, kind, dtype, scale, sum_tolerance,
                           label_dtype)  # fmt: skip
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
        predictions, given = _array(pred_probs), _array(labels)
        spec = self._spec
        wanted = ((spec.classes, spec.height, spec.width), (spec.height, spec.width))
        if (predictions.shape[1:], given.shape[1:]) != wanted or len(predictions) != len(given):
            raise DataError(
                f"predictions of the shape {predictions.shape} and labels of {given.shape} came to {self._url}",
                f"it holds images of {wanted[0]} and {wanted[1]}", "Give (n, K, H, W) and (n, H, W)",
            )  # fmt: skip
        if predictions.dtype.name != spec.predictions.dtype:
            predictions = self._converted(predictions)
        if given.dtype.kind not in "iu" or (given != given.astype(spec.labels.dtype)).any():
            raise DataError(
                f"labels of {given.dtype} came to {self._url}, some of which {spec.labels.dtype} cannot hold",
                "they would be other labels", "Give the writer a label_dtype that holds them",
            )  # fmt: skip
        if image_ids is not None and len(image_ids) != len(given):
            raise DataError(
                f"{len(image_ids)} image ids came to {self._url} with {len(given)} images",
                "which is whose is not known", "Give one an image",
            )  # fmt: skip
        stop = self.range.stop
        for i in range(len(predictions)):
            if self._next >= stop:
                raise DataError(
                    f"more than the {len(self.range):,} images of part {self._share} came to {self._url}",
                    "they are another writer's", "Give each writer the images of its range",
                )  # fmt: skip
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
                "the source stays half written", "Go on from next_image with a new writer",
            )  # fmt: skip

    def _converted(self, predictions: NDArray[Any]) -> NDArray[Any]:
        raise DataError(
            f"predictions of {predictions.dtype} came to {self._url}, which was told {self._spec.predictions.dtype}",
            "what is counted would not be what is there", f"Give the writer dtype={predictions.dtype.name!r}",
        )  # fmt: skip

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


class EvidenceWriter(_Writer):
    """Writes a source that holds evidence in place of predictions. A run scores it as if it had read them."""

    def __init__(self, url: str, *, evidence_dtype: str = "auto", lattice: int = 4, **facts: Any) -> None:
        """``evidence_dtype``, ``lattice``: as the run's `evidence.dtype` and `tccp.lattice`; all else as `_Writer`."""
        super().__init__(url, **facts)
        self._part = _part(self._spec, Settings(evidence_dtype, lattice), self._url, lattice)
        self._lattice, self._recipe = lattice, self._part.recipe(lattice)
        # labels lie in the chunks of the evidence, and are read in them
        self._spec = replace(self._spec, labels=replace(self._spec.labels, chunks=self._part.layout.chunks))
        self._arrays = EvidenceArrays(self._url, self._options)
        self._manifest = Manifest(Folder(self._url, self._options), self._part.home.fingerprint)
        self._create()
        missing = self._manifest.missing(CONDENSE, self._blocks())
        self._next = missing[0] * self._unit() if missing else self.range.stop
        self._begin()

    def _unit(self) -> int:
        return self._part.layout.block

    def _blocks(self) -> range:
        unit = self._unit()
        return range(self.range.start // unit, -(-self.range.stop // unit))

    def _create(self) -> None:
        spec, layout = self._spec, self._part.layout
        tree = {
            "spec": spec.as_json(), "layout": asdict(layout), "fingerprint": self._part.home.fingerprint,
            "lattice": self._lattice, "masksift": version("masksift"),
        }  # fmt: skip
        there = self._arrays.attributes().get(MARK)
        if there is not None and there != json.loads(json.dumps(tree)):
            raise UsageError(
                f"{self._url} was begun as another source (other sizes, classes, ignore values or precision)",
                "its parts would not fit together", "Give every writer the same facts, or another URL",
            )  # fmt: skip
        kept, numbers = layout.evidence, str(class_dtype(spec.classes))
        dtypes = dict(zip((*EVIDENCE, LABELS), (kept, numbers, kept, spec.labels.dtype), strict=True))
        self._arrays.create(
            tuple(dtypes), dtypes, (spec.images, spec.height, spec.width), layout.chunks,
            {MARK: tree, "class_names": list(spec.class_names), "ignore": list(spec.ignore), "kind": "evidence"},
        )  # fmt: skip

    def _begin(self) -> None:
        """A new block."""
        self._statistics = ClassStatistics.zero(self._recipe)
        self._verdicts: list[Verdict] = []
        self._group: list[tuple[Planes, NDArray[Any]]] = []
        self._begun = time.perf_counter()

    def _take(self, predictions: NDArray[Any], labels: NDArray[Any]) -> None:
        planes, verdict, found = _condensed(predictions, labels, self._part, self._recipe)
        self._group.append((planes, labels))
        self._verdicts.append(verdict)
        self._statistics = self._statistics if found is None else self._statistics.merge(found)
        after, last = self._next + 1, self._spec.images
        if after % self._part.layout.group == 0 or after == last:
            self._write_group(after - len(self._group))
        if after % self._unit() == 0 or after == last:
            self._finish_block(after)

    def _write_group(self, start: int) -> None:
        kept = self._part.evidence.dtype
        stacks = [np.stack([getattr(planes, name) for planes, _ in self._group]) for name in EVIDENCE]
        for name, stack in zip(EVIDENCE, stacks, strict=True):
            self._arrays.write(name, start, stack if name == EVIDENCE[1] else stack.view(kept))
        self._arrays.write(LABELS, start, np.stack([labels for _, labels in self._group]))
        self._group = []

    def _finish_block(self, stop: int) -> None:
        """The last thing that is put of a block: it says that the block is there."""
        self._name(stop)
        unit = self._unit()
        number, images = (stop - 1) // unit, len(self._verdicts)
        receipt = Receipt(
            number, images, images * self._spec.pixels, dict(Counter(verdict.status for verdict in self._verdicts)),
            bytes_written=self._arrays.used["bytes_written"], seconds=time.perf_counter() - self._begun,
        )  # fmt: skip
        self._manifest.save(CONDENSE, number, condensed_product(self._statistics, self._verdicts, receipt))
        self._begin()


class PredictionWriter(_Writer):
    """Writes a source of full predictions, in shards of some images (about 128 MiB). With ``dtype`` uint8 or uint16,
    floats are rounded to steps of ``scale``."""

    def __init__(
        self, url: str, *, pictures: bool = False, padded: bool = False, shard_bytes: int | None = None, **facts: Any
    ) -> None:  # fmt: skip
        """``pictures``, ``padded``: whether `write` gets them; ``shard_bytes``: of predictions, together in one object;
        all else as `_Writer`."""
        super().__init__(url, **facts)
        spec = self._spec
        size = spec.classes * spec.pixels * spec.predictions.itemsize
        self.shard = min(spec.images, max(1, (shard_bytes or SHARD_BYTES) // size))
        """Images that lie together in one object."""
        attributes = {"class_names": list(spec.class_names), "ignore": list(spec.ignore), "kind": spec.kind}
        attributes |= {"scale": spec.scale} if spec.predictions.dtype.startswith("uint") else {}
        self._arrays = PredictionArrays(
            self._url, spec, self.shard, attributes, self._options, pictures=pictures, padded=padded
        )
        self._pictures, self._padded = pictures, padded
        self._kept: dict[str, NDArray[Any]] = {}
        own = self.range
        self._next = next((start for start in own[:: self.shard] if not self._arrays.has(start)), own.stop)

    @property
    def written(self) -> int:
        """Bytes that this writer has put into the store."""
        return self._arrays.written

    def write(
        self, pred_probs: Any, labels: Any, image_ids: Sequence[str] | None = None, pictures: Any = None,
        sizes: Any = None,
    ) -> None:  # fmt: skip
        """As `_Writer`. ``pictures`` (n, H, W, 3) uint8: for those who review; ``sizes`` (n, 2): how many rows and
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
                    "all images of a source have them, or none", f"Give the writer {flag}={not told}",
                )  # fmt: skip
            if told and ((found := _array(value)).shape != shape or not np.can_cast(found.dtype, dtype)):
                raise DataError(
                    f"{name} of the shape {found.shape} and the dtype {found.dtype} came to {self._url}",
                    f"they should be {dtype} of {shape}", "Give one an image",
                )  # fmt: skip
            more |= {name: found} if told else {}
        self._more = [{name: values[i] for name, values in more.items()} for i in range(count)]
        super().write(pred_probs, labels, image_ids)

    def _unit(self) -> int:
        return self.shard

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
        place, after = self._next % self.shard, self._next + 1
        for name, value in image.items():
            if place == 0:
                self._kept[name] = np.empty((self.shard, *value.shape), value.dtype)
            self._kept[name][place] = value
        if after % self.shard == 0 or after == self._spec.images:
            self._name(after)
            self._arrays.write(after - place - 1, {name: kept[: place + 1] for name, kept in self._kept.items()})
            self._kept = {}


def _array(value: Any) -> NDArray[Any]:
    """An array-like as a numpy array, without a copy where it lies in this machine's memory."""
    if isinstance(value, np.ndarray):
        return value
    return np.asarray(value) if hasattr(value, "__array__") else np.from_dlpack(value)


def _spec(
    url: str, images: int, height: int, width: int, classes: int | Sequence[str], ignore: int | Sequence[int],
    kind: str, dtype: str, scale: float | None, tolerance: float | None, label_dtype: str,
) -> DataSpec:  # fmt: skip
    """The facts of a source that is about to be written, judged as those of one that is opened."""
    names = tuple(f"class {k}" for k in range(classes)) if isinstance(classes, int) else tuple(classes)
    shape = (images, len(names), height, width)
    itemsize = np.dtype(dtype).itemsize
    predictions = ArraySpec(join(url, "predictions"), shape, (1, *shape[1:]), dtype, itemsize, (0, 1, 2, 3))
    labels = ArraySpec(
        join(url, LABELS), (images, height, width), (1, height, width), label_dtype, np.dtype(label_dtype).itemsize,
        (0, 1, 2),
    )  # fmt: skip
    listed = (ignore,) if isinstance(ignore, int) else tuple(ignore)
    told = Overrides(classes=names, ignore=listed, kind=kind, scale=scale, sum_tolerance=tolerance)
    return described(url, predictions, labels, told)


def _part(spec: DataSpec, settings: Settings, place: str, lattice: int = 4) -> Part:
    """The whole source as one part, with its layout and home."""
    identity = {"masksift": version("masksift"), "source": spec.as_json(), "lattice": lattice,
                "evidence": settings.evidence_dtype}  # fmt: skip
    layout: Layout = make_plan([spec], settings, identity).layouts[0]
    told = json.dumps({**identity, "layout": asdict(layout)}, sort_keys=True)
    home = Home(place, hashlib.sha256(told.encode()).hexdigest(), 0, place)
    return Part(Block(0, 0, 0, spec.images), spec, layout, home, 0)


def _condensed(
    predictions: NDArray[Any], labels: NDArray[Any], part: Part, recipe: Recipe
) -> tuple[Planes, Verdict, ClassStatistics | None]:
    """One image: its evidence as codes, a verdict and its statistics."""
    check = LabelCheck(part.spec.classes, part.spec.ignore)
    plane = check.plane(labels).astype(class_dtype(part.spec.classes))
    planes = Planes.empty(part.spec.height, part.spec.width, recipe)
    if check.verdict is not None:
        return planes, check.verdict, None
    condensing = Condensing(plane, planes, recipe)
    condensing.slab(predictions)
    return planes, *condensing.finish()
