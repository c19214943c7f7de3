"""What `masksift.kernels.warm` compiles serves other processes: a first block that finds it there compiles nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COUNT = """
from numba.core import event
compiled = event.RecordingListener()
with event.install_listener("numba:compile", compiled):
    from masksift.kernels.warm import warm
    warm()
print(*[e.data["dispatcher"].py_func.__qualname__ for _, e in compiled.buffer if e.is_start])
"""


@pytest.mark.slow
def test_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    """A function closed over would make numba's key another one in each process: its cache would never serve."""
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}

    def compiled() -> list[str]:
        words = [sys.executable, "-c", COUNT]
        return subprocess.run(words, env=env, check=True, capture_output=True, text=True).stdout.split()

    assert "_walker.<locals>.walk" in compiled()
    assert compiled() == []
