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
from review.export.helpers import PADDED, Made, export, read, unpacked
from support.datasets import Array
from support.sources import erase_chunks


def opened(out: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(out / "dataset.zip")


def colours_of(archive: zipfile.ZipFile) -> dict[str, tuple[int, ...]]:
    """The label map: colours by name, in order."""
    lines = [line for line in archive.read("labelmap.txt").decode().splitlines() if not line.startswith("#")]
    found = [line.split(":") for line in lines]
    assert all(len(parts) == 4 for parts in found)
    return {name: tuple(int(number) for number in colour.split(",")) for name, colour, *_ in found}


def painted(archive: zipfile.ZipFile, name: str) -> Array:
    return np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB"))


def classes_of(archive: zipfile.ZipFile, name: str) -> Array:
    """(H, W): the number of the label whose colour each pixel has, 0 for the background."""
    pixels, found = painted(archive, f"SegmentationClass/{name}.png"), None
    colours = np.array(list(colours_of(archive).values()))
    found = (pixels[:, :, None] == colours).all(axis=-1)
    assert (found.sum(axis=-1) == 1).all(), "each pixel has one colour of the map"
    return found.argmax(axis=-1)


def listed(archive: zipfile.ZipFile) -> list[str]:
    return archive.read("ImageSets/Segmentation/default.txt").decode().splitlines()


def own(labels: Array, index: int, classes: int, size: tuple[int, int]) -> Array:
    """What the export must hold: classes from 1 on, 0 where there is none."""
    plane = labels[index, : size[0], : size[1]].astype(int)
    return np.where(plane < classes, plane + 1, 0)


def test_the_given_labels_of_the_images_are_there_pixel_by_pixel(made: Made, tmp_path: Path) -> None:
    assert export("cvat-mask", made.out, tmp_path / "x") == 0
    archive = opened(tmp_path / "x")
    assert list(colours_of(archive)) == ["background", *label_map_names(made.classes)]
    assert len(listed(archive)) == len(made.first())
    for name, (source, index) in zip(listed(archive), made.first(), strict=True):
        size = PADDED if (source, index) == ("s", 7) else (8, 10)
        np.testing.assert_array_equal(classes_of(archive, name), own(made.labels[source], index, 4, size))
        stored = made.pictures[source]
        assert (f"JPEGImages/{name}.png" in archive.namelist()) == (stored is not None)
        if stored is not None:
            picture = painted(archive, f"JPEGImages/{name}.png")
            np.testing.assert_array_equal(picture, stored[index, : size[0], : size[1]])


def test_datumaro_makes_an_annotation_of_each_connected_set(made: Made, tmp_path: Path) -> None:
    assert export("cvat-mask", made.out, tmp_path / "x") == 0
    opened(tmp_path / "x").extractall(tmp_path / "y")
    found = {item["id"]: item for item in read("datumaro", tmp_path / "y", "voc_instance_segmentation")["items"]}
    names = ["background", *label_map_names(made.classes)]
    for name, (source, index) in zip(listed(opened(tmp_path / "x")), made.first(), strict=True):
        size = PADDED if (source, index) == ("s", 7) else (8, 10)
        wanted = own(made.labels[source], index, 4, size)
        regions = found[name]["regions"]
        assert len(regions) == sum(ndimage.label(wanted == k, np.ones((3, 3)))[1] for k in range(1, len(names)))
        seen = np.zeros(size, int)
        for one in regions:
            mask = unpacked(one["mask"])
            assert not seen[mask].any(), "no pixel is in two"
            seen[mask] = names.index(one["label"])
        np.testing.assert_array_equal(seen, wanted)


def check_many(crowded: Made, tmp_path: Path) -> None:
    assert export("cvat-mask", crowded.out, tmp_path / "x") == 0
    archive = opened(tmp_path / "x")
    colours = colours_of(archive)
    assert len(set(colours.values())) == len(colours) == len(crowded.classes) + 1
    (name,) = listed(archive)
    wanted = own(crowded.labels["s"], 0, len(crowded.classes), (18, 18))
    np.testing.assert_array_equal(classes_of(archive, name), wanted)
    archive.extractall(tmp_path / "y")
    (item,) = read("datumaro", tmp_path / "y", "voc_instance_segmentation")["items"]
    names, seen = ["background", *crowded.classes], np.zeros((18, 18), int)
    for one in item["regions"]:
        seen[unpacked(one["mask"])] = names.index(one["label"])
    np.testing.assert_array_equal(seen, wanted)


def test_there_may_be_255_classes(crowded: Made, tmp_path: Path) -> None:
    check_many(crowded, tmp_path)


def test_there_may_be_more_than_a_byte_has_numbers(overcrowded: Made, tmp_path: Path) -> None:
    check_many(overcrowded, tmp_path)


def test_labels_have_the_colours_of_the_map(made: Made, tmp_path: Path) -> None:
    assert export("cvat-mask", made.out, tmp_path / "x") == 0
    raw = json.loads((tmp_path / "x/labels.json").read_text())
    told = {one["name"]: tuple(bytes.fromhex(one["color"][1:])) for one in raw}
    assert {"background": (0, 0, 0), **told} == colours_of(opened(tmp_path / "x"))


def test_a_class_called_background_is_a_class(made: Made) -> None:
    assert label_map_names(made.classes)[2:] == ("a_b", "background (class)")


def test_an_image_whose_labels_are_lost_is_left_out_and_said(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(made.out.parent, tmp_path / "all")
    record = tmp_path / "all/out/run.json"
    record.write_text(record.read_text().replace(str(made.out.parent), str(tmp_path / "all")))
    erase_chunks(tmp_path / "all/s.zarr/labels", slice(2, 4))
    assert export("cvat-mask", tmp_path / "all/out", tmp_path / "x") == 0
    assert len(listed(opened(tmp_path / "x"))) == len(
        [place for place in made.first() if place not in {("s", 2), ("s", 3)}]
    )
    said = capsys.readouterr().out
    assert "labels" in said
    assert "is missing" in said or "does not exist" in said


def test_no_region_is_an_archive_without_images(made: Made, tmp_path: Path) -> None:
    assert export("cvat-mask", made.out, tmp_path / "x", "--min_area", 1000) == 0
    assert sorted(opened(tmp_path / "x").namelist()) == ["ImageSets/Segmentation/default.txt", "labelmap.txt"]
    assert listed(opened(tmp_path / "x")) == []


@given(st.integers(1, 700))
def test_every_class_has_a_colour_of_its_own_which_is_not_that_of_none(classes: int) -> None:
    colours = class_colors_with_background(classes)
    assert colours.shape == (classes + 1, 3)
    assert len({tuple(colour) for colour in colours.tolist()}) == classes + 1
    np.testing.assert_array_equal(class_colors_with_background(classes + 1)[: classes + 1], colours)


@given(hnp.arrays(np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 5)))
def test_an_object_is_of_one_class_and_the_background_is_none(numbers: Array) -> None:
    objects = object_ids(numbers)
    assert objects is not None
    np.testing.assert_array_equal(objects == 0, numbers == 0)
    assert objects.max() == sum(ndimage.label(numbers == k, np.ones((3, 3)))[1] for k in range(1, 6))
    for k in set(objects.ravel().tolist()) - {0}:
        assert len(set(numbers[objects == k].tolist())) == 1


def test_more_connected_sets_than_there_are_colours_are_an_object_a_class() -> None:
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
