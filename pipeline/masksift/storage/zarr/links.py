"""Read arrays whose chunks are byte ranges of other files, such as `.npy`: predictions without a second copy.

Such a linked array has metadata like any other, and the attribute `masksift_links`. In place of chunks it has the
tables `links/00000000.parquet`, ... with one row per chunk along the first axis: URL of the file, position and size of
the bytes in it, and size and version of the whole file. A table holds a fixed number of rows, so that a worker reads
those of its images only.
"""

from __future__ import annotations

import asyncio
import io
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from zarr.abc.store import ByteRequest, RangeByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.storage import LocalStore, WrapperStore

from masksift.storage.credentials import cloud_of
from masksift.storage.urls import local_path, split_url
from masksift.storage.zarr.zip_store import DamagedMemberError, ZipStore, byte_bounds

LINKS = "links"
"""Directory of the tables below the array."""
ATTRIBUTE = "masksift_links"
LINKS_PER_TABLE = 4096
_MAX_LINKS_PER_TABLE = 1 << 16
_MAX_TABLE_BYTES = 64 << 20
_CACHED_TABLES = 4
_MARGIN_BYTES = 1 << 20
"""Bytes by which a member of an archive may exceed its values: header and growth of incompressible data."""
_PIECE_BYTES = 1 << 20
"""Bytes that are read or inflated at once."""
_CHUNK_KEY = re.compile(r"c/(\d+)(?:/0)*")

SCHEMA = pa.schema(
    [
        ("url", pa.string()),
        ("offset", pa.int64()),
        ("stored", pa.int64()),
        ("file_size", pa.int64()),
        ("version", pa.string()),
        ("member_size", pa.int64()),
        ("member_header", pa.int64()),
        ("member_crc", pa.uint32()),
        ("deflated", pa.bool_()),
    ]
)


@dataclass(frozen=True, slots=True)
class LinkedMember:
    """Member of an `.npz` file.

    Attributes:
        size: Decompressed bytes.
        header: Bytes before the values, of the format `.npy`.
        crc: CRC-32 of the decompressed bytes.
        deflated: True if it is compressed.
    """

    size: int
    header: int
    crc: int
    deflated: bool


@dataclass(frozen=True, slots=True)
class Link:
    """Location of a chunk in a file.

    Attributes:
        url: URL of the file; the path of a local one is absolute.
        offset: Position of the values, or of the member that holds them.
        stored: Bytes from there on.
        file_size: Bytes of the file.
        version: Version of the file, see `fingerprint.iter_objects`.
        member: Member of an archive; None if the values are stored as they are.
    """

    url: str
    offset: int
    stored: int
    file_size: int
    version: str
    member: LinkedMember | None = None

    @property
    def buffer_bytes(self) -> int:
        """Bytes after decompression."""
        return self.stored if self.member is None else self.member.size


@dataclass(frozen=True)
class LinkSettings:
    """Value of the attribute of a linked array.

    Attributes:
        rows: Links per table.
        places: Buckets or hosts of the files; none for local ones.
    """

    rows: int
    places: tuple[str, ...]

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> LinkSettings | None:
        """Read the attributes of an array. Returns None if it is not linked; raises ValueError for an invalid value."""
        value = attributes.get(ATTRIBUTE)
        if value is None:
            return None
        rows, places = (value.get("rows"), value.get("places")) if isinstance(value, Mapping) else (None, None)
        if not isinstance(rows, int) or not 1 <= rows <= _MAX_LINKS_PER_TABLE or not isinstance(places, list):
            raise ValueError(f"{ATTRIBUTE} is {value!r}, which lacks the rows of a table or the places of the files")
        return cls(rows, tuple(map(str, places)))


def table_name(number: int) -> str:
    """Return the name of a table of links, relative to the array."""
    return f"{LINKS}/{number:08d}.parquet"


def pack_links(links: Iterable[Link]) -> bytes:
    """Encode a table of links."""
    columns: list[list[Any]] = [[] for _ in SCHEMA]
    for link in links:
        member = link.member
        inside = (None,) * 4 if member is None else (member.size, member.header, member.crc, member.deflated)
        row = (link.url, link.offset, link.stored, link.file_size, link.version, *inside)
        for column, value in zip(columns, row, strict=True):
            column.append(value)
    file = io.BytesIO()
    table = pa.table([pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], SCHEMA)
    pq.write_table(table, file, compression="zstd")
    return file.getvalue()


class LinkTable:
    """Table of links. Rows are decoded when they are read: a worker reads a few of thousands.

    Args:
        data: Encoded table.

    Raises:
        DamagedMemberError: The table is damaged.
    """

    def __init__(self, data: Buffer | bytes) -> None:
        if len(data) > _MAX_TABLE_BYTES:
            raise DamagedMemberError(f"its table of files has {len(data):,} bytes")
        try:
            file = pq.ParquetFile(pa.BufferReader(data if isinstance(data, bytes) else data.to_bytes()))
            if file.metadata.num_rows > _MAX_LINKS_PER_TABLE:
                raise DamagedMemberError(f"its table of files has {file.metadata.num_rows:,} rows")
            self._table = table = file.read(SCHEMA.names).cast(SCHEMA)
        except (pa.ArrowException, ValueError, KeyError, OSError) as e:
            raise DamagedMemberError(f"its table of files cannot be read, {e}") from e
        members = pc.is_valid(table["member_size"])
        incomplete = any(not pc.is_valid(table[name]).equals(members) for name in SCHEMA.names[6:])
        if incomplete or any(table[name].null_count for name in SCHEMA.names[:5]):
            raise DamagedMemberError("its table of files lacks values")

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __getitem__(self, row: int) -> Link:
        return _make_link(self._table.slice(row, 1).to_pylist()[0])

    def files(self) -> Iterator[tuple[str, int, str]]:
        """Yield URL, size and version of the file of each row."""
        return zip(*(self._table[name].to_pylist() for name in ("url", "file_size", "version")), strict=True)


def _make_link(row: Mapping[str, Any]) -> Link:
    member = None
    if row["member_size"] is not None:
        member = LinkedMember(row["member_size"], row["member_header"], row["member_crc"], row["deflated"])
    return Link(row["url"], row["offset"], row["stored"], row["file_size"], row["version"], member)


def file_version(stat: os.stat_result) -> str:
    """Return the version of a local file."""
    return str(stat.st_mtime_ns)


def decode_values(link: Link, pieces: Iterable[NDArray[np.uint8]], buffer: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the values of a chunk.

    Args:
        link: Location of the chunk.
        pieces: Bytes at that location, in order.
        buffer: Memory for `link.buffer_bytes`.

    Returns:
        The values, a view of the buffer.

    Raises:
        DamagedMemberError: The file has other bytes than when it was linked.
    """
    data, member = buffer[: link.buffer_bytes], link.member
    inflate = zlib.decompressobj(-zlib.MAX_WBITS) if member is not None and member.deflated else None
    position = 0

    def append(part: NDArray[np.uint8]) -> None:
        nonlocal position
        if position + len(part) > len(data):
            raise DamagedMemberError(f"the array in {link.url} has more bytes than when it was linked")
        data[position : position + len(part)] = part
        position += len(part)

    try:
        for piece in pieces:
            if inflate is None:
                append(piece)
                continue
            rest: Any = piece.data
            while len(rest) and not inflate.eof:
                append(np.frombuffer(inflate.decompress(rest, _PIECE_BYTES), np.uint8))
                rest = inflate.unconsumed_tail
        if inflate is not None:
            append(np.frombuffer(inflate.flush(), np.uint8))
    except zlib.error as e:
        raise DamagedMemberError(f"{link.url}: {e}") from e
    return check_values(link, data[:position])


def check_values(link: Link, data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the values in the decoded bytes of a link, after a check of their size and checksum."""
    if len(data) != link.buffer_bytes:
        raise DamagedMemberError(f"{link.url} ends before its array does")
    if link.member is None:
        return data
    if zlib.crc32(data.data) != link.member.crc:
        raise DamagedMemberError(f"the checksum of the array in {link.url} is wrong")
    return data[link.member.header :]


class LinkedStore(WrapperStore[Store]):
    """Read-only store of a linked array.

    Args:
        store: Store of the array, with its metadata and tables.
        settings: Attribute of the array.
        chunk_bytes: Bytes of a chunk.
        open_place: Opens the store of a bucket or a directory.
    """

    def __init__(
        self, store: Store, settings: LinkSettings, chunk_bytes: int, open_place: Callable[[str], Store]
    ) -> None:
        super().__init__(store)
        self._settings, self._chunk_bytes, self._open_place = settings, chunk_bytes, open_place
        self._tables: dict[int, LinkTable] = {}
        self._places: dict[str, Store] = {}
        self._lock = asyncio.Lock()

    def _with_store(self, store: Store) -> LinkedStore:
        return LinkedStore(store, self._settings, self._chunk_bytes, self._open_place)

    @property
    def supports_writes(self) -> bool:
        """Return False: the files are the user's."""
        return False

    @property
    def local(self) -> bool:
        """True if chunks are read from a local disk."""
        return not self._settings.places

    @property
    def places(self) -> Sequence[Store]:
        """Stores of the array and of the files."""
        return (self._store, *self._places.values())

    def cached_link(self, key: str) -> Link | None:
        """Return the location of a chunk if its table was read before."""
        match = _CHUNK_KEY.fullmatch(key)
        if match is None:
            return None
        table, row = divmod(int(match[1]), self._settings.rows)
        links = self._tables.get(table)
        return self._checked(links[row]) if links is not None and row < len(links) else None

    async def find_link(self, key: str) -> Link | None:
        """Return the location of a chunk; None for keys of no chunk."""
        match = _CHUNK_KEY.fullmatch(key)
        if match is None:
            return None
        table, row = divmod(int(match[1]), self._settings.rows)
        async with self._lock:
            if table not in self._tables:
                await self._read_table(table)
        if row >= len(self._tables[table]):
            raise DamagedMemberError("its table of files has no row for it")
        return self._checked(self._tables[table][row])

    async def _read_table(self, number: int) -> None:
        data = await self._store.get(table_name(number), default_buffer_prototype())
        if data is None:
            raise DamagedMemberError(f"its table of files, {table_name(number)}, does not exist")
        for oldest in list(self._tables)[: max(0, len(self._tables) - _CACHED_TABLES + 1)]:
            del self._tables[oldest]
        self._tables[number] = LinkTable(data)

    def _checked(self, link: Link) -> Link:
        """Refuse a location that needs more memory than a chunk, or whose values are no chunk."""
        size, member = self._chunk_bytes, link.member
        values = link.stored if member is None else member.size - member.header
        if values != size or link.offset < 0 or link.stored > size + size // 8 + _MARGIN_BYTES:
            raise DamagedMemberError(f"its table of files gives it {values:,} bytes, a chunk has {size:,}")
        if member is not None and not 0 <= member.header <= _MARGIN_BYTES:
            raise DamagedMemberError(f"its table of files gives it a header of {member.header:,} bytes")
        return link

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return a chunk or a range of it, or an object of the array itself.

        A file that has changed since it was linked raises DamagedMemberError; a missing one is a missing chunk.
        """
        link = await self.find_link(key)
        if link is None:
            return await self._store.get(key, prototype, byte_range)
        if (path := local_path(link.url)) is not None:
            buffer = np.empty(link.buffer_bytes, np.uint8)
            values = await asyncio.to_thread(read_values, path, link, buffer)
        else:
            values = await self._read_remote(link, prototype)
        if values is None:
            return None
        value = prototype.buffer.from_array_like(values)
        if byte_range is None:
            return value
        start, stop = byte_bounds(byte_range, len(value))
        return value[start:stop]

    async def _read_remote(self, link: Link, prototype: BufferPrototype) -> NDArray[np.uint8] | None:
        place, name = split_place(link.url)
        if place not in self._places:
            self._places[place] = self._open_place(place)
        store, span = self._places[place], RangeByteRequest(link.offset, link.offset + link.stored)
        read_version = getattr(store, "get_version", None)
        if read_version is not None and link.version.startswith('"'):  # an ETag
            value = await read_version(name, prototype, span, link.version)
        else:
            value = await store.get(name, prototype, span)
        if value is None:
            return None
        data = value.as_numpy_array()
        if link.member is None or not link.member.deflated:
            return check_values(link, data)
        buffer = np.empty(link.buffer_bytes, np.uint8)
        return await asyncio.to_thread(decode_values, link, [data], buffer)


def read_values(path: str, link: Link, buffer: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Read the values of a chunk from a local file.

    Args:
        path: Path of the file.
        link: Location of the chunk.
        buffer: Memory for `link.buffer_bytes`.

    Returns:
        The values, a view of the buffer; None if there is no such file.

    Raises:
        DamagedMemberError: The file has changed since it was linked.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            stat = os.fstat(file.fileno())
            if (stat.st_size, file_version(stat)) != (link.file_size, link.version):
                error = changed_file(link.url)
                raise error
            file.seek(link.offset)
            if link.member is not None and link.member.deflated:
                return decode_values(link, _iter_pieces(file, link.stored), buffer)
            return check_values(link, _fill(file, buffer[: link.stored]))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None


def _iter_pieces(file: io.FileIO, size: int) -> Iterator[NDArray[np.uint8]]:
    """Yield the next bytes of a file in pieces, in one buffer."""
    buffer = np.empty(min(size, _PIECE_BYTES), np.uint8)
    while size and len(piece := _fill(file, buffer[:size])):
        yield piece
        size -= len(piece)


def _fill(file: io.FileIO, buffer: NDArray[np.uint8]) -> NDArray[np.uint8]:
    filled = 0
    while filled < len(buffer) and (count := file.readinto(buffer[filled:].data)):
        filled += count
    return buffer[:filled]


def changed_file(url: str) -> DamagedMemberError:
    """Make the error for a file that has changed."""
    return DamagedMemberError(f"{url} has changed since it was linked")


def split_place(url: str) -> tuple[str, str]:
    """Split the URL of a remote file into that of its bucket, or of its directory elsewhere, and its name there."""
    if cloud_of(url):
        scheme, _, rest = url.partition("://")
        bucket, _, name = rest.partition("/")
        return f"{scheme}://{bucket}", name
    return split_url(url)


def place_of(url: str) -> str | None:
    """Return the bucket or host of a remote file, None for a local one."""
    if local_path(url) is not None:
        return None
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


def is_local_store(store: Store) -> bool:
    """Return whether a store reads from a local disk."""
    if isinstance(store, LinkedStore):
        return store.local and is_local_store(store._store)
    return isinstance(store._store if isinstance(store, ZipStore) else store, LocalStore)
