"""Results are bit-identical for all executors, workers and block sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import zarr

import masksift
from masksift.config.load import build_run_config
from masksift.engine.planning import layout
from masksift.runner import run
from masksift.runtime.progress import ProgressReporter
from support.datasets import make_dataset
from support.run_processes import TABLES, read_tables, write_dataset_source, write_small_source


def run_to(source: Path, out: Path, **executor: object) -> dict[str, pa.Table]:
    config = build_run_config({"sources": [str(source)], "out": str(out), "executor": executor}, {})
    run(config, ProgressReporter("quiet"))
    return read_tables(out)


def assert_same(tables: dict[str, pa.Table], expected: dict[str, pa.Table]) -> None:
    for name in TABLES:
        assert tables[name].equals(expected[name]), name


@pytest.fixture(scope="module", params=["uint8", "float16", "float32", "uint16"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_source(tmp_path_factory.mktemp("source") / "street.zarr", dtype=request.param)


@pytest.fixture(scope="module")
def serial_tables(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    """Tables of a run in one process with all images in one block."""
    return run_to(source, tmp_path_factory.mktemp("out") / "serial", kind="serial")


def test_run_with_any_block_size_has_the_same_tables_and_masks(
    source: Path, serial_tables: dict[str, pa.Table], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = {}
    for blocks, least, chunk in [(1, 1, 1), (7, 20_000, 5_000), (3, 100_000, 1)]:
        monkeypatch.setattr(layout, "TARGET_BLOCKS", blocks)
        monkeypatch.setattr(layout, "MIN_BLOCK_BYTES", least)
        monkeypatch.setattr(layout, "CHUNK_BYTES", chunk)
        out = tmp_path / f"{blocks}-{least}"
        assert_same(run_to(source, out, kind="serial"), serial_tables)
        masks[blocks] = zarr.open_array(out / "evidence/street.zarr/issue_mask", mode="r")[:]
    assert np.array_equal(masks[1], masks[7])
    assert np.array_equal(masks[1], masks[3])


@pytest.mark.parametrize("workers", [1, 2])
def test_run_on_a_local_cluster_has_the_same_tables(
    tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_small_source(tmp_path / "street.zarr")
    serial_tables = run_to(source, tmp_path / "serial", kind="serial")
    monkeypatch.setattr(layout, "MIN_BLOCK_BYTES", 30_000)
    monkeypatch.setattr(layout, "TARGET_BLOCKS", 1 << 30)
    assert_same(run_to(source, tmp_path / "local", kind="local", workers=workers, memory="2 GiB"), serial_tables)


def test_run_on_a_remote_cluster_has_the_same_tables(
    source: Path,
    serial_tables: dict[str, pa.Table],
    tmp_path: Path,
    scheduler_address: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(layout, "MIN_BLOCK_BYTES", 30_000)
    monkeypatch.setattr(layout, "TARGET_BLOCKS", 1 << 30)
    assert_same(run_to(source, tmp_path / "dask", kind="dask", address=scheduler_address), serial_tables)


def test_audit_has_the_same_tables(source: Path, serial_tables: dict[str, pa.Table]) -> None:
    group = zarr.open_group(source, mode="r")
    ids = [str(name) for name in group["image_id"][:]]
    audit = masksift.audit(group["labels"], group["predictions"], ignore=255, image_ids=ids)
    here = {
        "images": audit.images,
        "ranking": audit.ranking,
        "regions": audit.regions,
        "thresholds.parquet": audit.thresholds,
        "class_pairs.parquet": audit.class_pairs,
        "class_quality.parquet": audit.class_quality,
    }
    for name in TABLES:
        drop = [column for column in ("source",) if column in here[name].column_names]
        assert here[name].drop_columns(drop).equals(serial_tables[name].drop_columns(drop)), name
        assert len(here[name]) > 0


def test_run_with_float32_evidence_has_the_same_tables_for_any_block_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_dataset(5, images=12, classes=4, height=20, width=25, dtype="float32")
    source = write_dataset_source(tmp_path / "wide.zarr", data)
    found = []
    for blocks in (1, 6):
        monkeypatch.setattr(layout, "MIN_BLOCK_BYTES", 1 + data.predictions.nbytes // blocks)
        monkeypatch.setattr(layout, "TARGET_BLOCKS", blocks)
        out = tmp_path / f"out-{blocks}"
        config = build_run_config(
            {
                "sources": [str(source)],
                "out": str(out),
                "evidence": {"dtype": "float32"},
                "executor": {"kind": "serial"},
            },
            {},
        )
        run(config, ProgressReporter("quiet"))
        found.append(read_tables(out))
    assert_same(*found)
    audit = masksift.audit(data.labels, data.predictions, ignore=255, evidence_dtype="float32")
    assert audit.images["softmin"].equals(found[0]["images"]["softmin"])
