"""CVAT's Segmentation mask 1.1: the given labels, pixel by pixel, by the files themselves and by Datumaro's reader."""

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

from masksift.review.export.cvat_mask import class_colors_with_background, label_map_names, object_ids
from review.export.helpers import PADDED, ExportedRun, decode_mask, export, read_with_tool
from support.datasets import Array
from support.sources import erase_chunks


def opened(out: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(out / "dataset.zip")


def colors_of(archive: zipfile.ZipFile) -> dict[str, tuple[int, ...]]:
    """The label map: colors by name, in order."""
    lines = [line for line in archive.read("labelmap.txt").decode().splitlines() if not line.startswith("#")]
    found = [line.split(":") for line in lines]
    assert all(len(parts) == 4 for parts in found)
    return {name: tuple(int(number) for number in color.split(",")) for name, color, *_ in found}


def painted(archive: zipfile.ZipFile, name: str) -> Array:
    return np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB"))


def classes_of(archive: zipfile.ZipFile, name: str) -> Array:
    """(H, W): the number of the label whose color each pixel has, 0 for the background."""
    pixels, found = painted(archive, f"SegmentationClass/{name}.png"), None
    colors = np.array(list(colors_of(archive).values()))
    found = (pixels[:, :, None] == colors).all(axis=-1)
    assert (found.sum(axis=-1) == 1).all(), "each pixel has one color of the map"
    return found.argmax(axis=-1)


def listed(archive: zipfile.ZipFile) -> list[str]:
    return archive.read("ImageSets/Segmentation/default.txt").decode().splitlines()


def own(labels: Array, index: int, classes: int, size: tuple[int, int]) -> Array:
    """What the export must hold: classes from 1 on, 0 where there is none."""
    plane = labels[index, : size[0], : size[1]].astype(int)
    return np.where(plane < classes, plane + 1, 0)


def test_given_labels_are_exact(run: ExportedRun, tmp_path: Path) -> None:
    assert export("cvat-mask", run.out, tmp_path / "x") == 0
    archive = opened(tmp_path / "x")
    assert list(colors_of(archive)) == ["background", *label_map_names(run.classes)]
    assert len(listed(archive)) == len(run.ordered_images())
    for name, (source, index) in zip(listed(archive), run.ordered_images(), strict=True):
        size = PADDED if (source, index) == ("s", 7) else (8, 10)
        np.testing.assert_array_equal(classes_of(archive, name), own(run.labels[source], index, 4, size))
        stored = run.pictures[source]
        assert (f"JPEGImages/{name}.png" in archive.namelist()) == (stored is not None)
        if stored is not None:
            picture = painted(archive, f"JPEGImages/{name}.png")
            np.testing.assert_array_equal(picture, stored[index, : size[0], : size[1]])


def test_datumaro_reads_one_annotation_per_component(run: ExportedRun, tmp_path: Path) -> None:
    assert export("cvat-mask", run.out, tmp_path / "x") == 0
    opened(tmp_path / "x").extractall(tmp_path / "y")
    found = {
        item["id"]: item for item in read_with_tool("datumaro", tmp_path / "y", "voc_instance_segmentation")["items"]
    }
    names = ["background", *label_map_names(run.classes)]
    for name, (source, index) in zip(listed(opened(tmp_path / "x")), run.ordered_images(), strict=True):
        size = PADDED if (source, index) == ("s", 7) else (8, 10)
        wanted = own(run.labels[source], index, 4, size)
        regions = found[name]["regions"]
        assert len(regions) == sum(ndimage.label(wanted == k, np.ones((3, 3)))[1] for k in range(1, len(names)))
        seen = np.zeros(size, int)
        for one in regions:
            mask = decode_mask(one["mask"])
            assert not seen[mask].any(), "no pixel is in two"
            seen[mask] = names.index(one["label"])
        np.testing.assert_array_equal(seen, wanted)


def check_many(run_255_classes: ExportedRun, tmp_path: Path) -> None:
    assert export("cvat-mask", run_255_classes.out, tmp_path / "x") == 0
    archive = opened(tmp_path / "x")
    colors = colors_of(archive)
    assert len(set(colors.values())) == len(colors) == len(run_255_classes.classes) + 1
    (name,) = listed(archive)
    wanted = own(run_255_classes.labels["s"], 0, len(run_255_classes.classes), (18, 18))
    np.testing.assert_array_equal(classes_of(archive, name), wanted)
    archive.extractall(tmp_path / "y")
    (item,) = read_with_tool("datumaro", tmp_path / "y", "voc_instance_segmentation")["items"]
    names, seen = ["background", *run_255_classes.classes], np.zeros((18, 18), int)
    for one in item["regions"]:
        seen[decode_mask(one["mask"])] = names.index(one["label"])
    np.testing.assert_array_equal(seen, wanted)


def test_255_classes_are_supported(run_255_classes: ExportedRun, tmp_path: Path) -> None:
    check_many(run_255_classes, tmp_path)


def test_300_classes_are_supported(run_300_classes: ExportedRun, tmp_path: Path) -> None:
    check_many(run_300_classes, tmp_path)


def test_labels_have_the_colors_of_the_label_map(run: ExportedRun, tmp_path: Path) -> None:
    assert export("cvat-mask", run.out, tmp_path / "x") == 0
    raw = json.loads((tmp_path / "x/labels.json").read_text())
    told = {one["name"]: tuple(bytes.fromhex(one["color"][1:])) for one in raw}
    assert {"background": (0, 0, 0), **told} == colors_of(opened(tmp_path / "x"))


def test_class_named_background_is_renamed(run: ExportedRun) -> None:
    assert label_map_names(run.classes)[2:] == ("a_b", "background (class)")


def test_image_without_labels_is_left_out_and_reported(
    run: ExportedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run.out.parent, tmp_path / "all")
    record = tmp_path / "all/out/run.json"
    record.write_text(record.read_text().replace(str(run.out.parent), str(tmp_path / "all")))
    erase_chunks(tmp_path / "all/s.zarr/labels", slice(2, 4))
    assert export("cvat-mask", tmp_path / "all/out", tmp_path / "x") == 0
    assert len(listed(opened(tmp_path / "x"))) == len(
        [place for place in run.ordered_images() if place not in {("s", 2), ("s", 3)}]
    )
    said = capsys.readouterr().out
    assert "labels" in said
    assert "is missing" in said or "does not exist" in said


def test_export_without_regions_has_no_images(run: ExportedRun, tmp_path: Path) -> None:
    assert export("cvat-mask", run.out, tmp_path / "x", "--min_area", 1000) == 0
    assert sorted(opened(tmp_path / "x").namelist()) == ["ImageSets/Segmentation/default.txt", "labelmap.txt"]
    assert listed(opened(tmp_path / "x")) == []


@given(st.integers(1, 700))
def test_colors_are_distinct_from_each_other_and_black(classes: int) -> None:
    colors = class_colors_with_background(classes)
    assert colors.shape == (classes + 1, 3)
    assert len({tuple(color) for color in colors.tolist()}) == classes + 1
    np.testing.assert_array_equal(class_colors_with_background(classes + 1)[: classes + 1], colors)


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
