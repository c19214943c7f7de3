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
def folder(tmp_path: Path) -> Path:
    """Three sources, and a run over them."""
    for number, name in enumerate("abc"):
        write_source(tmp_path / f"{name}.zarr", make_data(images=4, seed=number))
    run(tmp_path / "run", tmp_path / "?.zarr")
    return tmp_path


def corrected(folder: Path, out: str, source: str, into: str) -> Path:
    """Labels in which every second region of a source is accepted."""
    accepted = regions_of(folder / out, source=source)[::2]
    verdicts = review(folder / f"{into}.json", folder / out, *map(of_region, accepted))
    return correct(folder / out, verdicts, folder / into)


def same(one: Path, other: Path) -> None:
    """Every row, number and mask of two runs."""
    for table in TABLES:
        assert pq.read_table(one / table).to_pylist() == pq.read_table(other / table).to_pylist(), table
    for name in "abc":
        masks = [zarr.open_array(out / f"evidence/{name}.zarr/issue_mask", mode="r")[...] for out in (one, other)]
        np.testing.assert_array_equal(*masks)


def test_what_was_not_corrected_is_not_read_again_and_all_is_as_if_it_were(folder: Path) -> None:
    fixed = corrected(folder, "run", "b", "fixed")
    assert sorted(path.name for path in fixed.glob("*.zarr")) == ["b.zarr"]
    at_once = run(folder / "at-once", folder / "?.zarr", words=("--labels_from", fixed))
    for name in "ac":
        spoil(folder / f"{name}.zarr/predictions/c")
    found = run(folder / "found", folder / "?.zarr", words=("--labels_from", fixed, "--base", folder / "run"))
    assert record(found)["kept_sources"] == 2
    condense = next(stage for stage in record(found)["stages"] if stage["name"] == "condense")
    whole = next(stage for stage in record(at_once)["stages"] if stage["name"] == "condense")
    assert 0 < condense["bytes_read"] < whole["bytes_read"] / 2
    same(found, at_once)


def spoil(folder: Path) -> None:
    """Make zeros of every chunk, in a way that leaves its size and its time: whoever read it would find out."""
    for path in (path for path in folder.rglob("*") if path.is_file()):
        facts = path.stat()
        path.write_bytes(bytes(facts.st_size))
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def test_corrections_of_corrections_begin_with_those_before(folder: Path) -> None:
    """First b is corrected, then c: what was corrected in b stays, and is not condensed again."""
    first = corrected(folder, "run", "b", "first")
    second_run = run(folder / "run2", folder / "?.zarr", words=("--labels_from", first, "--base", folder / "run"))
    second = corrected(folder, "run2", "c", "second")
    assert record(second, "corrections.json")["left"] == {"a": None, "b": str(first)}
    words = ("--labels_from", second)
    third = run(folder / "run3", folder / "?.zarr", words=(*words, "--base", second_run))
    assert record(third)["kept_sources"] == 2
    same(third, run(folder / "at-once", folder / "?.zarr", words=words))
    specs = open_data_set([f"{folder}/?.zarr"], Overrides(labels_from=str(second)), {})
    assert [spec.labels.url for spec in specs] == [
        f"{folder}/a.zarr/labels",
        f"{first}/b.zarr/labels",
        f"{second}/c.zarr/labels",
    ]


def test_a_source_that_is_corrected_twice_has_both_corrections(folder: Path) -> None:
    first = corrected(folder, "run", "b", "first")
    run(folder / "run2", folder / "?.zarr", words=("--labels_from", first))
    accepted = regions_of(folder / "run2", source="b")
    assert accepted
    verdicts = review(folder / "second.json", folder / "run2", *map(of_region, accepted))
    second = correct(folder / "run2", verdicts, folder / "second")
    np.testing.assert_array_equal(labels_at(second / "b.zarr"), wanted(labels_at(first / "b.zarr"), accepted))


# --------------------------------------------------------------------------------------------- never silently its own


def test_a_source_of_which_the_corrections_say_nothing_is_refused(folder: Path) -> None:
    fixed = corrected(folder, "run", "b", "fixed")
    write_source(folder / "d.zarr", make_data(images=4, seed=9))
    with raises(DataError, r"no Zarr group at .*/fixed/d\.zarr; .* labels_from is to hold .*here for d\."):
        open_data_set([f"{folder}/?.zarr"], Overrides(labels_from=str(fixed)), {})


def test_corrections_that_are_not_complete_are_refused(folder: Path) -> None:
    fixed = corrected(folder, "run", "b", "fixed")
    (fixed / "corrections.json").unlink()
    with raises(DataError, r"corrections in .*/fixed are not complete; .*the same command goes on"):
        open_data_set([f"{folder}/b.zarr"], Overrides(labels_from=str(fixed)), {})
