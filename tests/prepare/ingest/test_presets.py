"""Presets of public data sets: class counts, known ids and colors, and ingests of files as they are distributed."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import zarr

from masksift.prepare.ingest.config import PresetName
from masksift.prepare.ingest.labels import IGNORED
from masksift.prepare.ingest.presets import PRESETS
from prepare.ingest.helpers import InputFiles, assert_ingest_fails, read_by_id, save_image, save_png16
from support.cli import run_cli

CLASSES = {
    "cityscapes": 19,
    "acdc": 19,
    "kitti": 19,
    "bdd100k": 19,
    "synthia": 16,
    "camvid": 11,
    "mapillary": 65,
    "mapillary-v2": 123,
    "voc": 21,
    "ade20k": 150,
    "coco-stuff": 171,
    "coco-stuff-182": 182,
    "pascal-context-59": 59,
    "pascal-context-60": 60,
    "potsdam": 6,
    "vaihingen": 6,
    "loveda": 7,
    "isaid": 16,
    "floodnet": 10,
    "spacenet-buildings": 2,
    "spacenet-roads": 2,
}
"""Number of classes, as publications on these data sets state it."""
COLORS = {
    "cityscapes": 29,
    "acdc": 29,
    "kitti": 29,
    "bdd100k": 37,
    "camvid": 32,
    "voc": 22,
    "mapillary": 66,
    "potsdam": 7,
    "vaihingen": 7,
    "isaid": 16,
    "floodnet": 10,
}
"""Number of colors, including those of void classes."""
WITHOUT_PALETTE = {name for name in CLASSES if name.startswith(("coco-stuff", "pascal-context", "spacenet"))}


def test_presets_are_those_of_the_option() -> None:
    assert get_args(PresetName) == tuple(PRESETS)
    assert PRESETS.keys() == CLASSES.keys()


@pytest.mark.parametrize("name", PRESETS)
def test_every_class_of_a_palette_has_a_color(name: str) -> None:
    preset = PRESETS[name]
    assert len(preset.class_colors) == (0 if name in WITHOUT_PALETTE else CLASSES[name])
    assert all(0 <= level <= 255 for color in preset.class_colors for level in color)
    decoded = [preset.colors.get(color, k) for k, color in enumerate(preset.class_colors)]
    assert decoded == list(range(len(decoded))), "colors of files and of the palette have the same meaning"


@pytest.mark.parametrize("name", PRESETS)
def test_every_class_has_a_name_one_value_and_a_color(name: str) -> None:
    preset = PRESETS[name]
    classes = set(range(CLASSES[name]))
    assert len(set(preset.classes)) == len(preset.classes) == CLASSES[name]
    for suffix, table in preset.encodings.items():
        if table:  # not an encoding by colors
            numbers = [k for k in table.values() if k != IGNORED]
            assert set(numbers) == classes, suffix
            assert len(numbers) == len(classes) + name.startswith("spacenet"), "1 and 255 are the foreground"
    assert len(preset.colors) == COLORS.get(name, 0)
    if preset.colors:
        assert {k for k in preset.colors.values() if k != IGNORED} == classes


CITYSCAPES_IDS = {7: "road", 11: "building", 24: "person", 31: "train", 33: "bicycle"}
SYNTHIA_IDS = {1: "sky", 2: "building", 3: "road", 4: "sidewalk", 15: "traffic light", 21: "wall", 17: "rider"}
KNOWN_IDS = [
    ("cityscapes", "_gtFine_labelIds", CITYSCAPES_IDS | dict.fromkeys((0, -1, 9, 29, 30))),
    ("cityscapes", "_gtFine_labelTrainIds", {0: "road", 7: "traffic sign", 10: "sky", 18: "bicycle", 255: None}),
    ("synthia", "", SYNTHIA_IDS | {11: "bicycle", 12: "motorcycle"} | dict.fromkeys((22, 18, 0))),
    ("camvid", "", {0: "sky", 5: "tree", 8: "car", 10: "bicyclist", 11: None}),
    ("voc", "", {0: "background", 1: "aeroplane", 15: "person", 20: "tvmonitor", 255: None}),
    ("ade20k", "", {0: None, 1: "wall", 3: "sky", 13: "person", 21: "car", 150: "flag"}),
    ("mapillary", "", {0: "Bird", 13: "Road", 27: "Sky", 55: "Car", 64: "Ego Vehicle", 65: None}),
    ("mapillary-v2", "", {0: "Bird", 21: "Road", 45: "Lane Marking - Crosswalk", 61: "Sky", 122: "Static", 123: None}),
    ("acdc", "_gt_labelIds", CITYSCAPES_IDS | {0: None}),
    ("acdc", "_gt_labelTrainIds", {0: "road", 18: "bicycle", 255: None}),
    ("kitti", "", CITYSCAPES_IDS | {0: None}),
    ("bdd100k", "_train_id", {0: "road", 10: "sky", 18: "bicycle", 255: None}),
    ("coco-stuff", "", {0: "person", 10: "fire hydrant", 12: "stop sign", 89: "toothbrush", 91: "banner", 181: "wood"}),
    ("coco-stuff", "_labelTrainIds", {0: "person", 11: "stop sign", 79: "toothbrush", 80: "banner", 170: "wood"}),
    ("coco-stuff-182", "", {0: "person", 11: "street sign", 90: "hair brush", 91: "banner", 181: "wood", 255: None}),
    ("pascal-context-59", "", {0: None, 1: "aeroplane", 2: "bag", 59: "wood"}),
    ("pascal-context-60", "", {0: "background", 1: "aeroplane", 37: "person", 59: "wood", 255: None}),
    ("potsdam", "", {0: None, 1: "impervious surfaces", 2: "building", 6: "clutter"}),
    ("loveda", "", {0: None, 1: "background", 2: "building", 7: "agricultural"}),
    ("isaid", "_instance_color_RGB", {0: "background", 1: "ship", 14: "plane", 15: "Harbor", 255: None}),
    ("floodnet", "_lab", {0: "background", 1: "building-flooded", 5: "water", 9: "grass"}),
    ("spacenet-roads", "", {0: "background", 1: "road", 255: "road"}),
]
KNOWN_COLORS = [
    ("cityscapes", {(128, 64, 128): "road", (119, 11, 32): "bicycle", (81, 0, 81): None}),
    ("camvid", {(0, 128, 64): "building", (64, 64, 0): "pedestrian", (192, 0, 192): "bicyclist", (0, 0, 0): None}),
    ("voc", {(192, 128, 128): "person", (0, 64, 128): "tvmonitor", (224, 224, 192): None}),
    ("mapillary", {(0, 0, 142): "Car", (0, 0, 0): None}),
    ("bdd100k", {(0, 0, 142): "car", (255, 165, 0): None, (0, 0, 0): None}),
    ("potsdam", {(255, 255, 255): "impervious surfaces", (0, 255, 255): "low vegetation", (0, 0, 0): None}),
    ("isaid", {(0, 0, 0): "background", (0, 127, 255): "plane", (0, 100, 155): "Harbor"}),
    ("floodnet", {(61, 230, 250): "water", (0, 82, 255): "tree"}),
]


@pytest.mark.parametrize(("name", "suffix", "known"), KNOWN_IDS)
def test_known_ids_have_known_classes(name: str, suffix: str, known: dict[int, str | None]) -> None:
    preset = PRESETS[name]
    numbers = {value: preset.encodings[suffix][value] for value in known}
    assert {value: None if k == IGNORED else preset.classes[k] for value, k in numbers.items()} == known


@pytest.mark.parametrize(("name", "known"), KNOWN_COLORS)
def test_known_colors_have_known_classes(name: str, known: dict[tuple[int, int, int], str | None]) -> None:
    preset = PRESETS[name]
    numbers = {color: preset.colors[color] for color in known}
    assert {color: None if k == IGNORED else preset.classes[k] for color, k in numbers.items()} == known


# ----------------------------------------------------------------------------------------- files as distributed


def save_uniform(directory: Path, name: str, classes: int) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    np.save(directory / f"{name}.npy", np.full((classes, 2, 4), 1 / classes, np.float32))


def ingest(path: Path, preset: str, *more: object) -> dict[str, list[list[int]]]:
    """Run an ingest that matches all files, and return its labels by image id."""
    args = ("--labels", path / "labels", "--predictions", path / "predictions", "--out", path / "new.zarr")
    assert run_cli("ingest", *args, "--preset", preset, *more) == 0
    assert zarr.open_group(path / "new.zarr", mode="r").attrs["class_names"] == list(PRESETS[preset].classes)
    return {name: labels.tolist() for name, (_, labels) in read_by_id(path / "new.zarr").items()}


def rows(*values: object, dtype: str = "uint8") -> np.ndarray:
    """An image of two equal rows."""
    return np.array([values] * 2, dtype)


def test_cityscapes_archives_are_read_as_unpacked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ids, colors and instances are in one directory; images and predictions have the name of the image."""
    ids = np.array([[7, 8, 11, 0], [33, 26, 3, 23]], np.uint8)
    name = "frankfurt_000000_000294"
    for suffix, values in (
        ("labelIds", ids),
        ("instanceIds", ids.astype(np.uint16) * 1000),
        ("color", np.zeros((2, 4, 3), np.uint8)),
    ):
        save_image(tmp_path / f"labels/val/frankfurt/{name}_gtFine_{suffix}.png", values)
    save_image(tmp_path / f"images/val/frankfurt/{name}_leftImg8bit.png", np.zeros((2, 4, 3), np.uint8))
    save_uniform(tmp_path / "predictions", f"{name}_leftImg8bit", 19)
    labels = ingest(tmp_path, "cityscapes", "--images", tmp_path / "images")
    assert labels == {f"val/frankfurt/{name}": [[0, 1, 2, 255], [18, 13, 255, 10]]}
    assert "skipped label files in other encodings: 2" in capsys.readouterr().out


CAMVID_NAME, VOC_NAME = "0016E5_07959", "2007_000032"
ACDC_COLORS = ((128, 64, 128), (0, 0, 0), (70, 70, 70), (81, 0, 81))
ISAID_COLORS = ((0, 0, 0), (0, 0, 63), (0, 100, 155), (0, 63, 63))
FLOODNET_COLORS = ((0, 0, 0), (255, 0, 0), (4, 250, 7), (61, 230, 250))
ISPRS_COLORS = ((255, 255, 255), (0, 0, 255), (0, 0, 0), (255, 0, 0))
VOC_PALETTE = np.zeros((256, 3), np.uint8)
for color, k in PRESETS["voc"].colors.items():
    VOC_PALETTE[255 if k == IGNORED else k] = color
VOC = rows(0, 15, 255, 20)


@pytest.mark.parametrize(
    ("preset", "name", "suffix", "values", "palette", "expected"),
    [
        ("cityscapes", "a", "_gtFine_labelTrainIds", rows(0, 18, 255, 7), None, [0, 18, 255, 7]),
        (
            "cityscapes",
            "a",
            "_gtFine_color",
            rows((128, 64, 128), (119, 11, 32), (0, 0, 0), (220, 220, 0)),
            None,
            [0, 18, 255, 7],
        ),
        (
            "camvid",
            CAMVID_NAME,
            "_L",
            rows((128, 128, 128), (0, 128, 64), (0, 0, 0), (64, 0, 192)),
            None,
            [0, 1, 255, 9],
        ),
        ("camvid", CAMVID_NAME, "_L", rows(0, 1, 11, 9), None, [0, 1, 255, 9]),
        ("voc", VOC_NAME, "", VOC, VOC_PALETTE, [0, 15, 255, 20]),
        ("voc", VOC_NAME, "", VOC_PALETTE[VOC], None, [0, 15, 255, 20]),
        ("ade20k", "ADE_val_00000001", "", rows(0, 1, 150, 3), None, [255, 0, 149, 2]),
        ("mapillary", "a", "", rows(65, 0, 64, 13), np.zeros((256, 3), np.uint8), [255, 0, 64, 13]),
        ("mapillary-v2", "a", "", rows(123, 0, 122, 21), np.zeros((256, 3), np.uint8), [255, 0, 122, 21]),
        ("acdc", "a", "_gt_labelIds", rows(7, 33, 0, 11), None, [0, 18, 255, 2]),
        ("acdc", "a", "_gt_labelColor", rows(*ACDC_COLORS), None, [0, 255, 2, 255]),
        ("kitti", "000000_10", "", rows(7, 33, 0, 11), None, [0, 18, 255, 2]),
        ("bdd100k", "7d2f7975-e0c1c5a7", "_train_id", rows(0, 18, 255, 2), None, [0, 18, 255, 2]),
        ("bdd100k", "7d2f7975-e0c1c5a7", "_train_color", rows(*ACDC_COLORS), None, [0, 255, 2, 255]),
        ("coco-stuff", "000000000139", "", rows(0, 12, 181, 255), None, [0, 11, 170, 255]),
        ("coco-stuff", "000000000139", "_labelTrainIds", rows(0, 12, 170, 255), None, [0, 12, 170, 255]),
        ("coco-stuff-182", "000000000139", "", rows(0, 12, 181, 255), None, [0, 12, 181, 255]),
        ("pascal-context-59", "2008_000002", "", rows(0, 1, 59, 2), None, [255, 0, 58, 1]),
        ("pascal-context-60", "2008_000002", "", rows(0, 1, 59, 2), None, [0, 1, 59, 2]),
        ("potsdam", "top_potsdam_2_10", "_label_noBoundary", rows(*ISPRS_COLORS), None, [0, 1, 255, 5]),
        ("vaihingen", "area1_0_0_512_512", "", rows(0, 1, 6, 2), None, [255, 0, 5, 1]),
        ("loveda", "2522", "", rows(0, 1, 7, 2), None, [255, 0, 6, 1]),
        ("isaid", "P0002", "_instance_color_RGB", rows(*ISAID_COLORS), None, [0, 1, 15, 2]),
        ("isaid", "P0002_0_896_0_896", "_instance_color_RGB", rows(0, 1, 15, 255), None, [0, 1, 15, 255]),
        ("floodnet", "7462", "_lab", rows(0, 1, 9, 2), None, [0, 1, 9, 2]),
        ("floodnet", "7462", "_lab", rows(*FLOODNET_COLORS), None, [0, 1, 9, 5]),
        ("spacenet-buildings", "img1", "", rows(0, 255, 0, 255), None, [0, 1, 0, 1]),
        ("spacenet-roads", "img1", "", rows(0, 1, 0, 1), None, [0, 1, 0, 1]),
    ],
)
def test_label_files_of_each_preset_are_decoded(
    tmp_path: Path,
    preset: str,
    name: str,
    suffix: str,
    values: np.ndarray,
    palette: np.ndarray | None,
    expected: list[int],
) -> None:
    colors = None if palette is None else palette.ravel().tolist()
    save_image(tmp_path / f"labels/{name}{suffix}.png", values, palette=colors)
    save_uniform(tmp_path / "predictions", name, CLASSES[preset])
    assert ingest(tmp_path, preset) == {name: [expected] * 2}
    attributes = zarr.open_group(tmp_path / "new.zarr", mode="r").attrs.asdict()
    assert attributes.get("class_colors", []) == [list(color) for color in PRESETS[preset].class_colors]


def test_synthia_reads_the_first_of_three_16_bit_channels(tmp_path: Path) -> None:
    stored = np.zeros((2, 4, 3), np.uint16)
    stored[..., 0] = [3, 1, 12, 22]
    stored[..., 1] = 513
    save_png16(tmp_path / "labels/0000001.png", stored)
    save_uniform(tmp_path / "predictions", "0000001", 16)
    assert ingest(tmp_path, "synthia") == {"0000001": [[0, 9, 14, 255]] * 2}


def test_cityscapes_with_other_file_names_requires_remap(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_image(tmp_path / "labels/a.png", rows(7, 8, 8, 0))
    save_uniform(tmp_path / "predictions", "a", 19)
    args = ("--labels", tmp_path / "labels", "--predictions", tmp_path / "predictions", "--out", tmp_path / "new.zarr")
    message = r"has a name of cityscapes \(ending with _gtFine_labelIds, .*--remap"
    assert_ingest_fails(message, capsys, *args, "--preset", "cityscapes")
    assert ingest(tmp_path, "cityscapes", "--remap", "7:0,8:1,0:255", "--ignore", 255) == {"a": [[0, 1, 1, 255]] * 2}


def test_unknown_color_of_a_preset_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_image(tmp_path / "labels/a.png", np.full((2, 4, 3), (128, 64, 129), np.uint8))
    save_uniform(tmp_path / "predictions", "a", 11)
    args = ("--labels", tmp_path / "labels", "--predictions", tmp_path / "predictions", "--out", tmp_path / "new.zarr")
    message = r"a.png holds the color \(128, 64, 129\) at row 0, column 0 \(pixels: 8\)"
    assert_ingest_fails(message, capsys, *args, "--preset", "camvid")


def test_preset_with_other_classes_requires_remap(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = InputFiles(tmp_path)
    args = inputs.args("--preset", "voc", "--classes", "cat,dog")
    assert_ingest_fails("voc has 21 classes, but --classes names 2.* --remap", capsys, *args)
    for name in inputs.names:
        save_image(inputs.labels / f"{name}.png", np.full((8, 10), 12, np.uint8))
    inputs.save_predictions([np.full((2, 8, 10), 0.5, np.float32)] * 5)
    assert run_cli("ingest", *args, "--remap", "8:0,12:1") == 0
    assert read_by_id(inputs.out)["scene_00"][1].tolist() == [[1] * 10] * 8
