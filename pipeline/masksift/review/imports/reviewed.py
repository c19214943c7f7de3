"""Content of a file of an annotation tool: its images, each with shapes or a plane of labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from masksift.annotations.shapes import ShapeFiles, ShapeLabels
from masksift.engine.completed_run import CompletedRun
from masksift.review.decisions import ImageKey


@dataclass(frozen=True)
class PlaneFile:
    """PNG file with the labels of one image.

    Attributes:
        url: URL of the file, or of the archive that holds it.
        member: Name in the archive; None for a file.
        checksum: Size and checksum or time of the file, which identify its content.
        colors: Class of each color, packed as 0xRRGGBB; -1 for no label. Empty if the file holds label values.
    """

    url: str
    member: str | None
    checksum: str
    colors: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ReviewedImage:
    """One image of a file.

    Attributes:
        name: Name of the image in the file, with or without directories and extension.
        labels: Its shapes, later ones over earlier ones, or its plane.
        key: Source and index, if the file has them.
        submitted: The reviewer submitted the image, so that unchanged regions are decisions, too.
    """

    name: str
    labels: ShapeLabels | PlaneFile
    key: ImageKey | None = None
    submitted: bool = False


def reviewed_images(shapes: ShapeFiles, *, submitted: bool = False) -> list[ReviewedImage]:
    """Return the images of a file of shapes."""
    keys = shapes.keys or (None,) * len(shapes.names)
    facts = zip(shapes.names, shapes.labels, keys, strict=True)
    return [ReviewedImage(name, labels, key, submitted) for name, labels, key in facts]


class FileReader(Protocol):
    """Function that reads a file of one format."""

    def __call__(self, url: str, run: CompletedRun, options: Mapping[str, Any]) -> list[ReviewedImage]:
        """Read a file.

        Args:
            url: URL of the file or directory.
            run: The run that was exported.
            options: Storage options.

        Returns:
            The images. A file of another format or with unknown classes raises DataError.
        """
        ...
