"""Export of given labels as CVAT's Segmentation mask 1.1, read from the files and by Datumaro."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from scipy import ndimage

from masksift.review.export.cvat_mask import distinct_colors, object_ids
from masksift.review.file_names import label_map_names
from masksift.review.rendering.palette import class_colors
from review.export.helpers import PADDED, ExportedRun, decode_mask, export, read_with_tool
from support.datasets import Array
from support.moved_sources import move_sources
from support.sources import erase_chunks


def open_archive(out: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(out / "dataset.zip")


def read_label_map(archive: zipfile.ZipFile) -> dict[str, tuple[int, ...]]:
    """Read the label map: colors by name, in order."""
    lines = [line for line in archive.read("labelmap.txt").decode().splitlines() if not line.startswith("#")]
    entries = [line.split(":") for line in lines]
    assert all(len(fields) == 4 for fields in entries)
    return {name: tuple(int(number) for number in color.split(",")) for name, color, *_ in entries}


def read_rgb(archive: zipfile.ZipFile, name: str) -> Array:
    return np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB"))


def read_label_numbers(archive: zipfile.ZipFile, name: str) -> Array:
    """Read the number of each pixel's label in the label map, 0 for the background, (H, W)."""
    pixels = read_rgb(archive, f"SegmentationClass/{name}.png")
    colors = np.array(list(read_label_map(archive).values()))
    matches = (pixels[:, :, None] == colors).all(axis=-1)
    assert (matches.sum(axis=-1) == 1).all(), "each pixel has one color of the map"
    return matches.argmax(axis=-1)


def read_image_names(archive: zipfile.ZipFile) -> list[str]:
    return archive.read("ImageSets/Segmentation/default.txt").decode().splitlines()


def expected_numbers(labels: Array, index: int, classes: int, size: tuple[int, int]) -> Array:
    """Expected label numbers of an image: class + 1, and 0 for ignored pixels, (H, W)."""
    plane = labels[index, : size[0], : size[1]].astype(int)
    return np.where(plane < classes, plane + 1, 0)


def test_given_labels_are_exact(run: ExportedRun, tmp_path: Path) -> None:
    assert export("cvat-mask", run.out, tmp_path / "x") == 0
    archive = open_archive(tmp_path / "x")
    assert list(read_label_map(archive)) == ["background", *label_map_names(run.classes)]
    assert len(read_image_names(archive)) == len(run.ordered_images())
    for name, (source, index) in zip(read_image_names(archive), run.ordered_images(), strict=True):
        size = PADDED if (source, index) == ("s", 7) else (8, 10)
        np.testing.assert_array_equal(
            read_label_numbers(archive, name), expected_numbers(run.labels[source], index, 4, size)
        )
        stored = run.rgb_images[source]
        assert (f"JPEGImages/{name}.png" in archive.namelist()) == (stored is not None)
        if stored is not None:
            image = read_rgb(archive, f"JPEGImages/{name}.png")
            np.testing.assert_array_equal(image, stored[index, : size[0], : size[1]])


def test_datumaro_reads_one_annotation_per_component(run: ExportedRun, tmp_path: Path) -> None:
    assert export("cvat-mask", run.out, tmp_path / "x") == 0
    open_archive(tmp_path / "x").extractall(tmp_path / "y")
    items = {
        item["id"]: item for item in read_with_tool("datumaro", tmp_path / "y", "voc_instance_segmentation")["items"]
    }
    names = ["background", *label_map_names(run.classes)]
    for name, (source, index) in zip(read_image_names(open_archive(tmp_path / "x")), run.ordered_images(), strict=True):
        size = PADDED if (source, index) == ("s", 7) else (8, 10)
        expected = expected_numbers(run.labels[source], index, 4, size)
        regions = items[name]["regions"]
        assert len(regions) == sum(ndimage.label(expected == k, np.ones((3, 3)))[1] for k in range(1, len(names)))
        numbers = np.zeros(size, int)
        for region in regions:
            mask = decode_mask(region["mask"])
            assert not numbers[mask].any(), "regions do not overlap"
            numbers[mask] = names.index(region["label"])
        np.testing.assert_array_equal(numbers, expected)


def check_many_classes(run: ExportedRun, tmp_path: Path) -> None:
    assert export("cvat-mask", run.out, tmp_path / "x") == 0
    archive = open_archive(tmp_path / "x")
    colors = read_label_map(archive)
    assert len(set(colors.values())) == len(colors) == len(run.classes) + 1
    (name,) = read_image_names(archive)
    expected = expected_numbers(run.labels["s"], 0, len(run.classes), (18, 18))
    np.testing.assert_array_equal(read_label_numbers(archive, name), expected)
    archive.extractall(tmp_path / "y")
    (item,) = read_with_tool("datumaro", tmp_path / "y", "voc_instance_segmentation")["items"]
    names, numbers = ["background", *run.classes], np.zeros((18, 18), int)
    for region in item["regions"]:
        numbers[decode_mask(region["mask"])] = names.index(region["label"])
    np.testing.assert_array_equal(numbers, expected)


def test_255_classes_are_supported(run_255_classes: ExportedRun, tmp_path: Path) -> None:
    check_many_classes(run_255_classes, tmp_path)


def test_300_classes_are_supported(run_300_classes: ExportedRun, tmp_path: Path) -> None:
    check_many_classes(run_300_classes, tmp_path)


def test_labels_have_the_colors_of_the_label_map(run: ExportedRun, tmp_path: Path) -> None:
    assert export("cvat-mask", run.out, tmp_path / "x") == 0
    labels_json = json.loads((tmp_path / "x/labels.json").read_text())
    colors = {label["name"]: tuple(bytes.fromhex(label["color"][1:])) for label in labels_json}
    assert {"background": (0, 0, 0), **colors} == read_label_map(open_archive(tmp_path / "x"))


def test_class_named_background_is_renamed(run: ExportedRun) -> None:
    assert label_map_names(run.classes)[2:] == ("a_b", "background (class)")


def test_image_without_labels_is_omitted_and_reported(
    run: ExportedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run.out.parent, tmp_path / "all")
    move_sources(tmp_path / "all/out", run.out.parent, tmp_path / "all")
    erase_chunks(tmp_path / "all/s.zarr/labels", slice(2, 4))
    assert export("cvat-mask", tmp_path / "all/out", tmp_path / "x") == 0
    assert len(read_image_names(open_archive(tmp_path / "x"))) == len(
        [image for image in run.ordered_images() if image not in {("s", 2), ("s", 3)}]
    )
    output = capsys.readouterr().out
    assert "labels" in output
    assert "is missing" in output or "does not exist" in output


def test_export_without_regions_has_no_images(run: ExportedRun, tmp_path: Path) -> None:
    assert export("cvat-mask", run.out, tmp_path / "x", "--min_area", 1000) == 0
    assert sorted(open_archive(tmp_path / "x").namelist()) == ["ImageSets/Segmentation/default.txt", "labelmap.txt"]
    assert read_image_names(open_archive(tmp_path / "x")) == []


@given(st.integers(1, 700))
def test_colors_are_distinct_from_each_other_and_black(classes: int) -> None:
    colors = distinct_colors(class_colors(classes))
    assert colors.shape == (classes + 1, 3)
    assert len({tuple(color) for color in colors.tolist()}) == classes + 1
    np.testing.assert_array_equal(distinct_colors(class_colors(classes + 1))[: classes + 1], colors)


@given(hnp.arrays(np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 5)))
def test_objects_are_components_of_one_class(numbers: Array) -> None:
    objects = object_ids(numbers)
    assert objects is not None
    np.testing.assert_array_equal(objects == 0, numbers == 0)
    assert objects.max() == sum(ndimage.label(numbers == k, np.ones((3, 3)))[1] for k in range(1, 6))
    for k in set(objects.ravel().tolist()) - {0}:
        assert len(set(numbers[objects == k].tolist())) == 1


def test_too_many_components_become_one_object_per_class() -> None:
    speckled = np.zeros((40, 40), np.uint8)
    speckled[::2, ::2] = 1
    speckled[1::4, 1::4] = 0
    speckled[0, 0] = 2
    objects = object_ids(speckled)
    assert objects is not None
    np.testing.assert_array_equal(objects, speckled)
    full = np.where(speckled == 0, 3, speckled).astype(np.uint8)
    objects = object_ids(full)
    assert objects is not None
    np.testing.assert_array_equal(objects, full)
    assert object_ids(np.arange(1, 401, dtype=np.uint16).reshape(20, 20)) is None
