"""`masksift export masks`: corrected labels as files in the form in which they came."""

from __future__ import annotations

import io
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from PIL import Image

from prepare.ingest.helpers import save_image
from prepare.predict.helpers import make_images
from review.helpers import run_sources
from support.cli import error_message, exit_code, run_cli
from support.datasets import Array
from support.sources import make_data, write_source

COLORS = np.array([(9, 9, 200), (90, 90, 90), (20, 160, 20), (0, 0, 0)], np.uint8)
QUIET = ("--executor", "serial", "--log-format", "quiet")
IMAGES = 5


@pytest.fixture
def planes() -> Array:
    """Labels of 16 x 20 pixels: classes 0 to 2, 255 for none."""
    return make_images(images=IMAGES)[1]


def ingest(directory: Path, planes: Array, *args: object) -> Path:
    """Ingest the files in `masks` with predictions that agree, and run; returns the results."""
    (directory / "softmax").mkdir()
    probabilities = (np.where(planes == 255, 0, planes)[:, None] == np.arange(3).reshape(3, 1, 1)).astype(np.float32)
    for i in range(IMAGES):
        np.save(directory / f"softmax/{i}.npy", probabilities[i])
    where = ("--labels", directory / "masks", "--predictions", directory / "softmax")
    assert exit_code("ingest", *where, "--out", directory / "source.zarr", *args, *QUIET) == 0
    return run_sources(directory / "run", directory / "source.zarr")


def correct(directory: Path, change: Callable[[Array], None], *images: str, colors: Array | None = None) -> Path:
    """Import changed masks, values or colors, of some images, by default 1 and 3; returns the corrected labels."""
    group: Any = zarr.open_group(directory / "source.zarr", mode="r")
    ids = group["image_id"][:].tolist()
    for name in images or ("1", "3"):
        plane = np.array(group["labels"][ids.index(name)])
        change(plane)
        save_image(directory / f"edited/{name}.png", plane if colors is None else colors[np.minimum(plane, 3)])
    args = (directory / "edited", "--run", directory / "run", "--out", directory / "fixed")
    assert run_cli("import", "png", *args) == 0
    return directory / "fixed"


def export_masks(directory: Path, *args: object) -> dict[str, bytes]:
    """Export the corrected labels, and return the files by their path."""
    out = directory / "out"
    assert run_cli("export", "masks", directory / "run", "--labels", directory / "fixed", "--out", out, *args) == 0
    files = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    return {name: data for name, data in files.items() if not name.startswith("manifest") and name != "masks.json"}


def assert_import_returns_the_labels(directory: Path) -> None:
    """Check that an import of the exported files gives the labels that they were exported from."""
    shutil.rmtree(directory / "out/manifest")
    args = ("--run", directory / "run", "--out", directory / "again")
    assert run_cli("import", "png", directory / "out", *args) == 0
    again, fixed = (
        np.asarray(zarr.open_array(directory / name / "source.zarr/labels")[:]) for name in ("again", "fixed")
    )
    np.testing.assert_array_equal(again, fixed)


def paint(plane: Array) -> None:
    """Change a block of pixels to class 2, and another to no label."""
    plane[2:5, 3:9] = 2
    plane[9:12, 1:4] = 255


def pixels(data: bytes) -> Array:
    return np.asarray(Image.open(io.BytesIO(data)))


def painted(plane: Array) -> Array:
    changed = plane.copy()
    paint(changed)
    return changed


def test_only_files_of_changed_images_are_written(planes: Array, tmp_path: Path) -> None:
    for i, plane in enumerate(planes):
        save_image(tmp_path / f"masks/{'town' if i < 2 else 'field'}/{i}.png", plane)
    ingest(tmp_path, planes, "--ignore", 255)
    correct(tmp_path, paint, "town/1", "field/3")
    files = export_masks(tmp_path)
    assert set(files) == {"town/1.png", "field/3.png"}
    for name, data in files.items():
        np.testing.assert_array_equal(pixels(data), painted(planes[1 if "1" in name else 3]))


def test_all_files_are_written_on_request(planes: Array, tmp_path: Path) -> None:
    for i, plane in enumerate(planes):
        save_image(tmp_path / f"masks/{i}.png", plane)
    ingest(tmp_path, planes, "--ignore", 255)
    correct(tmp_path, paint)
    files = export_masks(tmp_path, "--unchanged", "true")
    assert set(files) == {f"{i}.png" for i in range(IMAGES)}
    np.testing.assert_array_equal(pixels(files["0.png"]), planes[0])


def test_values_of_unchanged_pixels_stay_where_several_mean_one_class(planes: Array, tmp_path: Path) -> None:
    stored = planes.copy()
    stored[:, ::2][planes[:, ::2] == 1] = 7  # 1 and 7 are class 1
    for i, plane in enumerate(stored):
        save_image(tmp_path / f"masks/{i}.png", plane)
    ingest(tmp_path, planes, "--ignore", 255, "--remap", "0:0,1:1,7:1,2:2")
    correct(tmp_path, paint)
    files = export_masks(tmp_path)
    assert_import_returns_the_labels(tmp_path)
    for i in (1, 3):
        np.testing.assert_array_equal(pixels(files[f"{i}.png"]), painted(stored[i]))


def test_color_masks_keep_their_colors(planes: Array, tmp_path: Path) -> None:
    rows = "".join(f"{name},{r},{g},{b}\n" for name, (r, g, b) in zip("abc", COLORS.tolist(), strict=False))
    (tmp_path / "colors.csv").write_text(f"{rows}ignore,0,0,0\n")
    for i, plane in enumerate(planes):
        save_image(tmp_path / f"masks/{i}.png", COLORS[np.minimum(plane, 3)])
    ingest(tmp_path, planes, "--colors", tmp_path / "colors.csv")
    correct(tmp_path, paint, colors=COLORS)
    files = export_masks(tmp_path)
    assert_import_returns_the_labels(tmp_path)
    for i in (1, 3):
        np.testing.assert_array_equal(pixels(files[f"{i}.png"]), COLORS[np.minimum(painted(planes[i]), 3)])


def test_palette_images_keep_mode_and_palette(planes: Array, tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    for i, plane in enumerate(planes):
        image = Image.frombytes("P", plane.shape[::-1], plane.astype(np.uint8).tobytes())
        image.putpalette(COLORS.tobytes().ljust(768, b"\0"))
        image.save(tmp_path / f"masks/{i}.png")
    ingest(tmp_path, planes, "--ignore", 255)
    correct(tmp_path, paint)
    with Image.open(io.BytesIO(export_masks(tmp_path)["1.png"])) as image:
        assert image.mode == "P"
        assert image.getpalette("RGB")[:12] == COLORS.ravel().tolist()
        np.testing.assert_array_equal(np.asarray(image), painted(planes[1]))


def test_gray_values_of_two_bits_stay_values(planes: Array, tmp_path: Path) -> None:
    """Pillow multiplies them by 85 when it reads them."""
    stored = np.where(planes == 255, 3, planes).astype(np.uint8)
    (tmp_path / "masks").mkdir()
    for i, plane in enumerate(stored):
        write_gray_of_two_bits(tmp_path / f"masks/{i}.png", plane)
    ingest(tmp_path, planes, "--ignore", 3)
    correct(tmp_path, lambda plane: plane.__setitem__(plane == 255, 3))
    files = export_masks(tmp_path, "--unchanged", "true")
    np.testing.assert_array_equal(pixels(files["1.png"]), stored[1])


def write_gray_of_two_bits(path: Path, plane: Array) -> None:
    """Write a PNG of color type 0 and bit depth 2, which Pillow does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = plane.shape
    packed = (plane.reshape(height, width // 4, 4) << np.array([6, 4, 2, 0], np.uint8)).sum(2, dtype=np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    header = struct.pack(">IIBBBBB", width, height, 2, 0, 0, 0, 0)
    content = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in content))


def test_images_without_stored_labels_are_left_out(tmp_path: Path) -> None:
    data = make_data()
    write_source(tmp_path / "source.zarr", data, ids=[str(i) for i in range(8)])
    (tmp_path / "source.zarr/labels/c/3/0/0").unlink()  # of images 6 and 7
    run_sources(tmp_path / "run", tmp_path / "source.zarr")
    save_image(tmp_path / "edited/2.png", ((data.labels[2] + 1) % 4).astype(np.uint8))
    assert run_cli("import", "png", tmp_path / "edited", "--run", tmp_path / "run", "--out", tmp_path / "fixed") == 0
    assert set(export_masks(tmp_path, "--unchanged", "true")) == {f"{i}.png" for i in range(6)}


def test_georeferenced_tiff_keeps_its_tags(planes: Array, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    (tmp_path / "masks").mkdir()
    height, width = planes[0].shape
    profile = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": 1,
        "dtype": "uint8",
        "crs": "EPSG:32633",
        "transform": rasterio.Affine(0.5, 0, 500000, 0, -0.5, 5800000),
        "nodata": 255,
        "compress": "lzw",
    }
    for i, plane in enumerate(planes):
        with rasterio.open(tmp_path / f"masks/{i}.tif", "w", **profile) as file:
            file.write(plane.astype(np.uint8), 1)
    ingest(tmp_path, planes, "--ignore", 255)
    correct(tmp_path, paint)
    export_masks(tmp_path)
    with rasterio.open(tmp_path / "out/1.tif") as file:
        assert (file.crs.to_epsg(), file.transform, file.nodata) == (32633, profile["transform"], 255)
        assert file.compression.name == "lzw"
        np.testing.assert_array_equal(file.read(1), painted(planes[1]))


def test_windows_of_a_raster_are_assembled(planes: Array, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    (tmp_path / "masks").mkdir()
    (tmp_path / "softmax").mkdir()
    tiles = np.where(planes[:4] == 255, 0, planes[:4]).astype(np.uint8).reshape(2, 2, 16, 20)
    mosaic = tiles.swapaxes(1, 2).reshape(32, 40)
    transform = rasterio.Affine(0.5, 0, 500000, 0, -0.5, 5800000)
    shape = {"driver": "GTiff", "height": 32, "width": 40, "crs": "EPSG:32633", "transform": transform}
    profile = {**shape, "tiled": True, "blockxsize": 16, "blockysize": 16}
    with rasterio.open(tmp_path / "masks/town.tif", "w", count=1, dtype="uint8", compress="lzw", **profile) as file:
        file.write(mosaic, 1)
    with rasterio.open(tmp_path / "softmax/town.tif", "w", count=3, dtype="float32", **profile) as file:
        file.write((mosaic == np.arange(3).reshape(3, 1, 1)).astype(np.float32))
    where = ("--labels", tmp_path / "masks", "--predictions", tmp_path / "softmax", "--out", tmp_path / "source.zarr")
    assert exit_code("ingest", *where, "--window", "16x20", *QUIET) == 0
    run_sources(tmp_path / "run", tmp_path / "source.zarr")
    group: Any = zarr.open_group(tmp_path / "source.zarr", mode="r")
    correct(tmp_path, lambda plane: plane.__setitem__((slice(2, 5), slice(3, 9)), 2), group["image_id"][:].tolist()[3])
    assert list(export_masks(tmp_path)) == ["town.tif"]
    mosaic[18:21, 23:29] = 2
    with rasterio.open(tmp_path / "out/town.tif") as file:
        np.testing.assert_array_equal(file.read(1), mosaic)
        assert (file.crs.to_epsg(), file.transform) == (32633, transform)


def test_arrays_are_written_as_arrays(planes: Array, tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    for i, plane in enumerate(planes):
        np.save(tmp_path / f"masks/{i}.npy", plane.astype(np.int16))
    ingest(tmp_path, planes, "--ignore", 255)
    correct(tmp_path, paint)
    array: Any = np.load(io.BytesIO(export_masks(tmp_path)["3.npy"]))
    assert array.dtype == np.int16
    np.testing.assert_array_equal(array, painted(planes[3]))


def test_file_that_has_changed_since_the_ingest_is_refused(
    planes: Array, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i, plane in enumerate(planes):
        save_image(tmp_path / f"masks/{i}.png", plane)
    ingest(tmp_path, planes, "--ignore", 255)
    correct(tmp_path, paint)
    changed = planes[3].copy()
    changed[0, 0] = 0 if changed[0, 0] else 1
    save_image(tmp_path / "masks/3.png", changed)
    capsys.readouterr()
    args = ("--labels", tmp_path / "fixed", "--out", tmp_path / "out")
    assert run_cli("export", "masks", tmp_path / "run", *args) == 2
    assert "3.png has changed since it was ingested: the pixel at row 0, column 0" in error_message(capsys)


def test_labels_of_a_source_without_files_are_written_as_png_by_image_id(tmp_path: Path) -> None:
    data = make_data()
    write_source(tmp_path / "source.zarr", data, ids=[f"x/{i}.jpg" for i in range(8)])
    run_sources(tmp_path / "run", tmp_path / "source.zarr")
    edited = data.labels[2].copy()
    edited[0, :3] = (edited[0, :3] + 1) % 4
    save_image(tmp_path / "edited/x/2.png", edited.astype(np.uint8))
    assert run_cli("import", "png", tmp_path / "edited", "--run", tmp_path / "run", "--out", tmp_path / "fixed") == 0
    files = export_masks(tmp_path)
    assert list(files) == ["x/2.png"]
    np.testing.assert_array_equal(pixels(files["x/2.png"]), edited)


def test_directory_without_corrections_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_source(tmp_path / "source.zarr", make_data())
    run_sources(tmp_path / "run", tmp_path / "source.zarr")
    capsys.readouterr()
    args = ("--labels", tmp_path / "nothing", "--out", tmp_path / "out")
    assert run_cli("export", "masks", tmp_path / "run", *args) == 2
    assert "holds no labels that `masksift export corrections` or `masksift import` wrote" in error_message(capsys)
