"""Keep the input of scoring between the passes: summaries of images, and pixels whose label and prediction differ.

Only such pixels can be flagged, or belong to a region. An object per chunk of images replaces reading labels and
evidence a second time.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError
from masksift.core.npz import unpack_arrays
from masksift.core.specs import SourceSpec
from masksift.engine.work_items import BlockTask, RunContext
from masksift.scoring.kernels.condense import class_dtype
from masksift.scoring.kernels.differences import Differences, Planes, find_differences, restore_planes
from masksift.scoring.kernels.label_grids import GRID_SIDE
from masksift.scoring.kernels.pixel_statistics import ClassCounts, CodeCounts
from masksift.scoring.methods.base import ImageEvidence, ImageSummary
from masksift.storage.compression import compress, decompress
from masksift.storage.objects import ObjectDirectory

SCORE_INPUTS = "manifest/score_inputs"
"""Directory of the objects in a run."""


def score_input_name(fingerprint: str, source: int, start: int) -> str:
    """Return the name of the object of the chunk that begins with an image of a source."""
    return f"{SCORE_INPUTS}/{fingerprint[:12]}-{source:06d}-{start:09d}.npz"


def remove_score_inputs(context: RunContext, tasks: Sequence[BlockTask]) -> None:
    """Remove the objects of some blocks, if they exist."""
    names = [
        score_input_name(context.fingerprint, task.spec.index, start)
        for task in tasks
        if context.has_score_inputs(task)
        for start, _ in task.layout.chunk_ranges(task.block.start, task.block.stop)
    ]
    ObjectDirectory(context.out, context.options).remove_all(names)


@dataclass
class ScoreInputBuilder:
    """Collect the images of one chunk, group by group."""

    _firsts: list[int] = field(default_factory=list)
    _summaries: list[ImageSummary] = field(default_factory=list)
    _pixels: list[bytes] = field(default_factory=list)

    def add(self, first: int, summary: ImageSummary, images: ImageEvidence) -> None:
        """Add the images of the chunk from ``first`` on."""
        planes = (
            images.labels,
            images.predicted_class,
            images.self_confidence_codes,
            images.predicted_confidence_codes,
        )
        found = find_differences(planes)
        parts = [part.view(np.uint8) for part in (found.bits, *found.values)]
        self._firsts.append(first)
        self._summaries.append(summary)
        self._pixels.append(compress(np.concatenate(parts)))

    def pack(self) -> bytes:
        """Serialize the images."""
        every, buffer = ImageSummary.concatenate(self._summaries), io.BytesIO()
        assert every.given_codes is not None
        np.savez(  # stored as they are: zlib would take longer than all else
            buffer,
            allow_pickle=False,
            firsts=np.array(self._firsts, np.int64),
            class_counts=np.frombuffer(compress(every.class_counts.to_array()), np.uint8),
            scores=np.array(list(every.scores.values())).reshape(len(every.scores), len(every.valid_pixels)),
            ignored=np.stack(every.ignored),
            grids=np.frombuffer(compress(every.grids), np.uint8),
            count_ends=every.given_codes.ends,
            places=np.frombuffer(compress(every.given_codes.codes), np.uint8),
            pixels=np.frombuffer(compress(every.given_codes.pixels), np.uint8),
            ends=np.cumsum([len(data) for data in self._pixels], dtype=np.int64),
            differences=np.frombuffer(b"".join(self._pixels), np.uint8),
        )
        return buffer.getvalue()


@dataclass(frozen=True)
class ScoreInputs:
    """Groups of images of one chunk, as first and last image + 1, with their summaries."""

    groups: Sequence[tuple[int, int, ImageSummary]]
    _spec: SourceSpec
    _pixels: Sequence[NDArray[np.uint8]]

    @classmethod
    def read(cls, directory: ObjectDirectory, name: str, spec: SourceSpec, scores: Sequence[str]) -> ScoreInputs:
        """Read the object of a chunk.

        Args:
            directory: Directory of the run.
            name: Name of the object.
            spec: Source of the images.
            scores: Names of the scores without thresholds.

        Returns:
            The images.

        Raises:
            DataError: The object was removed or is damaged.
        """
        data = directory.read(name)
        try:
            arrays = unpack_arrays(data or b"")
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as e:  # the archive has checksums
            cause = "is damaged" if data else "was removed"
            raise DataError(
                f"{name} in {directory.url} {cause} ({e})",
                "The images of its chunk cannot be scored",
                "Run again with a new --out",
            ) from e
        directory.io_counters["bytes_read"] += len(data or b"")
        codes, pixels = (decompress(arrays[part], np.uint32) for part in ("places", "pixels"))
        class_counts = decompress(arrays["class_counts"], np.int64).reshape(5, -1, spec.classes)
        grids = decompress(arrays["grids"], class_dtype(spec.classes)).reshape(-1, 2, GRID_SIDE, GRID_SIDE)
        counts, count_ends = class_counts.shape[1], np.append(0, arrays["count_ends"])
        groups = []
        for first, stop in pairwise([*arrays["firsts"].tolist(), counts]):
            part, held = slice(first, stop), slice(count_ends[first], count_ends[stop])
            hidden, seen = arrays["ignored"][:, part]
            summary = ImageSummary(
                ClassCounts.from_array(class_counts[:, part]),
                dict(zip(scores, arrays["scores"][:, part], strict=True)),
                CodeCounts(codes[held], pixels[held], count_ends[first + 1 : stop + 1] - count_ends[first]),
                (hidden, seen),
                grids[part],
            )
            groups.append((first, stop, summary))
        starts = np.append(0, arrays["ends"][:-1])
        encoded = [arrays["differences"][start:end] for start, end in zip(starts, arrays["ends"], strict=True)]
        return cls(groups, spec, encoded)

    def predicted_class(self, number: int, labels: NDArray[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
        """Return the predicted classes (H, W) of an image with these labels."""
        group = next(i for i, (_, stop, _) in enumerate(self.groups) if number < stop)
        given, predicted, *_ = (plane[number - self.groups[group][0]] for plane in self.restore(group))
        return np.where(given != predicted, predicted, labels)

    def restore(self, group: int) -> Planes:
        """Return labels, predicted classes and codes of a group, (n, H, W), 0 where both classes agree."""
        first, stop, _ = self.groups[group]
        shape, dtype = (stop - first, self._spec.height, self._spec.width), class_dtype(self._spec.classes)
        planes = (np.empty(shape, dtype), np.empty(shape, dtype), np.empty(shape, np.uint8), np.empty(shape, np.uint8))
        decoded = decompress(self._pixels[group], np.uint8)
        bytes_of_bits = -(-math.prod(shape) // 8)
        count = (decoded.size - bytes_of_bits) // (2 * dtype.itemsize + 2)
        edges = np.cumsum([bytes_of_bits, count * dtype.itemsize, count * dtype.itemsize, count])
        bits, *classes, own, best = np.split(decoded, edges)
        given, predicted = (np.require(part.view(dtype), None, "A") for part in classes)
        restore_planes(Differences(bits, (given, predicted, own, best)), planes)
        return planes
