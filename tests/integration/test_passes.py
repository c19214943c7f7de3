"""Objects between the passes of a run, runs that keep no evidence, and frozen thresholds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from masksift.config.load import build_run_config
from masksift.core.errors import DataError
from masksift.engine import score_task
from masksift.engine.planning import layout
from masksift.engine.stages import RunStages
from masksift.runner import run
from masksift.runtime.progress import ProgressReporter
from support.run_processes import TABLES, read_tables, write_small_source

PLANES = ("self_confidence", "predicted_class", "predicted_confidence")


@pytest.fixture(scope="module", params=["uint8", "float16"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_source(tmp_path_factory.mktemp("source") / "street.zarr", dtype=request.param)


@pytest.fixture(scope="module")
def kept(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run that keeps its evidence."""
    return run_to(source, tmp_path_factory.mktemp("kept") / "out")


def run_to(source: Path, out: Path, **options: Any) -> Path:
    tree = {"sources": [str(source)], "out": str(out), "executor": {"kind": "serial"}, **options}
    run(build_run_config(tree, {}), ProgressReporter("quiet"))
    return out


COMPARED = ("priority", "class_priority", "usual_evidence", "region_priority", "worst_region", "combined")
"""Columns in which an image is compared with others: with itself too if these are those of another run."""


def assert_same_results(out: Path, expected: Path, without: tuple[str, ...] = ()) -> None:
    tables, others = read_tables(out), read_tables(expected)
    for name in TABLES:
        columns = [one for one in tables[name].column_names if one not in without]
        assert tables[name].select(columns).equals(others[name].select(columns)), name
    masks = [zarr.open_array(run / "evidence/street.zarr/issue_mask", mode="r")[:] for run in (out, expected)]
    np.testing.assert_array_equal(*masks)


def planes_of(out: Path) -> list[str]:
    return [name for name in PLANES if (out / "evidence/street.zarr" / name).exists()]


def test_run_that_keeps_no_evidence_has_the_same_results_and_report(source: Path, kept: Path, tmp_path: Path) -> None:
    out = run_to(source, tmp_path / "out", evidence={"keep": False})
    assert_same_results(out, kept)
    assert planes_of(out) == []
    assert planes_of(kept) == list(PLANES)
    pictures = sorted(
        path.relative_to(kept) for path in (kept / "report").rglob("*") if path.suffix in (".png", ".bin")
    )
    assert pictures
    assert all((out / name).read_bytes() == (kept / name).read_bytes() for name in pictures)
    assert not (out / "manifest/score_inputs").exists()
    assert not (kept / "manifest/score_inputs").exists()


@pytest.mark.parametrize("keep", [True, False])
def test_run_with_frozen_thresholds_scores_in_the_first_pass(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    orders = {"rank_by": "softmin", "regions": {"rank_by": "evidence"}}
    kept = run_to(source, tmp_path / "base", **orders)
    monkeypatch.setattr(score_task, "score_block", None)
    out = run_to(source, tmp_path / "out", thresholds_from=str(kept), evidence={"keep": keep}, **orders)
    assert_same_results(out, kept, COMPARED)
    record, other = (json.loads((folder / "run.json").read_text()) for folder in (out, kept))
    assert [stage["name"] for stage in record["stages"]][:3] == ["condense", "thresholds", "rank"]
    for name in ("counts", "quarantine", "flagged_pixels"):
        assert record[name] == other[name]


def test_second_pass_reads_neither_labels_nor_evidence_of_eight_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_small_source(tmp_path / "street.zarr")
    expected = run_to(source, tmp_path / "expected")
    monkeypatch.setattr(score_task, "open_labels", None)
    monkeypatch.setattr(score_task, "read_planes", None)
    assert_same_results(run_to(source, tmp_path / "out"), expected)


def test_images_beyond_the_limit_are_scored_from_their_planes(
    source: Path, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "LARGE_IMAGE_PIXELS", 1)
    monkeypatch.setattr(layout, "TILE_PIXELS", 32)
    assert_same_results(run_to(source, tmp_path / "out", evidence={"keep": False}), kept)


@pytest.mark.parametrize(("damage", "message"), [("remove", "was removed"), ("flip", "is damaged")])
def test_damaged_input_of_scoring_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str, message: str
) -> None:
    source = write_small_source(tmp_path / "street.zarr")
    find_thresholds = RunStages.find_thresholds

    def find_and_damage(*args: Any) -> Any:
        path = sorted((tmp_path / "out/manifest/score_inputs").iterdir())[0]
        if damage == "remove":
            path.unlink()
        else:
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
        return find_thresholds(*args)

    monkeypatch.setattr(RunStages, "find_thresholds", find_and_damage)
    with pytest.raises(DataError, match=message):
        run_to(source, tmp_path / "out")
