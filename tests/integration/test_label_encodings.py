"""Labels in other numbers, dtypes or axes give the results of class numbers, and are written back as stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr

from review.helpers import export_corrections, image_decision, run_sources, write_decisions
from support.cli import exit_code, run_cli
from support.datasets import Array
from support.results import read_rows
from support.sources import Source, make_data, write_source

IGNORED = 255


@dataclass(frozen=True)
class Encoding:
    """Labels as stored for class numbers, attributes of the array, and options of the commands."""

    store: Callable[[Array], Array]
    options: tuple[object, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    classes: int = 4
    ignore: tuple[int, ...] = ()


def by_table(dtype: str, *values: int, ignored: int = IGNORED) -> Callable[[Array], Array]:
    """Store class k as the k-th value."""

    def store(labels: Array) -> Array:
        table = np.full(256, ignored)
        table[: len(values)] = values
        return table[labels].astype(dtype)

    return store


ENCODINGS = {
    "offset": Encoding(by_table("uint8", 1, 2, 3, 4, ignored=0), ("--label_offset", 1)),
    "reduce zero label": Encoding(by_table("int16", 1, 2, 3, 4, ignored=0), ("--reduce-zero-label",)),
    "offset attribute": Encoding(by_table("int32", 3, 4, 5, 6, ignored=2), attributes={"label_offset": 3}),
    "unsigned": Encoding(by_table("int8", 0, 1, 2, 3, ignored=-1), attributes={"_Unsigned": "true", "_FillValue": -1}),
    "packed": Encoding(
        by_table("uint16", 10, 12, 14, 16, ignored=65535),
        attributes={"scale_factor": 0.5, "add_offset": -5.0, "_FillValue": 65535},
    ),
    "axis of length 1": Encoding(lambda labels: labels[:, None], ignore=(IGNORED,)),
    "last axis of length 1": Encoding(lambda labels: labels[..., None], ignore=(IGNORED,)),
    "mask of 0 and 255": Encoding(by_table("uint8", 0, 255), classes=2),
    "booleans": Encoding(by_table("bool", 0, 1), classes=2),
    "booleans with an axis of length 1": Encoding(lambda labels: labels[:, None].astype(bool), classes=2),
}


def write_pair(directory: Path, encoding: Encoding) -> tuple[Source, Source]:
    """Write a source with encoded labels as `got/a.zarr`, and with class numbers as `want/a.zarr`."""
    data = make_data(classes=encoding.classes, height=14, width=18, ignore=IGNORED if encoding.classes > 2 else None)
    want = write_source(directory / "want" / "a.zarr", data)
    got = write_source(directory / "got" / "a.zarr", data, attributes={"ignore": list(encoding.ignore)})
    stored = encoding.store(data.labels)
    group = zarr.open_group(got.path, mode="r+")
    del group["labels"]
    labels = group.create_array(
        "labels",
        shape=stored.shape,
        dtype=stored.dtype,
        chunks=(2, *stored.shape[1:]),
        config={"write_empty_chunks": True},
    )
    labels[...] = stored
    labels.attrs.update(encoding.attributes)
    return got, want


@pytest.mark.parametrize("name", ENCODINGS)
def test_encoded_labels_give_the_results_of_class_numbers(tmp_path: Path, name: str) -> None:
    encoding = ENCODINGS[name]
    got, want = write_pair(tmp_path, encoding)
    run_sources(tmp_path / "got-run", got, args=("--report.top", 0, *encoding.options))
    run_sources(tmp_path / "want-run", want, args=("--report.top", 0))
    for table in ("images", "ranking", "regions"):
        assert read_rows(tmp_path / "got-run", table) == read_rows(tmp_path / "want-run", table)


@pytest.mark.parametrize(
    "name", ["offset", "unsigned", "packed", "mask of 0 and 255", "booleans with an axis of length 1"]
)
def test_simulated_labels_and_corrections_have_the_stored_values(tmp_path: Path, name: str) -> None:
    encoding = ENCODINGS[name]
    measured = {}
    for side, source, options in zip(
        ("got", "want"), write_pair(tmp_path, encoding), (encoding.options, ()), strict=True
    ):
        out, errors = tmp_path / f"{side}-run", tmp_path / f"{side}-errors"
        assert run_cli("simulate", "swap", "--source", source, "--out", errors, "--share", 0.5, *options) == 0
        run_sources(out, source, args=("--labels_from", errors / "labels", "--report.top", 0, *options))
        decisions = [image_decision(row) for row in read_rows(out)]
        export_corrections(out, write_decisions(tmp_path / f"{side}.json", out, *decisions), tmp_path / f"{side}-fixed")
        assert run_cli("evaluate", out, "--truth", errors, "--out", tmp_path / f"{side}-evaluation") == 0
        measured[side] = pq.read_table(tmp_path / f"{side}-evaluation/curves.parquet").to_pylist()
    assert measured["got"] == measured["want"]
    for directory in ("errors/labels", "fixed"):
        stored, numbers = (
            np.asarray(zarr.open_array(tmp_path / f"{side}-{directory}/a.zarr/labels", mode="r"))
            for side in ("got", "want")
        )
        np.testing.assert_array_equal(stored, encoding.store(numbers))


def test_image_with_another_value_than_0_and_255_is_quarantined_with_the_assumption(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("masksift.storage.sources.label_values.SAMPLE_CHUNKS", 2)  # images 0, 1, 4 and 5
    got, _ = write_pair(tmp_path, ENCODINGS["mask of 0 and 255"])
    zarr.open_array(got.labels, mode="r+")[3, 2, 5:7] = 7
    assert run_cli("run", "--source", got, "--out", tmp_path / "out") == 3
    rows = read_rows(tmp_path / "out")
    assert [row["status"] for row in rows] == ["scored"] * 3 + ["bad_labels"] + ["scored"] * 4
    assert rows[3]["reason"].startswith("label 7 at (y=2, x=5) is neither 0 nor 255 (remap 0:0,255:1)")
    assert "The labels are read as masks, 0 as class 0 and 255 as class 1." in capsys.readouterr().err
    assert exit_code("plan", "--source", got, "--out", tmp_path / "out") == 0
    assert "labels uint8, ignore [], remap 0:0,255:1" in capsys.readouterr().out
