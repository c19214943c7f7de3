"""Classes and ignored values inferred from the content of label files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.core.errors import DataError
from masksift.prepare.ingest.labels import read_color_table
from masksift.prepare.ingest.presets import PRESETS, preset_of_file_names
from masksift.quickstart.infer import Inference, LabelContent, format_ranges, infer_labels, read_label_content
from masksift.runtime.progress import ProgressReporter
from masksift.storage.files import find_files
from prepare.ingest.helpers import save_image
from support.errors import raises

TABLE = "out/colors.csv"


def infer(values: set[int] | None = None, *, has_predictions: bool = False, **given: object) -> Inference:
    content = LabelContent(frozenset(values or ()), frozenset())
    return infer_labels(content, given=given, has_predictions=has_predictions, table=TABLE)


def infer_colors(*colors: tuple[int, int, int], has_predictions: bool = False) -> Inference:
    content = LabelContent(frozenset(), frozenset(colors))
    return infer_labels(content, given={}, has_predictions=has_predictions, table=TABLE)


# ---------------------------------------------------------------------------------------------------------- values


def test_values_from_0_on_are_classes() -> None:
    assert infer({0, 1, 2}).flags == {"classes": ("class 0", "class 1", "class 2")}
    assert infer({0, 1, 2}).notes == ("3 classes, the label values 0 to 2 (--classes names them)",)


@pytest.mark.parametrize("void", [255, 65535])
def test_greatest_value_of_the_dtype_among_others_is_ignored(void: int) -> None:
    inference = infer({0, 1, void})
    assert inference.flags == {"ignore": (void,), "classes": ("class 0", "class 1")}
    assert inference.notes[0] == f"label value {void} is ignored (--ignore)"


def test_values_0_and_255_alone_are_masks() -> None:
    inference = infer({0, 255})
    assert inference.flags == {"classes": ("background", "foreground")}
    assert inference.notes == ("labels are masks of 0 (background) and 255 (foreground)",)


def test_values_that_do_not_occur_are_no_classes() -> None:
    inference = infer({7, 8, 11, 255})
    assert inference.flags["classes"] == ("class 7", "class 8", "class 11")
    assert inference.flags["remap"] == {7: 0, 8: 1, 11: 2}


@given(st.sets(st.integers(0, 65534), min_size=3, max_size=40))
def test_every_value_is_a_class_or_ignored(values: set[int]) -> None:
    flags = infer(values).flags
    ignored, count = {*flags.get("ignore", ())}, len(flags["classes"])
    remap = flags.get("remap", {number: number for number in range(count)})
    assert {*remap} == values - ignored
    assert sorted(remap.values()) == list(range(count))


def test_values_from_the_label_offset_on_are_classes() -> None:
    assert infer({0, 1, 2, 4}, label_offset=1).flags == {"classes": ("class 1", "class 2", "class 3", "class 4")}
    assert infer({0, 1, 2, 255}, label_offset=1).flags == {"ignore": (255,), "classes": ("class 1", "class 2")}


def test_given_classes_and_ignored_values_are_kept() -> None:
    assert infer({0, 1, 255}, classes=("a", "b")).flags == {"ignore": (255,)}
    assert infer({0, 1, 255}, ignore=(0,)).flags["classes"] == ("class 1", "class 255")


def test_predictions_define_the_classes() -> None:
    assert infer({0, 5, 255}, has_predictions=True).flags == {"ignore": (255,)}


@pytest.mark.parametrize("values", [{0}, {4, 255}])
def test_one_class_is_refused(values: set[int]) -> None:
    with raises(DataError, match=f"The labels hold only the values {', '.join(map(str, sorted(values)))}"):
        infer(values)


def test_ids_of_objects_are_refused() -> None:
    with raises(DataError, match=r"The labels hold 2,000 different values from 0 to 1999"):
        infer(set(range(2000)))


# ---------------------------------------------------------------------------------------------------------- colors


def test_colors_of_a_preset_get_its_classes(tmp_path: Path) -> None:
    inference = infer_colors(*list(PRESETS["camvid"].colors)[2:])
    assert inference.flags == {"colors": TABLE}
    assert inference.notes == (f"the colors of the labels are those of camvid ({TABLE} names them)",)
    (tmp_path / "colors.csv").write_text(inference.color_table or "")
    names, colors = read_color_table(str(tmp_path / "colors.csv"), {}, None)
    assert (names, colors) == (PRESETS["camvid"].classes, PRESETS["camvid"].colors)


def test_other_colors_are_classes_named_by_their_code() -> None:
    inference = infer_colors((1, 2, 3), (255, 0, 16))
    assert inference.color_table == "name,r,g,b\n#010203,1,2,3\n#ff0010,255,0,16\n"
    assert inference.notes == (f"each of the 2 colors of the labels is a class ({TABLE} names them)",)


def test_colors_of_two_presets_are_of_neither() -> None:
    inference = infer_colors((128, 128, 128), (128, 0, 0), (128, 128, 0))
    assert inference.color_table == "name,r,g,b\n#800000,128,0,0\n#808000,128,128,0\n#808080,128,128,128\n"
    assert "is a class, because camvid and voc have them with different classes" in inference.notes[0]


def test_colors_of_data_sets_with_the_same_classes_get_these() -> None:
    inference = infer_colors((128, 64, 128), (244, 35, 232), (70, 130, 180), (111, 74, 0))
    assert inference.notes[0].startswith("the colors of the labels are those of cityscapes or acdc or kitti or bdd100k")
    assert "\nsky,70,130,180\n" in (inference.color_table or "")


@pytest.mark.parametrize(
    "colors", [((0, 0, 0), (255, 255, 255)), ((0, 0, 0), (255, 0, 0)), ((0, 0, 0), (255, 255, 255), (255, 0, 0))]
)
def test_few_colors_are_of_no_data_set(colors: tuple[tuple[int, int, int], ...]) -> None:
    assert infer_colors(*colors).notes[0].startswith(f"each of the {len(colors)} colors of the labels is a class (")


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("a_gtFine_labelTrainIds.png", "cityscapes"),
        ("fog/GOPR0475_frame_000041_gt_labelTrainIds.png", "acdc"),
        ("GOPR0475_frame_000041_gt_labelIds.png", "acdc"),
        ("P0002_instance_color_RGB.png", "isaid"),
        ("000000000139_labelTrainIds.png", None),
        ("photo_label.png", None),
        ("7462_lab.png", None),
    ],
)
def test_names_that_one_data_set_has_tell_the_preset(name: str, preset: str | None) -> None:
    assert preset_of_file_names([name]) == preset


def test_other_colors_with_predictions_are_refused() -> None:
    with raises(DataError, match="The labels hold 2 colors of no known data set"):
        infer_colors((1, 2, 3), (255, 0, 16), has_predictions=True)


def test_one_color_is_refused() -> None:
    with raises(DataError, match=r"The labels hold only the color \(1, 2, 3\)"):
        infer_colors((1, 2, 3))


# ------------------------------------------------------------------------------------------------------- label files


def read(path: Path) -> LabelContent:
    files = find_files(str(path), {}, (".png", ".npy"))
    return read_label_content(files, {}, ProgressReporter("quiet"))


def test_content_is_that_of_all_files(tmp_path: Path) -> None:
    for i in range(6):
        save_image(tmp_path / f"{i}.png", np.full((4, 5), i, np.uint8))
    assert read(tmp_path) == LabelContent(frozenset(range(6)), frozenset())


def test_content_of_arrays_is_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[0, 3]], np.int64))
    assert read(tmp_path).values == {0, 3}
    np.save(tmp_path / "a.npy", np.array([[[0, 3]], [[5, 3]]], np.uint8).repeat(2, axis=1))
    assert read(tmp_path).values == {0, 3, 5}, "one array of all images"


def test_content_of_color_images_is_their_colors(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    save_image(tmp_path / "b.png", np.array([[[255, 2, 3], [4, 5, 6]]], np.uint8))
    assert read(tmp_path) == LabelContent(frozenset(), frozenset({(1, 2, 3), (4, 5, 6), (255, 2, 3)}))


def test_photographs_are_refused(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8))
    with raises(DataError, match=r"The labels up to .*a.png hold more than 256 colors"):
        read(tmp_path)


def test_colors_beside_class_numbers_are_refused(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", np.array([[0, 1]], np.uint8))
    save_image(tmp_path / "b.png", np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    with raises(DataError, match=r"b.png and the labels before it are color images and class numbers"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("numbers", "text"), [([0], "0"), ([0, 1], "0, 1"), ([0, 1, 2], "0 to 2"), ([0, 2, 3, 4, 9], "0, 2 to 4, 9")]
)
def test_format_ranges_writes_runs_of_three_in_short(numbers: list[int], text: str) -> None:
    assert format_ranges(numbers) == text
