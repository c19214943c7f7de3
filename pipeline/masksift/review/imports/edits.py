"""Edits of labels that the shapes or the plane of an image stand for."""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from masksift.annotations.shapes import Shape, ShapeLabels, shape_mask
from masksift.core.errors import DataError
from masksift.core.specs import SourceSpec
from masksift.review.imports.reviewed import PlaneFile
from masksift.review.label_edits import Pixels, Plane, decode_rle
from masksift.scoring.kernels.condense import class_plane
from masksift.storage.files import open_file
from masksift.storage.zarr.origin import LabelEncoding

EDITED, UNCHANGED = "edited_shapes", "unchanged_regions"
"""Counters of an import: shapes that change labels, and regions that the file holds as they were exported."""
NO_LABEL = -1
MAX_PNG_BYTES_PER_PIXEL, MAX_PNG_HEADER = 16, 1 << 20
"""A member of an archive that claims more bytes is not a mask of its image."""

_MaskArray = NDArray[np.bool_]
_NEIGHBORS = np.ones((3, 3), bool)


@dataclass(frozen=True)
class ListedRegion:
    """Region of the run: its rank, suggested class and COCO run lengths (R,) int32."""

    rank: int
    suggested: int
    rle: NDArray[np.int32]

    def mask(self, size: tuple[int, int]) -> _MaskArray:
        """Decode the mask (H, W)."""
        mask = np.zeros(size, bool)
        mask[decode_rle(self.rle, size[0])] = True
        return mask


@dataclass(frozen=True)
class ShapesEdit:
    """Edit by shapes: each pixel of a shape gets its class, later shapes over earlier ones.

    A shape that equals a region of the run, with the suggested class, is as it was exported, also if a tool has turned
    its mask into polygons. It changes nothing, unless unchanged regions are accepted.

    Attributes:
        index: Index of the image in its source.
        size: Rows and columns of the image.
        name: Name of the image in the file, for errors.
        labels: The shapes.
        regions: Regions of the run in this image.
        accept_unchanged: Regions that are as they were exported get the suggested class.
    """

    index: int
    size: tuple[int, int]
    name: str
    labels: ShapeLabels
    regions: tuple[ListedRegion, ...]
    accept_unchanged: bool

    def changes(self, plane: Plane, spec: SourceSpec, counts: Counter[str]) -> Pixels:
        """Return the pixels whose class changes. Raises DataError for a shape that does not fit the image."""
        new = plane.copy()
        masks = {region.rank: region.mask(self.size) for region in self.regions}
        for position, shape in enumerate(self.labels.shapes):
            mask = self._mask(position, shape, masks)
            unchanged = any(
                region.suggested == shape.number and np.array_equal(masks[region.rank], mask) for region in self.regions
            )
            counts[UNCHANGED if unchanged else EDITED] += 1
            if self.accept_unchanged or not unchanged:
                new[mask] = shape.number
        return _differences(plane, new)

    def _mask(self, position: int, shape: Shape, masks: Mapping[int, _MaskArray]) -> _MaskArray:
        """Return the pixels of a shape: those of its region, if a tool has only turned its mask into polygons."""
        try:
            mask = shape_mask(shape, *self.size)
        except (ValueError, TypeError, IndexError) as e:
            raise DataError(
                f"Shape {position} of {self.name} does not fit its image of {self.size[0]} x {self.size[1]} ({e})",
                "Correct the annotation",
            ) from e
        region = None if shape.rank is None else masks.get(shape.rank)
        is_polygon = shape.rle is None and shape.rows is None
        return region if region is not None and is_polygon and _differ_at_edges(region, mask) else mask


def _differ_at_edges(region: _MaskArray, polygon: _MaskArray) -> bool:
    """Return whether two masks differ only at edges of the region and in its holes.

    Tools trace masks through the centers of their edge pixels and leave holes out, so that polygons lose lines of one
    pixel and fill holes.
    """
    edges = ndimage.binary_dilation(region, _NEIGHBORS) & ndimage.binary_dilation(~region, _NEIGHBORS)
    at_border = region & ~ndimage.binary_erosion(region, _NEIGHBORS)  # the border of the image is an edge, too
    holes = ndimage.binary_fill_holes(region) & ~region
    return not ((region != polygon) & ~edges & ~at_border & ~holes).any()


@dataclass(frozen=True)
class PlaneEdit:
    """Edit by a plane of labels: each pixel gets the class of the plane.

    Attributes:
        index: Index of the image in its source.
        size: Rows and columns of the image.
        file: The file.
        encoding: Classes in the label files that the source was made of: one without a label map has their form. None
            for other sources: it holds their label values.
        options: Storage options.
    """

    index: int
    size: tuple[int, int]
    file: PlaneFile
    encoding: LabelEncoding | None
    options: Mapping[str, Any] = field(repr=False)

    def changes(self, plane: Plane, spec: SourceSpec, counts: Counter[str]) -> Pixels:
        """Return the pixels whose class changes. Raises DataError for a damaged file or an unknown value or color."""
        keeps_palette = not self.file.colors and not (self.encoding is not None and self.encoding.use_palette)
        values = _read_png(self.file, self.size, self.options, keeps_palette=keeps_palette)
        if self.file.colors:
            codes = values.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
            classes = self._look_up(codes, self.file.colors, values, "is not in its label map")
        elif self.encoding is None:
            classes = self._classes_of_values(values, spec)
        else:
            codes, table = self.encoding.codes(values)
            classes = self._look_up(codes, table, values, "no label file that was ingested could hold")
        no_label = np.iinfo(plane.dtype).max
        # labels that were not valid have no class either, and stay as they are
        keep = (classes == NO_LABEL) & (plane >= spec.classes)
        return _differences(plane, np.where(keep, plane, np.where(classes == NO_LABEL, no_label, classes)))

    def _classes_of_values(self, values: NDArray[Any], spec: SourceSpec) -> NDArray[np.int64]:
        if values.ndim == 3:
            raise DataError(f"{self._place} is a color image", "Write a PNG with one channel of label values")
        if spec.labels.dtype == "bool":
            values = values != 0
        plane, invalid = class_plane(values, spec.classes, spec.ignore, spec.remap, spec.label_offset)
        if invalid is not None and invalid.any():
            y, x = np.unravel_index(int(invalid.argmax()), invalid.shape)
            raise DataError(
                f"{self._place} holds the value {values[y, x]} at row {y}, column {x}, which is not a label value of "
                f"{spec.url}",
                f"Use the label values of the source (classes: {', '.join(spec.class_names[:8])}"
                f"{', ...' if spec.classes > 8 else ''}; ignored: {', '.join(map(str, spec.ignore)) or 'none'})",
            )
        return np.where(plane < spec.classes, plane.astype(np.int64), NO_LABEL)

    def _look_up(
        self, codes: NDArray[np.int64], table: Mapping[int, int], values: NDArray[Any], problem: str
    ) -> NDArray[np.int64]:
        """Return the class of each code. Raises DataError for an unknown one, described by its value or color."""
        known = np.array(sorted(table), np.int64)
        positions = np.searchsorted(known, codes).clip(max=len(known) - 1)
        if (unknown := known[positions] != codes).any():
            y, x = np.unravel_index(int(unknown.argmax()), unknown.shape)
            stored = values[y, x]
            what = f"value {stored}" if values.ndim == 2 else f"color ({', '.join(map(str, stored))})"
            raise DataError(
                f"{self._place} holds the {what} at row {y}, column {x}, which {problem}",
                "Correct the file, or export the annotations again",
            )
        numbers: NDArray[np.int64] = np.array([table[int(code)] for code in known], np.int64)[positions]
        return numbers

    @property
    def _place(self) -> str:
        return self.file.url if self.file.member is None else f"{self.file.member} in {self.file.url}"


def _differences(plane: Plane, new: NDArray[np.integer[Any]]) -> Pixels:
    rows, columns = np.nonzero(new != plane)
    return Pixels(rows, columns, new[rows, columns].astype(np.int64))


def _read_png(
    file: PlaneFile, size: tuple[int, int], options: Mapping[str, Any], *, keeps_palette: bool
) -> NDArray[Any]:
    """Read values (H, W), among them the indices of a palette that is kept, or colors (H, W, 3)."""
    place = file.url if file.member is None else f"{file.member} in {file.url}"
    limit = size[0] * size[1] * MAX_PNG_BYTES_PER_PIXEL + MAX_PNG_HEADER
    try:
        with open_file(file.url, options) as stored:
            if file.member is None:
                data = stored.read(limit + 1)
            else:
                with zipfile.ZipFile(stored) as archive, archive.open(file.member) as member:
                    data = member.read(limit + 1)
        if len(data) > limit:
            raise ValueError(f"more than {limit:,} bytes")
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if image.size != size[::-1]:
                raise ValueError(f"it has {image.size[1]} x {image.size[0]} pixels, its image {size[0]} x {size[1]}")
            if file.colors or image.mode in ("RGB", "RGBA") or (image.mode == "P" and not keeps_palette):
                return np.asarray(image.convert("RGB"))
            return np.asarray(image)
    except (OSError, ValueError, SyntaxError, KeyError, zipfile.BadZipFile) as e:
        raise DataError(f"{place} cannot be read as a mask ({e})", "Export the annotations again") from e
