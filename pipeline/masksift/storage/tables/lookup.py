"""Select rows from many tables in bounded memory."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def filter_ids(tables: Iterable[pa.Table], image_id: str) -> Iterator[pa.Table]:
    """Yield the rows of each table with an image id, in whatever Unicode form it is written, if there are any."""
    wanted = unicodedata.normalize("NFC", image_id)
    for table in tables:
        found = table.filter(pc.equal(normalize_ids(table["image_id"]), wanted))
        if len(found):
            yield found


def normalize_ids(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return image ids in the Unicode form NFC: in file names of macOS, `ü` is two characters."""
    is_ascii = pc.all(pc.string_is_ascii(ids)).as_py() is not False
    return ids if is_ascii else pc.utf8_normalize(ids, form="NFC")


def filter_rows(tables: Iterable[pa.Table], wanted: Mapping[str, str | int]) -> Iterator[pa.Table]:
    """Yield the rows of each table that equal the wanted values by column, if there are any."""
    for table in tables:
        for name, value in wanted.items():
            table = table.filter(pc.equal(table[name], pa.scalar(value, table.schema.field(name).type)))
        if len(table):
            yield table


def filter_images(tables: Iterable[pa.Table], images: Collection[tuple[str, int]]) -> Iterator[pa.Table]:
    """Yield the rows of each table that belong to one of the images (source, index), if there are any."""
    wanted = pa.array([f"{source}/{index}" for source, index in images], pa.string())
    for table in tables:
        places = pc.binary_join_element_wise(table["source"], pc.cast(table["index"], pa.string()), "/")
        found = table.filter(pc.is_in(places, value_set=wanted))
        if len(found):
            yield found


def lowest_rows(tables: Iterable[pa.Table], schema: pa.Schema, by: str, most: int) -> pa.Table:
    """Return the rows with the lowest finite values of a column.

    Args:
        tables: Tables of one schema.
        schema: The schema.
        by: Name of a float column.
        most: Largest number of rows; that many rows and one table are held in memory.

    Returns:
        The rows, lowest first. Equal values keep their order.
    """
    best, limit = schema.empty_table(), np.inf
    for table in tables:
        values = table[by].to_numpy()
        candidates = table.take(np.flatnonzero(np.isfinite(values) & (values < limit)))
        if not len(candidates):
            continue
        best = pa.concat_tables([best, candidates])
        values = best[by].to_numpy()
        order = np.argsort(values, kind="stable")[:most]
        best = best.take(order).combine_chunks()
        limit = values[order[-1]] if len(order) == most else np.inf
    return best
