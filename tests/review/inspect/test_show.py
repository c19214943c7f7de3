"""`masksift show`: the image that is meant, with what the stores hold of it, as a PNG, and nothing overwritten by
chance."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from PIL import Image

from masksift.config.sections import StorageSection
from masksift.core.errors import UsageError
from masksift.engine.completed_run import open_completed_run
from masksift.engine.image_views import ImageView
from masksift.review.inspect import show as module
from masksift.review.inspect.config import ShowConfig
from masksift.review.inspect.lookup import find_image, find_rank, read_regions
from masksift.review.inspect.show import show
from masksift.review.rendering.panels import PANEL_SIDE_PIXELS, make_panels
from support.cli import error_message, exit_code, run_cli
from support.datasets import Array, Data, make_dataset
from support.errors import raises
from support.results import read_files, read_rows
from support.sources import erase_chunks, make_data, write_array, write_source

IDS = ["frame 1", "街/東", "twice", "twice", "../up", "a/b", "<b>$x$</b>", "last\n"]


def write_pictures(path: Path, data: Data, name: str = "images", seed: int = 5) -> Array:
    pictures = np.random.default_rng(seed).integers(0, 256, (*data.labels.shape, 3), np.uint8)
    write_array(zarr.open_group(path, mode="a"), name, pictures, "nyxc", "nyxc", (2, *pictures.shape[1:]), None)
    return pictures


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over two sources of eight images, one with ids of its own and pictures; a chunk of its labels is lost."""
    folder = tmp_path_factory.mktemp("show")
    data = make_data(dtype="uint8", height=16, width=20)
    first = write_source(folder / "a.zarr", data, ids=IDS)
    write_pictures(folder / "a.zarr", data)
    write_pictures(folder / "a.zarr", data, "others", 6)
    erase_chunks(first.labels, slice(6, 8))
    write_source(folder / "b.zarr", make_data(dtype="uint8", seed=12, height=16, width=20), ids=["c", "a/0", *"defghi"])
    words = ("--source", folder / "*.zarr", "--out", folder / "out", "--regions.min_area", 1)
    assert run_cli("run", *words, "--max_quarantined", "100%") == 0
    return folder


@pytest.fixture
def drawn_of(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., tuple[ImageView, list[str], list[dict[str, Any]], list[str]]]:
    """What is drawn, of the words of the command: view, title, regions, notes."""
    seen: list[Any] = []

    def spy(view: ImageView, names: Any, title: Any, regions: Any, notes: Any, side: int) -> Any:
        seen.append((view, title, regions, notes))
        return original(view, names, title, regions, notes, side)

    original = module.draw_figure
    monkeypatch.setattr(module, "draw_figure", spy)

    def draw_of(run: Path, image: str, **more: Any) -> Any:
        show(ShowConfig(run=str(run), image=image, out=str(run.parent / "seen.png"), **more))
        return seen[-1]

    return draw_of


def decoded(path: Path) -> Array:
    with Image.open(io.BytesIO(path.read_bytes())) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


# --------------------------------------------------------------------------------------------------- which image


def test_an_image_is_found_by_its_id_or_by_its_place(made: Path) -> None:
    run = open_completed_run(str(made / "out"), StorageSection())
    table = {(row["source"], row["index"]): row for row in read_rows(made / "out")}
    for word, place in (
        ("frame 1", ("a", 0)),
        ("街/東", ("a", 1)),
        ("../up", ("a", 4)),
        ("a/b", ("a", 5)),
        ("last\n", ("a", 7)),
        ("a/2", ("a", 2)),
        ("a/3", ("a", 3)),
        ("b/7", ("b", 7)),
        ("c", ("b", 0)),
        ("a/0", ("b", 1)),  # an id goes before a place
    ):
        assert find_image(run, word) == table[place], word


def test_an_id_of_several_images_is_refused_and_they_are_named(made: Path) -> None:
    run = open_completed_run(str(made / "out"), StorageSection())
    with raises(UsageError, r"several images of .*out are called 'twice': a/2, a/3; .*Give one of these: a/2"):
        find_image(run, "twice")


@pytest.mark.parametrize("word", ["nobody", "a/8", "a/-1", "a/", "/", "c/0", "a/²", "a/" + "9" * 30])
def test_an_image_that_is_not_there_is_refused(made: Path, word: str) -> None:
    run = open_completed_run(str(made / "out"), StorageSection())
    with raises(UsageError, r"no image of .*out is called .*; there is nothing to draw.*source/index such as a/0"):
        find_image(run, word)


def test_of_a_run_without_ids_the_place_is_the_id_and_one_part_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_source(tmp_path / "s.zarr")
    assert run_cli("run", "--source", tmp_path / "s.zarr", "--out", tmp_path / "out") == 0
    monkeypatch.setattr("masksift.review.inspect.lookup.matching", None)
    assert find_image(open_completed_run(str(tmp_path / "out"), StorageSection()), "s/5")["index"] == 5


def test_the_rank_is_that_of_the_ranking_however_many_parts_it_has_and_whatever_is_equal(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from masksift.engine import result_tables as results

    data = make_data(dtype="uint8")
    for name in "xyz":  # the same images, so that every score occurs three times
        write_source(tmp_path / f"{name}.zarr", data)
    for size in (1, 2, 5, 1000):
        monkeypatch.setattr(results, "RANKING_PART_ROWS", size)
        out = tmp_path / f"out{size}"
        assert run_cli("run", "--source", tmp_path / "*.zarr", "--out", out) == 0
        run = open_completed_run(str(out), StorageSection())
        ranks = {(row["source"], row["index"]): row["rank"] for row in read_rows(out, "ranking")}
        assert {(row["source"], row["index"]): find_rank(run, row) for row in read_rows(out)} == ranks
    lost = open_completed_run(str(made / "out"), StorageSection())
    assert find_rank(lost, find_image(lost, "a/7")) is None


def test_its_regions_are_those_of_the_table_most_evidence_first(made: Path) -> None:
    run = open_completed_run(str(made / "out"), StorageSection())
    table = read_rows(made / "out", "regions")
    for row in read_rows(made / "out"):
        own = [region for region in table if (region["source"], region["index"]) == (row["source"], row["index"])]
        assert read_regions(run, row, 3) == (own[:3], len(own))


# --------------------------------------------------------------------------------------------------- what is drawn


def test_the_panels_are_what_lies_in_the_stores(made: Path, drawn_of: Any) -> None:
    view, title, regions, notes = drawn_of(made / "out", "frame 1")
    group = zarr.open_group(made / "a.zarr", mode="r")
    np.testing.assert_array_equal(view.rgb, group["images"][0])
    np.testing.assert_array_equal(view.given, group["labels"][0])
    np.testing.assert_array_equal(view.predicted, np.asarray(group["predictions"][0]).argmax(axis=0))
    mask = zarr.open_array(made / "out/evidence/a.zarr/issue_mask", mode="r")[0]
    np.testing.assert_array_equal(view.flagged, np.asarray(mask) > 0)
    row = read_rows(made / "out")[0]
    (rank,) = [r["rank"] for r in read_rows(made / "out", "ranking") if (r["source"], r["index"]) == ("a", 0)]
    pixels = f"{row['flagged_pixels']} of {row['valid_pixels']} pixels flagged"
    assert title == [f"frame 1 · rank {rank} of 14 · softmin {row['softmin']:.4f} · {pixels}", "a/0"]
    own = [r for r in read_rows(made / "out", "regions") if (r["source"], r["index"]) == ("a", 0)]
    assert regions == own[:8]
    assert notes == ([f"and {len(own) - 8} regions with less evidence"] if len(own) > 9 else [])
    assert list(make_panels(view, 4)) == ["picture", "given labels", "predicted", "flagged"]


def test_pictures_may_have_another_name_or_an_address_of_their_own(made: Path, drawn_of: Any) -> None:
    others = np.asarray(zarr.open_array(made / "a.zarr/others", mode="r")[0])
    for name in ("others", f"{made}/{{source}}.zarr/others"):
        view, *_ = drawn_of(made / "out", "frame 1", arrays={"images": name})
        np.testing.assert_array_equal(view.rgb, others)


def test_the_run_s_own_name_of_pictures_is_the_default(made: Path, tmp_path: Path, drawn_of: Any) -> None:
    words = ("--source", made / "a.zarr", "--out", tmp_path / "out", "--arrays.images", "others")
    assert run_cli("run", *words, "--max_quarantined", "100%") == 0
    view, title, *_ = drawn_of(tmp_path / "out", "frame 1")
    np.testing.assert_array_equal(view.rgb, zarr.open_array(made / "a.zarr/others", mode="r")[0])
    assert len(title) == 1, "of one source an id says enough"
    record = tmp_path / "out/run.json"
    tree = json.loads(record.read_text())
    del tree["configuration"]["arrays"]["images"]  # as a run of an earlier version says it
    record.write_text(json.dumps(tree))
    view, *_ = drawn_of(tmp_path / "out", "frame 1")
    np.testing.assert_array_equal(view.rgb, zarr.open_array(made / "a.zarr/images", mode="r")[0])


def test_without_pictures_there_are_planes_and_it_is_said(made: Path, drawn_of: Any) -> None:
    view, _, _, notes = drawn_of(made / "out", "c")
    assert list(make_panels(view, 4)) == ["given labels", "predicted", "flagged"]
    assert notes[-1] == f"there are no pictures: {made}/b.zarr holds no array 'images'"


def test_a_quarantined_image_shows_what_can_be_read_and_the_reason(made: Path, drawn_of: Any) -> None:
    view, title, regions, _ = drawn_of(made / "out", "a/7")
    assert list(make_panels(view, 4)) == ["picture"]
    assert title[0] == "last\\n · not scored: missing_chunk"
    assert re.search(r"labels.* does not exist", title[1])
    assert title[2] == "a/7"
    assert regions == []


def test_bad_labels_are_shown_for_what_they_are(tmp_path: Path, drawn_of: Any) -> None:
    data = make_data(dtype="uint8")
    data.labels[2, 3, 4] = 77
    write_source(tmp_path / "s.zarr", data)
    words = ("--source", tmp_path / "s.zarr", "--out", tmp_path / "out", "--max_quarantined", 1)
    assert run_cli("run", *words) == 0
    view, title, _, notes = drawn_of(tmp_path / "out", "s/2")
    shown = make_panels(view, 4)
    assert list(shown) == ["given labels"]
    assert shown["given labels"][3, 4].tolist() == [255, 255, 255]
    assert title[1].startswith("label 77 at (y=3, x=4) is neither a class")
    assert not any("label 77" in note for note in notes), "said once"


def test_where_the_evidence_is_not_kept_there_is_no_prediction_and_it_is_said(tmp_path: Path, drawn_of: Any) -> None:
    write_source(tmp_path / "s.zarr")
    words = ("--source", tmp_path / "s.zarr", "--out", tmp_path / "out", "--evidence.keep", "false")
    assert run_cli("run", *words) == 0
    view, _, _, notes = drawn_of(tmp_path / "out", "s/2")
    assert list(make_panels(view, 4)) == ["given labels", "flagged"]
    assert "no prediction is shown: the run has kept no evidence (evidence.keep)" in notes


def test_a_source_that_has_gone_leaves_what_the_run_has_kept(made: Path, tmp_path: Path, drawn_of: Any) -> None:
    shutil.copytree(made / "b.zarr", tmp_path / "b.zarr")
    assert run_cli("run", "--source", tmp_path / "b.zarr", "--out", tmp_path / "out") == 0
    shutil.rmtree(tmp_path / "b.zarr")
    view, _, _, notes = drawn_of(tmp_path / "out", "d")
    assert list(make_panels(view, 4)) == ["predicted", "flagged"]
    assert f"there are no labels at {tmp_path}/b.zarr/labels any more" in notes


def test_padded_images_show_their_own_rows_and_columns(tmp_path: Path, drawn_of: Any) -> None:
    data = make_data(dtype="uint8")
    data.predictions[0, :, 5:], data.labels[0, 5:] = 0, 99
    write_source(tmp_path / "s.zarr", data)
    pictures = write_pictures(tmp_path / "s.zarr", data)
    height = zarr.open_group(tmp_path / "s.zarr", mode="a").create_array(
        "height", shape=(8,), dtype="int32", chunks=(8,)
    )
    height[:] = np.array([5, *[8] * 7], np.int32)
    words = ("--source", tmp_path / "s.zarr", "--out", tmp_path / "out", "--regions.min_area", 1)
    assert run_cli("run", *words) == 0
    view, _, regions, _ = drawn_of(tmp_path / "out", "s/0")
    assert view.size == (5, 10)
    np.testing.assert_array_equal(view.rgb, pictures[0, :5])
    assert {(region["height"], region["width"]) for region in regions} == {(5, 10)}


def test_a_hundred_and_fifty_classes_in_any_script(tmp_path: Path) -> None:
    names = [f"類別 {k}" for k in range(150)]
    data = make_dataset(3, images=2, classes=150, height=40, width=40, dtype="float16")
    write_source(tmp_path / "s.zarr", data, attributes={"class_names": names, "ignore": [255]})
    assert run_cli("run", "--source", tmp_path / "s.zarr", "--out", tmp_path / "out") == 0
    assert exit_code("show", tmp_path / "out", "s/0", "--out", tmp_path / "a.png") == 0
    assert min(decoded(tmp_path / "a.png").shape[:2]) > PANEL_SIDE_PIXELS


# --------------------------------------------------------------------------------------------------- what is written


def test_the_command_writes_the_picture_and_says_what_it_shows(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_files(made)
    assert exit_code("show", made / "out", "frame 1", "--out", tmp_path / "new" / "a.png") == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0].startswith("frame 1 · rank ")
    assert lines[-1] == f"picture: {tmp_path / 'new' / 'a.png'}"
    assert printed.err == ""
    assert decoded(tmp_path / "new" / "a.png").shape[1] > 2 * PANEL_SIDE_PIXELS
    assert read_files(made) == before
    first = (tmp_path / "new/a.png").read_bytes()
    assert exit_code("show", made / "out", "a/1", "--out", tmp_path / "new/a.png", "--side", 100) == 0, "overwritten"
    assert decoded(tmp_path / "new" / "a.png").shape[1] < 2 * PANEL_SIDE_PIXELS
    assert exit_code("show", made / "out", "frame 1", "--out", tmp_path / "new/a.png") == 0
    assert (tmp_path / "new/a.png").read_bytes() == first, "the same bytes"


@pytest.mark.parametrize(
    ("word", "name"), [("frame 1", "frame_1.png"), ("街/東", "街_東.png"), ("../up", "up.png"), ("a/7", "last.png")]
)
def test_without_a_name_the_file_is_called_after_the_id(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, name: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for _ in range(2):
        assert exit_code("show", made / "out", word) == 0
        assert list(read_files(tmp_path)) == [f"here/{name}"]


def test_a_file_that_is_called_like_the_image_is_left_alone(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "frame_1.png").write_bytes(b"the picture itself")
    monkeypatch.chdir(tmp_path)
    assert exit_code("show", made / "out", "frame 1") == 2
    assert re.search(r"frame_1.png is there already; .*left as it is.*--out FILE.png", error_message(capsys))
    assert read_files(tmp_path) == {"frame_1.png": b"the picture itself"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere", "x"), "nowhere holds no complete run"),
        (("r", "x", "--out", "x.jpg"), r"out is 'x.jpg'; a PNG is written.*ends in .png"),
        (("r", "x", "--side", "63"), "side must be a number greater than or equal to 64"),
        (("r", "x", "--sied", "64"), r"no flag '--sied'; .*Did you mean --side\?"),
        (("r",), "arguments are required: ID"),
        (("r", ""), "image must be text that is not empty"),
    ],
)
def test_what_is_mistyped_is_refused_and_nothing_is_written(
    words: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code("show", *words) == 2
    assert re.search(said, error_message(capsys))
    assert read_files(tmp_path) == {}


def test_an_id_that_looks_like_a_list_is_an_id(tmp_path: Path) -> None:
    write_source(tmp_path / "s.zarr", make_data(images=2), ids=["[1]", "['a']"])
    assert run_cli("run", "--source", tmp_path / "s.zarr", "--out", tmp_path / "out") == 0
    assert exit_code("show", tmp_path / "out", "[1]", "--out", tmp_path / "a.png", "--side", 64) == 0


def test_the_default_of_the_side_is_that_of_the_notebook() -> None:
    assert ShowConfig(run="r", image="i").side == PANEL_SIDE_PIXELS
