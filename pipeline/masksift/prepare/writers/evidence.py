"""Writer of a source that holds evidence."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import UsageError
from masksift.core.status import ImageStatus
from masksift.core.task_result import TaskResult
from masksift.engine.planning.layout import Settings
from masksift.engine.work_items import CONDENSE, pack_condense_output, pack_result
from masksift.prepare.writers.base import LABELS, SourceWriter, make_task
from masksift.scoring.image import CondensedImage, condense_image
from masksift.scoring.kernels.condense import class_dtype
from masksift.scoring.statistics.class_statistics import ClassStatistics
from masksift.storage.manifest import Manifest
from masksift.storage.objects import ObjectDirectory
from masksift.storage.sources.evidence_source import EVIDENCE_ATTRIBUTE
from masksift.storage.zarr.evidence import EVIDENCE_PLANES, PREDICTED_CLASS, EvidenceArrays


class EvidenceWriter(SourceWriter):
    """Writer of a source that holds evidence (3 to 5 bytes per pixel) instead of predictions.

    A run scores the source exactly as if it had read the predictions. Tensors on a GPU are condensed there, and only
    the three planes are copied: with probabilities the evidence is the same, with logits it differs by the rounding of
    the device's softmax, at most one step of float16.

    Examples:
        ::

            with EvidenceWriter("s3://lake/seg/dt=2026-11-23", images=2975, height=1024, width=2048, classes=NAMES,
                                ignore=255, kind="logits") as writer:
                for images, labels in loader:  # any number of images at a time, in order
                    writer.write(model(images), labels)

    Args:
        url: URL of the new source, a Zarr group.
        evidence_dtype: Precision of the evidence of 32- and 64-bit predictions: "auto" (float16) or "float32".
        lattice: Rows and columns between counted pixels, as `tccp.lattice` of the run.

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
        pictures: bool = False,
        padded: bool = False,
        evidence_dtype: str = "auto",
        lattice: int = 4,
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
            pictures=pictures,
            padded=padded,
            part=part,
            storage=storage,
        )
        self._task = make_task(self._spec, Settings(evidence_dtype, lattice), self._url, lattice)
        self._lattice, self._config = lattice, self._task.condense_config(lattice)
        # labels are stored, and read, in the chunks of the evidence
        self._spec = replace(self._spec, labels=replace(self._spec.labels, chunks=self._task.layout.chunks))
        self._arrays = EvidenceArrays(self._url, self._options)
        self._manifest = Manifest(ObjectDirectory(self._url, self._options), self._task.evidence_location.fingerprint)
        self._create()
        unit = self._unit()
        missing = self._manifest.missing(CONDENSE, range(self.range.start // unit, -(-self.range.stop // unit)))
        self._next = missing[0] * unit if missing else self.range.stop
        self._start_block()

    def _unit(self) -> int:
        return self._task.layout.block_images

    def _create(self) -> None:
        spec, layout = self._spec, self._task.layout
        description = {
            "spec": spec.identity(),
            "layout": asdict(layout),
            "fingerprint": self._task.evidence_location.fingerprint,
            "lattice": self._lattice,
            "masksift": version("masksift"),
        }
        # arrays that a later writer adds would lack the chunks of the earlier ones
        description |= {"pictures": True} if self._pictures else {}
        description |= {"padded": True} if self._padded else {}
        existing = self._arrays.attributes().get(EVIDENCE_ATTRIBUTE)
        if existing is not None and existing != json.loads(json.dumps(description)):
            raise UsageError(
                f"{self._url} already holds evidence of another source (other sizes, classes, ignore values or dtypes, "
                "or with other arrays)",
                "Pass the same arguments to every writer, or use another URL",
            )
        dtypes = dict.fromkeys(EVIDENCE_PLANES, layout.evidence_dtype)
        dtypes |= {PREDICTED_CLASS: str(class_dtype(spec.classes)), LABELS: spec.labels.dtype}
        attributes = {
            EVIDENCE_ATTRIBUTE: description,
            **self._class_attributes(),
            "ignore": list(spec.ignore),
            "kind": "evidence",
        }
        shape = (spec.images, spec.height, spec.width)
        self._arrays.create(tuple(dtypes), dtypes, shape, layout.chunks, attributes)
        self._arrays.create_extras(shape, layout.chunks, pictures=self._pictures, padded=self._padded)

    def _start_block(self) -> None:
        self._statistics = ClassStatistics.empty(self._config)
        self._statuses: list[ImageStatus] = []
        self._images: list[dict[str, NDArray[Any]]] = []
        self._block_start = time.perf_counter()

    def _add(self, predictions: Any, arrays: Mapping[str, Any]) -> None:
        size = tuple(int(arrays[name]) for name in ("height", "width")) if self._padded else arrays["labels"].shape
        window = tuple(slice(0, extent) for extent in size)
        image = condense_image(arrays["labels"][window], [predictions[:, *window]], self._config, self._spec.ignore)
        self._add_condensed(image, arrays)

    def write_condensed(self, image: CondensedImage, arrays: Mapping[str, Any], image_id: str) -> None:
        """Write the next image, which is condensed already with the same settings.

        Args:
            image: The image without padding.
            arrays: Its labels (H, W) and, if the writer has them, images (H, W, 3), height and width.
            image_id: Its id.
        """
        self._ids.append(image_id)
        self._add_condensed(image, arrays)
        self._next += 1

    def add_statistics(self, statistics: ClassStatistics) -> None:
        """Add statistics to the present block, those of images that `write_condensed` gets without any.

        Only the sum over all blocks of a source is used.
        """
        self._statistics = self._statistics.merge(statistics)

    def _add_condensed(self, image: CondensedImage, arrays: Mapping[str, Any]) -> None:
        spec, size = self._spec, image.labels.shape
        padding = ((0, spec.height - size[0]), (0, spec.width - size[1]))
        planes = {name: np.pad(getattr(image.planes, name), padding) for name in EVIDENCE_PLANES}
        self._images.append({**planes, **{name: np.asarray(value) for name, value in arrays.items()}})
        self._statuses.append(image.status)
        if image.statistics is not None:
            self._statistics = self._statistics.merge(image.statistics)
        stop, last = self._next + 1, spec.images
        if stop % self._task.layout.chunk_images == 0 or stop == last:
            self._write_planes(stop - len(self._images))
        if stop % self._unit() == 0 or stop == last:
            self._finish_block(stop)

    def _write_planes(self, start: int) -> None:
        for name in self._images[0]:
            stack = np.stack([image[name] for image in self._images])
            self._arrays.write(name, start, stack.view(self._task.encoding.dtype) if "confidence" in name else stack)
        self._images = []

    def _finish_block(self, stop: int) -> None:
        """Write the ids and, last, the task output, which marks the block as finished."""
        self._write_ids(stop)
        number, images = (stop - 1) // self._unit(), len(self._statuses)
        result = TaskResult(
            number,
            images,
            images * self._spec.pixels,
            dict(Counter(status.status for status in self._statuses)),
            bytes_written=self._arrays.io_counters["bytes_written"],
            seconds=time.perf_counter() - self._block_start,
        )
        output = pack_condense_output(self._statistics, self._statuses)
        self._manifest.save(CONDENSE, number, {**output, "result": pack_result(result)})
        self._start_block()
