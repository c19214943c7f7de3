"""Rows that are looked for among many: in bounded memory, whatever their number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def filter_rows(tables: Iterable[pa.Table], wanted: Mapping[str, str | int]) -> Iterator[pa.Table]:
    """The rows of each of the ``tables`` that hold the values ``wanted``, by column; none of a table without any."""
    for table in tables:
        for name, value in wanted.items():
            table = table.filter(pc.equal(table[name], pa.scalar(value, table.schema.field(name).type)))
        if len(table):
            yield table


def lowest_rows(tables: Iterable[pa.Table], schema: pa.Schema, by: str, most: int) -> pa.Table:
    """At most so many rows of all ``tables`` (of one ``schema``): those that have the lowest finite values in the
    column ``by``, the lowest first. Equal values keep their order. So many are held, and what one table adds."""
    best, limit = schema.empty_table(), np.inf
    for table in tables:
        values = table[by].to_numpy()
        chosen = table.take(np.flatnonzero(np.isfinite(values) & (values < limit)))
        if not len(chosen):
            continue
        best = pa.concat_tables([best, chosen])
        values = best[by].to_numpy()
        order = np.argsort(values, kind="stable")[:most]
        best = best.take(order).combine_chunks()
        limit = values[order[-1]] if len(order) == most else np.inf
    return best
