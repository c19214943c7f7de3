"""Tables that are compared: the images of a run, and lists of images that somebody knows to be wrong."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from masksift.core.errors import DataError, UsageError
from masksift.core.status import SCORED
from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.parquet import iter_tables

SHARE = "changed_share"
"""The column of a list that says which share of an image's pixels is wrong."""


@dataclass(frozen=True)
class ImageList:
    """Images that are known to be wrong, one an entry: ``keys`` (E,), text; ``shares`` (E,) of wrong pixels, float64,
    None where they are not known; ``by_place``: keys are the source and the number of an image, else its id."""

    keys: pa.ChunkedArray
    shares: NDArray[np.float64] | None
    by_place: bool = False


@dataclass(frozen=True)
class ImageTable:
    """The table of images of a run, N rows: 8 bytes a score and image, and the text of the ids. ``scored`` (N,) bool;
    ``scores``: (N,) float64 by name, NaN where there is none."""

    table: pa.Table
    scored: NDArray[np.bool_]
    scores: Mapping[str, NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.scored)

    def sources(self) -> set[str]:
        """What the sources are called."""
        return set(pc.unique(self.table["source"]).to_pylist())

    def find(self, wanted: ImageList) -> tuple[NDArray[np.int64], list[str]]:
        """For each image the entry that names it, (N,) int64, -1 where none does; and the entries that name none."""
        own = _places(self.table) if wanted.by_place else self.table["image_id"]
        entries = pc.fill_null(pc.index_in(own, value_set=wanted.keys), -1)
        strange = pc.invert(pc.is_in(wanted.keys, value_set=own))
        return entries.to_numpy().astype(np.int64), wanted.keys.filter(strange).to_pylist()


def read_image_table(folder: ObjectDirectory, names: Sequence[str], methods: Sequence[str]) -> ImageTable:
    """The parts of a run's table of images, of which the columns that are compared alone are read."""
    columns = ["image_id", "source", "index", "status", *methods]
    table = pa.concat_tables(iter_tables(folder, names, columns))
    scored = pc.equal(table["status"], SCORED).to_numpy()
    return ImageTable(
        table.select(["image_id", "source", "index"]), scored, {name: table[name].to_numpy() for name in methods}
    )


def image_list_from_keys(keys: Sequence[str], *, by_place: bool) -> ImageList:
    """Images by their ids or, ``by_place``, by `<source>/<number>`."""
    return ImageList(pa.chunked_array([pa.array(keys, pa.string())]), None, by_place)


def _places(table: pa.Table) -> pa.ChunkedArray:
    """Source and number of an image as one text: what it is called may be the same in several sources."""
    return pc.binary_join_element_wise(table["source"], pc.cast(table["index"], pa.string()), "/")


def read_simulated_list(folder: ObjectDirectory, sources: set[str]) -> ImageList:
    """The changed images of a folder of `masksift simulate`: by source and number where a run has the same ``sources``,
    else by their ids. Raises DataError where the folder has no such table."""
    names = [f"truth/{name}" for name in folder.names("truth") if name.endswith(".parquet")]
    if not names:
        raise DataError(
            f"{folder.url} holds no truth/part-*.parquet",
            "which images were changed is not known",
            "Let `masksift simulate` finish: the same command goes on",
        )
    table = pa.concat_tables(iter_tables(folder, names, ["image_id", "source", "index", SHARE]))
    by_place = set(pc.unique(table["source"]).to_pylist()) <= sources
    return _distinct(folder.url, _places(table) if by_place else table["image_id"], table[SHARE], by_place)


def read_image_list(url: str, column: str, options: Mapping[str, Any]) -> ImageList:
    """The images that a Parquet or CSV file lists in a column. Raises DataError, UsageError where it does not."""
    parent, slash, name = url.rpartition("/")
    data = ObjectDirectory(parent or slash or ".", options).read(name)
    if data is None:
        raise DataError(
            f"there is no file {url}", "what is wrong is not known", "Give the path or the URL of a .csv or .parquet"
        )
    try:
        table = _read_csv(data, column) if url.lower().endswith(".csv") else _read_parquet(data, column)
    except (pa.ArrowException, UnicodeDecodeError, csv.Error) as e:
        raise DataError(
            f"{url} cannot be read as a table ({str(e).splitlines()[0].rstrip('.')})",
            "what is wrong is not known",
            f"Give a table whose column {column!r} has ids, and {SHARE!r}, if it is there, numbers",
        ) from e
    if column not in table.column_names:
        raise UsageError(
            f"{url} has no column {column!r}, only {', '.join(table.column_names)}",
            "what is wrong is not known",
            "Give the name of the column of image ids: --column NAME",
        )
    return _distinct(url, table[column], table[SHARE] if SHARE in table.column_names else None)


def _read_csv(data: bytes, column: str) -> pa.Table:
    """The columns in question, ids as they are written: `0016` is no number; or all, where there is no such column."""
    header = next(csv.reader(io.StringIO(data.split(b"\n", 1)[0].decode("utf-8-sig"))), [])
    wanted = [name for name in dict.fromkeys([column, SHARE]) if name in header]
    convert = pa_csv.ConvertOptions(
        column_types={SHARE: pa.float64(), column: pa.string()}, include_columns=wanted if column in header else header
    )
    # a copy that is Arrow's own: its threads may let go of it last, which of Python's memory aborts a process that ends
    owned = pa.BufferOutputStream()
    owned.write(data)
    return pa_csv.read_csv(pa.BufferReader(owned.getvalue()), convert_options=convert)


def _read_parquet(data: bytes, column: str) -> pa.Table:
    file = pq.ParquetFile(pa.BufferReader(data))
    names = file.schema_arrow.names
    if column not in names:
        return file.schema_arrow.empty_table()
    table = file.read(columns=[name for name in dict.fromkeys([column, SHARE]) if name in names], use_threads=False)
    types = {SHARE: pa.float64(), column: pa.string()}
    return pa.table({name: pc.cast(table[name], types[name]) for name in table.column_names})


def _distinct(url: str, keys: pa.ChunkedArray, shares: pa.ChunkedArray | None, by_place: bool = False) -> ImageList:
    """Each image once. Raises DataError where one has several shares of wrong pixels, or one that is no share."""
    if keys.null_count:
        raise DataError(
            f"{url} has {keys.null_count:,} rows without an image",
            "which images they mean is not known",
            "Fill them, or remove them",
        )
    if shares is None:
        return ImageList(pa.chunked_array([pc.unique(keys)], pa.string()), None, by_place)
    numbers, distinct = shares.to_numpy(), len(pc.unique(keys))
    if distinct < len(keys):
        raise DataError(
            f"{url} has {len(keys):,} rows of {distinct:,} images",
            f"which {SHARE} holds is not known",
            "Give the rows of one kind of error alone, or one row an image",
        )
    bad = ~((numbers >= 0) & (numbers <= 1))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise DataError(
            f"{SHARE} of {keys[row].as_py()} in {url} is {numbers[row]}", "a share lies in [0, 1]", "Mend that table"
        )
    wrong = numbers > 0  # an image of which no pixel is wrong is not wrong
    return ImageList(keys.filter(pa.array(wrong)), numbers[wrong], by_place)
