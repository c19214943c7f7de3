"""Tables that travel between tasks of a run: Arrow streams, several of which may follow each other in one object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from masksift.core.limits import MAX_CONCURRENT_REQUESTS
from masksift.storage.objects import ObjectDirectory


def pack_table(table: pa.Table) -> bytes:
    """Serialize a table as an Arrow stream, compressed with zstd. Equal tables give equal bytes."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
    with pa.ipc.new_stream(sink, table.schema, options=options) as stream:
        stream.write_table(table.combine_chunks())
    data: bytes = sink.getvalue().to_pybytes()
    return data


def iter_packed_tables(data: bytes) -> Iterator[pa.Table]:
    """Yield the tables of consecutive Arrow streams."""
    reader, options = pa.BufferReader(data), pa.ipc.IpcReadOptions(use_threads=False)
    while reader.tell() < len(data):
        yield pa.ipc.open_stream(reader, options=options).read_all()


def join_tables(tables: Sequence[pa.Table]) -> pa.Table:
    """Concatenate tables of one schema, each column as one array."""
    return pa.concat_tables(tables).combine_chunks()


def read_ranges(directory: ObjectDirectory, names: Sequence[str], ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
    """Yield a byte range of each object, in order; empty ranges are not read."""

    def read(name: str, start: int, stop: int) -> bytes:
        return directory.read_range(name, start, stop) if start < stop else b""

    with ThreadPoolExecutor(MAX_CONCURRENT_REQUESTS, thread_name_prefix="segments") as pool:
        yield from pool.map(read, names, *zip(*ranges, strict=True))


def read_segments(
    directory: ObjectDirectory, names: Sequence[str], ranges: Sequence[tuple[int, int]]
) -> Iterator[pa.Table]:
    """Yield the tables in a byte range of each object, in order; empty ranges are not read."""
    for data in read_ranges(directory, names, ranges):
        yield from iter_packed_tables(data)
