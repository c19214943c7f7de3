"""Rasters of maps as labels, predictions and images: windows, georeference, nodata."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from masksift.prepare.ingest import split_rasters
from masksift.storage.zarr.origin import OriginReader, open_origin
from prepare.ingest.helpers import assert_ingest_fails, read_source, save_image
from prepare.ingest.raster_files import TRANSFORM, class_map, probabilities, write_raster
from prepare.predict.helpers import predict
from support.cli import exit_code, run_cli
from support.datasets import Array


@pytest.fixture
def labels(tmp_path: Path) -> list[Array]:
    """Directory ``labels`` with two rasters, and ``predictions`` with a band for each class."""
    planes = [class_map(seed) for seed in range(2)]
    for i, plane in enumerate(planes):
        write_raster(tmp_path / f"labels/tile{i}.tif", plane, tiled=True, blockxsize=16, blockysize=16)
        write_raster(tmp_path / f"predictions/tile{i}.tif", probabilities(plane))
    return planes


def args(tmp_path: Path, *more: object) -> tuple[object, ...]:
    places = ("--labels", tmp_path / "labels", "--predictions", tmp_path / "predictions")
    return (*places, "--out", tmp_path / "new.zarr", "--classes", "a,b,c", *more)


def ingest(tmp_path: Path, *more: object) -> dict[str, Array]:
    assert run_cli("ingest", *args(tmp_path, *more)) == 0
    return read_source(tmp_path / "new.zarr")


def origin(source: Path) -> OriginReader:
    reader = open_origin(str(source), {})
    assert reader is not None
    return reader


def test_rasters_are_cut_into_windows(tmp_path: Path, labels: list[Array]) -> None:
    arrays = ingest(tmp_path, "--window", "8x16")
    assert arrays["image_id"].tolist() == [
        f"tile{i}/{row:02d}_{column:02d}" for i in range(2) for row in (0, 8, 16) for column in (0, 16)
    ]
    assert arrays["labels"].shape == (12, 8, 16)
    np.testing.assert_array_equal(arrays["labels"][2], labels[0][8:16, :16])
    np.testing.assert_array_equal(arrays["predictions"][6], probabilities(labels[1])[:, :8, :16])


def test_windows_at_the_edge_are_padded(tmp_path: Path, labels: list[Array]) -> None:
    arrays = ingest(tmp_path, "--window", "8x16")
    assert (arrays["height"][5], arrays["width"][5]) == (4, 14)
    np.testing.assert_array_equal(arrays["labels"][5, :4, :14], labels[0][16:, 16:])
    assert (arrays["labels"][5, 4:] == 255).all()


def test_raster_without_window_is_one_image(tmp_path: Path, labels: list[Array]) -> None:
    arrays = ingest(tmp_path)
    assert arrays["image_id"].tolist() == ["tile0", "tile1"]
    np.testing.assert_array_equal(arrays["labels"], labels)
    np.testing.assert_array_equal(arrays["predictions"][1], probabilities(labels[1]))


def test_origin_holds_files_windows_and_georeference(tmp_path: Path, labels: list[Array]) -> None:
    ingest(tmp_path, "--window", "8x16")
    reader = origin(tmp_path / "new.zarr")
    assert reader.root == str(tmp_path / "labels")
    assert (reader.file_number(9), reader.place(9)) == (1, (8, 16, 8, 14))
    file = reader.file(1)
    assert (file.name, file.transform) == ("tile1.tif", tuple(TRANSFORM)[:6])
    assert "32632" in (file.crs or "")
    assert len(reader.systems) == 1


def test_predict_keeps_the_origin(tmp_path: Path) -> None:
    for i in range(3):
        plane = class_map(i)
        write_raster(tmp_path / f"labels/{i}.tif", plane)
        write_raster(tmp_path / f"images/{i}.tif", np.stack([plane * 80] * 3))
    out, places = tmp_path / "new.zarr", ("--labels", tmp_path / "labels", "--images", tmp_path / "images")
    assert run_cli("ingest", *places, "--out", out, "--classes", "a,b,c", "--window", 10) == 0
    predicted = predict(out, tmp_path / "predicted.zarr", "--folds", 3, "--group_pattern", "^(.*)/")
    assert origin(predicted).read_all().files == origin(out).read_all().files
    np.testing.assert_array_equal(origin(predicted).read_all().places, origin(out).read_all().places)


def test_nodata_of_labels_is_ignored(tmp_path: Path, labels: list[Array]) -> None:
    stored = labels[0].copy()
    stored[3, 4] = 77
    write_raster(tmp_path / "labels/tile0.tif", stored, nodata=77)
    arrays = ingest(tmp_path)
    assert arrays["labels"][0, 3, 4] == 255
    np.testing.assert_array_equal(arrays["labels"] == 255, np.stack([stored == 77, np.zeros_like(stored, bool)]))


def test_nodata_that_is_remapped_is_a_class(tmp_path: Path, labels: list[Array]) -> None:
    for i, plane in enumerate(labels):
        write_raster(tmp_path / f"labels/tile{i}.tif", plane, nodata=0)
    np.testing.assert_array_equal(ingest(tmp_path, "--remap", "0:0,1:1,2:2")["labels"], labels)


def test_class_numbers_as_predictions_are_read(tmp_path: Path, labels: list[Array]) -> None:
    for i, plane in enumerate(labels):
        write_raster(tmp_path / f"predictions/tile{i}.tif", plane)
    np.testing.assert_array_equal(ingest(tmp_path, "--window", 10)["predictions"].argmax(1)[0], labels[0][:10, :10])


def test_signed_and_wide_labels_are_read(tmp_path: Path, labels: list[Array]) -> None:
    for i, plane in enumerate(labels):
        write_raster(tmp_path / f"labels/tile{i}.tif", plane.astype(np.int32))
    np.testing.assert_array_equal(ingest(tmp_path)["labels"], labels)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), [0, 0, 255]),
        (("--bands", "4,1,2"), [255, 0, 0]),
        (("--bands", "4", "--picture_range", "0,2000"), [128] * 3),
    ],
)
def test_bands_of_16_bits_become_a_picture(
    tmp_path: Path, labels: list[Array], options: tuple[str, ...], expected: list[int]
) -> None:
    bands = np.full((4, *labels[0].shape), 100, np.uint16)
    bands[2:] = 1000
    for i in range(2):
        write_raster(tmp_path / f"images/tile{i}.tif", bands)
    images = ingest(tmp_path, "--images", tmp_path / "images", "--window", 8, *options)["images"]
    assert images[0, 0, 0].tolist() == expected


def test_shifted_predictions_are_refused(
    tmp_path: Path, labels: list[Array], capsys: pytest.CaptureFixture[str]
) -> None:
    shifted = TRANSFORM.translation(0.25, 0) @ TRANSFORM
    write_raster(tmp_path / "predictions/tile1.tif", probabilities(labels[1]), transform=shifted)
    assert_ingest_fails("differ by up to 0.50 pixels at their corners", capsys, *args(tmp_path))


def test_rounded_transform_is_accepted(tmp_path: Path, labels: list[Array]) -> None:
    rounded = TRANSFORM.translation(0.001, 0) @ TRANSFORM
    write_raster(tmp_path / "predictions/tile1.tif", probabilities(labels[1]), transform=rounded)
    assert len(ingest(tmp_path)["labels"]) == 2


def test_predictions_of_another_reference_system_are_refused(
    tmp_path: Path, labels: list[Array], capsys: pytest.CaptureFixture[str]
) -> None:
    write_raster(tmp_path / "predictions/tile1.tif", probabilities(labels[1]), crs="EPSG:32633")
    match = "has the coordinate reference system EPSG:32632, .* has EPSG:32633. Warp"
    assert_ingest_fails(match, capsys, *args(tmp_path))


def test_larger_predictions_are_refused(
    tmp_path: Path, labels: list[Array], capsys: pytest.CaptureFixture[str]
) -> None:
    write_raster(tmp_path / "predictions/tile1.tif", np.repeat(probabilities(labels[1]), 2, axis=1))
    assert_ingest_fails(r"tile1.tif is 20 x 30, .*tile1.tif is 40 x 30", capsys, *args(tmp_path, "--window", 8))


def test_large_raster_without_window_is_refused(
    tmp_path: Path, labels: list[Array], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split_rasters, "MAX_WHOLE_PIXELS", 599)
    assert_ingest_fails("20 x 30, which is too large for one image. .*--window 1024", capsys, *args(tmp_path))


def test_window_of_arrays_is_refused(tmp_path: Path, labels: list[Array], capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(2):
        (tmp_path / f"predictions/tile{i}.tif").unlink()
        np.save(tmp_path / f"predictions/tile{i}.npy", probabilities(labels[i]))
    assert_ingest_fails("the predictions are not rasters", capsys, *args(tmp_path, "--window", 8))


def test_lossy_labels_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plane = class_map()
    write_raster(tmp_path / "labels/a.tif", plane, compress="JPEG")
    write_raster(tmp_path / "predictions/a.tif", probabilities(plane))
    assert_ingest_fails("compressed as JPEG, which changes values", capsys, *args(tmp_path))


def test_plain_images_can_be_cut_into_windows(tmp_path: Path) -> None:
    plane = class_map()
    save_image(tmp_path / "labels/a.png", plane)
    save_image(tmp_path / "predictions/a.png", plane)
    arrays = ingest(tmp_path, "--window", "20x15")
    assert arrays["image_id"].tolist() == ["a/00_00", "a/00_15"]
    np.testing.assert_array_equal(arrays["labels"][1], plane[:, 15:])


def test_rasters_of_an_object_store_are_read(tmp_path: Path, labels: list[Array]) -> None:
    filesystem = fsspec.filesystem("memory")
    filesystem.put(str(tmp_path / "labels"), "/rasters/labels", recursive=True)
    filesystem.put(str(tmp_path / "predictions"), "/rasters/predictions", recursive=True)
    places = ("--labels", "memory://rasters/labels", "--predictions", "memory://rasters/predictions")
    out = tmp_path / "new.zarr"
    code = exit_code("ingest", *places, "--out", out, "--window", 8, "--executor", "serial", "--log-format", "quiet")
    filesystem.rm("/rasters", recursive=True)
    assert code == 0
    np.testing.assert_array_equal(read_source(out)["labels"][0], labels[0][:8, :8])


def test_georeference_without_rasterio_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def find(name: str, *rest: Any) -> Any:
        return None if name == "rasterio" else find_spec(name, *rest)

    monkeypatch.setattr(split_rasters, "find_spec", find)
    plane = class_map()
    write_raster(tmp_path / "labels/a.tif", plane)
    write_raster(tmp_path / "predictions/a.tif", plane)
    np.testing.assert_array_equal(ingest(tmp_path)["labels"][0], plane)
    assert re.search(r"a.tif may have a georeference, .*masksift\[geo\]", capsys.readouterr().out)
    assert origin(tmp_path / "new.zarr").file(0).transform is None


def test_quickstart_on_windows_keeps_rasters_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(3):
        plane = class_map(i)
        write_raster(tmp_path / f"labels/{i}.tif", plane, nodata=2)
        write_raster(tmp_path / f"images/{i}.tif", np.stack([plane * 80] * 3))
    places = ("--labels", tmp_path / "labels", "--images", tmp_path / "images", "--out", tmp_path / "run")
    assert exit_code("quickstart", *places, "--window", "10x30", "--executor", "serial") == 0
    printed = capsys.readouterr()
    text = printed.out + printed.err
    assert "2 classes, the label values 0, 1" in text
    assert "--group_pattern '^(.*)/'" in text
    assert "--folds 3" in text
