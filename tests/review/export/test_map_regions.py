"""Polygons on the map, read by geopandas: pixels, areas and attributes equal the region table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio.features
from rasterio import Affine

from prepare.ingest.raster_files import HEIGHT, TRANSFORM, WIDTH, class_map, probabilities, write_raster
from review.export.helpers import ExportedRun, export, replace_regions
from support.cli import error_message, run_cli
from support.datasets import Array
from support.results import read_files

CLASSES = ("water", "forest", "field")
WINDOW = 10, 16
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")


def shapes() -> list[tuple[str, int, Array, int | None, int]]:
    """Regions of windows: one with a hole, two pixels that touch at a corner, one in another raster."""
    ring = np.zeros(WINDOW, bool)
    ring[2:7, 3:9] = True
    ring[4, 5] = False
    diagonal = np.zeros((10, 14), bool)
    diagonal[0, 0] = diagonal[1, 1] = True
    whole = np.ones(WINDOW, bool)
    return [("maps", 2, ring, 1, 0), ("maps", 1, diagonal, 0, 2), ("maps", 4, whole, None, 1)]


def make_run(path: Path, *systems: str) -> Path:
    """Make a run over windows of two rasters with given coordinate reference systems, and replace its regions."""
    for i, crs in enumerate(systems):
        plane = class_map(i)
        transform = TRANSFORM if crs != "EPSG:4326" else Affine(1e-5, 0, 9, 0, -1e-5, 48)
        write_raster(path / f"labels/{i}.tif", plane, crs=crs, transform=transform)
        write_raster(path / f"predictions/{i}.tif", probabilities(1 - plane % 2), crs=crs, transform=transform)
    places = ("--labels", path / "labels", "--predictions", path / "predictions", "--out", path / "maps.zarr")
    assert run_cli("ingest", *places, "--classes", ",".join(CLASSES), "--window", "10x16") == 0
    assert run_cli("run", "--source", path / "maps.zarr", "--out", path / "run") == 0
    replace_regions(path / "run", shapes(), CLASSES)
    return path / "run"


@pytest.fixture(scope="module")
def run_on_map(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("maps"), "EPSG:32632", "EPSG:32632")


def masks_in_raster() -> list[Array]:
    """Masks of the regions in their whole raster."""
    planes = []
    for (_, _, mask, *_), (row, column) in zip(shapes(), ((10, 0), (0, 16), (0, 0)), strict=True):
        plane = np.zeros((HEIGHT, WIDTH), bool)
        plane[row : row + mask.shape[0], column : column + mask.shape[1]] = mask
        planes.append(plane)
    return planes


def rasterize(geometry: Any) -> Array:
    plane = rasterio.features.rasterize([geometry], (HEIGHT, WIDTH), transform=TRANSFORM)
    return np.asarray(plane, bool)


def test_geoparquet_has_the_pixels_and_areas_of_the_regions(run_on_map: Path, tmp_path: Path) -> None:
    assert export("geoparquet", run_on_map, tmp_path / "x") == 0
    frame = geopandas.read_parquet(tmp_path / "x/regions/EPSG_32632.parquet")
    assert frame.crs.to_epsg() == 32632
    assert frame["rank"].tolist() == [1, 2, 3]
    assert frame["area_pixels"].tolist() == [29, 2, 160]
    np.testing.assert_allclose(frame["area_m2"], [29 / 4, 2 / 4, 160 / 4])
    np.testing.assert_allclose(frame.area, frame["area_m2"])
    assert frame.is_valid.all()
    for geometry, mask in zip(frame.geometry, masks_in_raster(), strict=True):
        np.testing.assert_array_equal(rasterize(geometry), mask)


def test_geoparquet_has_the_attributes_of_the_regions(run_on_map: Path, tmp_path: Path) -> None:
    assert export("geoparquet", run_on_map, tmp_path / "x") == 0
    frame = geopandas.read_parquet(tmp_path / "x/regions/EPSG_32632.parquet")
    assert frame["image_id"].tolist() == ["0/10_00", "0/00_16", "1/00_00"]
    assert frame["suggested"].tolist() == ["water", "field", "forest"]
    assert frame["given"].tolist()[:2] == ["forest", "water"]
    assert frame["given"].isna().tolist() == [False, False, True]
    assert frame["reason"].tolist() == ["label", "label", "omission"]


def test_hole_and_corner_become_a_ring_and_a_multipolygon(run_on_map: Path, tmp_path: Path) -> None:
    assert export("geoparquet", run_on_map, tmp_path / "x") == 0
    ring, diagonal, _ = geopandas.read_parquet(tmp_path / "x/regions/EPSG_32632.parquet").geometry
    assert len(ring.interiors) == 1
    assert (diagonal.geom_type, len(diagonal.geoms)) == ("MultiPolygon", 2)


def test_geojson_is_in_longitude_and_latitude(run_on_map: Path, tmp_path: Path) -> None:
    assert export("geojson", run_on_map, tmp_path / "x") == 0
    file = tmp_path / "x/regions.geojson"
    frame = geopandas.read_file(file).sort_values("rank")
    assert frame.crs.to_epsg() == 4326
    projected = frame.to_crs(32632)
    np.testing.assert_allclose(projected.area, frame["area_m2"], rtol=1e-3)
    for geometry, mask in zip(projected.geometry, masks_in_raster(), strict=True):
        np.testing.assert_array_equal(rasterize(geometry), mask)
    tree = json.loads(file.read_text())
    assert [feature["id"] for feature in tree["features"]] == [1, 2, 3]
    assert "crs" not in tree, "RFC 7946 knows no other system"


def test_exteriors_of_geojson_are_counterclockwise(run_on_map: Path, tmp_path: Path) -> None:
    assert export("geojson", run_on_map, tmp_path / "x") == 0
    for geometry in geopandas.read_file(tmp_path / "x/regions.geojson").geometry:
        for part in getattr(geometry, "geoms", [geometry]):
            assert part.exterior.is_ccw
            assert not any(ring.is_ccw for ring in part.interiors)


def test_each_reference_system_has_a_file(tmp_path: Path) -> None:
    run = make_run(tmp_path, "EPSG:32632", "EPSG:4326")
    assert export("geoparquet", run, tmp_path / "x") == 0
    files = [name for name in read_files(tmp_path / "x") if name.endswith(".parquet")]
    assert sorted(files) == ["regions/EPSG_32632.parquet", "regions/EPSG_4326.parquet"]
    degrees = geopandas.read_parquet(tmp_path / "x/regions/EPSG_4326.parquet")
    assert degrees["rank"].tolist() == [3]
    assert degrees["area_m2"].isna().all()
    np.testing.assert_allclose(degrees.total_bounds, [9, 48 - 10e-5, 9 + 16e-5, 48])
    assert export("geojson", run, tmp_path / "y") == 0
    assert len(geopandas.read_file(tmp_path / "y/regions.geojson")) == 3


@pytest.mark.parametrize("form", ["geojson", "geoparquet"])
def test_equal_exports_on_a_map_have_equal_bytes(run_on_map: Path, tmp_path: Path, form: str) -> None:
    assert export(form, run_on_map, tmp_path / "a/x") == 0
    assert export(form, run_on_map, tmp_path / "b/x") == 0
    assert read_files(tmp_path / "a/x") == read_files(tmp_path / "b/x")


@pytest.mark.parametrize("form", ["geojson", "geoparquet"])
def test_run_without_georeference_is_refused(
    run: ExportedRun, tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(form, run.out, tmp_path / "x") == 2
    assert "has a georeference. Its regions have no place on a map. Ingest GeoTIFF" in error_message(capsys)
