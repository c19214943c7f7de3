"""`.npy` and `.npz`: their headers, whole files, and single images out of arrays that are larger than memory."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from masksift.core.errors import DataError, MasksiftError
from masksift.storage.files import open_file

ARRAYS = (".npy", ".npz")
NAMES = ("predictions", "pred_probs", "probs", "logits")
"""What the array of predictions is called in an `.npz` of several."""


@dataclass(frozen=True)
class Header:
    """What an array says of itself. ``offset``: bytes before its values; ``fortran``: whether its first axis lies
    together."""

    shape: tuple[int, ...]
    dtype: str
    offset: int = 0
    fortran: bool = False


def header_of(url: str, options: Mapping[str, Any]) -> Header:
    """The header of the array in a file; nothing else of it is read. Raises DataError."""
    with _opened(url, options) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
        if dtype.hasobject:
            raise ValueError("it holds Python objects, which may be programs")
        return Header(shape, dtype.str, file.tell(), fortran)


def read_array(url: str, options: Mapping[str, Any]) -> NDArray[Any]:
    """The whole array of a file. Raises DataError."""
    with _opened(url, options) as file:
        found: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        return found


def read_image(url: str, header: Header, number: int, options: Mapping[str, Any]) -> NDArray[Any]:
    """The values of one place of the first axis; those of no other are read. Raises DataError where the file ends
    before them."""
    shape, dtype = header.shape[1:], np.dtype(header.dtype)
    size = math.prod(shape) * dtype.itemsize
    values = np.empty(size, np.uint8)
    with open_file(url, options) as file:
        file.seek(header.offset + number * size)
        if file.readinto(values.data) != size:  # type: ignore[attr-defined]
            raise DataError(
                f"{url} ends before image {number} of {header.shape[0]}", "its values are lost", "Copy it again"
            )
    return values.view(dtype).reshape(shape)


@contextmanager
def _opened(url: str, options: Mapping[str, Any]) -> Iterator[BinaryIO]:
    """The bytes of the array, of an archive too; what is no array is said with the file."""
    try:
        with open_file(url, options) as file:
            if not url.lower().endswith(".npz"):
                yield file
                return
            with zipfile.ZipFile(file) as archive, archive.open(_member(archive, url)) as member:
                yield member  # type: ignore[misc]
    except MasksiftError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as e:
        raise DataError(
            f"{url} cannot be read as an array ({str(e).rstrip('.')})",
            "its values are not known",
            "Write it again with numpy.save, or take it out of the folder",
        ) from e


def _member(archive: zipfile.ZipFile, url: str) -> str:
    names = [name.removesuffix(".npy") for name in archive.namelist()]
    wanted = names if len(names) == 1 else [name for name in NAMES if name in names]
    if not wanted:
        raise DataError(
            f"{url} holds the arrays {', '.join(names)}",
            "which of them are the predictions is not known",
            f"Call it {NAMES[0]}, or save it alone",
        )
    return f"{wanted[0]}.npy"
