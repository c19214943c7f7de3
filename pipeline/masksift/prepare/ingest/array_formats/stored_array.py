"""Arrays inside files: where their values are and what they mean, so that one image can be read without the others."""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError, MasksiftError
from masksift.storage.files import open_file

_VALUES_AT_ONCE = 1 << 20
_ARCHIVE_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError)
"""Errors of zipfile for damaged, unsupported and encrypted members."""


@dataclass(frozen=True, slots=True)
class StoredArray:
    """Location of an array.

    Attributes:
        url: URL of the file.
        shape: Shape.
        dtype: Dtype of the values as they are read.
        offset: Bytes before the first value, of the file or of its archive member.
        strides: Values between neighbors along each axis; None in C order.
        member: Member of a zip archive, or None.
        member_start: Position of the member in the file if it is not compressed, else -1.
        bfloat16: The file holds the upper 16 bits of each float32.
        text_bytes: Size of the text in the file if the values are Latin-1 characters in UTF-8, else 0.
        text_skip: Bytes of the decoded text before the first value.
        name: Name or index in a file of several arrays, else "".
    """

    url: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    strides: tuple[int, ...] | None = None
    member: str | None = None
    member_start: int = -1
    bfloat16: bool = False
    text_bytes: int = 0
    text_skip: int = 0
    name: str | int = ""

    @property
    def location(self) -> str:
        """Description for messages."""
        if self.name == "":
            return self.url
        return f"{f'image {self.name}' if isinstance(self.name, int) else self.name} of {self.url}"

    @property
    def order(self) -> Literal["C", "F"] | None:
        """Order of the values in the file, None with other strides."""
        if self.strides is None or self.strides == c_strides(self.shape):
            return "C"
        return "F" if self.strides[::-1] == c_strides(self.shape[::-1]) else None

    @property
    def stored_itemsize(self) -> int:
        """Bytes of a value in the file."""
        return 2 if self.bfloat16 else self.dtype.itemsize

    @property
    def span(self) -> int:
        """Number of values from the first to the last one in the file."""
        if self.strides is None or 0 in self.shape:
            return math.prod(self.shape)
        return 1 + sum((length - 1) * stride for length, stride in zip(self.shape, self.strides, strict=True))

    def transpose(self, axes: Sequence[int]) -> StoredArray:
        """Return the array with its axes in another order."""
        strides = self.strides or c_strides(self.shape)
        return replace(self, shape=tuple(self.shape[i] for i in axes), strides=tuple(strides[i] for i in axes))

    def images(self) -> Iterator[StoredArray]:
        """Yield the arrays along the first axis. Raises DataError if they cannot be read one at a time."""
        strides = self.strides or c_strides(self.shape)
        one = replace(self, shape=self.shape[1:], strides=None if self.strides is None else strides[1:])
        is_compressed = self.member is not None and self.member_start < 0
        if is_compressed or self.text_bytes or one.span > 2 * math.prod(one.shape):
            reason = "is compressed" if is_compressed else "is not in C order"
            raise DataError(
                f"{self.location} has the shape {self.shape} and {reason}",
                "Its images cannot be read one at a time",
                "Write one file per image, or all as one .npy with numpy.ascontiguousarray",
            )
        start = self.offset + max(self.member_start, 0)
        for i in range(self.shape[0]):
            offset = start + i * strides[0] * self.stored_itemsize
            yield replace(one, offset=offset, member=None, member_start=-1, name=i)

    def read(self, options: Mapping[str, Any]) -> NDArray[Any]:
        """Read the values, and no others of the file; DataError if the file ends before."""
        with format_errors(self.url), _open(self, options) as file:
            flat = np.empty(self.span, self.dtype)
            raw = flat.view(np.uint8)[flat.nbytes - self.span * self.stored_itemsize :]
            stream = io.BytesIO(self._decode(file)) if self.text_bytes else file
            if _read_into(stream, raw) < raw.nbytes:
                raise ValueError(f"it ends before {self.location} does")
            if self.bfloat16:
                _expand(flat)
        if self.strides is None:
            return flat.reshape(self.shape)
        steps = tuple(stride * self.dtype.itemsize for stride in self.strides)
        return np.lib.stride_tricks.as_strided(flat, self.shape, steps, writeable=False)

    def _decode(self, file: BinaryIO) -> bytes:
        return file.read(self.text_bytes).decode().encode("latin-1")[self.text_skip :]


def c_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the values between neighbors along each axis in C order."""
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


def check_inside(array: StoredArray, size: int) -> StoredArray:
    """Return an array whose values are inside a file of ``size`` bytes; ValueError for others, before any is read."""
    values = array.span * array.stored_itemsize
    if array.text_bytes and values > array.text_bytes:
        raise ValueError(f"{array.location} of shape {array.shape} has {array.text_bytes:,} bytes")
    end = array.offset + (array.text_bytes or values)
    if array.offset < 0 or min(array.shape, default=0) < 0 or min(array.strides or (0,)) < 0 or end > size:
        raise ValueError(f"{array.location} of shape {array.shape} ends at byte {end:,} of {size:,}")
    return array


@contextmanager
def format_errors(url: str) -> Iterator[None]:
    """Raise errors of a file format as a DataError with the URL."""
    try:
        yield
    except MasksiftError:
        raise
    except (OSError, ValueError, EOFError, LookupError, OverflowError, *_ARCHIVE_ERRORS) as e:
        raise DataError(
            f"{url} cannot be read as an array ({str(e).rstrip('.')})",
            "Write it again, or remove it from the directory",
        ) from e


@contextmanager
def _open(array: StoredArray, options: Mapping[str, Any]) -> Iterator[BinaryIO]:
    """Open the file, or the member, of an array at its first value."""
    with open_file(array.url, options) as file:
        if array.member is None:
            size = file.seek(0, 2)
            check_inside(array, size)
            file.seek(array.offset)
            yield file
            return
        with zipfile.ZipFile(file) as archive, archive.open(array.member) as member:
            check_inside(array, archive.getinfo(array.member).file_size)
            member.read(array.offset)  # a seek could skip bytes that its checksum covers
            yield member  # type: ignore[misc]


def _read_into(file: BinaryIO, buffer: NDArray[np.uint8]) -> int:
    """Fill a buffer, of which a file may read less at a time, and return the number of bytes."""
    view, filled = buffer.data, 0
    while filled < len(view) and (count := file.readinto(view[filled:])):  # type: ignore[attr-defined]
        filled += count
    return filled


def _expand(values: NDArray[np.float32]) -> None:
    """Convert bfloat16 in the second half of a buffer of float32 in place, from the first value on."""
    halves = values.view(np.uint16)
    stored = halves[values.size :]
    words = values.view(np.uint32)
    for start in range(0, values.size, _VALUES_AT_ONCE):
        some = slice(start, min(start + _VALUES_AT_ONCE, values.size))
        words[some] = stored[some].astype(np.uint32) << 16
