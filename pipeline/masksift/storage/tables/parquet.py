"""Parquet tables: their schemas, and how they are written and read.

Every table is zstd-compressed, with statistics, and carries the class names in its metadata (key `masksift`, JSON).
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from masksift.core.errors import DataError
from masksift.core.specs import DataSpec
from masksift.storage.objects import Folder

__all__ = [
    "CLASS_PAIRS",
    "CLASS_QUALITY",
    "CURVES",
    "MEASURES",
    "SWEEP",
    "THRESHOLDS",
    "WORST_REGION",
    "column",
    "floats",
    "found_schema",
    "hive_columns",
    "images_schema",
    "integer_lists",
    "parts_in",
    "path_columns",
    "ranked_schema",
    "ranking_schema",
    "read_each",
    "read_table",
    "regions_schema",
    "table_of",
    "table_of_columns",
    "truth_schema",
    "write_table",
]

ROW_GROUP = 1 << 17
AT_ONCE = 8
"""Parts that are asked for at a time."""

THRESHOLDS = pa.schema(
    [
        pa.field("class_id", pa.int32(), nullable=False),
        pa.field("class_name", pa.string(), nullable=False),
        pa.field("pixels", pa.int64(), nullable=False),  # n_k: valid pixels labelled so
        pa.field("sum", pa.float64(), nullable=False),  # S_k: sum of their self-confidence
        pa.field("confident_threshold", pa.float64()),  # t_k; null where no pixel is labelled so
        pa.field("decision_threshold", pa.float64()),  # tau_k of tccp; null likewise
        pa.field("ignored_share", pa.float64(), nullable=False),  # r_k of omission
    ]
)
CLASS_PAIRS = pa.schema(
    [
        pa.field("given", pa.int32(), nullable=False),
        pa.field("suggested", pa.int32(), nullable=False),
        pa.field("given_name", pa.string(), nullable=False),
        pa.field("suggested_name", pa.string(), nullable=False),
        pa.field("pixels", pa.int64(), nullable=False),  # flagged pixels, most first
        pa.field("images", pa.int64(), nullable=False),  # images that hold any of them
    ]
)
CLASS_QUALITY = pa.schema(
    [
        pa.field("class_id", pa.int32(), nullable=False),
        pa.field("class_name", pa.string(), nullable=False),
        pa.field("pixels", pa.int64(), nullable=False),
        pa.field("flagged", pa.int64(), nullable=False),
        pa.field("quality", pa.float64()),  # 1 - flagged / pixels; null where no pixel is labelled so
    ]
)
MEASURES = pa.schema(
    [
        pa.field("score", pa.string(), nullable=False),  # or `issue_mask`, `self_confidence`: what ranks pixels
        pa.field("measure", pa.string(), nullable=False),
        pa.field("at", pa.string()),  # `100`, `5%`, `errors` images; a least IoU; null where it has no such place
        pa.field("value", pa.float64()),  # null where there is none: the note says why
        pa.field("low", pa.float64()),  # of the bootstrap interval over images, 95 %
        pa.field("high", pa.float64()),
        pa.field("images", pa.int64(), nullable=False),  # ranked images
        pa.field("errors", pa.int64(), nullable=False),  # what is to be found: images, pixels or regions
        pa.field("note", pa.string()),
    ]
)
CURVES = pa.schema(
    [
        pa.field("score", pa.string(), nullable=False),
        pa.field("effort", pa.float64(), nullable=False),  # share of the ranked images that are reviewed
        pa.field("recall", pa.float64(), nullable=False),  # share of the errors found among them
        pa.field("precision", pa.float64(), nullable=False),  # share of errors among them
    ]
)
SWEEP = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),  # of error
        pa.field("share", pa.float64(), nullable=False),  # of the images that were chosen to get one
        pa.field("method", pa.string(), nullable=False),
        pa.field("temperature", pa.float64()),  # of softmin; null of all others
        pa.field("images", pa.int64(), nullable=False),  # ranked images
        pa.field("errors", pa.int64(), nullable=False),  # those of them whose labels are wrong
        pa.field("auroc", pa.float64()),  # null, as all that follow, where there is none: the note says why
        pa.field("auprc", pa.float64()),  # average precision
        pa.field("kendall_tau", pa.float64()),  # of 1 - score and the share of wrong pixels
        pa.field("at", pa.string(), nullable=False),  # how many images are reviewed: `errors`, `100`, `5%`
        pa.field("precision", pa.float64()),  # errors among them, over these images
        pa.field("lift", pa.float64()),  # precision over the share of errors in all
        pa.field("recall", pa.float64()),  # errors among them, over all errors
        pa.field("note", pa.string()),
    ]
)


WORST_REGION = pa.schema(
    [
        pa.field("region_y0", pa.int32()),  # box of the region with most evidence; null where there is none
        pa.field("region_x0", pa.int32()),
        pa.field("region_y1", pa.int32()),
        pa.field("region_x1", pa.int32()),
        pa.field("region_evidence", pa.float64()),
    ]
)


def images_schema(methods: Sequence[str], columns: Sequence[str] = ()) -> pa.Schema:
    """One row an image, in the order of the sources: a float64 column a score, null where the image is not scored; a
    column of text for each of ``columns``, which the paths of the sources name (null where one does not)."""
    return pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("source", pa.string(), nullable=False),
            pa.field("index", pa.int64(), nullable=False),
            *(pa.field(name, pa.string()) for name in columns),
            pa.field("height", pa.int32(), nullable=False),
            pa.field("width", pa.int32(), nullable=False),
            pa.field("valid_pixels", pa.int64()),  # null, like all that follows the reason, where it is not scored
            pa.field("status", pa.string(), nullable=False),
            pa.field("reason", pa.string()),
            *(pa.field(name, pa.float64()) for name in methods),
            pa.field("flagged_pixels", pa.int64()),
            pa.field("worst_given", pa.int32()),  # the class pair with most flagged pixels
            pa.field("worst_suggested", pa.int32()),
            pa.field("worst_pixels", pa.int64()),
            *WORST_REGION,
        ]
    )


def regions_schema(columns: Sequence[str] = ()) -> pa.Schema:
    """One row a region, that with most evidence on top; ``columns`` as in `images_schema`."""
    return pa.schema(
        [
            pa.field("rank", pa.int64(), nullable=False),
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("source", pa.string(), nullable=False),
            pa.field("index", pa.int64(), nullable=False),
            *(pa.field(name, pa.string()) for name in columns),
            pa.field("kind", pa.string(), nullable=False),  # `label`: flagged pixels; `omission`: ignored ones
            pa.field("given", pa.int32()),  # null of an omission
            pa.field("suggested", pa.int32(), nullable=False),
            pa.field("given_name", pa.string()),
            pa.field("suggested_name", pa.string(), nullable=False),
            pa.field("area", pa.int64(), nullable=False),  # pixels
            pa.field("y0", pa.int32(), nullable=False),  # box: rows [y0, y1), columns [x0, x1)
            pa.field("x0", pa.int32(), nullable=False),
            pa.field("y1", pa.int32(), nullable=False),
            pa.field("x1", pa.int32(), nullable=False),
            pa.field("centroid_y", pa.float64(), nullable=False),
            pa.field("centroid_x", pa.float64(), nullable=False),
            pa.field("evidence", pa.float64(), nullable=False),  # sum of m - s; of an omission, of m beyond r
            pa.field("mean_self_confidence", pa.float64()),  # null of an omission
            pa.field("mean_predicted_confidence", pa.float64(), nullable=False),
            pa.field("height", pa.int32(), nullable=False),  # of the image that the run-length code is of
            pa.field("width", pa.int32(), nullable=False),
            pa.field("rle", pa.list_(pa.int32()), nullable=False),  # COCO's counts, not compressed
        ]
    )


def found_schema(columns: Sequence[str] = ()) -> pa.Schema:
    """Regions as they are found, before they have a rank."""
    return regions_schema(columns).remove(0)


def truth_schema(columns: Sequence[str] = ()) -> pa.Schema:
    """One row an image whose labels hold a known error; ``columns`` as in `images_schema`."""
    return pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("source", pa.string(), nullable=False),
            pa.field("index", pa.int64(), nullable=False),
            *(pa.field(name, pa.string()) for name in columns),
            pa.field("kind", pa.string(), nullable=False),
            pa.field("classes", pa.list_(pa.int32()), nullable=False),  # that the error was drawn for
            pa.field("given", pa.int32()),  # the class that most changed pixels have now; null where they have no label
            pa.field("true", pa.int32()),  # the class that all of them had; null where they had several
            pa.field("changed_pixels", pa.int64(), nullable=False),
            pa.field("changed_share", pa.float64(), nullable=False),  # of the pixels that were valid
            pa.field("y0", pa.int32(), nullable=False),  # box of the changed pixels: rows [y0, y1), columns [x0, x1)
            pa.field("x0", pa.int32(), nullable=False),
            pa.field("y1", pa.int32(), nullable=False),
            pa.field("x1", pa.int32(), nullable=False),
        ]
    )


def ranked_schema(methods: Sequence[str], columns: Sequence[str] = ()) -> pa.Schema:
    """What of the table of images the ranking takes over."""
    every = images_schema(methods, columns)
    return pa.schema(
        [every.field(name) for name in ("image_id", "source", "index", *columns, *methods)] + [*WORST_REGION]
    )


def ranking_schema(methods: Sequence[str], columns: Sequence[str] = ()) -> pa.Schema:
    """One row a scored image, the one to review first on top."""
    return pa.schema(
        [
            pa.field("rank", pa.int64(), nullable=False),
            pa.field("percentile", pa.float64(), nullable=False),
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("source", pa.string(), nullable=False),
            pa.field("index", pa.int64(), nullable=False),
            *(pa.field(name, pa.string()) for name in columns),
            pa.field("ranked_by", pa.string(), nullable=False),
            pa.field("score", pa.float64(), nullable=False),  # the score ranked by
            *(pa.field(name, pa.float64()) for name in methods),
            *WORST_REGION,
        ]
    )


def hive_columns(sources: Sequence[DataSpec], methods: Sequence[str]) -> tuple[str, ...]:
    """The columns of a run's tables that the paths of the sources name. Raises DataError where the results have one of
    that name."""
    taken = (images_schema(methods), ranking_schema(methods), regions_schema())
    return path_columns(sources, {name for schema in taken for name in schema.names})


def path_columns(sources: Sequence[DataSpec], taken: Collection[str]) -> tuple[str, ...]:
    """The columns that the paths of the sources name. Raises DataError where one is ``taken``."""
    columns = tuple(dict.fromkeys(key for source in sources for key in source.partitions))
    for source in sources:
        for key, value in source.partitions.items():
            if key in taken:
                raise DataError(
                    f"the part {key}={value} of {source.url} would be a column {key!r}, which the results have already",
                    "two columns of one name cannot be told apart", "Rename that part of the path",
                )  # fmt: skip
    return columns


def write_table(folder: Folder, name: str, table: pa.Table, class_names: Sequence[str]) -> int:
    """Put a table as one Parquet object; answers its bytes. The same table gives the same bytes."""
    metadata = {**(table.schema.metadata or {}), b"masksift": json.dumps({"class_names": list(class_names)}).encode()}
    buffer = io.BytesIO()
    pq.write_table(
        table.replace_schema_metadata(metadata), buffer, compression="zstd", row_group_size=ROW_GROUP,
        write_statistics=True,
    )  # fmt: skip
    folder.write(name, buffer.getvalue())
    return buffer.tell()


def read_table(folder: Folder, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read one Parquet object. Raises FileNotFoundError where there is none."""
    data = folder.read(name)
    if data is None:
        raise FileNotFoundError(f"{folder.url}/{name}")
    # pq.read_table would import the whole dataset machinery first: a second, for one object. The calling thread reads
    # alone: a thread of Arrow's own that let go of ``data`` last, while the process ends, would abort it.
    file = pq.ParquetFile(pa.BufferReader(data))
    return file.read(columns=None if columns is None else list(columns), use_threads=False)


def read_each(
    folder: Folder, names: Sequence[str], columns: Sequence[str] | None = None, at_once: int = AT_ONCE
) -> Iterator[pa.Table]:
    """The named parts, one after the other, a few of them asked for (and held) at a time."""
    with ThreadPoolExecutor(at_once, thread_name_prefix="tables") as pool:
        for first in range(0, len(names), at_once):
            yield from pool.map(lambda name: read_table(folder, name, columns), names[first : first + at_once])


def parts_in(folder: Folder, table: str) -> list[str]:
    """The names of the parts of a table that is whole, in order."""
    return [f"{table}/{name}" for name in folder.names(table) if name.endswith(".parquet")]


def table_of(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table of a schema. Raises ValueError where a row lacks what may not be null."""
    return table_of_columns({name: [row.get(name) for row in rows] for name in schema.names}, schema)


def table_of_columns(columns: Mapping[str, Sequence[Any] | NDArray[Any]], schema: pa.Schema) -> pa.Table:
    """Columns of one length, by name, as a table of a schema. Raises ValueError where one lacks what may not be
    null."""
    arrays = [column(columns[field.name], field.type) for field in schema]
    for field, values in zip(schema, arrays, strict=True):
        if not field.nullable and values.null_count:
            raise ValueError(f"{values.null_count} of {len(values)} rows have no {field.name!r}")
    return pa.Table.from_arrays(arrays, schema=schema)


# Arrow's own conversions from and to Python import pandas first wherever it is installed: a second in every worker
# and in the client, for a few hundred rows. The two below go by Arrow's buffers, which are what numpy has.


def column(values: Sequence[Any] | NDArray[Any], kind: pa.DataType) -> pa.Array:
    """Values, None for null, as a column of strings (2 GiB of text at most), of numbers, or of lists of these, none of
    them null. Raises TypeError, ValueError or OverflowError where a value is not of that kind."""
    if pa.types.is_list(kind):
        ends = np.cumsum([0, *map(len, values)])
        numbers = np.concatenate(values) if len(values) and isinstance(values[0], np.ndarray) else list(chain(*values))
        flat = column(numbers, kind.value_type)
        return pa.ListArray.from_arrays(column(ends, pa.int32()), flat, type=kind)
    if isinstance(values, np.ndarray):
        return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(_as(values, kind))])
    known = np.array([value is not None for value in values], bool)
    if pa.types.is_string(kind):
        if not all(isinstance(value, str | None) for value in values):
            raise TypeError(
                f"a column of strings cannot hold {next(v for v in values if not isinstance(v, str | None))!r}"
            )
        texts = [b"" if value is None else value.encode() for value in values]
        offsets = np.cumsum([0, *map(len, texts)])
        if offsets[-1] > np.iinfo(np.int32).max:
            raise ValueError(f"{offsets[-1]} bytes of text are too many for one column of strings")
        data = [pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(b"".join(texts))]
    else:
        data = [pa.py_buffer(_as(np.array([0 if value is None else value for value in values]), kind))]
    return pa.Array.from_buffers(kind, len(values), [_bits(known), *data])


def floats(values: pa.ChunkedArray) -> NDArray[np.float64]:
    """A column of float64 as numbers, NaN where it is null."""
    return np.concatenate([np.empty(0), *map(_floats, values.chunks)])


def _floats(chunk: pa.Array) -> NDArray[np.float64]:
    known, data = chunk.buffers()
    span = slice(chunk.offset, chunk.offset + len(chunk))
    numbers = np.frombuffer(data, np.float64)[span]
    if known is None:
        return numbers
    return np.where(np.unpackbits(np.frombuffer(known, np.uint8), bitorder="little")[span], numbers, np.nan)


def integer_lists(values: pa.ChunkedArray) -> Iterator[NDArray[np.int32]]:
    """A column of lists of int32, none of them null, list by list: views of the column."""
    for chunk in values.chunks:
        if not len(chunk):
            continue
        ends = np.frombuffer(chunk.buffers()[1], np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
        data = chunk.values.buffers()[1]  # none where all lists are empty
        numbers = np.empty(0, np.int32) if data is None else np.frombuffer(data, np.int32)[chunk.values.offset :]
        for start, stop in pairwise(ends.tolist()):
            yield numbers[start:stop]


def _as(numbers: NDArray[Any], kind: pa.DataType) -> NDArray[Any]:
    """Numbers as those of a column, without loss."""
    cast = np.ascontiguousarray(numbers, dtype=kind.to_pandas_dtype())
    if not np.array_equal(cast, numbers, equal_nan=cast.dtype.kind == "f"):
        raise ValueError(f"a column of {kind} cannot hold {numbers[cast != numbers][0]!r}")
    return cast


def _bits(known: NDArray[np.bool_]) -> pa.Buffer | None:
    return None if known.all() else pa.py_buffer(np.packbits(known, bitorder="little"))
