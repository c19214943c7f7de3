"""Read what a command has written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

__all__ = ["read_files", "read_rows"]


def read_files(directory: Path) -> dict[str, bytes]:
    """Return every file below a directory by its relative path."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def read_rows(out: Path, table: str = "images") -> list[dict[str, Any]]:
    """Return the rows of a table of a run."""
    rows: list[dict[str, Any]] = pq.read_table(out / table).to_pylist()
    return rows
