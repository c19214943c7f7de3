"""Runs over binary, packed and low-resolution predictions equal runs over the same predictions written in full."""

from __future__ import annotations

import math
import tracemalloc
import uuid
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import xarray as xr
import zarr

from masksift.cli.main import main
from masksift.config.load import build_run_config
from masksift.engine.completed_run import read_run_record
from masksift.engine.condense_task import condense_block
from masksift.engine.planning import layout, memory
from masksift.engine.stages import create_evidence_arrays
from masksift.runner import make_block_tasks, make_run_context, open_and_plan, run
from masksift.runtime.progress import ProgressReporter
from masksift.scoring.kernels.decode import resize_rows
from masksift.storage.zarr.direct_decode import DirectDecoder
from support.datasets import Array
from support.run_processes import TABLES, read_tables

N, HEIGHT, WIDTH = 5, 24, 40
RNG = np.random.default_rng(11)
POSITIVE = (0.02 + 0.96 * RNG.random((N, HEIGHT, WIDTH))).astype(np.float32)
BINARY = (POSITIVE > 0.5).astype(np.uint8)
BINARY[1, :9] = 1
BINARY[:, -2:] = 255
LOGITS = np.log(POSITIVE / (1 - POSITIVE))


def both(positive: Array) -> Array:
    return np.stack([1 - positive, positive], axis=1)


def write(
    folder: Path,
    predictions: Array,
    labels: Array = BINARY,
    chunks: Sequence[int] | None = None,
    shards: Sequence[int] | None = None,
    packing: dict[str, Any] | None = None,
    extra: dict[str, Array] | None = None,
    **attributes: Any,
) -> str:
    """Write a source, in chunks of one image by default."""
    group = zarr.open_group(folder / "source.zarr", mode="w", attributes={"ignore": [255], **attributes})
    for name, values in {"predictions": predictions, "labels": labels, **(extra or {})}.items():
        size = chunks if name == "predictions" and chunks else (1, *values.shape[1:])
        array = group.create_array(
            name,
            shape=values.shape,
            dtype=values.dtype,
            chunks=tuple(size),
            shards=tuple(shards) if name == "predictions" and shards else None,
            attributes=packing if name == "predictions" else None,
            config={"write_empty_chunks": True},
        )
        array[...] = values
    return str(folder / "source.zarr")


def tables(source: str, out: Path, **settings: Any) -> dict[str, list[dict[str, Any]]]:
    """Run, and return the rows of all tables."""
    executor = {"executor": {"kind": "serial"}}
    config = build_run_config({"sources": [source], "out": str(out), **executor, **settings}, {})
    run(config, ProgressReporter("quiet"))
    return {name: table.to_pylist() for name, table in read_tables(out).items() if name in TABLES}


def assert_same_run(tmp_path: Path, stored: str, full: Array, labels: Array = BINARY, **settings: Any) -> None:
    """Compare a run over a source with the run over its predictions in full."""
    written = write(tmp_path / "full", full, labels, class_names=[f"class {k}" for k in range(full.shape[1])])
    names = {"classes": [f"class {k}" for k in range(full.shape[1])]}
    kind = {"kind": settings["kind"]} if "kind" in settings else {}
    assert tables(stored, tmp_path / "a", **settings, **names) == tables(written, tmp_path / "b", **kind)


def enlarge(planes: Array, height: int = HEIGHT, width: int = WIDTH) -> Array:
    """Resize predictions (N, K, h, w) image by image."""
    out = np.empty((*planes.shape[:2], height, width), np.float32)
    for image, large in zip(planes.astype(np.float32), out, strict=True):
        resize_rows(image, 0, planes.shape[2:], (height, width), 0, large)
    return out


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("axis", [None, 1, 3])
def test_run_over_binary_probabilities_equals_two_classes(tmp_path: Path, dtype: str, axis: int | None) -> None:
    positive = POSITIVE.astype(dtype)
    stored = write(tmp_path, positive if axis is None else np.expand_dims(positive, axis), chunks=None)
    assert_same_run(tmp_path, stored, both(positive))


def test_run_over_binary_logits_equals_two_logits(tmp_path: Path) -> None:
    full = np.stack([np.zeros_like(LOGITS), LOGITS], axis=1)
    assert_same_run(tmp_path, write(tmp_path, LOGITS, kind="logits"), full, kind="logits")


@pytest.mark.parametrize(("dtype", "steps"), [("uint8", 255), ("uint8", 250), ("uint16", 65535), ("uint16", 1000)])
def test_run_over_binary_integers_equals_their_complements(tmp_path: Path, dtype: str, steps: int) -> None:
    codes = np.rint(POSITIVE * steps).astype(dtype)
    written = write(tmp_path / "full", np.stack([steps - codes, codes], axis=1), scale=1 / steps)
    stored = write(tmp_path, codes, scale=1 / steps)
    names = {"classes": ["a", "b"]}
    assert tables(stored, tmp_path / "a", **names) == tables(written, tmp_path / "b", **names)


def test_run_over_binary_integers_without_exact_complement_uses_floats(tmp_path: Path) -> None:
    codes = np.rint(POSITIVE / 0.0045).astype(np.uint8)
    values = (codes * np.float64(0.0045)).astype(np.float32)
    assert_same_run(tmp_path, write(tmp_path, codes, scale=0.0045), both(values))


def test_classes_of_binary_predictions_are_background_and_foreground(tmp_path: Path) -> None:
    found = tables(write(tmp_path, POSITIVE), tmp_path / "out")
    assert [row["class_name"] for row in found["thresholds.parquet"]] == ["background", "foreground"]


@pytest.mark.parametrize("kind", ["probabilities", "logits"])
def test_binary_value_outside_probabilities_suggests_logits(tmp_path: Path, kind: str) -> None:
    rows = tables(write(tmp_path, LOGITS), tmp_path / "out", kind=kind)["images"]
    assert {row["status"] for row in rows} == {"bad_probabilities" if kind == "probabilities" else "scored"}
    assert all("logits" in row["reason"] for row in rows if kind == "probabilities")


def test_ensemble_of_binary_low_resolution_and_full_predictions_is_their_mean(tmp_path: Path) -> None:
    small = np.log(both(POSITIVE)[:, :, ::4, ::4])
    extra = {"b": small, "c": both(POSITIVE).astype(np.float16)}
    stored = write(tmp_path, POSITIVE, chunks=(1, 5, WIDTH), extra=extra)
    group = zarr.open_group(stored, mode="a")
    group["b"].attrs["kind"] = "logits"
    full = zarr.open_group(write(tmp_path / "full", both(POSITIVE), extra={**extra, "b": enlarge(small)}), mode="a")
    full["b"].attrs["kind"] = "logits"
    settings: dict[str, Any] = {"arrays": {"predictions": ["predictions", "b", "c"]}, "classes": ["a", "b"]}
    assert tables(stored, tmp_path / "a", resize="predictions", **settings) == tables(
        str(tmp_path / "full/source.zarr"), tmp_path / "b", **settings
    )


@pytest.mark.parametrize(
    ("dtype", "packing"),
    [
        ("int16", {"scale_factor": 1e-4}),
        ("int8", {"scale_factor": 1 / 254, "add_offset": 0.5}),
        ("uint32", {"scale_factor": 2.0**-32}),
        ("float32", {"scale_factor": 0.1, "add_offset": -1.0}),
        ("int16", {"scale_factor": -1e-4, "add_offset": 1.0}),
    ],
)
def test_run_over_packed_predictions_equals_unpacked_ones(
    tmp_path: Path, dtype: str, packing: dict[str, float]
) -> None:
    factor, offset = packing["scale_factor"], packing.get("add_offset", 0.0)
    numbers = (both(POSITIVE) - offset) / factor
    stored = numbers.astype(dtype) if dtype == "float32" else np.rint(numbers).astype(dtype)
    values = (stored * np.float64(factor) + offset).astype(np.float32)
    assert_same_run(tmp_path, write(tmp_path, stored, packing=packing), values)


def test_run_over_packed_logits_equals_unpacked_ones(tmp_path: Path) -> None:
    stored = np.rint(LOGITS * 20).astype(np.int8)
    values = (stored * np.float64(0.05)).astype(np.float32)
    full = np.stack([np.zeros_like(values), values], axis=1)
    assert_same_run(tmp_path, write(tmp_path, stored, packing={"scale_factor": 0.05}), full, kind="logits")


@pytest.mark.parametrize("attributes", [{"scale_factor": 1 / 250}, {"scale_factor": 1 / 250, "_Unsigned": "true"}])
def test_packed_bytes_stay_integers(tmp_path: Path, attributes: dict[str, Any]) -> None:
    codes = np.rint(POSITIVE * 250).astype(np.uint8)
    full = np.stack([250 - codes, codes], axis=1)
    stored = write(tmp_path, full.view(np.int8) if "_Unsigned" in attributes else full, packing=attributes)
    names = {"classes": ["a", "b"]}
    expected = tables(write(tmp_path / "full", full, scale=1 / 250), tmp_path / "b", **names)
    assert tables(stored, tmp_path / "a", **names) == expected
    assert zarr.open_array(tmp_path / "a/evidence/source.zarr/self_confidence", mode="r").dtype == np.uint8


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(
    "encoding",
    [
        {"dtype": "int16", "scale_factor": 1e-4, "add_offset": 0.5, "_FillValue": -32768},
        {"dtype": "uint8", "scale_factor": 1 / 200, "_FillValue": 255},
        {"dtype": "int8", "_Unsigned": "true", "scale_factor": 1 / 200, "_FillValue": -1},
        {"dtype": "float32", "_FillValue": -9999.0},
    ],
    ids=lambda encoding: encoding["dtype"],
)
def test_run_over_arrays_packed_by_xarray_equals_the_values_that_it_reads(
    tmp_path: Path, encoding: dict[str, Any], zarr_format: int
) -> None:
    values = both(POSITIVE)
    values[2, :, 5, 7] = np.nan
    axes = ("image", "class", "y", "x")
    scenes = xr.Dataset(
        {"predictions": (axes, values), "labels": (("image", "y", "x"), BINARY)}, attrs={"ignore": [255]}
    )
    stored = str(tmp_path / "source.zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # xarray warns of floats that become integers
        scenes.to_zarr(stored, zarr_format=zarr_format, consolidated=False, encoding={"predictions": encoding})  # type: ignore[call-overload]
    decoded = xr.open_zarr(stored, consolidated=False, use_zarr_fill_value_as_mask=zarr_format == 2).predictions.values
    found = tables(stored, tmp_path / "a")["images"]
    expected = tables(write(tmp_path / "full", decoded.astype(np.float32)), tmp_path / "b")["images"]
    assert [row["status"] for row in found] == [row["status"] for row in expected]
    assert found[2]["reason"].startswith("pixel (y=5, x=7): not all values are finite (_FillValue ")
    for name in ("softmin", "cil"):
        given = [[row[name] or 0 for row in rows] for rows in (found, expected)]
        assert np.allclose(*given, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("dtype", "fill"), [("uint8", 255), ("int16", -9), ("float32", -9.0)])
def test_image_with_a_missing_value_is_quarantined_with_the_fill_value(tmp_path: Path, dtype: str, fill: float) -> None:
    factor = 1.0 if dtype == "float32" else 0.005
    stored = np.divide(both(POSITIVE), factor).astype(dtype)
    stored[2, :, 3, 4] = fill
    packing = {"scale_factor": factor, "_FillValue": fill}
    rows = tables(write(tmp_path, stored, packing=packing), tmp_path / "out")["images"]
    assert [row["status"] for row in rows] == ["scored", "scored", "bad_probabilities", "scored", "scored"]
    assert (
        f"pixel (y=3, x=4): not all values are finite (_FillValue {fill:g} means a missing value)" in rows[2]["reason"]
    )


@pytest.mark.parametrize("size", [(6, 10), (24, 10), (7, 13), (1, 1), (23, 40)])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_run_over_low_resolution_equals_the_enlarged_predictions(
    tmp_path: Path, size: tuple[int, int], dtype: str
) -> None:
    small = RNG.normal(0, 3, (N, 3, *size)).astype(dtype)
    stored = write(tmp_path, small, kind="logits")
    assert_same_run(tmp_path, stored, enlarge(small), kind="logits", resize="predictions")


@pytest.mark.parametrize("window_bytes", [1, 8000, 1 << 24])
@pytest.mark.parametrize(
    ("chunks", "shards"),
    [((1, 3, 6, 10), None), ((2, 1, 2, 3), None), ((3, 3, 4, 10), None), ((1, 3, 2, 5), (2, 3, 6, 10))],
)
def test_run_over_low_resolution_does_not_depend_on_windows_and_reads_each_chunk_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    window_bytes: int,
    chunks: tuple[int, ...],
    shards: tuple[int, ...] | None,
) -> None:
    small = RNG.normal(0, 3, (N, 3, 6, 10)).astype(np.float32)
    stored = write(tmp_path, small, chunks=chunks, shards=shards, kind="logits")
    expected = tables(write(tmp_path / "full", enlarge(small), kind="logits"), tmp_path / "b")
    monkeypatch.setattr(layout, "WINDOW_BYTES", window_bytes)
    monkeypatch.setattr(layout, "CHUNK_BYTES", 4000)
    decoded: list[tuple[int, ...]] = []
    read_chunk = DirectDecoder._read_chunk

    def record(decoder: DirectDecoder, data: Any, index: tuple[int, ...], *window: Any) -> bool:
        decoded.extend([index] if len(index) == 4 else [])
        return read_chunk(decoder, data, index, *window)

    monkeypatch.setattr(DirectDecoder, "_read_chunk", record)
    assert tables(stored, tmp_path / "a", resize="predictions") == expected
    assert len(decoded) == len(set(decoded)) == math.prod(-(-n // c) for n, c in zip(small.shape, chunks, strict=True))


def test_padding_of_low_resolution_predictions_is_cut_off_after_resizing(tmp_path: Path) -> None:
    small = RNG.normal(0, 3, (N, 3, 6, 10)).astype(np.float32)
    extra = {"height": np.array([24, 20, 3, 24, 1], np.int32), "width": np.array([40, 39, 40, 2, 1], np.int32)}
    expected = tables(write(tmp_path / "full", enlarge(small), kind="logits", extra=extra), tmp_path / "b")
    found = tables(write(tmp_path, small, kind="logits", extra=extra), tmp_path / "a", resize="predictions")
    assert found == expected


@pytest.mark.parametrize("lost", [0, 2])
def test_missing_chunk_of_low_resolution_predictions_concerns_one_image(tmp_path: Path, lost: int) -> None:
    small = RNG.normal(0, 3, (N, 3, 6, 10)).astype(np.float32)
    stored = write(tmp_path, small, chunks=(1, 3, 2, 10), kind="logits")
    (Path(stored) / f"predictions/c/1/0/{lost}/0").unlink()
    rows = tables(stored, tmp_path / "a", resize="predictions")["images"]
    assert [row["status"] for row in rows] == ["scored", "missing_chunk", "scored", "scored", "scored"]


@pytest.mark.parametrize(
    ("small", "settings"),
    [
        (np.zeros((2, 19, 250, 250), np.float32), {"resize": "predictions", "kind": "logits"}),
        (np.full((2, 1000, 1000), 0.5, np.float32), {}),
        (np.full((2, 2, 1000, 1000), 5000, np.int16), {}),
    ],
    ids=["resized", "binary", "packed"],
)
def test_planned_memory_bounds_the_condensing_of_decoded_predictions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: Array, settings: dict[str, Any]
) -> None:
    chunks = (*((1,) * (small.ndim - 2)), 50, small.shape[-1])
    packing = {"scale_factor": 1e-4} if small.dtype == np.int16 else None
    source = write(tmp_path, small, np.zeros((2, 1000, 1000), np.uint8), chunks=chunks, packing=packing)
    monkeypatch.setattr(layout, "WINDOW_BYTES", 1 << 20)
    config = build_run_config(
        {"sources": [source], "out": str(tmp_path / "out"), "executor": {"kind": "serial"}, **settings}, {}
    )
    tasks = make_block_tasks(config)
    context = make_run_context(config, tasks)
    create_evidence_arrays(context, tasks)
    for _ in range(2):  # the first block compiles
        tracemalloc.start()
        for task in tasks:
            condense_block(context, None, task)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        for file in (tmp_path / "out/manifest").rglob("*"):
            if file.is_file():
                file.unlink()
    assert peak <= tasks.plan.memory_condense - memory.BASE_MEMORY_BYTES


@pytest.mark.parametrize("axis", [None, 1])
def test_run_over_decoded_predictions_is_the_same_from_a_remote_store(tmp_path: Path, axis: int | None) -> None:
    small = LOGITS[:, ::2, ::4]
    small = small if axis is None else np.expand_dims(small, axis)
    chunks = (1, 4, 10) if axis is None else (1, 1, 4, 10)
    source = write(tmp_path, small, chunks=chunks, kind="logits")
    expected = tables(source, tmp_path / "a", resize="predictions")
    files = {file: file.read_bytes() for file in Path(source).rglob("*") if file.is_file()}
    place = f"{uuid.uuid4().hex}/source.zarr"
    memory_store = fsspec.filesystem("memory")
    for file, data in files.items():
        memory_store.pipe(f"/{place}/{file.relative_to(source)}", data)
    assert tables(f"memory://{place}", tmp_path / "b", resize="predictions") == expected


def test_run_over_decoded_predictions_is_the_same_on_workers(tmp_path: Path) -> None:
    source = write(tmp_path, LOGITS[:, ::2, ::4], chunks=(1, 4, 10), kind="logits")
    expected = tables(source, tmp_path / "a", resize="predictions")
    workers = {"kind": "local", "workers": 2}
    assert tables(source, tmp_path / "b", resize="predictions", executor=workers) == expected


def test_evidence_of_decoded_predictions_is_reused_and_scored_again(tmp_path: Path) -> None:
    source = write(tmp_path, np.rint(POSITIVE * 200).astype(np.int16), packing={"scale_factor": 1 / 200})
    expected = tables(source, tmp_path / "a")
    assert tables(source, tmp_path / "b", base=str(tmp_path / "a")) == expected
    assert read_run_record(str(tmp_path / "b"), {})["kept_sources"] == 1
    assert main(["score", str(tmp_path / "a"), "--out", str(tmp_path / "c"), "--executor", "serial"]) == 0
    assert read_tables(tmp_path / "c")["images"].to_pylist() == expected["images"]
    group = zarr.open_group(source, mode="a")
    group["predictions"].attrs["scale_factor"] = 1 / 201
    tables(source, tmp_path / "d", base=str(tmp_path / "a"))
    assert read_run_record(str(tmp_path / "d"), {})["kept_sources"] == 0


def test_sweep_reads_binary_packed_predictions_of_low_resolution(tmp_path: Path) -> None:
    codes = np.rint(POSITIVE[:, ::2, ::2] * 200).astype(np.uint8)
    source = write(tmp_path, codes, packing={"scale_factor": 1 / 200})
    arguments = ["--source", source, "--resize", "predictions", "--executor", "serial", "--kinds", "drop"]
    assert main(["sweep", *arguments, "--out", str(tmp_path / "sweep")]) == 0
    assert main(["simulate", *arguments[:6], "--kind", "drop", "--out", str(tmp_path / "labels")]) == 0


def test_plan_names_the_stored_form_and_counts_its_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    codes = np.rint(POSITIVE[:, ::2, ::2] * 200).astype(np.int16)
    source = write(tmp_path, codes, packing={"scale_factor": 1 / 200})
    config = build_run_config({"sources": [source], "out": str(tmp_path / "out"), "resize": "predictions"}, {})
    (spec,), plan = open_and_plan(config)
    assert plan.bytes_to_read >= codes.nbytes + 2 * spec.labels.nbytes
    assert main(["plan", "--source", source, "--out", str(tmp_path / "out"), "--resize", "predictions"]) == 0
    text = "2 classes, int16 probabilities of the positive class (scale_factor 0.005) of 12 x 20, resized, labels uint8"
    assert text in capsys.readouterr().out
