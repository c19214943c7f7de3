"""Kernels compiled by `masksift.scoring.kernels.warm_cache` are loaded from the cache by other processes."""

from __future__ import annotations

import subprocess
import sys

COUNT = """
import numba
from numba.core import event
from masksift.scoring.kernels.warm_cache import warm_cache
compiled = event.RecordingListener()
with event.install_listener("numba:compile", compiled):
    warm_cache()
    print(sum(e.is_start for _, e in compiled.buffer))
    numba.njit(lambda: 1)()
    print(sum(e.is_start for _, e in compiled.buffer))
"""


def test_second_process_compiles_nothing() -> None:
    """A closure over a function would change numba's cache key in each process. The first process compiles only kernels
    changed since `make setup`."""
    for _ in range(2):
        args = [sys.executable, "-c", COUNT]
        counts = subprocess.run(args, check=True, capture_output=True, text=True).stdout.split()
    assert counts == ["0", "1"], "compiled functions of the kernels, and with one uncached function"
