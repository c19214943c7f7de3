"""Small sources on disk, runs over them in separate processes, and the tables they write."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

from masksift.storage.manifest import LOCK
from support.datasets import Data, make_dataset

__all__ = [
    "TABLES",
    "locked_by_another_process",
    "read_tables",
    "run_command",
    "start_process",
    "wait_for_blocks",
    "write_dataset_source",
]

TABLES = ("images", "ranking", "regions", "thresholds.parquet", "class_pairs.parquet", "class_quality.parquet")


def write_dataset_source(path: Path, data: Data, *, chunk: int = 1) -> Path:
    """Write a data set as a Zarr v3 source with ``chunk`` images per chunk."""
    n, _, height, width = data.predictions.shape
    group = zarr.create_group(str(path), attributes={"ignore": list(data.ignore)})
    predictions = group.create_array(
        "predictions",
        shape=data.predictions.shape,
        dtype=data.predictions.dtype,
        chunks=(chunk, data.predictions.shape[1], height, width),
    )
    predictions[:] = data.predictions
    labels = group.create_array(
        "labels",
        shape=data.labels.shape,
        dtype=data.labels.dtype,
        chunks=(chunk, height, width),
        config={"write_empty_chunks": True},
    )
    labels[:] = data.labels
    ids = group.create_array("image_id", shape=(n,), dtype="str", chunks=(n,))
    ids[:] = np.array([f"scene-{i:04d}" for i in range(n)])
    return path


def write_small_source(path: Path, *, images: int = 40, dtype: str = "uint8") -> Path:
    """Write a source of images of 24 x 32 pixels with 5 classes; every pixel of image 3 is ignored."""
    return write_dataset_source(
        path, make_dataset(7, images=images, classes=5, height=24, width=32, dtype=dtype, ignored_image=3)
    )


def read_tables(out: Path) -> dict[str, pa.Table]:
    """Read all tables of a run."""
    return {name: pq.read_table(out / name) for name in TABLES}


def run_command(source: Path | str, out: Path | str, *flags: str) -> list[str]:
    """Return the command line of a run with many tiny blocks."""
    script = (
        "import sys; from masksift.engine.planning import layout; "
        "layout.MIN_BLOCK_BYTES = layout.CHUNK_BYTES = 16 << 10; layout.TARGET_BLOCKS = 1 << 30; "
        "from masksift.cli.main import entry; entry()"
    )
    return [sys.executable, "-c", script, "run", "--source", str(source), "--out", str(out), *flags]


def start_process(args: list[str]) -> subprocess.Popen[str]:
    """Start a command as a process group."""
    return subprocess.Popen(
        args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, env=dict(os.environ)
    )


def wait_for_blocks(out: Path, stage: str, count: int, process: subprocess.Popen[str], seconds: float = 180) -> None:
    """Wait until a running process has finished ``count`` blocks of a stage."""
    directory, deadline = out / "manifest" / stage, time.monotonic() + seconds
    while not directory.exists() or len([p for p in directory.iterdir() if p.suffix == ".zip"]) < count:
        assert time.monotonic() < deadline, f"{stage} did not reach {count} blocks"
        assert process.poll() is None, f"the run ended too early: {process.communicate()}"
        time.sleep(0.01)


@contextmanager
def locked_by_another_process(directory: Path, name: str = LOCK) -> Iterator[None]:
    """Hold the output lock of a directory in another process."""
    script = (
        "import sys; from masksift.storage.lock import RunLock; from masksift.storage.objects import ObjectDirectory\n"
        "with RunLock(ObjectDirectory(sys.argv[1]), print, sys.argv[2]):\n"
        "    print('locked', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    args = [sys.executable, "-c", script, str(directory), name]
    with subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield
        process.stdin.close()
