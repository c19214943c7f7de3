"""Image table of a run, and lists of images with known label errors to compare it with."""

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
from masksift.storage.tables.lookup import normalize_ids
from masksift.storage.tables.parquet import iter_tables
from masksift.storage.urls import split_url

SHARE = "changed_share"
"""Column of a list with the share of wrong pixels per image."""


@dataclass(frozen=True)
class ImageList:
    """Images with known label errors, each once."""

    keys: pa.ChunkedArray
    """(E,) strings: image ids in the Unicode form NFC, or `<source>/<index>`."""
    shares: NDArray[np.float64] | None
    """(E,) shares of wrong pixels; None for a list without shares."""
    by_place: bool = False
    """Keys are `<source>/<index>` instead of image ids."""


@dataclass(frozen=True)
class ImageTable:
    """Images of a run with N rows: 8 bytes per score and image, and the strings of the ids."""

    table: pa.Table
    """Columns image_id, source and index."""
    scored: NDArray[np.bool_]
    """(N,), False for images without scores."""
    scores: Mapping[str, NDArray[np.float64]]
    """(N,) values per score, NaN for images without scores."""

    def __len__(self) -> int:
        return len(self.scored)

    def sources(self) -> set[str]:
        """Return the names of the sources."""
        return set(pc.unique(self.table["source"]).to_pylist())

    def find(self, images: ImageList) -> tuple[NDArray[np.int64], list[str]]:
        """Find the rows of listed images.

        Args:
            images: Images, by id or by source and index.

        Returns:
            Entry of each row's image in the list, (N,), -1 if it is not listed; and the keys without a row.
        """
        row_keys = _places(self.table) if images.by_place else normalize_ids(self.table["image_id"])
        entries = pc.fill_null(pc.index_in(row_keys, value_set=images.keys), -1)
        is_unknown = pc.invert(pc.is_in(images.keys, value_set=row_keys))
        return entries.to_numpy().astype(np.int64), images.keys.filter(is_unknown).to_pylist()


def read_image_table(directory: ObjectDirectory, names: Sequence[str], methods: Sequence[str]) -> ImageTable:
    """Read the compared columns of a run's image table from its part files."""
    columns = ["image_id", "source", "index", "status", *methods]
    table = pa.concat_tables(iter_tables(directory, names, columns))
    scored = pc.equal(table["status"], SCORED).to_numpy()
    return ImageTable(
        table.select(["image_id", "source", "index"]), scored, {name: table[name].to_numpy() for name in methods}
    )


def image_list_from_keys(keys: Sequence[str], *, by_place: bool) -> ImageList:
    """Return a list of images by id or, with ``by_place``, by `<source>/<index>`."""
    array = pa.chunked_array([pa.array(keys, pa.string())])
    return ImageList(array if by_place else normalize_ids(array), None, by_place)


def _places(table: pa.Table) -> pa.ChunkedArray:
    """Join source and index of each image: ids may repeat across sources."""
    return pc.binary_join_element_wise(table["source"], pc.cast(table["index"], pa.string()), "/")


def read_simulated_list(directory: ObjectDirectory, sources: set[str]) -> ImageList:
    """Read the images that `masksift simulate` changed.

    Args:
        directory: Output directory of `masksift simulate`.
        sources: Names of the run's sources.

    Returns:
        The changed images: by source and index if the run has all simulated sources, otherwise by id.

    Raises:
        DataError: The directory has no truth table, or several rows per image.
    """
    names = [f"truth/{name}" for name in directory.names("truth") if name.endswith(".parquet")]
    if not names:
        raise DataError(
            f"{directory.url} contains no truth/part-*.parquet",
            "The changed images are unknown",
            "Run the same `masksift simulate` command again to finish it",
        )
    table = pa.concat_tables(iter_tables(directory, names, ["image_id", "source", "index", SHARE]))
    by_place = set(pc.unique(table["source"]).to_pylist()) <= sources
    return _distinct(directory.url, _places(table) if by_place else table["image_id"], table[SHARE], by_place)


def read_image_list(url: str, column: str, options: Mapping[str, Any]) -> ImageList:
    """Read a list of images from a Parquet or CSV file.

    Args:
        url: Path or URL of the file; a name that ends in .csv is read as CSV.
        column: Column of image ids.
        options: Options of the store.

    Returns:
        The images by id, with their shares of wrong pixels if the file has a column `changed_share`.

    Raises:
        DataError: The file is missing or no table, or its rows are empty, contradictory or out of range.
        UsageError: The file has no such column.
    """
    directory, name = split_url(url)
    data = ObjectDirectory(directory, options).read(name)
    if data is None:
        raise DataError(f"There is no file {url}", "Pass the path or URL of a .csv or .parquet file")
    try:
        table = _read_csv(data, column) if url.lower().endswith(".csv") else _read_parquet(data, column)
    except (pa.ArrowException, UnicodeDecodeError, csv.Error) as e:
        raise DataError(
            f"{url} cannot be read as a table ({str(e).splitlines()[0].rstrip('.')})",
            f"Pass a table with image ids in column {column!r} and, optionally, numbers in {SHARE!r}",
        ) from e
    if column not in table.column_names:
        raise UsageError(
            f"{url} has no column {column!r}, only {', '.join(table.column_names)}",
            "Pass the name of the column of image ids: --column NAME",
        )
    return _distinct(url, table[column], table[SHARE] if SHARE in table.column_names else None)


def _read_csv(data: bytes, column: str) -> pa.Table:
    """Read the needed columns, or all without ``column``. Ids stay strings: `0016` is not a number."""
    header = next(csv.reader(io.StringIO(data.split(b"\n", 1)[0].decode("utf-8-sig"))), [])
    needed = [name for name in dict.fromkeys([column, SHARE]) if name in header]
    convert = pa_csv.ConvertOptions(
        column_types={SHARE: pa.float64(), column: pa.string()}, include_columns=needed if column in header else header
    )
    # Copy into Arrow's memory: Arrow's threads may release the buffer last, and releasing Python's memory from them
    # aborts a process that is exiting.
    copy = pa.BufferOutputStream()
    copy.write(data)
    return pa_csv.read_csv(pa.BufferReader(copy.getvalue()), convert_options=convert)


def _read_parquet(data: bytes, column: str) -> pa.Table:
    file = pq.ParquetFile(pa.BufferReader(data))
    names = file.schema_arrow.names
    if column not in names:
        return file.schema_arrow.empty_table()
    table = file.read(columns=[name for name in dict.fromkeys([column, SHARE]) if name in names], use_threads=False)
    types = {SHARE: pa.float64(), column: pa.string()}
    return pa.table({name: pc.cast(table[name], types[name]) for name in table.column_names})


def _distinct(url: str, keys: pa.ChunkedArray, shares: pa.ChunkedArray | None, by_place: bool = False) -> ImageList:
    """Return each image once. A missing key, several shares of an image or one outside [0, 1] raise DataError."""
    if keys.null_count:
        raise DataError(
            f"{url} has {keys.null_count:,} rows without an image",
            "Fill in the image ids, or remove these rows",
        )
    keys = keys if by_place else normalize_ids(keys)
    if shares is None:
        return ImageList(pa.chunked_array([pc.unique(keys)], pa.string()), None, by_place)
    numbers, distinct = shares.to_numpy(), len(pc.unique(keys))
    if distinct < len(keys):
        raise DataError(
            f"{url} has {len(keys):,} rows of {distinct:,} images",
            f"The {SHARE} of an image is ambiguous",
            "Pass the rows of one error type only, or one row per image",
        )
    bad = ~((numbers >= 0) & (numbers <= 1))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise DataError(
            f"{SHARE} of {keys[row].as_py()} in {url} must be between 0 and 1, got {numbers[row]}",
            "Correct the table",
        )
    is_wrong = numbers > 0  # an image without wrong pixels is correct
    return ImageList(keys.filter(pa.array(is_wrong)), numbers[is_wrong], by_place)
