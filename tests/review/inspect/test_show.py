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
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over two sources of eight images; the first has ids, two image arrays, and a missing chunk of labels."""
    directory = tmp_path_factory.mktemp("show")
    data = make_data(dtype="uint8", height=16, width=20)
    first = write_source(directory / "a.zarr", data, ids=IDS)
    write_pictures(directory / "a.zarr", data)
    write_pictures(directory / "a.zarr", data, "others", 6)
    erase_chunks(first.labels, slice(6, 8))
    write_source(
        directory / "b.zarr", make_data(dtype="uint8", seed=12, height=16, width=20), ids=["c", "a/0", *"defghi"]
    )
    args = ("--source", directory / "*.zarr", "--out", directory / "out", "--regions.min_area", 1)
    assert run_cli("run", *args, "--max_quarantined", "100%") == 0
    return directory


@pytest.fixture
def spy_on_drawing(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., tuple[ImageView, list[str], list[dict[str, Any]], list[str]]]:
    """Function that runs `show` and returns the arguments of `draw_figure`: view, title, regions, notes."""
    calls: list[Any] = []

    def spy(view: ImageView, names: Any, title: Any, regions: Any, notes: Any, side: int, colors: Any) -> Any:
        calls.append((view, title, regions, notes))
        return original(view, names, title, regions, notes, side, colors)

    original = module.draw_figure
    monkeypatch.setattr(module, "draw_figure", spy)

    def show_image(run: Path, image: str, **more: Any) -> Any:
        show(ShowConfig(run=str(run), image=image, out=str(run.parent / "seen.png"), **more))
        return calls[-1]

    return show_image


def decode_png(path: Path) -> Array:
    with Image.open(io.BytesIO(path.read_bytes())) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def test_image_is_found_by_id_or_location(runs: Path) -> None:
    run = open_completed_run(str(runs / "out"), StorageSection())
    table = {(row["source"], row["index"]): row for row in read_rows(runs / "out")}
    for name, key in (
        ("frame 1", ("a", 0)),
        ("街/東", ("a", 1)),
        ("../up", ("a", 4)),
        ("a/b", ("a", 5)),
        ("last\n", ("a", 7)),
        ("a/2", ("a", 2)),
        ("a/3", ("a", 3)),
        ("b/7", ("b", 7)),
        ("c", ("b", 0)),
        ("a/0", ("b", 1)),  # an id takes precedence over a location
    ):
        assert find_image(run, name) == table[key], name


def test_ambiguous_id_is_rejected_with_the_locations(runs: Path) -> None:
    run = open_completed_run(str(runs / "out"), StorageSection())
    with raises(UsageError, r"Several images of .*out have the id 'twice': a/2, a/3. Pass a/2 or another one"):
        find_image(run, "twice")


@pytest.mark.parametrize("name", ["nobody", "a/8", "a/-1", "a/", "/", "c/0", "a/²", "a/" + "9" * 30])
def test_unknown_image_is_rejected(runs: Path, name: str) -> None:
    run = open_completed_run(str(runs / "out"), StorageSection())
    with raises(UsageError, r"out has no image .*SOURCE/INDEX such as a/0"):
        find_image(run, name)


def test_location_is_found_without_scanning_the_image_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_source(tmp_path / "s.zarr")
    assert run_cli("run", "--source", tmp_path / "s.zarr", "--out", tmp_path / "out") == 0
    monkeypatch.setattr("masksift.review.inspect.lookup.filter_rows", None)
    assert find_image(open_completed_run(str(tmp_path / "out"), StorageSection()), "s/5")["index"] == 5


def test_find_rank_handles_equal_scores_and_any_file_size(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from masksift.engine import result_tables as results

    data = make_data(dtype="uint8")
    for name in "xyz":  # equal images: every score occurs three times
        write_source(tmp_path / f"{name}.zarr", data)
    for size in (1, 2, 5, 1000):
        monkeypatch.setattr(results, "RANKING_PART_ROWS", size)
        out = tmp_path / f"out{size}"
        assert run_cli("run", "--source", tmp_path / "*.zarr", "--out", out) == 0
        run = open_completed_run(str(out), StorageSection())
        ranks = {(row["source"], row["index"]): row["rank"] for row in read_rows(out, "ranking")}
        assert {(row["source"], row["index"]): find_rank(run, row) for row in read_rows(out)} == ranks
    quarantined = open_completed_run(str(runs / "out"), StorageSection())
    assert find_rank(quarantined, find_image(quarantined, "a/7")) is None


def test_regions_are_read_by_decreasing_evidence(runs: Path) -> None:
    run = open_completed_run(str(runs / "out"), StorageSection())
    table = read_rows(runs / "out", "regions")
    for row in read_rows(runs / "out"):
        expected = [region for region in table if (region["source"], region["index"]) == (row["source"], row["index"])]
        assert read_regions(run, row, 3) == (expected[:3], len(expected))


def test_panels_equal_the_stored_arrays(runs: Path, spy_on_drawing: Any) -> None:
    view, title, regions, notes = spy_on_drawing(runs / "out", "frame 1")
    group = zarr.open_group(runs / "a.zarr", mode="r")
    np.testing.assert_array_equal(view.rgb, group["images"][0])
    np.testing.assert_array_equal(view.given, group["labels"][0])
    np.testing.assert_array_equal(view.predicted, np.asarray(group["predictions"][0]).argmax(axis=0))
    mask = zarr.open_array(runs / "out/evidence/a.zarr/issue_mask", mode="r")[0]
    np.testing.assert_array_equal(view.flagged, np.asarray(mask) > 0)
    row = read_rows(runs / "out")[0]
    (rank,) = [r["rank"] for r in read_rows(runs / "out", "ranking") if (r["source"], r["index"]) == ("a", 0)]
    pixels = f"{row['flagged_pixels']} of {row['valid_pixels']} pixels flagged"
    assert title == [f"frame 1 · rank {rank} of 14 · combined {row['combined']:.4f} · {pixels}", "a/0"]
    expected = [r for r in read_rows(runs / "out", "regions") if (r["source"], r["index"]) == ("a", 0)]
    assert regions == expected[:8]
    assert notes == ([f"and {len(expected) - 8} regions of lower rank"] if len(expected) > 9 else [])
    assert list(make_panels(view, 4)) == ["picture", "given labels", "predicted", "flagged"]


def test_images_array_may_have_another_name_or_url(runs: Path, spy_on_drawing: Any) -> None:
    others = np.asarray(zarr.open_array(runs / "a.zarr/others", mode="r")[0])
    for name in ("others", f"{runs}/{{source}}.zarr/others"):
        view, *_ = spy_on_drawing(runs / "out", "frame 1", arrays={"images": name})
        np.testing.assert_array_equal(view.rgb, others)


def test_images_array_of_the_run_is_the_default(runs: Path, tmp_path: Path, spy_on_drawing: Any) -> None:
    args = ("--source", runs / "a.zarr", "--out", tmp_path / "out", "--arrays.images", "others")
    assert run_cli("run", *args, "--max_quarantined", "100%") == 0
    view, title, *_ = spy_on_drawing(tmp_path / "out", "frame 1")
    np.testing.assert_array_equal(view.rgb, zarr.open_array(runs / "a.zarr/others", mode="r")[0])
    assert len(title) == 1, "no location with a single source"
    record = tmp_path / "out/run.json"
    tree = json.loads(record.read_text())
    del tree["configuration"]["arrays"]["images"]  # as in the record of an earlier version
    record.write_text(json.dumps(tree))
    view, *_ = spy_on_drawing(tmp_path / "out", "frame 1")
    np.testing.assert_array_equal(view.rgb, zarr.open_array(runs / "a.zarr/images", mode="r")[0])


def test_missing_images_array_is_noted(runs: Path, spy_on_drawing: Any) -> None:
    view, _, _, notes = spy_on_drawing(runs / "out", "c")
    assert list(make_panels(view, 4)) == ["given labels", "predicted", "flagged"]
    assert notes[-1] == f"no images: {runs}/b.zarr contains no array 'images'"


def test_quarantined_image_shows_readable_panels_and_the_reason(runs: Path, spy_on_drawing: Any) -> None:
    view, title, regions, _ = spy_on_drawing(runs / "out", "a/7")
    assert list(make_panels(view, 4)) == ["picture"]
    assert title[0] == "last\\n · not scored: missing_chunk"
    assert re.search(r"labels.* does not exist", title[1])
    assert title[2] == "a/7"
    assert regions == []


def test_invalid_labels_are_shown_white(tmp_path: Path, spy_on_drawing: Any) -> None:
    data = make_data(dtype="uint8")
    data.labels[2, 3, 4] = 77
    write_source(tmp_path / "s.zarr", data)
    args = ("--source", tmp_path / "s.zarr", "--out", tmp_path / "out", "--max_quarantined", 1)
    assert run_cli("run", *args) == 0
    view, title, _, notes = spy_on_drawing(tmp_path / "out", "s/2")
    panels = make_panels(view, 4)
    assert list(panels) == ["given labels"]
    assert panels["given labels"][3, 4].tolist() == [255, 255, 255]
    assert title[1].startswith("label 77 at (y=3, x=4) is neither a class")
    assert not any("label 77" in note for note in notes), "not repeated"


def test_run_without_evidence_shows_no_prediction(tmp_path: Path, spy_on_drawing: Any) -> None:
    write_source(tmp_path / "s.zarr")
    args = ("--source", tmp_path / "s.zarr", "--out", tmp_path / "out", "--evidence.keep", "false")
    assert run_cli("run", *args) == 0
    view, _, _, notes = spy_on_drawing(tmp_path / "out", "s/2")
    assert list(make_panels(view, 4)) == ["given labels", "flagged"]
    assert "no prediction is shown, because the run kept no evidence (evidence.keep)" in notes


def test_deleted_source_leaves_the_evidence(runs: Path, tmp_path: Path, spy_on_drawing: Any) -> None:
    shutil.copytree(runs / "b.zarr", tmp_path / "b.zarr")
    assert run_cli("run", "--source", tmp_path / "b.zarr", "--out", tmp_path / "out") == 0
    shutil.rmtree(tmp_path / "b.zarr")
    view, _, _, notes = spy_on_drawing(tmp_path / "out", "d")
    assert list(make_panels(view, 4)) == ["predicted", "flagged"]
    assert f"there are no labels at {tmp_path}/b.zarr/labels any more" in notes


def test_padded_images_show_their_own_rows_and_columns(tmp_path: Path, spy_on_drawing: Any) -> None:
    data = make_data(dtype="uint8")
    data.predictions[0, :, 5:], data.labels[0, 5:] = 0, 99
    write_source(tmp_path / "s.zarr", data)
    pictures = write_pictures(tmp_path / "s.zarr", data)
    height = zarr.open_group(tmp_path / "s.zarr", mode="a").create_array(
        "height", shape=(8,), dtype="int32", chunks=(8,)
    )
    height[:] = np.array([5, *[8] * 7], np.int32)
    args = ("--source", tmp_path / "s.zarr", "--out", tmp_path / "out", "--regions.min_area", 1)
    assert run_cli("run", *args) == 0
    view, _, regions, _ = spy_on_drawing(tmp_path / "out", "s/0")
    assert view.size == (5, 10)
    np.testing.assert_array_equal(view.rgb, pictures[0, :5])
    assert {(region["height"], region["width"]) for region in regions} == {(5, 10)}


def test_many_classes_named_in_another_script_are_drawn(tmp_path: Path) -> None:
    names = [f"類別 {k}" for k in range(150)]
    data = make_dataset(3, images=2, classes=150, height=40, width=40, dtype="float16")
    write_source(tmp_path / "s.zarr", data, attributes={"class_names": names, "ignore": [255]})
    assert run_cli("run", "--source", tmp_path / "s.zarr", "--out", tmp_path / "out") == 0
    assert exit_code("show", tmp_path / "out", "s/0", "--out", tmp_path / "a.png") == 0
    assert min(decode_png(tmp_path / "a.png").shape[:2]) > PANEL_SIDE_PIXELS


def test_command_writes_the_file_and_describes_it(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_files(runs)
    assert exit_code("show", runs / "out", "frame 1", "--out", tmp_path / "new" / "a.png") == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0].startswith("frame 1 · rank ")
    assert lines[-1] == f"picture: {tmp_path / 'new' / 'a.png'}"
    assert printed.err == ""
    assert decode_png(tmp_path / "new" / "a.png").shape[1] > 2 * PANEL_SIDE_PIXELS
    assert read_files(runs) == before
    first = (tmp_path / "new/a.png").read_bytes()
    assert exit_code("show", runs / "out", "a/1", "--out", tmp_path / "new/a.png", "--side", 100) == 0
    assert decode_png(tmp_path / "new" / "a.png").shape[1] < 2 * PANEL_SIDE_PIXELS
    assert exit_code("show", runs / "out", "frame 1", "--out", tmp_path / "new/a.png") == 0
    assert (tmp_path / "new/a.png").read_bytes() == first


@pytest.mark.parametrize(
    ("image", "name"), [("frame 1", "frame_1.png"), ("街/東", "街_東.png"), ("../up", "up.png"), ("a/7", "last.png")]
)
def test_default_file_name_derives_from_the_id(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: str, name: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for _ in range(2):
        assert exit_code("show", runs / "out", image) == 0
        assert list(read_files(tmp_path)) == [f"here/{name}"]


def test_default_file_name_never_overwrites(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "frame_1.png").write_bytes(b"the original")
    monkeypatch.chdir(tmp_path)
    assert exit_code("show", runs / "out", "frame 1") == 2
    assert re.search(
        r"frame_1.png exists and has other content. It is not overwritten. Pass a file name: --out FILE.png",
        error_message(capsys),
    )
    assert read_files(tmp_path) == {"frame_1.png": b"the original"}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("nowhere", "x"), "nowhere holds no complete run"),
        (("r", "x", "--out", "x.jpg"), r"out must end in .png, got 'x.jpg'"),
        (("r", "x", "--side", "63"), "side must be a number greater than or equal to 64"),
        (("r", "x", "--sied", "64"), r"Unknown flag '--sied'. Did you mean --side\?"),
        (("r",), "arguments are required: IMAGE"),
        (("r", ""), "image must be text that is not empty"),
    ],
)
def test_invalid_arguments_are_rejected_and_nothing_is_written(
    args: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code("show", *args) == 2
    assert re.search(message, error_message(capsys))
    assert read_files(tmp_path) == {}


def test_id_that_looks_like_a_list_is_accepted(tmp_path: Path) -> None:
    write_source(tmp_path / "s.zarr", make_data(images=2), ids=["[1]", "['a']"])
    assert run_cli("run", "--source", tmp_path / "s.zarr", "--out", tmp_path / "out") == 0
    assert exit_code("show", tmp_path / "out", "[1]", "--out", tmp_path / "a.png", "--side", 64) == 0


def test_default_side_equals_that_of_audit() -> None:
    assert ShowConfig(run="r", image="i").side == PANEL_SIDE_PIXELS
