"""The class tables of public data sets: counts, known ids and colours, and files as they come."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

from masksift.prepare.ingest.labels import IGNORED
from masksift.prepare.ingest.presets import PRESETS
from prepare.ingest.helpers import Folder, named, refused, save_image, save_wide_png
from support.sources import masksift

COUNTS = {"cityscapes": 19, "synthia": 16, "camvid": 11, "voc": 21, "ade20k": 150, "mapillary": 65}
"""Classes, as every paper on these data sets counts them."""


@pytest.mark.parametrize("name", PRESETS)
def test_every_class_has_a_name_of_its_own_a_value_and_a_colour_where_there_are_any(name: str) -> None:
    preset = PRESETS[name]
    every = set(range(COUNTS[name]))
    assert len(set(preset.classes)) == len(preset.classes) == COUNTS[name]
    for ending, table in preset.forms.items():
        if not ending.endswith("_color"):
            assert {k for k in table.values() if k != IGNORED} == every, ending
            values = [value for value, k in table.items() if k != IGNORED]
            assert len(values) == len(every), "one value a class"
    if preset.colors:
        assert {k for k in preset.colors.values() if k != IGNORED} == every


KNOWN = [
    (
        "cityscapes",
        "_gtFine_labelIds",
        {
            7: "road",
            11: "building",
            24: "person",
            31: "train",
            33: "bicycle",
            0: None,
            -1: None,
            9: None,
            29: None,
            30: None,
        },
    ),
    ("cityscapes", "_gtFine_labelTrainIds", {0: "road", 7: "traffic sign", 10: "sky", 18: "bicycle", 255: None}),
    (
        "synthia",
        "",
        {
            1: "sky",
            2: "building",
            3: "road",
            4: "sidewalk",
            15: "traffic light",
            21: "wall",
            17: "rider",
            11: "bicycle",
            12: "motorcycle",
            22: None,
            18: None,
            0: None,
        },
    ),
    ("camvid", "", {0: "sky", 5: "tree", 8: "car", 10: "bicyclist", 11: None}),
    ("voc", "", {0: "background", 1: "aeroplane", 15: "person", 20: "tvmonitor", 255: None}),
    ("ade20k", "", {0: None, 1: "wall", 3: "sky", 13: "person", 21: "car", 150: "flag"}),
    ("mapillary", "", {0: "Bird", 13: "Road", 27: "Sky", 55: "Car", 64: "Ego Vehicle", 65: None}),
]


@pytest.mark.parametrize(("name", "form", "known"), KNOWN)
def test_known_ids_stand_for_known_classes(name: str, form: str, known: dict[int, str | None]) -> None:
    preset = PRESETS[name]
    meant = {value: preset.forms[form][value] for value in known}
    assert {v: None if k == IGNORED else preset.classes[k] for v, k in meant.items()} == known


@pytest.mark.parametrize(
    ("name", "color", "meant"),
    [
        ("cityscapes", (128, 64, 128), "road"),
        ("cityscapes", (119, 11, 32), "bicycle"),
        ("cityscapes", (81, 0, 81), None),
        ("camvid", (0, 128, 64), "building"),
        ("camvid", (64, 64, 0), "pedestrian"),
        ("camvid", (192, 0, 192), "bicyclist"),
        ("camvid", (0, 0, 0), None),
        ("voc", (192, 128, 128), "person"),
        ("voc", (0, 64, 128), "tvmonitor"),
        ("voc", (224, 224, 192), None),
        ("mapillary", (0, 0, 142), "Car"),
        ("mapillary", (0, 0, 0), None),
    ],
)
def test_known_colours_stand_for_known_classes(name: str, color: tuple[int, int, int], meant: str | None) -> None:
    k = PRESETS[name].colors[color]
    assert (None if k == IGNORED else PRESETS[name].classes[k]) == meant


def test_colours_of_void_classes_are_counted_too() -> None:
    assert len(PRESETS["camvid"].colors) == 32
    assert len(PRESETS["mapillary"].colors) == 66
    assert len(PRESETS["voc"].colors) == 22


# ------------------------------------------------------------------------------------------- files as they come


def uniform(folder: Path, name: str, classes: int, shape: tuple[int, int] = (2, 4)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{name}.npy", np.full((classes, *shape), 1 / classes, np.float32))


def ingest(path: Path, preset: str, *more: object) -> dict[str, np.ndarray]:
    """The labels by name; all files found their partners."""
    words = ("--labels", path / "labels", "--predictions", path / "predictions", "--out", path / "new.zarr")
    assert masksift("ingest", *words, "--preset", preset, *more) == 0
    assert zarr.open_group(path / "new.zarr", mode="r").attrs["class_names"] == list(PRESETS[preset].classes)
    return {name: labels.tolist() for name, (_, labels) in named(path / "new.zarr").items()}


def test_cityscapes_as_its_archives_unpack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ids, colours and instances of an image side by side; pictures and predictions called by the picture's name."""
    ids = np.array([[7, 8, 11, 0], [33, 26, 3, 23]], np.uint8)
    name = "frankfurt_000000_000294"
    for ending, values in (
        ("labelIds", ids),
        ("instanceIds", ids.astype(np.uint16) * 1000),
        ("color", np.zeros((2, 4, 3), np.uint8)),
    ):
        save_image(tmp_path / f"labels/val/frankfurt/{name}_gtFine_{ending}.png", values)
    save_image(tmp_path / f"images/val/frankfurt/{name}_leftImg8bit.png", np.zeros((2, 4, 3), np.uint8))
    uniform(tmp_path / "predictions", f"{name}_leftImg8bit", 19)
    found = ingest(tmp_path, "cityscapes", "--images", tmp_path / "images")
    assert found == {f"val/frankfurt/{name}": [[0, 1, 2, 255], [18, 13, 255, 10]]}
    assert "2 label files of other forms are passed over" in capsys.readouterr().out


def test_cityscapes_by_train_ids_and_by_colours(tmp_path: Path) -> None:
    for name, ending, values in (
        ("one", "labelTrainIds", np.array([[0, 18, 255, 7]] * 2, np.uint8)),
        ("two", "color", np.array([[(128, 64, 128), (119, 11, 32), (0, 0, 0), (220, 220, 0)]] * 2, np.uint8)),
    ):
        save_image(tmp_path / name / f"labels/a_gtFine_{ending}.png", values)
        uniform(tmp_path / name / "predictions", "a", 19)
        assert ingest(tmp_path / name, "cityscapes") == {"a": [[0, 18, 255, 7]] * 2}


def test_cityscapes_under_other_names_is_refused_unless_its_numbers_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_image(tmp_path / "labels/a.png", np.array([[7, 8, 8, 0]] * 2, np.uint8))
    uniform(tmp_path / "predictions", "a", 19)
    words = ("--labels", tmp_path / "labels", "--predictions", tmp_path / "predictions", "--out", tmp_path / "new.zarr")
    refused(
        r"has a name of cityscapes's \(ending in _gtFine_labelIds, .*--remap", capsys, *words, "--preset", "cityscapes"
    )
    assert ingest(tmp_path, "cityscapes", "--remap", "7:0,8:1,0:255", "--ignore", 255) == {"a": [[0, 1, 1, 255]] * 2}


def test_synthia_has_its_classes_in_the_first_of_three_wide_channels(tmp_path: Path) -> None:
    stored = np.zeros((2, 4, 3), np.uint16)
    stored[..., 0] = [3, 1, 12, 22]
    stored[..., 1] = 513
    save_wide_png(tmp_path / "labels/0000001.png", stored)
    uniform(tmp_path / "predictions", "0000001", 16)
    assert ingest(tmp_path, "synthia") == {"0000001": [[0, 9, 14, 255]] * 2}


def test_camvid_as_colours_and_as_numbers(tmp_path: Path) -> None:
    colours = np.array([[(128, 128, 128), (0, 128, 64), (0, 0, 0), (64, 0, 192)]] * 2, np.uint8)
    numbers = np.array([[0, 1, 11, 9]] * 2, np.uint8)
    for name, values in (("one", colours), ("two", numbers)):
        save_image(tmp_path / name / "labels/0016E5_07959_L.png", values)
        uniform(tmp_path / name / "predictions", "0016E5_07959", 11)
        assert ingest(tmp_path / name, "camvid") == {"0016E5_07959": [[0, 1, 255, 9]] * 2}


def test_voc_as_a_palette_and_as_colours(tmp_path: Path) -> None:
    values = np.array([[0, 15, 255, 20]] * 2, np.uint8)
    palette = np.zeros((256, 3), np.uint8)
    for color, k in PRESETS["voc"].colors.items():
        palette[255 if k == IGNORED else k] = color
    save_image(tmp_path / "one/labels/2007_000032.png", values, palette=palette.ravel().tolist())
    save_image(tmp_path / "two/labels/2007_000032.png", palette[values])
    for name in ("one", "two"):
        uniform(tmp_path / name / "predictions", "2007_000032", 21)
        assert ingest(tmp_path / name, "voc") == {"2007_000032": values.tolist()}


def test_ade20k_counts_from_one(tmp_path: Path) -> None:
    save_image(tmp_path / "labels/ADE_val_00000001.png", np.array([[0, 1, 150, 3]] * 2, np.uint8))
    uniform(tmp_path / "predictions", "ADE_val_00000001", 150)
    assert ingest(tmp_path, "ade20k") == {"ADE_val_00000001": [[255, 0, 149, 2]] * 2}


def test_mapillary_leaves_the_last_of_its_labels_out(tmp_path: Path) -> None:
    save_image(tmp_path / "labels/a.png", np.array([[65, 0, 64, 13]] * 2, np.uint8), palette=[0] * 768)
    uniform(tmp_path / "predictions", "a", 65)
    assert ingest(tmp_path, "mapillary") == {"a": [[255, 0, 64, 13]] * 2}


def test_an_unknown_colour_of_a_preset_is_refused_with_the_colour_and_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Folder(tmp_path)
    for name in folder.names:
        save_image(folder.labels / f"{name}.png", np.full((8, 10, 3), (128, 64, 129), np.uint8))
        folder.save(f"{name}.npy", np.full((11, 8, 10), 1 / 11, np.float32))
    refused(
        r"scene_00.png holds the colour \(128, 64, 129\) at row 0, column 0 \(80 pixels of it\)",
        capsys,
        *folder.words("--preset", "camvid"),
    )


def test_names_of_other_classes_need_their_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Folder(tmp_path)
    refused(
        "voc has 21 classes and 2 are named; .*--remap",
        capsys,
        *folder.words("--preset", "voc", "--classes", "cat,dog"),
    )
    for name in folder.names:
        save_image(folder.labels / f"{name}.png", np.full((8, 10), 12, np.uint8))
        folder.save(f"{name}.npy", np.full((2, 8, 10), 0.5, np.float32))
    words = folder.words("--preset", "voc", "--classes", "cat,dog", "--remap", "8:0,12:1")
    assert masksift("ingest", *words) == 0
    assert named(folder.out)["scene_00"][1].tolist() == [[1] * 10] * 8
