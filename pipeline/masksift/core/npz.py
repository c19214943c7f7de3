"""Serialize named arrays as npz archives that any number of threads may read."""

from __future__ import annotations

import io
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HEADER_LOCK = Lock()
"""Held while numpy parses the headers of arrays.

It parses them with `ast`, which raises SystemError in CPython 3.11 if another thread parses at the same time. Threads
take turns within a header where the garbage collector has callbacks, as in Dask's workers.
"""


def pack_arrays(**arrays: Any) -> bytes:
    """Serialize named arrays, or numbers and texts as arrays of no dimension."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def unpack_arrays(data: bytes) -> dict[str, NDArray[Any]]:
    """Return the arrays of an npz archive by name."""
    with _HEADER_LOCK, np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
