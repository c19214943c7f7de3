"""Runs over corrected labels: an increment of the run that was reviewed, as if all had been run at once."""

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
from review.helpers import correct, labels_at, of_region, record, regions_of, review, run, wanted
from support.errors import raises
from support.run_processes import TABLES
from support.sources import make_data, write_source


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Three sources, and a run over them."""
    for number, name in enumerate("abc"):
        write_source(tmp_path / f"{name}.zarr", make_data(images=4, seed=number))
    run(tmp_path / "run", tmp_path / "?.zarr")
    return tmp_path


def corrected(directory: Path, out: str, source: str, into: str) -> Path:
    """Labels in which every second region of a source is accepted."""
    accepted = regions_of(directory / out, source=source)[::2]
    verdicts = review(directory / f"{into}.json", directory / out, *map(of_region, accepted))
    return correct(directory / out, verdicts, directory / into)


def same(one: Path, other: Path) -> None:
    """Every row, number and mask of two runs."""
    for table in TABLES:
        assert pq.read_table(one / table).to_pylist() == pq.read_table(other / table).to_pylist(), table
    for name in "abc":
        masks = [zarr.open_array(out / f"evidence/{name}.zarr/issue_mask", mode="r")[...] for out in (one, other)]
        np.testing.assert_array_equal(*masks)


def test_next_run_reuses_uncorrected_sources_and_equals_a_full_run(directory: Path) -> None:
    fixed = corrected(directory, "run", "b", "fixed")
    assert sorted(path.name for path in fixed.glob("*.zarr")) == ["b.zarr"]
    at_once = run(directory / "at-once", directory / "?.zarr", words=("--labels_from", fixed))
    for name in "ac":
        spoil(directory / f"{name}.zarr/predictions/c")
    found = run(directory / "found", directory / "?.zarr", words=("--labels_from", fixed, "--base", directory / "run"))
    assert record(found)["kept_sources"] == 2
    condense = next(stage for stage in record(found)["stages"] if stage["name"] == "condense")
    whole = next(stage for stage in record(at_once)["stages"] if stage["name"] == "condense")
    assert 0 < condense["bytes_read"] < whole["bytes_read"] / 2
    same(found, at_once)


def spoil(directory: Path) -> None:
    """Make zeros of every chunk, in a way that leaves its size and its time: whoever read it would find out."""
    for path in (path for path in directory.rglob("*") if path.is_file()):
        facts = path.stat()
        path.write_bytes(bytes(facts.st_size))
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def test_corrections_build_on_earlier_corrections(directory: Path) -> None:
    """First b is corrected, then c: what was corrected in b stays, and is not condensed again."""
    first = corrected(directory, "run", "b", "first")
    second_run = run(
        directory / "run2", directory / "?.zarr", words=("--labels_from", first, "--base", directory / "run")
    )
    second = corrected(directory, "run2", "c", "second")
    assert record(second, "corrections.json")["left"] == {"a": None, "b": str(first)}
    words = ("--labels_from", second)
    third = run(directory / "run3", directory / "?.zarr", words=(*words, "--base", second_run))
    assert record(third)["kept_sources"] == 2
    same(third, run(directory / "at-once", directory / "?.zarr", words=words))
    specs = open_data_set([f"{directory}/?.zarr"], Overrides(labels_from=str(second)), {})
    assert [spec.labels.url for spec in specs] == [
        f"{directory}/a.zarr/labels",
        f"{first}/b.zarr/labels",
        f"{second}/c.zarr/labels",
    ]


def test_source_corrected_twice_has_both_corrections(directory: Path) -> None:
    first = corrected(directory, "run", "b", "first")
    run(directory / "run2", directory / "?.zarr", words=("--labels_from", first))
    accepted = regions_of(directory / "run2", source="b")
    assert accepted
    verdicts = review(directory / "second.json", directory / "run2", *map(of_region, accepted))
    second = correct(directory / "run2", verdicts, directory / "second")
    np.testing.assert_array_equal(labels_at(second / "b.zarr"), wanted(labels_at(first / "b.zarr"), accepted))


def test_source_missing_from_the_corrections_is_rejected(directory: Path) -> None:
    fixed = corrected(directory, "run", "b", "fixed")
    write_source(directory / "d.zarr", make_data(images=4, seed=9))
    with raises(DataError, r"no Zarr group at .*/fixed/d\.zarr\. labels_from must contain .*here for d\."):
        open_data_set([f"{directory}/?.zarr"], Overrides(labels_from=str(fixed)), {})


def test_incomplete_corrections_are_rejected(directory: Path) -> None:
    fixed = corrected(directory, "run", "b", "fixed")
    (fixed / "corrections.json").unlink()
    with raises(DataError, r"corrections in .*/fixed are incomplete. .*the same command resumes"):
        open_data_set([f"{directory}/b.zarr"], Overrides(labels_from=str(fixed)), {})
