"""Small runs with planted label errors, and these errors in each form that `evaluate` reads."""

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
class PlantedErrors:
    """Data set with label errors: right labels and the mask of wrong pixels, (N, H, W) each."""

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
        """Indices of the wrong images."""
        return np.flatnonzero(self.wrong.any(axis=(1, 2))).tolist()

    @property
    def shares(self) -> Array:
        """Share of wrong pixels among the valid ones, (N,)."""
        counts = np.maximum(self.valid.sum(axis=(1, 2)), 1)
        return np.asarray(self.wrong.sum(axis=(1, 2)) / counts, np.float64)


def plant_errors(*, images: int = 24, seed: int = 3, dtype: str = "uint8", **kwargs: Any) -> PlantedErrors:
    """Make images of 16 x 20 and 4 classes; a patch of every fourth one has the next class."""
    data = make_dataset(seed, images=images, classes=4, height=16, width=20, dtype=dtype, error_share=0.02, **kwargs)
    labels, rng = data.labels.copy(), np.random.default_rng(seed)
    for i in range(0, images, 4):
        y, x = rng.integers(0, 8, 2)
        patch = labels[i, y : y + 7, x : x + 8]
        patch[patch != 255] = (patch[patch != 255] + 1) % 4
    return PlantedErrors(data._replace(labels=labels), data.labels, labels != data.labels)


def run_planted(planted: PlantedErrors, directory: Path, *args: object) -> Path:
    """Run masksift on the wrong labels; the right ones are written to `right.zarr` next to the source."""
    write_dataset_source(directory / "given.zarr", planted.data, chunk=2)
    group = zarr.create_group(str(directory / "right.zarr"))
    array = group.create_array(
        "labels",
        shape=planted.right.shape,
        dtype=planted.right.dtype,
        chunks=(2, *planted.right.shape[1:]),
        config={"write_empty_chunks": True},
    )
    array[:] = planted.right
    code = run_cli(
        "run", "--source", directory / "given.zarr", "--out", directory / "out", "--max_quarantined", "100%", *args
    )
    assert code == 0
    return directory / "out"


def image_name(image: int) -> str:
    return f"scene-{image:04d}"


def write_image_list(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows as CSV or Parquet."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
        return path
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_simulation(directory: Path, planted: PlantedErrors, *, source: str = "given") -> Path:
    """Write the output of a simulation: a table of changed images and the error mask with all its chunks."""
    (directory / "truth").mkdir(parents=True)
    (directory / "simulate.json").write_text("{}")
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
    for number, file_rows in enumerate((rows[:half], rows[half:])):
        pq.write_table(pa.Table.from_pylist(file_rows), directory / f"truth/part-{number:06d}.parquet")
    group = zarr.create_group(str(directory / f"labels/{source}.zarr"))
    array = group.create_array(
        "truth",
        shape=planted.wrong.shape,
        dtype="uint8",
        chunks=(1, *planted.wrong.shape[1:]),
        config={"write_empty_chunks": True},
    )
    array[:] = planted.wrong
    return directory


def evaluate(run: Path, truth: object, out: Path, *args: object) -> int:
    """Run an evaluation with few resamples and return its exit code."""
    return run_cli("evaluate", run, "--truth", truth, "--out", out, "--bootstrap", 50, *args)


def read_metrics(out: Path) -> list[dict[str, Any]]:
    """Read the rows of the table of metrics."""
    rows: list[dict[str, Any]] = pq.read_table(out / "measures.parquet").to_pylist()
    return rows


def read_metric(out: Path, score: str, measure: str, at: str | None = None) -> dict[str, Any]:
    """Read the row of a metric."""
    (row,) = [row for row in read_metrics(out) if (row["score"], row["measure"], row["at"]) == (score, measure, at)]
    return row
