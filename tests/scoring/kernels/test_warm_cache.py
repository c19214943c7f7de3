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
    """A function closed over would make numba's key another one in each process: its cache would never serve. The first
    process finds what `make setup` has left, unless a kernel was changed since."""
    for _ in range(2):
        words = [sys.executable, "-c", COUNT]
        said = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    assert said == ["0", "1"], "functions compiled by the kernels, and with one that nobody keeps"
