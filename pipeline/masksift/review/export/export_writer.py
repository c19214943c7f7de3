"""Tools shared by all formats: images with their views, streamed files, archives and encoders."""

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
from PIL import Image

from masksift.core.errors import DataError
from masksift.core.status import SCORED
from masksift.core.task_result import TaskResult
from masksift.engine.completed_run import CompletedRun
from masksift.engine.image_views import ImageView, ImageViewReader
from masksift.review.export.config import ExportConfig
from masksift.review.export.selection import ExportImage
from masksift.review.rendering.palette import class_colors, hex_colors
from masksift.runtime.progress import StageProgress
from masksift.storage.objects import ObjectDirectory

MAX_OPEN_SOURCES = 16
Plane = NDArray[np.unsignedinteger]


@dataclass
class ExportWriter:
    """One export in progress.

    Attributes:
        run: The completed run.
        config: Configuration of the export.
        directory: Output directory.
        classes: Unique class names.
        images: Images to export, worst first.
        images_array: Name or URL of the RGB images.
        stage: Progress of the export.
        rgb_images: Number of RGB images written.
        rgb_bytes: Their size in bytes.
        warnings: Distinct reasons why an image lacks its RGB image or labels, in order of occurrence.
    """

    run: CompletedRun
    config: ExportConfig
    directory: ObjectDirectory
    classes: tuple[str, ...]
    images: Sequence[ExportImage]
    images_array: str
    stage: StageProgress
    rgb_images: int = 0
    rgb_bytes: int = 0
    warnings: dict[str, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._reader: Callable[[str], ImageViewReader] = lru_cache(MAX_OPEN_SOURCES)(self._open_source)

    @property
    def class_colors(self) -> NDArray[np.uint8]:
        """Class colors (K, 3), sRGB: those of the sources, or generated ones."""
        return class_colors(len(self.classes), self.run.class_colors)

    @property
    def hex_colors(self) -> list[str]:
        """Class colors as `#rrggbb`."""
        return hex_colors(len(self.classes), self.run.class_colors)

    def iter_images(self) -> Iterator[ExportImage]:
        """Yield the images in order and advance the progress."""
        for number, image in enumerate(self.images):
            before = self.rgb_bytes
            yield image
            pixels = image.size[0] * image.size[1]
            self.stage.advance(TaskResult(number, 1, pixels, {SCORED: 1}, bytes_written=self.rgb_bytes - before))

    def load_view(self, image: ExportImage) -> ImageView:
        """Read the RGB image and the given labels of an image at full size, as far as they exist."""
        view = self._reader(image.source).view(image.index, scored=False)
        if view.warnings and (self.config.pictures or view.given is None):
            self.warnings.update(dict.fromkeys(view.warnings))
        return view

    def load_png(self, image: ExportImage) -> bytes | None:
        """Read an RGB image as PNG; None if it is missing or RGB images are not exported."""
        return self.encode_rgb(self.load_view(image)) if self.config.pictures else None

    def encode_rgb(self, view: ImageView) -> bytes | None:
        """Encode the RGB image of a view as PNG; None if it is missing or RGB images are not exported."""
        if not self.config.pictures or view.rgb is None:
            return None
        self.rgb_images += 1
        data = encode_png(view.rgb)
        self.rgb_bytes += len(data)
        return data

    def encode_rgb_or_labels(self, view: ImageView) -> bytes | None:
        """Encode an image for tools that require one: without RGB image, the given labels in class colors."""
        if not self.config.pictures or view.rgb is not None:
            return self.encode_rgb(view)
        return encode_png(self.colorize(view.given, view.size))

    def colorize(self, given: Plane | None, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Color labels (H, W) as (H, W, 3), black without a label."""
        colors = np.zeros((*size, 3), np.uint8)
        if given is not None:
            labeled = given < len(self.classes)
            colors[labeled] = self.class_colors[given[labeled]]
        return colors

    def class_ids(self, given: Plane) -> NDArray[Any]:
        """Number classes from 1 on, with 0 for no label; uint8 or uint16."""
        ids = np.zeros(given.shape, np.uint8 if len(self.classes) <= 255 else np.uint16)
        np.add(given, 1, out=ids, where=given < len(self.classes), casting="unsafe")
        return ids

    def _open_source(self, source: str) -> ImageViewReader:
        task = self.run.find_task(source, 0)
        reader = ImageViewReader(self.run.context, task, self.images_array, predicted=False)
        try:
            reader.open_labels()
            return reader
        except FileNotFoundError as e:
            raise DataError(
                f"Source {source} is no longer where the run read it ({e})",
                "Its RGB images and labels cannot be exported",
                "Restore it, or pass --pictures false: coco, cvat, label-studio and datumaro then need regions only",
            ) from e


class DeterministicZip:
    """ZIP archive whose bytes depend on its content only: no times, no owners."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file
        self.files = 0

    def write(self, name: str, data: bytes) -> None:
        """Add a file."""
        self.write_chunks(name, (data,))

    def write_chunks(self, name: str, chunks: Iterable[bytes]) -> None:
        """Add a file chunk by chunk; PNG files, which are compressed already, are stored."""
        info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
        info.external_attr = 0o644 << 16
        info.compress_type = zipfile.ZIP_STORED if name.endswith(".png") else zipfile.ZIP_DEFLATED
        with self._file.open(info, "w", force_zip64=True) as file:  # the size is unknown in advance
            for chunk in chunks:
                file.write(chunk)
        self.files += 1


@contextmanager
def stream_file(directory: ObjectDirectory, name: str) -> Iterator[Callable[[bytes], object]]:
    """Write a file to $TMPDIR with the function that is yielded, and put it into the directory when it is complete."""
    with tempfile.TemporaryDirectory(prefix="masksift-") as temporary:
        path = os.path.join(temporary, "export")
        with open(path, "wb") as file:
            yield file.write
        directory.put(name, path)


@contextmanager
def stream_json_list(
    directory: ObjectDirectory, name: str, before: bytes = b"", after: bytes = b""
) -> Iterator[Callable[[Any], None]]:
    """Write a JSON file with one list, whose entries the yielded function takes, between two texts."""
    with stream_file(directory, name) as write:
        write(before + b"[")
        first = True

        def add(entry: Any) -> None:
            nonlocal first
            write((b"\n" if first else b",\n") + to_json(entry))
            first = False

        yield add
        write(b"\n]" + after + b"\n")


@contextmanager
def open_zip(directory: ObjectDirectory, name: str) -> Iterator[DeterministicZip]:
    """Write an archive in $TMPDIR, since it may exceed memory, and put it into the directory unless it is empty."""
    with tempfile.TemporaryDirectory(prefix="masksift-") as temporary:
        path = os.path.join(temporary, "export.zip")
        with zipfile.ZipFile(path, "w") as file:
            archive = DeterministicZip(file)
            yield archive
        if archive.files:
            directory.put(name, path)


def encode_png(pixels: NDArray[Any]) -> bytes:
    """Encode (H, W, 3) uint8, or (H, W) uint8 or uint16, as PNG without loss."""
    buffer = io.BytesIO()
    # level 1 takes half the time of the default and makes files a tenth larger
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def to_json(tree: Any, indent: int | None = None) -> bytes:
    """Format as standard JSON; NaN raises ValueError."""
    return json.dumps(tree, ensure_ascii=False, indent=indent, allow_nan=False).encode()
