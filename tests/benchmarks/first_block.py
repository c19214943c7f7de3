"""Time of the first block of a process: `python -m benchmarks.first_block uint8 probabilities` prints its seconds."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks.subprocesses import environment, module_command
from masksift.scoring.image import EvidencePlanes, ImageCondenser
from masksift.scoring.kernels.condense import CondenseConfig, class_plane
from masksift.scoring.kernels.encoding import Encoding

__all__ = ["seconds"]

SIZE, CLASSES = 8, 4


def seconds(dtype: str, kind: str) -> float:
    """Least of three measurements with an empty numba cache; other load can only add time."""
    found = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as cache:
            command, env = module_command("first_block", dtype, kind), environment(NUMBA_CACHE_DIR=cache)
            found.append(float(subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout))
    return min(found)


def condense(dtype: str, kind: str) -> float:
    scale = 1 / np.iinfo(dtype).max if dtype.startswith("u") else 1.0
    predictions = np.full((CLASSES, SIZE, SIZE), 1 / CLASSES / scale).astype(dtype)
    labels = np.zeros((SIZE, SIZE), np.uint8)
    config = CondenseConfig(
        CLASSES, dtype, scale, kind, Encoding(dtype if dtype != "float32" else "float16", scale), 0.1, 4
    )
    started = time.perf_counter()
    condenser = ImageCondenser(
        class_plane(labels, CLASSES, (255,))[0], EvidencePlanes.empty((SIZE, SIZE), config), config
    )
    condenser.add_window(predictions)
    status, statistics = condenser.finish()
    assert statistics is not None, status
    return time.perf_counter() - started


if __name__ == "__main__":
    print(condense(*sys.argv[1:]))
