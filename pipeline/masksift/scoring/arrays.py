"""Arrays of other libraries: torch, CuPy, JAX, Dask, or anything with ``__array__`` or ``__dlpack__``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_HOST_DEVICES = (1, 3, 11)
"""DLPack's numbers of main memory: ordinary, and pinned for CUDA and ROCm."""


def dtype_name(value: Any) -> str:
    """Return the name of the dtype that `to_numpy` gives an array: numpy has no bfloat16."""
    name = _own_dtype_name(value)
    return "float32" if name == "bfloat16" else name


def is_on_device(value: Any) -> bool:
    """Return whether an array is in the memory of an accelerator."""
    return hasattr(value, "__dlpack_device__") and int(value.__dlpack_device__()[0]) not in _HOST_DEVICES


def to_numpy(value: Any) -> NDArray[Any]:
    """Convert an array of any library to numpy, without a copy if it is in main memory.

    Args:
        value: The array. Gradients are left behind, and a Dask array is computed.

    Returns:
        A numpy array: float32 for bfloat16, with its mask for `numpy.ma`.
    """
    value = detach(value)
    if not isinstance(value, np.ndarray) and hasattr(value, "compute"):  # Dask, whose __array__ drops masks
        value = value.compute()
    if is_on_device(value):
        value = _copy_to_host(value)
    if _own_dtype_name(value) == "bfloat16":
        value = value.float() if hasattr(value, "float") else np.asarray(value).astype(np.float32)
    if isinstance(value, np.ndarray):
        return value
    return np.asarray(value) if hasattr(value, "__array__") else np.from_dlpack(value)


def detach(value: Any) -> Any:
    """Return a tensor without its gradient; anything else as it is."""
    return value.detach() if hasattr(value, "detach") else value


def image_at(array: Any, i: int | slice) -> Any:
    """Return element ``i`` of the first axis, or a slice."""
    return array[i, ...] if hasattr(array, "__array_namespace__") else array[i]  # the standard wants the ellipsis


def _own_dtype_name(value: Any) -> str:
    dtype = getattr(value, "dtype", None)
    return str(getattr(dtype, "name", dtype)).rpartition(".")[2]


def _copy_to_host(value: Any) -> Any:
    for method in ("cpu", "get"):  # torch, CuPy
        if hasattr(value, method):
            return getattr(value, method)()
    try:
        return np.from_dlpack(value, device="cpu")
    except (BufferError, TypeError, ValueError, NotImplementedError):  # an export to its own device only, as by JAX
        return np.asarray(value)
