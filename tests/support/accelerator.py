"""A simulated accelerator: arrays of array-api-strict on another device, whose copies to main memory are counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

GPU = 2
"""DLPack's number of CUDA devices."""


class Accelerator:
    """Memory that only explicit copies leave: `numpy.asarray` of its arrays fails, as for torch's and CuPy's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.xp = pytest.importorskip("array_api_strict", reason="a package of the dev extra: make setup")
        self.copied: list[tuple[int, ...]] = []
        self.bytes_copied = 0
        self.device = self.xp.Device("device1")
        array_class = type(self.xp.asarray(0))
        host, export = self.xp.Device("CPU_DEVICE"), array_class.__dlpack__

        def device_of(array: Any) -> tuple[int, int]:
            return (1, 0) if array.device == host else (GPU, 0)

        def copy(array: Any, **options: Any) -> Any:
            if array.device != host:
                assert options.get("dl_device") == (1, 0), "a copy to main memory must be asked for"
                self.copied.append(array.shape)
                self.bytes_copied += np.from_dlpack(_Capsule(export(array))).nbytes
            return export(array)

        monkeypatch.setattr(array_class, "__dlpack_device__", device_of)
        monkeypatch.setattr(array_class, "__dlpack__", copy)

    def put(self, values: Any) -> Any:
        """Copy an array to the accelerator."""
        return self.xp.asarray(np.asarray(values), device=self.device)


class _Capsule:
    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack__(self, **options: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> Accelerator:
    """A simulated accelerator."""
    return Accelerator(monkeypatch)
