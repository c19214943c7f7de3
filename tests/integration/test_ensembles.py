"""Runs over ensembles."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import zarr

import masksift
from masksift.config.load import build_run_config
from masksift.engine import condense_task as tasks
from masksift.engine import stages
from masksift.engine.planning import layout, memory
from masksift.engine.source_table import read_source_table
from masksift.runner import make_block_tasks, make_run_context, open_and_plan, rescore, run
from masksift.runtime.progress import ProgressReporter
from masksift.scoring.methods import METHODS, score_names
from masksift.storage.objects import ObjectDirectory
from reference import ensemble as reference_ensemble
from support.datasets import Array, make_dataset
from support.run_processes import TABLES, read_tables, write_dataset_source

MEMBERS = ("predictions", "b", "c")
IMAGES, CLASSES, HEIGHT, WIDTH = 8, 4, 12, 15


def make_members() -> tuple[list[Array], Array]:
    """Return three members of different dtypes, shape (N, K, H, W), and the labels."""
    data = make_dataset(3, images=IMAGES, classes=CLASSES, height=HEIGHT, width=WIDTH, dtype="uint8", ignored_image=2)
    found = [data.predictions]
    for seed, dtype in ((1, "float32"), (2, "float16")):
        rng = np.random.default_rng(seed)
        mixed = data.predictions / np.float32(255) + np.moveaxis(
            rng.dirichlet([0.3] * CLASSES, data.labels.shape), -1, 1
        )
        found.append((mixed / mixed.sum(axis=1, keepdims=True)).astype(dtype))
    return found, data.labels


def source(folder: Path, chunks: tuple[tuple[int, ...], ...] = ((1, 4, 12, 15),) * 3) -> Path:
    """Write the three members with these chunks as one source."""
    found, labels = make_members()
    url = write_dataset_source(
        folder / "street.zarr",
        make_dataset(3, images=IMAGES, classes=CLASSES, height=HEIGHT, width=WIDTH, dtype="uint8", ignored_image=2),
    )
    group = zarr.open_group(url, mode="a")
    for name, member, size in zip(MEMBERS, found, chunks, strict=True):
        array = group.create_array(
            name,
            shape=member.shape,
            dtype=member.dtype,
            chunks=size,
            overwrite=True,
            config={"write_empty_chunks": True},
        )
        array[:] = member
    assert np.array_equal(group["labels"][:], labels)
    return url


def make_config(url: Path, out: Path, **more: Any) -> Any:
    tree = {"sources": [str(url)], "out": str(out), "arrays": {"predictions": list(MEMBERS)}}
    return build_run_config({**tree, "executor": {"kind": "serial"}, **more}, {})


def run_to(url: Path, out: Path, **more: Any) -> dict[str, pa.Table]:
    run(make_config(url, out, **more), ProgressReporter("quiet"))
    return read_tables(out)


def assert_same(tables: dict[str, pa.Table], expected: dict[str, pa.Table]) -> None:
    for name in TABLES:
        assert tables[name].equals(expected[name]), name


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def out(url: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output directory of a run over the three members."""
    place = tmp_path_factory.mktemp("out") / "run"
    run_to(url, place)
    return place


def test_ensemble_run_equals_the_reference_implementation(out: Path) -> None:
    found, labels = make_members()
    reference = reference_ensemble.audit(found, labels)
    evidence = zarr.open_group(out / "evidence/street.zarr", mode="r")
    assert set(evidence) == {"self_confidence", "predicted_class", "predicted_confidence", "issue_mask"}
    for name in ("self_confidence", "predicted_class", "predicted_confidence"):
        valid = labels != 255 if name == "self_confidence" else np.arange(IMAGES) != 2
        np.testing.assert_array_equal(evidence[name][:][valid], getattr(reference, name)[valid], name)
    images = read_tables(out)["images"]
    for name in METHODS:
        expected = [one[name] for one in reference.scores]
        approximate = [None if s is None else pytest.approx(s, abs=1e-12, rel=0) for s in expected]
        assert images[name].to_pylist() == approximate, name


def test_ensemble_run_is_recorded_and_resumed(url: Path, out: Path) -> None:
    record = json.loads((out / "run.json").read_text())
    assert record["configuration"]["arrays"]["predictions"] == list(MEMBERS)
    assert record["configuration"]["methods"] == [*score_names()]
    ((spec, _),) = read_source_table(ObjectDirectory(str(out)))
    assert [member.predictions.dtype for member in spec.members] == ["uint8", "float32", "float16"]
    assert run(make_config(url, out), ProgressReporter("quiet")).resumed


@pytest.mark.parametrize(
    "chunks",
    [
        ((2, 4, 12, 15), (1, 4, 5, 4), (3, 2, 12, 15)),
        ((8, 4, 3, 15), (4, 1, 12, 7), (1, 4, 12, 15)),
    ],
)
def test_ensemble_with_any_member_chunks_has_the_same_tables(
    out: Path, tmp_path: Path, chunks: tuple[tuple[int, ...], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "MIN_BLOCK_BYTES", 4_000)
    monkeypatch.setattr(layout, "TARGET_BLOCKS", 1 << 30)
    monkeypatch.setattr(layout, "CHUNK_BYTES", 200)
    monkeypatch.setattr(layout, "WINDOW_BYTES", 1)
    assert_same(run_to(source(tmp_path, chunks), tmp_path / "out"), read_tables(out))


def test_each_member_byte_is_read_once(out: Path, url: Path) -> None:
    stages = json.loads((out / "run.json").read_text())["stages"]
    chunks = [p for name in (*MEMBERS, "labels") for p in (url / name / "c").rglob("*") if p.is_file()]
    stored = sum(p.stat().st_size for p in chunks)
    metadata = sum((url / name / "zarr.json").stat().st_size for name in (*MEMBERS, "labels"))
    blocks = next(stage for stage in stages if stage["name"] == "condense")
    assert stored <= blocks["bytes_read"] <= stored + blocks["blocks"] * (metadata + 10_000)


def test_ensemble_on_a_local_cluster_has_the_same_tables(
    url: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "MIN_BLOCK_BYTES", 4_000)
    monkeypatch.setattr(layout, "TARGET_BLOCKS", 1 << 30)
    local = {"kind": "local", "workers": 2, "memory": "2 GiB"}
    assert_same(run_to(url, tmp_path / "local", executor=local), read_tables(out))


def test_ensemble_audit_has_the_same_tables(out: Path) -> None:
    found, labels = make_members()
    audit = masksift.audit(labels, found, ignore=255, image_ids=[f"scene-{i:04d}" for i in range(IMAGES)])
    assert audit.images.drop_columns("source").equals(read_tables(out)["images"].drop_columns("source"))
    assert audit.ranking.drop_columns("source").equals(read_tables(out)["ranking"].drop_columns("source"))


def test_rescoring_an_ensemble_reads_no_prediction(url: Path, out: Path, tmp_path: Path) -> None:
    shutil.copytree(out, tmp_path / "run")
    config = make_config(url, tmp_path / "again", methods=["cil"], rank_by="cil")
    record = rescore(str(out), config, ProgressReporter("quiet")).record
    assert read_tables(tmp_path / "again")["images"]["cil"].equals(read_tables(out)["images"]["cil"])
    assert "condense" not in [stage["name"] for stage in record["stages"]]


def test_ensemble_evidence_is_reused_only_for_the_same_members(url: Path, out: Path, tmp_path: Path) -> None:
    same = run(make_config(url, tmp_path / "same", base=str(out)), ProgressReporter("quiet")).record
    assert same["kept_sources"] == 1
    assert_same(read_tables(tmp_path / "same"), read_tables(out))
    fewer = {"arrays": {"predictions": list(MEMBERS[:2])}}
    assert (
        run(make_config(url, tmp_path / "fewer", base=str(out), **fewer), ProgressReporter("quiet")).record[
            "kept_sources"
        ]
        == 0
    )


def test_error_in_one_member_is_reported_with_its_name(tmp_path: Path) -> None:
    place = source(tmp_path)
    (place / "b/c/1/0/0/0").unlink()
    array = zarr.open_array(place / "c", mode="r+")
    array[3, :, 5, 7] = 0.5
    broken = place / "predictions/c/4/0/0/0"
    broken.write_bytes(broken.read_bytes()[:9])
    images = run_to(place, tmp_path / "out", max_quarantined=5)["images"]
    status, reason = images["status"].to_pylist(), images["reason"].to_pylist()
    assert status[1:5] == ["missing_chunk", "all_ignored", "bad_probabilities", "unreadable"]
    assert "street.zarr/b" in reason[1]
    assert reason[3] == f"pixel (y=5, x=7) of {place}/c: the values sum to 2, more than 0.02 away from 1: " + (
        "[0.5, 0.5, 0.5, 0.5]"
    )
    assert "street.zarr/predictions" in reason[4]


def test_padding_is_not_averaged(tmp_path: Path) -> None:
    place = source(tmp_path)
    group = zarr.open_group(place, mode="a")
    for name, own in (("height", 7), ("width", 9)):
        group.create_array(name, shape=(IMAGES,), dtype="int32", chunks=(IMAGES,))[:] = own
    group["b"][:, :, 7:, :] = np.nan  # padding may hold anything
    images = run_to(place, tmp_path / "out")["images"]
    found, labels = make_members()
    audit = masksift.audit(labels[:, :7, :9], [member[..., :7, :9] for member in found], ignore=255)
    assert images["softmin"].equals(audit.images["softmin"])


def test_plan_counts_the_members(url: Path, tmp_path: Path) -> None:
    (spec,), planned = open_and_plan(make_config(url, tmp_path / "out"))
    one = open_and_plan(make_config(url, tmp_path / "out", arrays={"predictions": "predictions"}))[1]
    pixels = IMAGES * HEIGHT * WIDTH
    assert sum(array.nbytes for array in spec.prediction_arrays) == pixels * CLASSES * (1 + 4 + 2)
    assert planned.objects_to_read - one.objects_to_read >= 2 * IMAGES
    # predictions of the two other members; the second pass reads labels and float16 planes, and no uint8 planes
    assert planned.bytes_to_read - one.bytes_to_read == pixels * (CLASSES * 6 + 1 + 5)


def test_peak_memory_does_not_grow_with_the_number_of_members(tmp_path: Path) -> None:
    """Compare the allocations of a block with the plan."""
    n, k, side, many = 2, 6, 384, 6
    group = zarr.create_group(tmp_path / "large.zarr")
    slab = k * side * side * 4
    for name in [f"m{m}" for m in range(many)]:
        group.create_array(name, shape=(n, k, side, side), dtype="float32", chunks=(1, k, side, side))[:] = 1 / k
    labels = group.create_array("labels", shape=(n, side, side), dtype="uint8", chunks=(1, side, side))
    labels[:] = np.random.default_rng(0).integers(0, k, labels.shape)

    def peak_and_projection(make_members: int) -> tuple[int, int]:
        names = {"predictions": [f"m{m}" for m in range(make_members)], "empty_label_chunks": "fill"}
        config = make_config(tmp_path / "large.zarr", tmp_path / f"out-{make_members}", arrays=names)
        parts = make_block_tasks(config)
        job = make_run_context(config, parts)
        stages.create_evidence_arrays(job, parts)
        tracemalloc.start()
        try:
            tasks.condense_block(job, None, parts[0])
            return tracemalloc.get_traced_memory()[1], parts.plan.memory_condense - memory.BASE_MEMORY_BYTES
        finally:
            tracemalloc.stop()

    peak_and_projection(2)  # imports and caches
    few, projected = peak_and_projection(3)
    more, as_projected = peak_and_projection(many)
    assert as_projected == projected, "members are read one after the other"
    assert abs(more - few) < slab / 2
    assert 3 * slab < more < projected, "two members and the mean, and not more than planned"
