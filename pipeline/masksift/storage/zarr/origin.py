"""Origin of the images of a source: label files, the part of its file that each image is, and georeference.

The group ``origin`` of a source has one row per label file (`name`, `transform`, `crs`) and one per image (`file`,
`place`). Coordinate reference systems and the location of the files are its attributes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from masksift.storage.georeference import Transform
from masksift.storage.urls import join
from masksift.storage.zarr.stores import open_store
from masksift.storage.zarr.writer import create_array, create_group

GROUP = "origin"
_ROWS_PER_CHUNK = 1 << 16
Place = tuple[int, int, int, int]
"""First row and column of an image in its file, and its rows and columns."""


@dataclass(frozen=True)
class LabelFile:
    """Label file of one or more images.

    Attributes:
        name: Path below the directory of the labels.
        transform: Affine transform of the whole file; None without georeference.
        crs: Coordinate reference system as WKT; None without one.
    """

    name: str
    transform: Transform | None = None
    crs: str | None = None


@dataclass(frozen=True)
class LabelEncoding:
    """Classes in label files; -1 stands for ignored values and colors.

    Attributes:
        values: Class of each value of files with one channel.
        colors: Class of each color, packed as red << 32 | green << 16 | blue.
        use_palette: Palette images hold colors; otherwise their indices are values.
        channel: Channel of color files that holds values; None if colors are classes.
    """

    values: Mapping[int, int]
    colors: Mapping[int, int]
    use_palette: bool
    channel: int | None

    def codes(self, stored: NDArray[Any]) -> tuple[NDArray[np.int64], Mapping[int, int]]:
        """Return the code of each pixel and the class of each code.

        Args:
            stored: Values (H, W), or colors (H, W, 3 or more).

        Returns:
            Codes (H, W), values or packed colors, and their classes. The channels of colors are equal if there are only
            values.
        """
        if stored.ndim == 2:
            return stored.astype(np.int64), self.values
        if not self.colors:
            return stored[..., 0].astype(np.int64), self.values
        return stored[..., :3].astype(np.int64) @ np.array([1 << 32, 1 << 16, 1]), self.colors

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        tables = {name: [list(pair) for pair in getattr(self, name).items()] for name in ("values", "colors")}
        return {**tables, "use_palette": self.use_palette, "channel": self.channel}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> LabelEncoding:
        """Read the output of `as_json`."""
        values, colors = ({int(code): int(k) for code, k in tree[name]} for name in ("values", "colors"))
        return cls(values, colors, bool(tree["use_palette"]), tree["channel"])


@dataclass(frozen=True)
class Origin:
    """Origin of all images of a source.

    Attributes:
        root: URL of the directory of the label files.
        files: The label files.
        images: Number of the file of each image, (N,).
        places: Place of each image in its file, (N, 4); zeros for the whole file.
        encoding: Classes in the files, whose pixels are the labels; None if they cannot be written again.
    """

    root: str
    files: Sequence[LabelFile]
    images: NDArray[np.int32]
    places: NDArray[np.int32]
    encoding: LabelEncoding | None = None


def write_origin(url: str, options: Mapping[str, Any], origin: Origin) -> None:
    """Write the origin of the images of a source, which exists."""
    systems = sorted({file.crs for file in origin.files if file.crs is not None})
    number = {crs: i for i, crs in enumerate(systems)}
    encoding = None if origin.encoding is None else origin.encoding.as_json()
    attributes = {"root": origin.root, "crs": systems, "label_encoding": encoding}
    nothing = (np.nan,) * 6
    arrays: dict[str, tuple[Any, NDArray[Any]]] = {
        "transform": ("float64", np.array([file.transform or nothing for file in origin.files])),
        "crs": ("int32", np.array([-1 if file.crs is None else number[file.crs] for file in origin.files], np.int32)),
        "file": ("int32", origin.images),
        "place": ("int32", origin.places),
        "name": (str, np.array([file.name for file in origin.files], dtype=object)),
    }
    group = create_group(open_store(join(url, GROUP), options, read_only=False), attributes)
    for name, (dtype, values) in arrays.items():
        chunks = (min(len(values), _ROWS_PER_CHUNK), *values.shape[1:])
        create_array(group, name, shape=values.shape, dtype=dtype, chunks=chunks)[:] = values


def copy_origin(url: str, out: str, options: Mapping[str, Any]) -> None:
    """Copy the origin of the images of a source, if it has one, to another source of the same images."""
    if (reader := open_origin(url, options)) is not None:
        write_origin(out, options, reader.read_all())


def open_origin(url: str, options: Mapping[str, Any]) -> OriginReader | None:
    """Open the origin of the images of a source; None if the source has none."""
    try:
        group = zarr.open_group(open_store(join(url, GROUP), options, read_only=True), mode="r", zarr_format=3)
    except FileNotFoundError:
        return None
    return OriginReader(group)


class OriginReader:
    """Reader of the origin of single images, which keeps the last chunks in memory."""

    def __init__(self, group: zarr.Group) -> None:
        self._group = group
        attributes: Mapping[str, Any] = group.attrs.asdict()
        self.root = str(attributes["root"])
        self.systems: Sequence[str] = attributes["crs"]
        encoding = attributes["label_encoding"]
        self.encoding = None if encoding is None else LabelEncoding.from_json(encoding)
        self._chunk = lru_cache(16)(self._read_chunk)

    def file_number(self, image: int) -> int:
        """Return the number of an image's label file."""
        return int(self._row("file", image))

    def place(self, image: int) -> Place:
        """Return the place of an image in its file; zeros for the whole file."""
        row, column, height, width = self._row("place", image).tolist()
        return row, column, height, width

    def file(self, number: int) -> LabelFile:
        """Return a label file."""
        transform = self._row("transform", number).tolist()
        crs = int(self._row("crs", number))
        return LabelFile(
            str(self._row("name", number)),
            None if np.isnan(transform[0]) else tuple(transform),
            None if crs < 0 else self.systems[crs],
        )

    def read_all(self) -> Origin:
        """Read the origin of all images."""
        count = self._array("crs").shape[0]
        files = [self.file(number) for number in range(count)]
        images, places = (np.asarray(self._array(name)[:]) for name in ("file", "place"))
        return Origin(self.root, files, images, places, self.encoding)

    def _row(self, name: str, number: int) -> Any:
        chunk, row = divmod(number, _ROWS_PER_CHUNK)
        return self._chunk(name, chunk)[row]

    def _read_chunk(self, name: str, chunk: int) -> NDArray[Any]:
        start = chunk * _ROWS_PER_CHUNK
        return np.asarray(self._array(name)[start : start + _ROWS_PER_CHUNK])

    def _array(self, name: str) -> zarr.Array[Any]:
        array = self._group[name]
        assert isinstance(array, zarr.Array)
        return array
