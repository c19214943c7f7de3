"""Write a source that holds evidence."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import UsageError
from masksift.core.status import ImageStatus
from masksift.core.task_result import TaskResult
from masksift.engine.planning.layout import Settings
from masksift.engine.task_outputs import CONDENSE, pack_condense_output
from masksift.prepare.writers.base import LABELS, ImageWriter, condense_image, make_task
from masksift.scoring.image import EvidencePlanes
from masksift.scoring.kernels.condense import class_dtype
from masksift.scoring.statistics.class_statistics import ClassStatistics
from masksift.storage.manifest import Manifest
from masksift.storage.objects import ObjectDirectory
from masksift.storage.sources.evidence_source import EVIDENCE_ATTRIBUTE
from masksift.storage.zarr.evidence import EVIDENCE, EvidenceArrays


class EvidenceWriter(ImageWriter):
    """Writes a source that holds evidence in place of predictions. A run scores it as if it had read them."""

    def __init__(self, url: str, *, evidence_dtype: str = "auto", lattice: int = 4, **facts: Any) -> None:
        """``evidence_dtype``, ``lattice``: as `evidence.dtype` and `tccp.lattice`; the rest as in `ImageWriter`."""
        super().__init__(url, **facts)
        self._task = make_task(self._spec, Settings(evidence_dtype, lattice), self._url, lattice)
        self._lattice, self._recipe = lattice, self._task.condense_config(lattice)
        # labels lie in the chunks of the evidence, and are read in them
        self._spec = replace(self._spec, labels=replace(self._spec.labels, chunks=self._task.layout.chunks))
        self._arrays = EvidenceArrays(self._url, self._options)
        self._manifest = Manifest(ObjectDirectory(self._url, self._options), self._task.evidence_location.fingerprint)
        self._create()
        missing = self._manifest.missing(CONDENSE, self._blocks())
        self._next = missing[0] * self._unit() if missing else self.range.stop
        self._begin()

    def _unit(self) -> int:
        return self._task.layout.block_images

    def _blocks(self) -> range:
        unit = self._unit()
        return range(self.range.start // unit, -(-self.range.stop // unit))

    def _create(self) -> None:
        spec, layout = self._spec, self._task.layout
        tree = {
            "spec": spec.as_json(),
            "layout": asdict(layout),
            "fingerprint": self._task.evidence_location.fingerprint,
            "lattice": self._lattice,
            "masksift": version("masksift"),
        }
        there = self._arrays.attributes().get(EVIDENCE_ATTRIBUTE)
        if there is not None and there != json.loads(json.dumps(tree)):
            raise UsageError(
                f"{self._url} was begun as another source (other sizes, classes, ignore values or precision)",
                "its parts would not fit together",
                "Give every writer the same facts, or another URL",
            )
        kept, numbers = layout.evidence_dtype, str(class_dtype(spec.classes))
        dtypes = dict(zip((*EVIDENCE, LABELS), (kept, numbers, kept, spec.labels.dtype), strict=True))
        self._arrays.create(
            tuple(dtypes),
            dtypes,
            (spec.images, spec.height, spec.width),
            layout.chunks,
            {
                EVIDENCE_ATTRIBUTE: tree,
                "class_names": list(spec.class_names),
                "ignore": list(spec.ignore),
                "kind": "evidence",
            },
        )

    def _begin(self) -> None:
        """A new block."""
        self._statistics = ClassStatistics.zero(self._recipe)
        self._verdicts: list[ImageStatus] = []
        self._group: list[tuple[EvidencePlanes, NDArray[Any]]] = []
        self._begun = time.perf_counter()

    def _take(self, predictions: NDArray[Any], labels: NDArray[Any]) -> None:
        planes, verdict, found = condense_image(predictions, labels, self._task, self._recipe)
        self._group.append((planes, labels))
        self._verdicts.append(verdict)
        self._statistics = self._statistics if found is None else self._statistics.merge(found)
        after, last = self._next + 1, self._spec.images
        if after % self._task.layout.chunk_images == 0 or after == last:
            self._write_group(after - len(self._group))
        if after % self._unit() == 0 or after == last:
            self._finish_block(after)

    def _write_group(self, start: int) -> None:
        kept = self._task.encoding.dtype
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
        result = TaskResult(
            number,
            images,
            images * self._spec.pixels,
            dict(Counter(verdict.status for verdict in self._verdicts)),
            bytes_written=self._arrays.io_counters["bytes_written"],
            seconds=time.perf_counter() - self._begun,
        )
        self._manifest.save(CONDENSE, number, pack_condense_output(self._statistics, self._verdicts, result))
        self._begin()
