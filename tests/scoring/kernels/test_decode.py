"""Decoding: unpacked numbers, bilinear resizing as in torch, and the two classes of binary predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from masksift.core.specs import Packing
from masksift.scoring.kernels.decode import (
    add_background,
    binary_dtype,
    resize_rows,
    source_rows,
    source_rows_at_most,
    unpack,
)

SIZES = [
    (8, 12, 32, 48),
    (5, 7, 17, 31),
    (1, 3, 9, 3),
    (33, 20, 128, 21),
    (6, 6, 6, 12),
    (4, 5, 4, 5),
    (3, 2, 1024, 999),
]
sizes = pytest.mark.parametrize(("h", "w", "height", "width"), SIZES)


def resized(planes: NDArray[np.float32], height: int, width: int, edges: tuple[int, ...] = ()) -> NDArray[np.float32]:
    """Resize planes (K, h, w), in windows of rows between the edges, each from the stored rows that it needs."""
    classes, *stored = planes.shape
    windows = []
    for first, last in zip((0, *edges), (*edges, height), strict=True):
        low, high = source_rows(first, last, stored[0], height)
        assert high - low <= source_rows_at_most(last - first, stored[0], height)
        out = np.empty((classes, last - first, width), np.float32)
        rows = np.ascontiguousarray(planes[:, low:high])
        resize_rows(rows, low, tuple(stored), (height, width), first, out)
        windows.append(out)
    return np.concatenate(windows, axis=1)


def reference(planes: NDArray[Any], height: int, width: int) -> NDArray[np.float64]:
    """Interpolate in float64 along one axis after the other, with half-pixel centers and repeated edges."""
    values = planes.astype(np.float64)
    for axis, size in ((1, height), (2, width)):
        stored = values.shape[axis]
        centers = (np.arange(size) + 0.5) * stored / size - 0.5
        flat = np.moveaxis(values, axis, -1).reshape(-1, stored)
        rows = np.stack([np.interp(centers, np.arange(stored), row) for row in flat])
        shape = [*np.delete(values.shape, axis), size]
        values = np.moveaxis(rows.reshape(shape), -1, axis)
    return values


@sizes
def test_resize_equals_the_definition(h: int, w: int, height: int, width: int) -> None:
    planes = np.random.default_rng(0).normal(0, 3, (2, h, w)).astype(np.float32)
    # float32 coordinates are exact to half a step at their size, and slopes reach some 15 per stored pixel
    tolerance = 1e-6 + 15 * max(h, w) * 2.0**-23
    assert np.abs(resized(planes, height, width) - reference(planes, height, width)).max() <= tolerance


@sizes
def test_resize_equals_torch(h: int, w: int, height: int, width: int) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    planes = np.random.default_rng(1).random((3, h, w), np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(planes)[None], size=(height, width), mode="bilinear", align_corners=False
    )[0].numpy()
    assert np.abs(resized(planes, height, width) - expected).max() <= 1e-6


@given(st.data())
def test_resize_does_not_depend_on_the_windows(data: st.DataObject) -> None:
    h, w = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 4))
    height, width = data.draw(st.integers(h, 40)), data.draw(st.integers(w, 9))
    edges = tuple(sorted(data.draw(st.sets(st.integers(1, max(1, height - 1)), max_size=5)))) if height > 1 else ()
    planes = np.random.default_rng(h * w).normal(0, 9, (2, h, w)).astype(np.float32)
    assert np.array_equal(resized(planes, height, width, edges), resized(planes, height, width))


def test_resize_of_a_missing_pixel_spreads_to_its_neighbors() -> None:
    planes = np.zeros((1, 4, 4), np.float32)
    planes[0, 1, 1] = np.nan
    found = np.isnan(resized(planes, 16, 16)[0])
    assert found[6, 6]
    assert not found[10:].any()
    assert not found[:, 10:].any()


@pytest.mark.parametrize(
    ("dtype", "scale", "expected"),
    [
        ("float16", 1.0, "float16"),
        ("float64", 1.0, "float64"),
        ("uint8", 1 / 255, "uint8"),
        ("uint8", 1 / 250, "uint8"),
        ("uint8", 1.0, "uint8"),
        ("uint8", 0.0039, "float32"),
        ("uint8", 1 / 1000, "float32"),
        ("uint16", 1 / 1000, "uint16"),
        ("uint16", 1 / 65535, "uint16"),
    ],
)
def test_binary_dtype_holds_exact_complements(dtype: str, scale: float, expected: str) -> None:
    assert binary_dtype(dtype, scale) == expected


@pytest.mark.parametrize("in_place", [False, True])
def test_background_is_the_complement_of_probabilities(in_place: bool) -> None:
    out = np.empty((2, 1, 3), np.float32)
    positive = out[1] if in_place else np.empty((1, 3), np.float32)
    positive[...] = [[0, 0.25, 1.5]]
    both = add_background(positive, "probabilities", 1.0, out if in_place else None)
    assert both.tolist() == [[[1, 0.75, -0.5]], [[0, 0.25, 1.5]]]


def test_background_of_integers_is_exact_and_keeps_invalid_sums() -> None:
    both = add_background(np.array([[0, 7, 250, 255]], np.uint8), "probabilities", 1 / 250)
    assert both.tolist() == [[[250, 243, 0, 0]], [[0, 7, 250, 255]]]


def test_background_of_logits_is_zero() -> None:
    assert add_background(np.array([[-3.0, 8.0]]), "logits", 1.0).tolist() == [[[0, 0]], [[-3, 8]]]


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float16", "float32", "float64"]
)
def test_unpacked_values_are_rounded_once(dtype: str) -> None:
    stored = np.array([[0, 1, 2], [100, 127, 5]], dtype)
    out = np.empty(stored.shape, np.float32)
    packing = Packing(dtype, 0.1, -0.3, (2, 127))
    expected = (stored.astype(np.float64) * 0.1 - 0.3).astype(np.float32)
    expected[[0, 1], [2, 1]] = np.nan
    assert np.array_equal(unpack(stored, packing, out), expected, equal_nan=True)
    assert unpack(stored[:, ::2], packing, np.empty((2, 2), np.float32)).shape == (2, 2)


def test_unpacked_values_beyond_float32_are_infinite() -> None:
    out = np.empty(1, np.float32)
    assert np.isinf(unpack(np.array([1e300]), None, out)).all()
    assert np.isinf(unpack(np.array([1e300]), Packing("float64", 2.0), out)).all()
