"""Decode label files into planes of class numbers, by value, color or segment id."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.annotations.shapes import ShapeLabels, draw_shapes
from masksift.core.advice import MAX_LISTED_LABELS, label_advice
from masksift.core.errors import DataError, UsageError
from masksift.prepare.ingest.array_formats import EXTENSIONS, read_label
from masksift.prepare.ingest.array_formats.stored_array import StoredArray
from masksift.prepare.ingest.pieces import Piece
from masksift.prepare.ingest.raster import read_raster
from masksift.storage.files import open_file

IGNORED = -1
"""In place of a class number: the value or color is ignored."""
ClassMap = Mapping[int, int]
"""Class number of each label value, color code or segment id."""
Color = tuple[int, int, int]


@dataclass(frozen=True)
class InputPair:
    """Input files of one image."""

    name: str
    label: str | StoredArray | Piece  # URL, array in a file of all labels, or piece of a file
    # URL, array in a file of all, one URL per class, piece of a file, or none
    predictions: str | StoredArray | tuple[str, ...] | Piece | None
    rgb: str | Piece | None = None
    segments: tuple[tuple[int, int], ...] | None = None  # (segment id, class number) of a COCO panoptic label
    shapes: ShapeLabels | None = None  # of a label that is not stored as pixels
    nodata: int | None = None  # label value that this file declares as no data
    place: tuple[int, int, int, int] | None = None  # first row and column, rows and columns of a piece in its file

    @property
    def names_classes(self) -> bool:
        """True if segments or shapes name the classes, so that pixels hold no label values."""
        return self.segments is not None or self.shapes is not None

    @property
    def pieces(self) -> Iterator[Piece]:
        """Pieces of larger files."""
        yield from (side for side in (self.label, self.predictions, self.rgb) if isinstance(side, Piece))

    @property
    def urls(self) -> Iterator[str]:
        """URLs of the files."""
        predictions = self.predictions if isinstance(self.predictions, tuple) else (self.predictions,)
        files = (self.label, *predictions, self.rgb)
        yield from (file if isinstance(file, str) else file.url for file in files if file is not None)


def label_dtype(classes: int) -> str:
    """Choose the dtype of written labels; its greatest value is the ignore value."""
    return "uint8" if classes <= 254 else "uint16"


def color_code(color: Sequence[int]) -> int:
    """Pack a color of up to 16 bits per channel into one number."""
    red, green, blue = (int(level) for level in color)
    return red << 32 | green << 16 | blue


def value_map(
    classes: int, remap: ClassMap | None, known: ClassMap | None, ignore: Sequence[int], offset: int = 0
) -> dict[int, int]:
    """Map label values to class numbers: ``remap``, else ``known``, else from ``offset`` on; ignored ones too."""
    for value, target in (remap or {}).items():
        if target not in ignore and not 0 <= target < classes:
            raise UsageError(
                f"remap turns label {value} into {target}, which is neither a class (0 to {classes - 1}) nor an ignore "
                f"value ({', '.join(map(str, ignore)) or 'not given'})",
                "Use a class number or an ignore value",
            )
    if remap is not None:
        known = {value: IGNORED if target in ignore else target for value, target in remap.items()}
    base = {k + offset: k for k in range(classes)} | dict.fromkeys(range(offset), IGNORED) if known is None else known
    return {**base, **dict.fromkeys(ignore, IGNORED)}


def read_color_table(
    url: str, options: Mapping[str, Any], classes: Sequence[str] | None
) -> tuple[tuple[str, ...], dict[Color, int]]:
    """Read class names, and the class of each color, from a CSV file with rows `name,r,g,b`; UsageError if invalid."""
    # a class may have several colors; rows named `ignore` hold ignored colors
    with open_file(url, options) as file:
        rows = list(csv.reader(file.read().decode("utf-8-sig").splitlines(), skipinitialspace=True))
    rows = [row for row in rows if row and [cell.strip().lower() for cell in row] != ["name", "r", "g", "b"]]
    names = list(classes or dict.fromkeys(row[0].strip() for row in rows if row[0].strip().lower() != "ignore"))
    colors: dict[Color, int] = {}
    for row in rows:
        name, levels = row[0].strip(), [cell.strip() for cell in row[1:]]
        if len(levels) != 3 or not all(cell.isdecimal() and int(cell) <= 0xFFFF for cell in levels):
            raise UsageError(
                f"{url} has the row {','.join(row)!r}, which is not a class and its color",
                "Write name, red, green and blue: road,128,64,128",
            )
        if name.lower() != "ignore" and name not in names:
            raise UsageError(
                f"{url} has a color for {name!r}, which is not one of the classes {', '.join(names)}",
                "Use a class name, or `ignore` for ignored pixels",
            )
        number = IGNORED if name.lower() == "ignore" else names.index(name)
        red, green, blue = map(int, levels)
        if colors.setdefault((red, green, blue), number) != number:
            raise UsageError(
                f"{url} gives the color ({red}, {green}, {blue}) to two classes", "Give each color to one class"
            )
    return tuple(names), colors


@dataclass(frozen=True)
class LabelReader:
    """Reader of the labels of an ingest."""

    classes: int
    values: ClassMap
    colors: ClassMap  # by `color_code`
    use_palette: bool = False  # read a palette image as colors instead of indices
    class_channel: int | None = None  # channel of color files that holds class numbers
    lossy: bool = False  # accept a compression that changes values
    background: int | None = None  # class of pixels without a shape; None ignores them

    def read(self, pair: InputPair, options: Mapping[str, Any]) -> NDArray[Any]:
        """Read class numbers (H, W), the dtype's maximum for ignored pixels; DataError for an unknown value."""
        if pair.shapes is not None:
            return draw_shapes(pair.shapes, self.background, label_dtype(self.classes), f"{pair.label} ({pair.name})")
        stored = self.read_stored(pair, options)
        place = pair.label.location if isinstance(pair.label, StoredArray) else str(pair.label)
        file = place.replace("image ", "Image ", 1) if isinstance(pair.label, StoredArray) else place
        if pair.segments is not None:
            return self._by_segment(stored, dict(pair.segments), file)
        if stored.ndim == 3 and self.class_channel is not None:
            stored = stored[..., self.class_channel]
        return self._by_value(stored, file, pair.nodata) if stored.ndim == 2 else self._by_color(stored, file)

    def read_stored(self, pair: InputPair, options: Mapping[str, Any]) -> NDArray[Any]:
        """Read integers (H, W) or colors (H, W, 3) as they are stored."""
        file = pair.label
        if isinstance(file, StoredArray) or (isinstance(file, str) and file.lower().endswith(EXTENSIONS)):
            return read_label(file, options)
        gray = not self.colors and pair.segments is None and self.class_channel is None
        if isinstance(file, Piece):
            return file.read_labels(options, gray=gray, use_palette=self.use_palette)
        return read_raster(file, options, lossy=self.lossy, gray=gray, use_palette=self.use_palette)

    def _by_value(self, values: NDArray[Any], file: str, nodata: int | None) -> NDArray[Any]:
        plane, unknown = self._look_up(values, self.values if nodata is None else {**self.values, nodata: IGNORED})
        if unknown.any():
            y, x, count = _first_unknown(values, unknown)
            value = values[y, x]
            raise DataError(
                f"{file} holds the value {value} at row {y}, column {x} (pixels: {count:,}), which is not a class"
                f"{self._class_range}, not remapped and not ignored",
                self._advice(np.unique(values[unknown])[: MAX_LISTED_LABELS + 1].tolist()),
            )
        return plane

    @property
    def _offset(self) -> int | None:
        """Label value of class 0, None if the values of classes are not consecutive."""
        numbers = {k: value for value, k in self.values.items() if k != IGNORED}
        first = {value - k for k, value in numbers.items()}
        return first.pop() if len(first) == 1 else None

    @property
    def _class_range(self) -> str:
        return "" if self._offset is None else f" ({self._offset} to {self._offset + self.classes - 1})"

    def _advice(self, values: list[int]) -> str:
        """Explain values without a class."""
        ignore = [value for value, k in self.values.items() if k == IGNORED]
        remap = [(value, k) for value, k in sorted(self.values.items()) if k != IGNORED]
        offset = self._offset
        return label_advice(values, self.classes, ignore, remap if offset is None else (), offset or 0)

    def _by_color(self, stored: NDArray[Any], file: str) -> NDArray[Any]:
        if not self.colors:
            raise DataError(
                f"{file} is a color image, and there is no color table",
                "Pass --colors FILE with rows name,r,g,b, or a --preset that has colors",
            )
        codes = stored[..., 0].astype(np.int64)
        for channel in (1, 2):
            codes = codes << 16 | stored[..., channel]
        plane, unknown = self._look_up(codes, self.colors)
        if unknown.any():
            y, x, count = _first_unknown(codes, unknown)
            raise DataError(
                f"{file} holds the color ({', '.join(map(str, stored[y, x]))}) at row {y}, column {x} (pixels: "
                f"{count:,}), which is not in the color table",
                "Add it to the table of --colors FILE (as `ignore` for ignored pixels), or correct the file",
            )
        return plane

    def _by_segment(self, stored: NDArray[Any], segments: ClassMap, file: str) -> NDArray[Any]:
        if stored.ndim != 3:
            raise DataError(
                f"{file} has one channel, but COCO panoptic encodes segment ids as colors",
                "Use the PNG directory of the .json file",
            )
        ids = stored.astype(np.int64) @ np.array([1, 256, 65536])
        plane, unknown = self._look_up(ids, {0: IGNORED, **segments})
        if unknown.any():
            y, x, count = _first_unknown(ids, unknown)
            raise DataError(
                f"{file} holds the id {ids[y, x]} at row {y}, column {x} (pixels: {count:,}), which no segment of its "
                "annotation has",
                "Use the PNG directory and the .json file of the same release",
            )
        return plane

    def _look_up(self, keys: NDArray[Any], table: ClassMap) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Translate keys to class numbers, and mark unknown keys. Narrow dtypes are indexed, others searched."""
        dtype = np.dtype(label_dtype(self.classes))
        if keys.dtype.kind == "u" and keys.dtype.itemsize <= 2:
            every = np.arange(int(np.iinfo(keys.dtype).max) + 1, dtype=np.int64)
            classes, unknown = self._look_up(every, table)
            return classes[keys], unknown[keys]
        known = np.array(sorted(table), np.int64)
        numbers = np.array([table[int(key)] for key in known], np.int64)
        numbers[numbers == IGNORED] = np.iinfo(dtype).max
        positions = np.searchsorted(known, keys).clip(max=len(known) - 1)
        plane: NDArray[Any] = numbers.astype(dtype)[positions]
        return plane, known[positions] != keys


def _first_unknown(keys: NDArray[Any], unknown: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Find row and column of the first unknown key, and count the pixels that have it."""
    y, x = np.unravel_index(int(unknown.argmax()), unknown.shape)
    return int(y), int(x), int((keys == keys[y, x]).sum())
