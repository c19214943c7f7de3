"""Small runs over labels with planted errors, and what is known of these errors in each form that `evaluate` reads."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

from support.cli import run_cli
from support.datasets import Array, Data, make_dataset
from support.run_processes import write_dataset_source


@dataclass(frozen=True)
class Planted:
    """A data set with errors: ``right`` labels, ``given`` ones and the mask of what differs, (N, H, W) each."""

    data: Data
    right: Array
    wrong: Array

    @property
    def given(self) -> Array:
        return self.data.labels

    @property
    def valid(self) -> Array:
        return ~np.isin(self.given, self.data.ignore)

    @property
    def images(self) -> list[int]:
        """Which images are wrong."""
        return np.flatnonzero(self.wrong.any(axis=(1, 2))).tolist()

    @property
    def shares(self) -> Array:
        """(N,): wrong pixels over valid ones."""
        counts = np.maximum(self.valid.sum(axis=(1, 2)), 1)
        return np.asarray(self.wrong.sum(axis=(1, 2)) / counts, np.float64)


def plant_errors(*, images: int = 24, every: int = 4, seed: int = 3, dtype: str = "uint8", **more: Any) -> Planted:
    """Images of 16 x 20 and 4 classes; a patch of every fourth has the next class."""
    data = make_dataset(seed, images=images, classes=4, height=16, width=20, dtype=dtype, error_share=0.02, **more)
    labels, rng = data.labels.copy(), np.random.default_rng(seed)
    for i in range(0, images, every):
        y, x = rng.integers(0, 8, 2)
        part = labels[i, y : y + 7, x : x + 8]
        part[part != 255] = (part[part != 255] + 1) % 4
    return Planted(data._replace(labels=labels), data.labels, labels != data.labels)


def run_planted(planted: Planted, folder: Path, *more: object) -> Path:
    """A complete run over the given labels; the right ones lie beside its source, in `right.zarr`."""
    write_dataset_source(folder / "given.zarr", planted.data, chunk=2)
    group = zarr.create_group(str(folder / "right.zarr"))
    array = group.create_array(
        "labels",
        shape=planted.right.shape,
        dtype=planted.right.dtype,
        chunks=(2, *planted.right.shape[1:]),
        config={"write_empty_chunks": True},
    )
    array[:] = planted.right
    code = run_cli(
        "run", "--source", folder / "given.zarr", "--out", folder / "out", "--max_quarantined", "100%", *more
    )
    assert code == 0
    return folder / "out"


def image_name(image: int) -> str:
    return f"scene-{image:04d}"


def write_image_list(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """The rows as CSV or as Parquet."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
        return path
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_simulation(folder: Path, planted: Planted, *, source: str = "given") -> Path:
    """What a simulation leaves: a row a changed image, and the mask of what was changed, every chunk of it."""
    (folder / "truth").mkdir(parents=True)
    (folder / "simulate.json").write_text("{}")
    rows = [
        {
            "image_id": image_name(i),
            "source": source,
            "index": i,
            "kind": "swap",
            "changed_pixels": int(planted.wrong[i].sum()),
            "changed_share": float(planted.shares[i]),
        }
        for i in planted.images
    ]
    half = len(rows) // 2
    for number, some in enumerate((rows[:half], rows[half:])):
        pq.write_table(pa.Table.from_pylist(some), folder / f"truth/part-{number:06d}.parquet")
    group = zarr.create_group(str(folder / f"labels/{source}.zarr"))
    array = group.create_array(
        "truth",
        shape=planted.wrong.shape,
        dtype="uint8",
        chunks=(1, *planted.wrong.shape[1:]),
        config={"write_empty_chunks": True},
    )
    array[:] = planted.wrong
    return folder


def evaluate(run: Path, truth: object, out: Path, *more: object) -> int:
    """The exit code of an evaluation in this process, of few resamples."""
    return run_cli("evaluate", run, "--truth", truth, "--out", out, "--bootstrap", 50, *more)


def read_metrics(out: Path) -> list[dict[str, Any]]:
    """The rows of the table of read_metrics."""
    rows: list[dict[str, Any]] = pq.read_table(out / "measures.parquet").to_pylist()
    return rows


def read_metric(out: Path, score: str, measure: str, at: str | None = None) -> dict[str, Any]:
    """The row of a measure."""
    (row,) = [row for row in read_metrics(out) if (row["score"], row["measure"], row["at"]) == (score, measure, at)]
    return row
