"""Packing: the CF attributes of an array, as xarray writes them in both Zarr formats, or a refusal that names one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from masksift.core.errors import DataError
from masksift.core.specs import Packing
from masksift.storage.sources.packing import read_packing
from support.errors import raises


def packing(folder: Path, dtype: str, zarr_format: int = 3, fill_value: Any = 0, **attributes: Any) -> Packing | None:
    array = zarr.create_array(
        str(folder / "a.zarr"),
        shape=(2,),
        chunks=(2,),
        dtype=dtype,
        zarr_format=zarr_format,  # type: ignore[arg-type]
        fill_value=fill_value,
        attributes=attributes,
    )
    return read_packing("source.zarr", "a", array)


@pytest.mark.parametrize("dtype", ["uint8", ">u2", "float32", "int64", "bool"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_packing_without_attributes_is_none(tmp_path: Path, dtype: str, zarr_format: int) -> None:
    assert packing(tmp_path, dtype, zarr_format, fill_value=1, units="1") is None


@pytest.mark.parametrize(
    ("dtype", "attributes", "expected"),
    [
        ("uint8", {"scale_factor": 0.005}, Packing("uint8", 0.005)),
        ("uint8", {"scale_factor": 1}, Packing("uint8", 1.0)),
        (">i2", {"scale_factor": [0.1], "add_offset": 2}, Packing("int16", 0.1, 2.0)),
        ("int8", {"_Unsigned": "true", "_FillValue": -1}, Packing("uint8", missing=(255,))),
        ("uint8", {"_Unsigned": "false", "_FillValue": 255}, Packing("int8", missing=(-1,))),
        ("uint8", {"_FillValue": 255, "missing_value": [254, 255]}, Packing("uint8", missing=(254, 255))),
        ("int16", {"_FillValue": "NaN", "add_offset": 1}, Packing("int16", add_offset=1.0)),
        ("float32", {"_FillValue": "AAAAAICHw8A="}, Packing("float32", missing=(-9999.0,))),
        ("float16", {"_FillValue": 0.1}, Packing("float16", missing=(float(np.float16(0.1)),))),
        ("float32", {"_FillValue": "AAAAAAAA+H8="}, None),
        ("float64", {"scale_factor": 1.0, "add_offset": 0.0}, None),
    ],
)
def test_packing_of_attributes_is_read(
    tmp_path: Path, dtype: str, attributes: dict[str, Any], expected: Packing | None
) -> None:
    found = packing(tmp_path, dtype, **attributes)

    assert found == expected
    assert found is None or Packing.from_json({**vars(found), "missing": list(found.missing)}) == expected


@pytest.mark.parametrize(
    ("dtype", "fill_value", "attributes", "missing"),
    [
        ("int16", -32768, {"scale_factor": 0.1}, (-32768,)),
        ("uint8", 0, {"scale_factor": 0.1}, (0,)),
        ("float32", -9999.0, {}, (-9999.0,)),
        ("float32", 0.0, {}, ()),
        ("uint8", 255, {}, ()),
    ],
)
def test_packing_of_format_2_takes_the_fill_value_of_xarray_as_missing(
    tmp_path: Path, dtype: str, fill_value: float, attributes: dict[str, Any], missing: tuple[float, ...]
) -> None:
    dimensions = {"_ARRAY_DIMENSIONS": ["x"]}
    xarray_packing = packing(tmp_path / "xarray", dtype, 2, fill_value, **attributes, **dimensions)
    other_packing = packing(tmp_path / "others", dtype, 2, fill_value, **attributes)

    assert (xarray_packing.missing if xarray_packing else ()) == missing
    assert other_packing is None or other_packing.missing == ()


@pytest.mark.parametrize(
    ("dtype", "attributes"),
    [
        ("uint8", {"scale_factor": "0.1"}),
        ("uint8", {"scale_factor": 0}),
        ("uint8", {"scale_factor": [0.1, 0.2]}),
        ("float32", {"add_offset": True}),
        ("float32", {"_Unsigned": "true"}),
        ("uint8", {"_Unsigned": "yes"}),
        ("uint8", {"_FillValue": -1}),
        ("uint8", {"_FillValue": 1.5}),
        ("float32", {"_FillValue": "no base64"}),
        ("int16", {"missing_value": {"a": 1}}),
    ],
)
def test_packing_that_cannot_be_honored_is_refused_by_name(
    tmp_path: Path, dtype: str, attributes: dict[str, Any]
) -> None:
    with raises(DataError, match=f"The attribute {next(iter(attributes))} of 'a' of source.zarr is "):
        packing(tmp_path, dtype, **attributes)
