"""What every format writes with: the folder, the images in order, their pictures and labels, one image at a time."""

from __future__ import annotations

import io
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from masksift.core.errors import DataError
from masksift.core.status import SCORED
from masksift.core.task_result import TaskResult
from masksift.engine.completed_run import CompletedRun
from masksift.engine.image_views import ImageView, ImageViewReader
from masksift.review.export.config import ExportConfig
from masksift.review.export.selection import ExportImage
from masksift.review.rendering.palette import class_colors
from masksift.runtime.progress import StageProgress
from masksift.storage.objects import ObjectDirectory

VIEWERS = 16
"""Sources whose arrays are open at a time."""
Plane = NDArray[np.unsignedinteger]


@dataclass
class ExportWriter:
    """One export as it is written. ``classes``: their names, each once; ``arrays``: name or URL of the pictures;
    ``pictures``, ``written``: how many were written, and their bytes in all; ``lost``: of the images that lack a
    picture or labels, why, the first time that each reason came up."""

    run: CompletedRun
    config: ExportConfig
    folder: ObjectDirectory
    classes: tuple[str, ...]
    images: Sequence[ExportImage]
    arrays: str
    stage: StageProgress
    pictures: int = 0
    written: int = 0
    lost: dict[str, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._viewer: Callable[[str], ImageViewReader] = lru_cache(VIEWERS)(self._opened)

    def each(self) -> Iterator[ExportImage]:
        """The images in order; how far it is gets shown."""
        for number, image in enumerate(self.images):
            before = self.written
            yield image
            pixels = image.size[0] * image.size[1]
            self.stage.advance(TaskResult(number, 1, pixels, {SCORED: 1}, bytes_written=self.written - before))

    def load_view(self, image: ExportImage) -> ImageView:
        """Its picture and given labels at full size, of what is there."""
        view = self._viewer(image.source).view(image.index, scored=False)
        if view.warnings and (self.config.pictures or view.given is None):
            self.lost.update(dict.fromkeys(view.warnings))
        return view

    def picture(self, image: ExportImage) -> bytes | None:
        """Its picture as PNG, if pictures are asked for and there is one."""
        return self.encoded(self.load_view(image)) if self.config.pictures else None

    def encoded(self, view: ImageView) -> bytes | None:
        """The same of what was read already."""
        if not self.config.pictures or view.rgb is None:
            return None
        self.pictures += 1
        data = png(view.rgb)
        self.written += len(data)
        return data

    def shown(self, view: ImageView) -> bytes | None:
        """The same for tools that show nothing without a picture: where there is none, the given labels are drawn in
        the colours of their classes."""
        if not self.config.pictures or view.rgb is not None:
            return self.encoded(view)
        return png(self.drawn(view.given, view.size))

    def drawn(self, given: Plane | None, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Labels in colours, (H, W, 3), black where there are none."""
        picture = np.zeros((*size, 3), np.uint8)
        if given is not None:
            labelled = given < len(self.classes)
            picture[labelled] = class_colors(len(self.classes))[given[labelled]]
        return picture

    def numbered(self, given: Plane) -> NDArray[Any]:
        """Labels as numbers from 1 on, 0 where there are none, uint8 or uint16."""
        numbers = np.zeros(given.shape, np.uint8 if len(self.classes) <= 255 else np.uint16)
        np.add(given, 1, out=numbers, where=given < len(self.classes), casting="unsafe")
        return numbers

    def _opened(self, source: str) -> ImageViewReader:
        viewer = ImageViewReader(self.run.context, self.run.find_task(source, 0), self.arrays, predicted=False)
        try:
            viewer.open_labels()
            return viewer
        except FileNotFoundError as e:
            raise DataError(
                f"the source {source} is not where the run has read it ({e})",
                "its pictures and labels are not known",
                "Bring it back there; coco, cvat, label-studio and datumaro need the regions alone where you give "
                "--pictures false",
            ) from e


class DeterministicZip:
    """An archive whose bytes depend on what is put in alone: no times, no owners."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file
        self.files = 0

    def put(self, name: str, data: bytes) -> None:
        """Put a file; pictures, which are packed already, as they are."""
        self.join(name, (data,))

    def join(self, name: str, pieces: Iterable[bytes]) -> None:
        """Put a file piece by piece."""
        told = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
        told.external_attr = 0o644 << 16
        told.compress_type = zipfile.ZIP_STORED if name.endswith(".png") else zipfile.ZIP_DEFLATED
        with self._file.open(told, "w", force_zip64=True) as file:  # how large it gets is not known before
            for piece in pieces:
                file.write(piece)
        self.files += 1


@contextmanager
def stream_file(folder: ObjectDirectory, name: str) -> Iterator[Callable[[bytes], object]]:
    """A file that is put into the folder as a whole when it is complete, piece by piece: what takes the next one. Until
    then it lies in $TMPDIR."""
    with tempfile.TemporaryDirectory(prefix="masksift-") as place:
        path = os.path.join(place, "export")
        with open(path, "wb") as file:
            yield file.write
        folder.put(name, path)


@contextmanager
def stream_json_list(
    folder: ObjectDirectory, name: str, before: bytes = b"", after: bytes = b""
) -> Iterator[Callable[[Any], None]]:
    """A list in a file of JSON, streamed: what takes the next entry. ``before``, ``after``: what stands around it."""
    with stream_file(folder, name) as write:
        write(before + b"[")
        first = True

        def add(entry: Any) -> None:
            nonlocal first
            write((b"\n" if first else b",\n") + to_json(entry))
            first = False

        yield add
        write(b"\n]" + after + b"\n")


@contextmanager
def open_zip(folder: ObjectDirectory, name: str) -> Iterator[DeterministicZip]:
    """An archive that is put into the folder as a whole when it is complete, if there is anything in it. Until then it
    lies in $TMPDIR: it may hold more than memory does."""
    with tempfile.TemporaryDirectory(prefix="masksift-") as place:
        path = os.path.join(place, "export.zip")
        with zipfile.ZipFile(path, "w") as file:
            archive = DeterministicZip(file)
            yield archive
        if archive.files:
            folder.put(name, path)


def png(pixels: NDArray[Any]) -> bytes:
    """(H, W, 3) uint8, or (H, W) of uint8 or uint16, as PNG, without loss."""
    buffer = io.BytesIO()
    Pillow.fromarray(np.ascontiguousarray(pixels)).save(
        buffer, "PNG", compress_level=1
    )  # half the time, a tenth larger
    return buffer.getvalue()


def to_json(tree: Any, indent: int | None = None) -> bytes:
    """As JSON that every parser reads: without NaN."""
    return json.dumps(tree, ensure_ascii=False, indent=indent, allow_nan=False).encode()
