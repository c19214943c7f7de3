"""Archives of named arrays."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from masksift.core.npz import pack_arrays, unpack_arrays


@pytest.fixture
def frequent_collections() -> Iterator[None]:
    """Let threads take turns at each of many garbage collections, as the callbacks of Dask's workers do."""

    def give_way(phase: str, info: dict[str, int]) -> None:
        time.sleep(0)

    before = gc.get_threshold()
    gc.callbacks.append(give_way)
    gc.set_threshold(5)
    yield
    gc.set_threshold(*before)
    gc.callbacks.remove(give_way)


def test_unpack_arrays_returns_what_was_packed() -> None:
    arrays = unpack_arrays(pack_arrays(counts=np.arange(6, dtype=np.uint16).reshape(2, 3), dtype="uint8", scale=0.5))
    assert arrays["counts"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert arrays["counts"].dtype == np.uint16
    assert (str(arrays["dtype"]), float(arrays["scale"])) == ("uint8", 0.5)


@pytest.mark.usefixtures("frequent_collections")
def test_unpack_arrays_in_several_threads_returns_all_arrays() -> None:
    data = pack_arrays(**{f"array {i}": np.zeros((3, 4)) for i in range(8)})
    with ThreadPoolExecutor(16) as pool:
        assert all(len(arrays) == 8 for arrays in pool.map(unpack_arrays, [data] * 300))
