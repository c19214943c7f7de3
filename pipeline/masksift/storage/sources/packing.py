"""Read the attributes of the CF conventions with which xarray packs an array."""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import zarr

from masksift.core.errors import DataError
from masksift.core.specs import Packing

_DIMENSIONS = "_ARRAY_DIMENSIONS"
_MISSING = ("_FillValue", "missing_value")
PACKING_ATTRIBUTES = ("scale_factor", "add_offset", "_Unsigned", *_MISSING)


def read_packing(url: str, name: str, array: zarr.Array[Any]) -> Packing | None:
    """Read the packing of an array of numbers from its own attributes, as xarray writes them.

    Zarr's fill value is no missing value, except where xarray stores `_FillValue` as such: in Zarr format 2.

    Args:
        url: URL of the group, for messages.
        name: Name of the array, for messages.
        array: The array.

    Returns:
        The packing, or None if the stored numbers are the values and none of them is missing. An attribute that
        cannot be honored raises DataError with its name.
    """
    attributes = {key: value for key, value in array.attrs.asdict().items() if value is not None}
    place = f"{name!r} of {url}"
    dtype = _read_dtype(place, array.dtype, attributes)
    scale_factor = _read_factor(place, attributes, dtype)
    add_offset = _read_number(place, attributes, "add_offset") or 0.0
    missing = {number for key in _MISSING for number in _read_missing(place, attributes, key, dtype)}
    missing |= _fill_value_of_xarray(array, attributes, dtype)
    packing = Packing(dtype.name, scale_factor, add_offset, tuple(sorted(missing)))
    return None if packing == Packing(array.dtype.name) else packing


def describe_packing(packing: Packing) -> str:
    """Return the attributes that make a packing, as text."""
    parts = [] if packing.scale_factor is None else [f"scale_factor {packing.scale_factor:g}"]
    parts += [f"add_offset {packing.add_offset:g}"] if packing.add_offset else []
    parts += [f"_FillValue {', '.join(f'{number:g}' for number in packing.missing)}"] if packing.missing else []
    return " and ".join(parts) or f"_Unsigned, read as {packing.dtype}"


def _read_dtype(place: str, dtype: np.dtype[Any], attributes: Mapping[str, Any]) -> np.dtype[Any]:
    """Return the dtype in which stored numbers are read: `_Unsigned` changes the sign of integers."""
    native = dtype.newbyteorder("=")
    value = attributes.get("_Unsigned")
    if value is None:
        return native
    if str(value).lower() not in ("true", "false"):
        raise _refused(place, "_Unsigned", value, "It must be 'true' or 'false'", "Write one of them, or remove it")
    if native.kind not in "iu":
        raise _refused(place, "_Unsigned", value, f"Only integers have it, not {native}", "Remove the attribute")
    return np.dtype(f"{'uint' if str(value).lower() == 'true' else 'int'}{8 * native.itemsize}")


def _read_factor(place: str, attributes: Mapping[str, Any], dtype: np.dtype[Any]) -> float | None:
    factor = _read_number(place, attributes, "scale_factor")
    if factor == 0:
        raise _refused(place, "scale_factor", 0, "Every value would be the same", "Write the factor of the packing")
    return None if dtype.kind == "f" and factor == 1 else factor


def _read_number(place: str, attributes: Mapping[str, Any], key: str) -> float | None:
    value = attributes.get(key)
    if value is None:
        return None
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise _refused(place, key, value, "It must be a finite number", "Write the number, or remove the attribute")
    return float(value)


def _read_missing(place: str, attributes: Mapping[str, Any], key: str, dtype: np.dtype[Any]) -> set[float]:
    """Return the finite numbers of an attribute: a number, several, or in Zarr format 3 base64 of a float64."""
    if key not in attributes:
        return set()
    value = attributes[key]
    values = value if isinstance(value, list) else [value]
    try:
        return _stored_numbers([_decode_number(entry) for entry in values], dtype, attributes)
    except (TypeError, ValueError, OverflowError, struct.error, binascii.Error) as e:
        raise _refused(
            place, key, value, f"It is no number that {dtype} can store", "Correct it, or remove the attribute"
        ) from e


def _decode_number(value: Any) -> float:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return float(struct.unpack("<d", base64.standard_b64decode(value))[0])
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} is no number")
    return value


def _stored_numbers(values: list[float], dtype: np.dtype[Any], attributes: Mapping[str, Any]) -> set[float]:
    """Return finite values as the array stores them. The others need no mark: no finite value is expected there."""
    finite = [value for value in values if math.isfinite(value)]
    if dtype.kind == "f":
        return set(np.array(finite, dtype).tolist())
    numbers = {int(value) for value in finite if int(value) == value}
    if "_Unsigned" in attributes:  # the fill value may have the sign of the store
        numbers = {int(np.array([number]).astype(dtype)[0]) for number in numbers}
    bounds = np.iinfo(dtype)
    if len(numbers) < len(set(finite)) or not all(bounds.min <= number <= bounds.max for number in numbers):
        raise ValueError(f"{values} are no numbers of {dtype}")
    return set(numbers)


def _fill_value_of_xarray(array: zarr.Array[Any], attributes: Mapping[str, Any], dtype: np.dtype[Any]) -> set[float]:
    """Return the `_FillValue` that xarray stored as fill value: in Zarr format 2, for packed and for float arrays.

    The 0 of other writers, with which they begin every float array, is a value.
    """
    value: Any = array.fill_value
    packed = any(key in attributes for key in PACKING_ATTRIBUTES)
    if array.metadata.zarr_format != 2 or _DIMENSIONS not in attributes or value is None:
        return set()
    if not packed and (dtype.kind != "f" or value == 0):
        return set()
    return _stored_numbers([float(value)] if dtype.kind == "f" else [int(value)], dtype, attributes)


def _refused(place: str, key: str, value: Any, why: str, remedy: str) -> DataError:
    return DataError(f"The attribute {key} of {place} is {json.dumps(value, default=str)}", why, remedy)
