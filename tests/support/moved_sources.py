"""Change the URLs of the sources in the record of a run, as if the sources had been moved with it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["move_sources"]


def move_sources(out: Path, old: Path, new: Path) -> None:
    """Replace the directory `old` of a run's sources by `new`."""
    path = out / "sources.parquet"
    table = pq.ParquetFile(path).read()
    rows = [
        {name: value.replace(str(old), str(new)) if isinstance(value, str) else value for name, value in row.items()}
        for row in table.to_pylist()
    ]
    pq.write_table(pa.Table.from_pylist(rows, table.schema), path)
