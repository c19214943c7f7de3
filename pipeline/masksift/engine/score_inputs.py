"""Keep the input of scoring between the passes: summaries of images, and pixels whose label and prediction differ.

Only such pixels can be flagged, or belong to a region. An object per chunk of images replaces reading labels and
evidence a second time.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError
from masksift.core.specs import SourceSpec
from masksift.engine.work_items import unpack_arrays
from masksift.scoring.kernels.condense import class_dtype
from masksift.scoring.kernels.differences import Differences, Planes, find_differences, restore_planes
from masksift.scoring.methods.base import CodeCounts, ImageEvidence, ImageSummary
from masksift.storage.compression import compress, decompress
from masksift.storage.objects import ObjectDirectory

SCORE_INPUTS = "manifest/score_inputs"
"""Directory of the objects in a run."""


def score_input_name(fingerprint: str, source: int, start: int) -> str:
    """Return the name of the object of the chunk that begins with an image of a source."""
    return f"{SCORE_INPUTS}/{fingerprint[:12]}-{source:06d}-{start:09d}.npz"


@dataclass
class ScoreInputBuilder:
    """Collect the images of one chunk, of which the quarantined ones are left out."""

    _numbers: list[int] = field(default_factory=list)
    _summaries: list[ImageSummary] = field(default_factory=list)
    _pixels: list[bytes] = field(default_factory=list)

    def add(self, number: int, summary: ImageSummary, image: ImageEvidence) -> None:
        """Add image ``number`` of the chunk."""
        planes = (
            image.labels,
            image.predicted_class,
            image.self_confidence_codes,
            image.predicted_confidence_codes,
        )
        found = find_differences(planes)
        parts = [part.view(np.uint8) for part in (found.bits, *found.values)]
        self._numbers.append(number)
        self._summaries.append(summary)
        self._pixels.append(compress(np.concatenate(parts)))

    def pack(self) -> bytes:
        """Serialize the images."""
        summaries = self._summaries
        counts = [one.given_counts for one in summaries if one.given_counts is not None]
        buffer = io.BytesIO()
        np.savez(  # stored as they are: zlib would take longer than all else
            buffer,
            allow_pickle=False,
            numbers=np.array(self._numbers, np.int64),
            valid_pixels=np.array([one.valid_pixels for one in summaries], np.int64),
            scores=np.array([list(one.scores.values()) for one in summaries], np.float64),
            ignored=np.array([one.ignored for one in summaries], np.int64),
            count_ends=np.cumsum([len(one.places) for one in counts], dtype=np.int64),
            places=_encode_counts([one.places for one in counts]),
            pixels=_encode_counts([one.pixels for one in counts]),
            ends=np.cumsum([len(data) for data in self._pixels], dtype=np.int64),
            differences=np.frombuffer(b"".join(self._pixels), np.uint8),
        )
        return buffer.getvalue()


def _encode_counts(counts: Sequence[NDArray[np.uint32]]) -> NDArray[np.uint8]:
    return np.frombuffer(compress(np.concatenate([np.empty(0, np.uint32), *counts])), np.uint8)


@dataclass(frozen=True)
class ScoreInputs:
    """Images of one chunk, by number; quarantined images are absent."""

    summaries: Mapping[int, ImageSummary]
    _spec: SourceSpec
    _pixels: Mapping[int, NDArray[np.uint8]]

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
        places, pixels = (decompress(arrays[part], np.uint32) for part in ("places", "pixels"))
        summaries, encoded = {}, {}
        starts, count_starts = (np.append(0, arrays[ends][:-1]) for ends in ("ends", "count_ends"))
        for row, number in enumerate(arrays["numbers"].tolist()):
            counts = slice(count_starts[row], arrays["count_ends"][row])
            summaries[number] = ImageSummary(
                int(arrays["valid_pixels"][row]),
                dict(zip(scores, arrays["scores"][row].tolist(), strict=True)),
                CodeCounts(places[counts], pixels[counts]),
                (arrays["ignored"][row, 0], arrays["ignored"][row, 1]),
            )
            encoded[number] = arrays["differences"][starts[row] : arrays["ends"][row]]
        return cls(summaries, spec, encoded)

    def predicted_class(self, number: int, labels: NDArray[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
        """Return the predicted classes (H, W) of an image with these labels."""
        shape, dtype = labels.shape, class_dtype(self._spec.classes)
        given, predicted, own, best = (np.empty(shape, kind) for kind in (dtype, dtype, np.uint8, np.uint8))
        self.restore(number, (given, predicted, own, best))
        differs = given != predicted
        return np.where(differs, predicted, labels)

    def restore(self, number: int, planes: Planes) -> None:
        """Write labels, predicted classes and codes of an image into planes (H, W), 0 where both classes agree."""
        decoded = decompress(self._pixels[number], np.uint8)
        bytes_of_bits, class_bytes = -(-self._spec.pixels // 8), class_dtype(self._spec.classes).itemsize
        count = (decoded.size - bytes_of_bits) // (2 * class_bytes + 2)
        edges = np.cumsum([bytes_of_bits, count * class_bytes, count * class_bytes, count])
        bits, *classes, own, best = np.split(decoded, edges)
        given, predicted = (np.require(part.view(class_dtype(self._spec.classes)), None, "A") for part in classes)
        restore_planes(Differences(bits, (given, predicted, own, best)), planes)
