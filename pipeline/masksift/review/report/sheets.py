"""Arrange images in sheets: files that hold the pictures of one large image or of several small ones.

The images of a sheet are stacked in cells of one size. Cells of several images consist of whole JPEG blocks, and the
edge pixels of an image are repeated around it, so that neither the JPEG nor a browser's scaling mixes neighbors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from masksift.engine.planning.report_plan import MAX_SIDE_PIXELS, images_per_sheet, sheet_cell, view_shape


@dataclass(frozen=True)
class ImageRef:
    """An image to render: row on the page, index in the source, rows and columns, and whether it is scored."""

    number: int
    index: int
    size: tuple[int, int]
    scored: bool


@dataclass(frozen=True)
class Sheet:
    """Images of one source that are drawn into the same files, in cells (rows, columns)."""

    images: tuple[ImageRef, ...]
    cell: tuple[int, int]

    def file(self, extension: str) -> str:
        """Return the name of a file: the row of the first image."""
        return f"{self.images[0].number:08d}.{extension}"

    def places(self) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Yield the row of each image and its place: row of the first image, position, images, rows, columns."""
        for position, image in enumerate(self.images):
            yield image.number, (self.images[0].number, position, len(self.images), *self.cell)


def make_sheets(images: Iterable[ImageRef]) -> Iterator[Sheet]:
    """Group images of one source, in this order, into sheets."""
    group: list[ImageRef] = []
    largest = 0, 0
    for image in images:
        height, width = view_shape(image.size, MAX_SIDE_PIXELS)
        larger = max(largest[0], height), max(largest[1], width)
        if group and len(group) >= images_per_sheet(larger):
            yield Sheet(tuple(group), sheet_cell(largest, len(group)))
            group, larger = [], (height, width)
        group.append(image)
        largest = larger
    if group:
        yield Sheet(tuple(group), sheet_cell(largest, len(group)))


def place(cell: NDArray[Any], picture: NDArray[Any]) -> None:
    """Copy a picture (h, w, ...) into the middle rows and first columns of a cell, and repeat its edges around it."""
    height, width = picture.shape[:2]
    top = (len(cell) - height) // 2
    cell[top : top + height, :width] = picture
    cell[top : top + height, width:] = picture[:, -1:]
    cell[:top] = cell[top]
    cell[top + height :] = cell[top + height - 1]
