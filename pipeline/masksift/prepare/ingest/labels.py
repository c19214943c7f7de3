"""From what a label file holds to a plane of class numbers: by value, or by colour. What has no class is refused."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError, UsageError
from masksift.prepare.ingest.npy import Header, read_image
from masksift.prepare.ingest.raster import read_colors, read_raster
from masksift.storage.files import open_file

IGNORED = -1
"""In a table: what does not count."""
Table = Mapping[int, int]
"""Values, or colours as one number, and the classes they stand for."""
Color = tuple[int, int, int]


@dataclass(frozen=True)
class InputPair:
    """One image: the URLs of its files, of predictions with a file a class all of them, or its place in an array;
    ``segments``: the ids of a panoptic label and their classes."""

    name: str
    label: str | int
    predictions: str | int | tuple[str, ...]
    picture: str | None = None
    segments: tuple[tuple[int, int], ...] | None = None


def label_dtype(classes: int) -> str:
    """The dtype in which labels are written; its greatest value is the ignore value."""
    return "uint8" if classes <= 254 else "uint16"


def code_of(color: Sequence[int]) -> int:
    """A colour of up to 16 bits a channel as one number."""
    red, green, blue = (int(part) for part in color)
    return red << 32 | green << 16 | blue


def value_table(classes: int, remap: Table | None, known: Table | None, ignore: Sequence[int]) -> dict[int, int]:
    """What label values stand for: ``remap``, else what is ``known`` of them, else classes are their own numbers; and
    the ``ignore`` values. Raises UsageError where a value would be a class that there is not."""
    for value, meant in (remap or {}).items():
        if meant not in ignore and not 0 <= meant < classes:
            raise UsageError(
                f"remap makes {meant} of label {value}, and there are the classes 0 to {classes - 1}"
                + (f" and the ignore values {', '.join(map(str, ignore))}" if ignore else ""),
                "that is neither",
                "Give it a class, or an ignore value",
            )
    told = None if remap is None else {value: IGNORED if meant in ignore else meant for value, meant in remap.items()}
    base = next((table for table in (told, known) if table is not None), {k: k for k in range(classes)})
    return {**base, **dict.fromkeys(ignore, IGNORED)}


def color_table(
    url: str, options: Mapping[str, Any], classes: Sequence[str] | None
) -> tuple[tuple[str, ...], dict[Color, int]]:
    """Class names and colours of a CSV file of rows `name,r,g,b`; a name may have several colours, and `ignore` is
    none. ``classes``: the order, where it is known; else that of the file. Raises UsageError."""
    with open_file(url, options) as file:
        rows = list(csv.reader(file.read().decode("utf-8-sig").splitlines(), skipinitialspace=True))
    rows = [row for row in rows if row and [cell.strip().lower() for cell in row] != ["name", "r", "g", "b"]]
    names = list(classes or dict.fromkeys(row[0].strip() for row in rows if row[0].strip().lower() != "ignore"))
    colors: dict[Color, int] = {}
    for row in rows:
        name, numbers = row[0].strip(), [cell.strip() for cell in row[1:]]
        if len(numbers) != 3 or not all(cell.isdecimal() and int(cell) <= 0xFFFF for cell in numbers):
            raise UsageError(
                f"a row of {url} is {','.join(row)!r}",
                "it is no class and its colour",
                "Write the name, red, green and blue: road,128,64,128",
            )
        meant = IGNORED if name.lower() == "ignore" else names.index(name) if name in names else None
        if meant is None:
            raise UsageError(
                f"{url} has a colour of {name!r}, and the classes are {', '.join(names)}",
                "that is none of them",
                "Call it as a class, or `ignore` where its pixels do not count",
            )
        red, green, blue = map(int, numbers)
        if colors.setdefault((red, green, blue), meant) != meant:
            raise UsageError(
                f"{url} has the colour ({red}, {green}, {blue}) twice",
                "which class it is is not known",
                "Give each colour to one class",
            )
    return tuple(names), colors


@dataclass(frozen=True)
class LabelReader:
    """How the labels of an ingest are read. ``values``: of one channel; ``colors``: of colours, by `code_of`;
    ``palette``: whether a palette image's colours count, in place of its indices; ``channel``: of a colour image, where
    that one holds class numbers; ``array``: the one array that all labels lie in, and its header."""

    classes: int
    values: Table
    colors: Table
    palette: bool = False
    channel: int | None = None
    array: tuple[str, Header] | None = None

    def read(self, pair: InputPair, options: Mapping[str, Any]) -> NDArray[Any]:
        """(H, W) class numbers, ignored pixels at the dtype's greatest value. Raises DataError with the first value or
        colour that has no class, its first pixel, and how many there are."""
        if self.array is not None:
            url, header = self.array
            return self._by_value(read_image(url, header, int(pair.label), options), f"image {pair.label} of {url}")
        file = str(pair.label)
        stored = (read_colors if self.palette else read_raster)(file, options)
        if pair.segments is not None:
            return self._by_segment(stored, dict(pair.segments), file)
        if stored.ndim == 3 and self.channel is not None:
            stored = stored[..., self.channel]
        return self._by_value(stored, file) if stored.ndim == 2 else self._by_color(stored, file)

    def _by_value(self, stored: NDArray[Any], file: str) -> NDArray[Any]:
        plane, unknown = self._translated(stored, self.values)
        if unknown.any():
            y, x, count = _first(stored, unknown)
            value = int(stored[y, x])
            raise DataError(
                f"{file} holds the value {value} at row {y}, column {x} ({count:,} pixels of it)",
                f"it is none of the {self.classes} classes, is not remapped and is no ignore value",
                f"Give --ignore {value}, --remap {value}:CLASS, or mend the file",
            )
        return plane

    def _by_color(self, stored: NDArray[Any], file: str) -> NDArray[Any]:
        if not self.colors:
            raise DataError(
                f"{file} is an image of colours, and no colour table is given",
                "which colour is which class is not known",
                "Give --colors FILE with rows name,r,g,b, or a --preset that has them",
            )
        codes = stored[..., 0].astype(np.int64)
        for channel in (1, 2):
            codes = codes << 16 | stored[..., channel]
        plane, unknown = self._translated(codes, self.colors)
        if unknown.any():
            y, x, count = _first(codes, unknown)
            raise DataError(
                f"{file} holds the colour ({', '.join(str(part) for part in stored[y, x])}) at row {y}, column {x} "
                f"({count:,} pixels of it)",
                "no class of the colour table has it",
                "Give it a row in the table (--colors FILE; `ignore` where it does not count), or mend the file",
            )
        return plane

    def _by_segment(self, stored: NDArray[Any], segments: Table, file: str) -> NDArray[Any]:
        if stored.ndim != 3:
            raise DataError(
                f"{file} has one channel", "the ids of COCO panoptic are colours", "Give the PNG folder of the .json"
            )
        ids = stored.astype(np.int64) @ np.array([1, 256, 65536])
        plane, unknown = self._translated(ids, {0: IGNORED, **segments})
        if unknown.any():
            y, x, count = _first(ids, unknown)
            raise DataError(
                f"{file} holds the id {ids[y, x]} at row {y}, column {x} ({count:,} pixels of it)",
                "no segment of its annotation has it",
                "Give the PNG folder and the .json of the same release",
            )
        return plane

    def _translated(self, stored: NDArray[Any], table: Table) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Class numbers, and where there is none. Small numbers are looked up, all others searched for."""
        dtype = np.dtype(label_dtype(self.classes))
        if stored.dtype.kind == "u" and stored.dtype.itemsize <= 2:
            every = np.arange(int(np.iinfo(stored.dtype).max) + 1, dtype=np.int64)
            classes, none = self._translated(every, table)
            return classes[stored], none[stored]
        keys = np.array(sorted(table), np.int64)
        meant = np.array([table[int(key)] for key in keys], np.int64)
        places = np.searchsorted(keys, stored).clip(max=len(keys) - 1)
        meant[meant == IGNORED] = np.iinfo(dtype).max
        plane: NDArray[Any] = meant.astype(dtype)[places]
        return plane, keys[places] != stored


def _first(stored: NDArray[Any], unknown: NDArray[np.bool_]) -> tuple[int, int, int]:
    """The first pixel that is unknown, and how many have the same."""
    y, x = np.unravel_index(int(unknown.argmax()), unknown.shape)
    return int(y), int(x), int((stored == stored[y, x]).sum())
