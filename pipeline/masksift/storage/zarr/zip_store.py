"""Read Zarr stores in zip archives, local or remote, by range requests.

zarr's ZipStore reads local files only, one member at a time. Here the list of members is read once per process and
version of the archive; then each chunk is one request for a byte range of the archive, with the retries, the
concurrency and the prefetching of other stores.
"""

from __future__ import annotations

import os
import re
import struct
import zipfile
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import WrapperStore

from masksift.storage.clients import open_filesystem
from masksift.storage.files import open_file
from masksift.storage.urls import local_path

MAX_METADATA_BYTES = 64 << 20
"""Largest member that is read without a bound by an array's metadata."""
_HEADER_BYTES = 30
_EXTRA_BYTES = 64
"""Bytes by which the extra field of a member may be longer than in the list of members without a second request."""
_METADATA_NAMES = ("zarr.json", ".zgroup", ".zarray")
_ARCHIVE = re.compile(r"(.+?\.zip)(?:/(.*))?", re.IGNORECASE | re.DOTALL)


_CACHED_ARCHIVES = 16
_archives: dict[tuple[str, tuple[str, ...]], Mapping[str, Member]] = {}
"""Members of the last archives by URL and version: every block of a source opens its arrays again."""


class DamagedMemberError(ValueError):
    """A member of an archive cannot be read: it is damaged, encrypted, too large, or compressed in an unknown way."""


@dataclass(frozen=True, slots=True)
class Member:
    """Entry of an archive.

    Attributes:
        header: Position of its header in the archive.
        name_bytes: Bytes of its name and its extra field in the list of members.
        stored: Bytes in the archive.
        size: Bytes after decompression.
        method: Compression method.
        crc: CRC-32 of the decompressed bytes.
        encrypted: True if it is encrypted.
    """

    header: int
    name_bytes: int
    stored: int
    size: int
    method: int
    crc: int
    encrypted: bool


def split_archive_url(url: str) -> tuple[str, str] | None:
    """Split the URL of a node in a zip archive.

    Args:
        url: Any URL. A local directory whose name ends with `.zip` is no archive.

    Returns:
        The URL of the archive and the name of the node in it, or None.
    """
    path = local_path(url)
    match = _ARCHIVE.fullmatch(path or url)
    while match and path is not None and os.path.isdir(match[1]):
        match = re.compile(rf"({re.escape(match[1])}.+?\.zip)(?:/(.*))?", re.IGNORECASE | re.DOTALL).fullmatch(path)
    return None if match is None else (match[1], (match[2] or "").strip("/"))


def list_members(url: str, options: Mapping[str, Any]) -> Mapping[str, Member]:
    """Read the list of members of an archive.

    Args:
        url: URL of the archive.
        options: Storage options of S3.

    Returns:
        The members by name, without their common directory if the store is in one.

    Raises:
        ValueError: The file is not a zip archive. A missing one raises FileNotFoundError.
    """
    filesystem, path = open_filesystem(url, options)
    facts = filesystem.info(path)
    version = tuple(str(facts.get(key)) for key in ("size", "ETag", "etag", "mtime", "LastModified", "last_modified"))
    members = _archives.get((url, version))
    if members is None:
        for oldest in list(_archives)[:-_CACHED_ARCHIVES]:
            _archives.pop(oldest, None)
        members = _archives[url, version] = _read_members(url, options)
    return members


def _read_members(url: str, options: Mapping[str, Any]) -> Mapping[str, Member]:
    try:
        with open_file(url, options) as file:
            size = file.seek(0, os.SEEK_END)
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
    except (
        zipfile.BadZipFile,
        struct.error,
        ValueError,
        LookupError,
        EOFError,
        ArithmeticError,
        NotImplementedError,
    ) as e:
        raise ValueError(f"not a zip archive: {e}") from e
    members = {
        entry.filename.lstrip("/"): Member(
            entry.header_offset,
            len(entry.orig_filename.encode()) + len(entry.extra),
            entry.compress_size,
            entry.file_size,
            entry.compress_type,
            entry.CRC,
            bool(entry.flag_bits & 1),
        )
        for entry in entries
        if not entry.is_dir() and 0 <= entry.header_offset <= entry.header_offset + entry.compress_size <= size
    }
    top = {name.partition("/")[0] for name in members}
    if len(top) == 1 and not any(name in members for name in _METADATA_NAMES):
        return {name.partition("/")[2]: member for name, member in members.items()}
    return members


class ZipStore(WrapperStore[Store]):
    """Read-only store of a zip archive.

    Args:
        store: Store of the directory that contains the archive.
        name: Name of the archive.
        members: Its members.
        prefix: Name of a node in the archive; keys are relative to it.

    Attributes:
        max_bytes: Largest member that is read as a whole; None before an array's metadata are known.
    """

    def __init__(self, store: Store, name: str, members: Mapping[str, Member], prefix: str) -> None:
        super().__init__(store)
        self._name, self._members, self._prefix = name, members, prefix and f"{prefix}/"
        self._starts: dict[str, int] = {}
        self.max_bytes: int | None = None

    def _with_store(self, store: Store) -> ZipStore:
        return ZipStore(store, self._name, self._members, self._prefix.rstrip("/"))

    @property
    def supports_writes(self) -> bool:
        """Return False: archives are read-only."""
        return False

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return a member or a range of it. One that cannot be read raises DamagedMemberError."""
        key = self._prefix + key
        member = self._members.get(key)
        if member is None:
            return None
        if member.encrypted or member.method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DamagedMemberError("it is encrypted, or compressed with another method than deflate")
        if member.method == zipfile.ZIP_STORED and byte_range is not None:
            start, stop = byte_bounds(byte_range, member.stored)
            begin = await self._find_start(key, member, prototype)
            return await self._read(begin + start, begin + stop, prototype)
        limit = MAX_METADATA_BYTES if self.max_bytes is None else self.max_bytes
        if member.size > limit or member.stored > limit + limit // 8 + _EXTRA_BYTES:
            raise DamagedMemberError(f"it has {member.size:,} bytes, where at most {limit:,} are expected")
        data = await self._read_member(key, member, prototype)
        if byte_range is None:
            return data
        start, stop = byte_bounds(byte_range, len(data))
        return data[start:stop]

    async def _read_member(self, key: str, member: Member, prototype: BufferPrototype) -> Buffer:
        """Read a whole member in one request if the length of its header is as expected."""
        guess = member.header + _HEADER_BYTES + member.name_bytes + _EXTRA_BYTES
        answer = await self._read(member.header, guess + member.stored, prototype)
        start = self._remember_start(key, member, answer) - member.header
        data = answer[start : start + member.stored]
        if len(data) < member.stored:
            data = await self._read(member.header + start, member.header + start + member.stored, prototype)
        if member.method == zipfile.ZIP_DEFLATED:
            try:
                inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data.as_numpy_array().data, member.size + 1)
            except zlib.error as e:
                raise DamagedMemberError(str(e)) from e
            data = prototype.buffer.from_bytes(inflated)
        if len(data) != member.size or zlib.crc32(data.as_numpy_array().data) != member.crc:
            raise DamagedMemberError("its checksum or its size in the archive is wrong")
        return data

    async def _find_start(self, key: str, member: Member, prototype: BufferPrototype) -> int:
        """Return the position of a member's bytes; its header is read once."""
        if key not in self._starts:
            self._remember_start(key, member, await self._read(member.header, member.header + _HEADER_BYTES, prototype))
        return self._starts[key]

    def _remember_start(self, key: str, member: Member, header: Buffer) -> int:
        data = header[:_HEADER_BYTES].to_bytes()
        if len(data) < _HEADER_BYTES or data[:4] != b"PK\x03\x04":
            raise DamagedMemberError("its header in the archive is damaged")
        self._starts[key] = member.header + _HEADER_BYTES + sum(struct.unpack("<HH", data[26:30]))
        return self._starts[key]

    async def _read(self, start: int, stop: int, prototype: BufferPrototype) -> Buffer:
        if stop <= start:
            return prototype.buffer.from_bytes(b"")
        answer = await self._store.get(self._name, prototype, RangeByteRequest(start, stop))
        if answer is None:
            raise FileNotFoundError(self._name)
        return answer

    async def exists(self, key: str) -> bool:
        """Return whether a member exists."""
        return self._prefix + key in self._members

    async def list(self) -> AsyncIterator[str]:
        """Yield all keys."""
        for key in self._keys(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield the keys that begin with a prefix."""
        for key in self._keys(prefix):
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names directly below a prefix."""
        directory = prefix.rstrip("/") and f"{prefix.rstrip('/')}/"
        for name in dict.fromkeys(key.removeprefix(directory).partition("/")[0] for key in self._keys(directory)):
            yield name

    def _keys(self, prefix: str) -> Iterator[str]:
        start = self._prefix + prefix
        return (key.removeprefix(self._prefix) for key in self._members if key.startswith(start))


def byte_bounds(byte_range: ByteRequest, size: int) -> tuple[int, int]:
    """Return start and stop of a range of an object."""
    if isinstance(byte_range, RangeByteRequest):
        return min(byte_range.start, size), min(byte_range.end, size)
    if isinstance(byte_range, SuffixByteRequest):
        return max(0, size - byte_range.suffix), size
    assert isinstance(byte_range, OffsetByteRequest)
    return min(byte_range.offset, size), size
