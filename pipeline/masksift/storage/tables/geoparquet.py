"""Write GeoParquet files (geoparquet.org, version 1.1)."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from masksift.storage.objects import ObjectDirectory
from masksift.storage.tables.arrow import table_from_rows

_INTEGERS = ("index", "rank", "area_pixels")
_TEXTS = ("image_id", "source", "given", "suggested", "reason")


def write_geoparquet(
    directory: ObjectDirectory,
    name: str,
    rows: Sequence[Mapping[str, Any]],
    geometries: Sequence[bytes],
    column: Mapping[str, Any],
) -> None:
    """Write regions as one GeoParquet object.

    Args:
        directory: Output directory.
        name: Name of the object.
        rows: Properties of each region: texts, integers and floats.
        geometries: Geometry of each region as well-known binary.
        column: ``geometry_types``, ``crs`` as PROJJSON and ``bbox`` of the geometries.
    """
    schema = pa.schema([(key, _type(key)) for key in rows[0]])
    table = table_from_rows(rows, schema).append_column("geometry", pa.array(geometries, pa.binary()))
    metadata = {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {"geometry": {"encoding": "WKB", "orientation": "counterclockwise", **column}},
    }
    buffer = io.BytesIO()
    table = table.replace_schema_metadata({b"geo": json.dumps(metadata).encode()})
    pq.write_table(table, buffer, compression="zstd")
    directory.write(name, buffer.getvalue())


def _type(key: str) -> pa.DataType:
    return pa.int64() if key in _INTEGERS else pa.string() if key in _TEXTS else pa.float64()
