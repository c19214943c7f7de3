"""Incremental runs over corrected labels give the results of full runs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr

from masksift.core.errors import DataError
from masksift.storage.sources.dataset import open_data_set
from masksift.storage.sources.overrides import Overrides
from review.helpers import (
    expected_labels,
    export_corrections,
    read_labels,
    read_record,
    read_regions,
    region_decision,
    run_sources,
    write_decisions,
)
from support.errors import raises
from support.run_processes import TABLES
from support.sources import make_data, write_source


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Directory with three sources and their run."""
    for number, name in enumerate("abc"):
        write_source(tmp_path / f"{name}.zarr", make_data(images=4, seed=number))
    run_sources(tmp_path / "run", tmp_path / "?.zarr")
    return tmp_path


def correct_source(directory: Path, out: str, source: str, name: str) -> Path:
    """Correct every second region of a source; the labels go to the directory `name`."""
    accepted = read_regions(directory / out, source=source)[::2]
    decisions = write_decisions(directory / f"{name}.json", directory / out, *map(region_decision, accepted))
    return export_corrections(directory / out, decisions, directory / name)


def assert_runs_are_equal(first: Path, second: Path) -> None:
    """Compare all tables and issue masks of two runs."""
    for table in TABLES:
        assert pq.read_table(first / table).to_pylist() == pq.read_table(second / table).to_pylist(), table
    for name in "abc":
        masks = [zarr.open_array(out / f"evidence/{name}.zarr/issue_mask", mode="r")[...] for out in (first, second)]
        np.testing.assert_array_equal(*masks)


def test_next_run_reuses_uncorrected_sources_and_equals_a_full_run(directory: Path) -> None:
    fixed = correct_source(directory, "run", "b", "fixed")
    assert sorted(path.name for path in fixed.glob("*.zarr")) == ["b.zarr"]
    full = run_sources(directory / "full", directory / "?.zarr", args=("--labels_from", fixed))
    for name in "ac":
        overwrite_with_zeros(directory / f"{name}.zarr/predictions/c")
    increment = run_sources(
        directory / "increment", directory / "?.zarr", args=("--labels_from", fixed, "--base", directory / "run")
    )
    assert read_record(increment)["kept_sources"] == 2
    condense = next(stage for stage in read_record(increment)["stages"] if stage["name"] == "condense")
    full_condense = next(stage for stage in read_record(full)["stages"] if stage["name"] == "condense")
    assert 0 < condense["bytes_read"] < full_condense["bytes_read"] / 2
    assert_runs_are_equal(increment, full)


def overwrite_with_zeros(directory: Path) -> None:
    """Overwrite every chunk with zeros but keep its size and time, so that only a read can notice it."""
    for path in (path for path in directory.rglob("*") if path.is_file()):
        status = path.stat()
        path.write_bytes(bytes(status.st_size))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_corrections_build_on_earlier_corrections(directory: Path) -> None:
    """Correct b, then c: the corrections of b stay, and its evidence is reused."""
    first = correct_source(directory, "run", "b", "first")
    second_run = run_sources(
        directory / "run2", directory / "?.zarr", args=("--labels_from", first, "--base", directory / "run")
    )
    second = correct_source(directory, "run2", "c", "second")
    assert read_record(second, "corrections.json")["left"] == {"a": None, "b": str(first)}
    args = ("--labels_from", second)
    third = run_sources(directory / "run3", directory / "?.zarr", args=(*args, "--base", second_run))
    assert read_record(third)["kept_sources"] == 2
    assert_runs_are_equal(third, run_sources(directory / "full", directory / "?.zarr", args=args))
    specs = open_data_set([f"{directory}/?.zarr"], Overrides(labels_from=str(second)), {})
    assert [spec.labels.url for spec in specs] == [
        f"{directory}/a.zarr/labels",
        f"{first}/b.zarr/labels",
        f"{second}/c.zarr/labels",
    ]


def test_source_corrected_twice_has_both_corrections(directory: Path) -> None:
    first = correct_source(directory, "run", "b", "first")
    run_sources(directory / "run2", directory / "?.zarr", args=("--labels_from", first))
    accepted = read_regions(directory / "run2", source="b")
    assert accepted
    decisions = write_decisions(directory / "second.json", directory / "run2", *map(region_decision, accepted))
    second = export_corrections(directory / "run2", decisions, directory / "second")
    np.testing.assert_array_equal(
        read_labels(second / "b.zarr"), expected_labels(read_labels(first / "b.zarr"), accepted)
    )


def test_source_missing_from_the_corrections_is_rejected(directory: Path) -> None:
    fixed = correct_source(directory, "run", "b", "fixed")
    write_source(directory / "d.zarr", make_data(images=4, seed=9))
    with raises(DataError, r"no Zarr group at .*/fixed/d\.zarr\. labels_from must contain .*here for d\."):
        open_data_set([f"{directory}/?.zarr"], Overrides(labels_from=str(fixed)), {})


def test_incomplete_corrections_are_rejected(directory: Path) -> None:
    fixed = correct_source(directory, "run", "b", "fixed")
    (fixed / "corrections.json").unlink()
    with raises(DataError, r"corrections in .*/fixed are incomplete. .*the same command resumes"):
        open_data_set([f"{directory}/b.zarr"], Overrides(labels_from=str(fixed)), {})
