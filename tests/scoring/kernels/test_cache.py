"""Processes of a machine share compiled kernels."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from masksift.scoring.kernels import _cache, condense, condense_loops

COUNT = """
import numpy as np
from numba.core import event
from masksift.scoring.kernels.condense_loops import map_labels
compiled = event.RecordingListener()
plane = np.zeros(4, np.uint8)
print("ready", flush=True)
input()
with event.install_listener("numba:compile", compiled):
    map_labels(np.arange(4, dtype=np.uint8), np.arange(256, dtype=np.uint8), plane, 254)
assert plane.tolist() == [0, 1, 2, 3]
print(sum(e.is_start for _, e in compiled.buffer))
"""


def start(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", COUNT],
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.skipif(_cache.fcntl is None, reason="files cannot be locked")
def test_kernel_that_processes_need_at_once_is_compiled_once(tmp_path: Path) -> None:
    processes = [start(tmp_path) for _ in range(3)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    counts = [int(process.communicate()[0]) for process in processes]
    assert sorted(counts) == [0, 0, 1]


def test_other_sources_make_other_cache_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled code holds functions of other files, which numba does not check."""
    labels = np.zeros(4, np.uint8)
    condense_loops.map_labels(labels, labels, labels, 1)
    kernel: Any = condense_loops.map_labels
    (signature,) = [one for one in kernel.signatures if one[0].dtype.name == "uint8" and one[1].dtype.name == "uint8"]
    codegen = kernel.targetctx.codegen()
    before = kernel._cache._index_key(signature, codegen)
    assert kernel._cache._index_key(signature, codegen) == before
    monkeypatch.setattr(_cache, "source_digest", lambda: "another")
    assert kernel._cache._index_key(signature, codegen) != before
    assert not condense.is_compiled()


def test_lock_of_a_kernel_that_failed_to_compile_is_taken_again(tmp_path: Path) -> None:
    cache: Any = _cache.KernelCache(test_lock_of_a_kernel_that_failed_to_compile_is_taken_again)
    cache._cache_path = str(tmp_path)
    cache._acquire()
    cache._acquire()
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]
    cache._release()
    assert cache._held is None
