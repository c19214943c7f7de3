"""Label files that a source was made of, and the classes of their values and colors.

`masksift ingest` writes them into the group `ingest` of the source, for `masksift export masks`: an array with the URL
of each image's label file, and the attribute ``label_encoding``. The record of `masksift predict` refers to its source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr

from masksift.core.errors import DataError
from masksift.core.json_text import parse_json
from masksift.storage.objects import ObjectDirectory
from masksift.storage.urls import join
from masksift.storage.zarr.stores import open_store
from masksift.storage.zarr.writer import create_array

GROUP = "ingest"
"""Zarr group in a source whose attributes are the record of its ingest."""
ENCODING = "label_encoding"
_ARRAY = "label_file"
_CHUNK = 1 << 16
_PREDICT_RECORD = "predict.json"


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

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        tables = {name: [list(pair) for pair in getattr(self, name).items()] for name in ("values", "colors")}
        return {**tables, "use_palette": self.use_palette, "channel": self.channel}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> LabelEncoding:
        """Read the output of `as_json`."""
        values, colors = ({int(code): int(k) for code, k in tree[name]} for name in ("values", "colors"))
        return cls(values, colors, bool(tree["use_palette"]), tree["channel"])


def write_label_urls(url: str, options: Mapping[str, Any], urls: Sequence[str]) -> None:
    """Write the URL of the label file of each image of a source, whose group `ingest` exists."""
    group = zarr.open_group(open_store(join(url, GROUP), options, read_only=False), mode="r+", zarr_format=3)
    array = create_array(group, _ARRAY, shape=(len(urls),), dtype=str, chunks=(min(len(urls), _CHUNK),))
    array[:] = np.array(urls, dtype=object)


def read_label_encoding(url: str, options: Mapping[str, Any]) -> LabelEncoding | None:
    """Read the encoding of the label files of a source; None if it was made of something else."""
    found = _find_record(url, options)
    return None if found is None else found[1]


def read_label_urls(url: str, options: Mapping[str, Any]) -> list[str]:
    """Read the URL of the label file of each image of a source that has an encoding."""
    found = _find_record(url, options)
    place = join(url if found is None else found[0], GROUP, _ARRAY)
    array = zarr.open_array(open_store(place, options, read_only=True), mode="r", zarr_format=3)
    urls: list[str] = np.asarray(array[:]).tolist()
    return urls


def _find_record(url: str, options: Mapping[str, Any]) -> tuple[str, LabelEncoding] | None:
    """Find the source that was ingested, and its encoding. Raises DataError for a damaged record."""
    directory = ObjectDirectory(url, options)
    try:
        record = directory.read(f"{GROUP}/zarr.json")
        if record is None:
            predicted = directory.read(_PREDICT_RECORD)
            source = None if predicted is None else parse_json(predicted)["configuration"]["source"]
            return None if source is None else _find_record(source, options)
        encoding = parse_json(record)["attributes"].get(ENCODING)
        return None if encoding is None else (url, LabelEncoding.from_json(encoding))
    except (ValueError, KeyError, TypeError) as e:
        raise DataError(
            f"The record of the label files of {url} is damaged ({type(e).__name__}: {e})", "Ingest the files again"
        ) from e
