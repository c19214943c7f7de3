"""The first block of a process, of a few pixels: `first_block.py uint8 probabilities` prints its seconds, imports left
out. `seconds` asks a process of its own for it, whose numba cache is empty."""

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
    """The least of three, for what else runs on the machine only adds to it."""
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
    recipe = CondenseConfig(
        CLASSES, dtype, scale, kind, Encoding(dtype if dtype != "float32" else "float16", scale), 0.1, 4
    )
    begun = time.perf_counter()
    condensing = ImageCondenser(
        class_plane(labels, CLASSES, (255,))[0], EvidencePlanes.empty(SIZE, SIZE, recipe), recipe
    )
    condensing.add_window(predictions)
    verdict, found = condensing.finish()
    assert found is not None, verdict
    return time.perf_counter() - begun


if __name__ == "__main__":
    print(condense(*sys.argv[1:]))
