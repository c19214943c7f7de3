"""What there is to see of an image: its own pixels, reduced, with what is lost said and all else shown."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

from masksift.config.sections import StorageSection
from masksift.engine import image_views as views
from masksift.engine.completed_run import CompletedRun, open_completed_run
from masksift.engine.image_views import ImageView, ImageViewReader, make_view, reduction_factor
from masksift.engine.planning import report_plan as gallery
from support.cli import run_cli
from support.datasets import Array, Data
from support.sources import make_data, write_array, write_source


def pictures_of(data: Data) -> Array:
    rng = np.random.default_rng(5)
    return rng.integers(0, 256, (*data.labels.shape, 3), np.uint8)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Data, Array]:
    """A run over eight images of 8 x 10, with pictures."""
    folder = tmp_path_factory.mktemp("views")
    data = make_data(dtype="uint8")
    pictures = pictures_of(data)
    write_source(folder / "s.zarr", data)
    group = zarr.open_group(folder / "s.zarr", mode="a")
    write_array(group, "images", pictures, "nyxc", "nyxc", (2, 8, 10, 3), None)
    assert run_cli("run", "--source", folder / "s.zarr", "--out", folder / "out", "--max_quarantined", "100%") == 0
    return folder, data, pictures


def opened(folder: Path) -> CompletedRun:
    return open_completed_run(str(folder / "out"), StorageSection())


def view(
    folder: Path, index: int = 0, side: int | None = None, *, name: str = "images", scored: bool = True
) -> ImageView:
    run = opened(folder)
    return ImageViewReader(run.context, run.find_task("s", index), name, predicted=run.keeps_evidence).view(
        index, side, scored=scored
    )


def test_at_full_size_it_is_what_lies_in_the_stores(made: tuple[Path, Data, Array]) -> None:
    folder, data, pictures = made
    for index in range(8):
        seen = view(folder, index)
        assert (seen.size, seen.factor, seen.warnings) == ((8, 10), 1, ())
        np.testing.assert_array_equal(seen.rgb, pictures[index])
        np.testing.assert_array_equal(seen.given, data.labels[index])
        np.testing.assert_array_equal(seen.predicted, data.predictions[index].argmax(axis=0))
        mask = zarr.open_array(folder / "out/evidence/s.zarr/issue_mask", mode="r")[index]
        np.testing.assert_array_equal(seen.flagged, np.asarray(mask) > 0)


@pytest.mark.parametrize("side", [1, 3, 4, 9, 10, 100])
def test_reduced_it_keeps_every_flag_and_the_mean_of_the_picture(made: tuple[Path, Data, Array], side: int) -> None:
    folder, data, pictures = made
    seen, whole = view(folder, 1, side), view(folder, 1)
    f = reduction_factor((8, 10), side)
    assert seen.factor == f == max(1, -(-10 // side))
    assert seen.rgb is not None
    assert seen.flagged is not None
    assert whole.flagged is not None
    for y, x in np.ndindex(-(-8 // f), -(-10 // f)):
        own = slice(f * y, f * y + f), slice(f * x, f * x + f)
        mean = pictures[1][own].reshape(-1, 3).mean(axis=0)
        assert np.abs(seen.rgb[y, x] - mean).max() <= 0.5
        assert seen.flagged[y, x] == whole.flagged[own].any()
        assert seen.given is not None
        assert seen.given[y, x] == data.labels[1][min(f * y + f // 2, 7), min(f * x + f // 2, 9)]


def test_a_picture_is_read_strip_by_strip_and_looks_the_same(
    made: tuple[Path, Data, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = view(made[0], 2, 4)
    monkeypatch.setattr(views, "STRIP_PIXELS", 20)
    np.testing.assert_array_equal(view(made[0], 2, 4).rgb, whole.rgb)


@pytest.mark.parametrize("rows", [1, 3, 8])
@pytest.mark.parametrize("strip", [1, 20, 35, 1 << 22])
@pytest.mark.parametrize("side", [3, 5, None])
def test_a_picture_in_chunks_of_any_height_looks_the_same(
    made: tuple[Path, Data, Array],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rows: int,
    strip: int,
    side: int | None,
) -> None:
    group = zarr.open_group(tmp_path / "photos.zarr", mode="w")
    write_array(group, "images", made[2], "nyxc", "nyxc", (1, rows, 4, 3), None)
    monkeypatch.setattr(views, "STRIP_PIXELS", strip)
    again = view(made[0], 2, side, name=f"{tmp_path}/photos.zarr/images")
    monkeypatch.undo()
    np.testing.assert_array_equal(again.rgb, view(made[0], 2, side).rgb)


def test_its_own_size_may_be_told(made: tuple[Path, Data, Array]) -> None:
    run = opened(made[0])
    viewer = ImageViewReader(run.context, run.find_task("s", 1), "images", predicted=True)
    seen, whole = viewer.view(1, size=(5, 7)), viewer.view(1)
    assert seen.size == (5, 7)
    for name in ("rgb", "given", "predicted", "flagged"):
        np.testing.assert_array_equal(getattr(seen, name), getattr(whole, name)[:5, :7])
    assert viewer.io_counters["requests"] >= 8, "metadata and chunks of four arrays"


def test_images_of_one_chunk_are_read_once_and_look_the_same(
    made: tuple[Path, Data, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = opened(made[0])
    viewer = ImageViewReader(run.context, run.find_task("s", 0), "images", predicted=True)
    order = (0, 1, 5, 4, 5, 1)
    seen = [viewer.view(index, 4) for index in order]
    before = viewer.io_counters["requests"]
    viewer.view(0, 4)
    assert viewer.io_counters["requests"] == before, "it lies in the chunk that was read last"
    monkeypatch.setattr(gallery, "MAX_CACHED_PIXELS", 0)
    for index, one in zip(order, seen, strict=True):
        alone = view(made[0], index, 4)
        for name in ("rgb", "given", "predicted", "flagged"):
            np.testing.assert_array_equal(getattr(one, name), getattr(alone, name))


def test_a_run_that_has_moved_is_opened_where_it_is_now(made: tuple[Path, Data, Array], tmp_path: Path) -> None:
    shutil.copytree(made[0] / "out", tmp_path / "out")
    run = opened(tmp_path)
    assert run.context.out == str(tmp_path / "out")
    assert run.tasks.evidence_locations[0].evidence_url.startswith(str(tmp_path))
    assert run.class_names == tuple(f"class {k}" for k in range(4))


def test_what_was_not_scored_or_is_not_there_is_none(made: tuple[Path, Data, Array]) -> None:
    seen = view(made[0], 0, scored=False, name="photos")
    assert seen.rgb is None
    assert seen.predicted is None
    assert seen.flagged is None
    assert seen.given is not None
    assert seen.warnings == (f"there are no pictures: {made[0]}/s.zarr holds no array 'photos'",)


def test_pictures_of_another_size_are_said_to_be_none(made: tuple[Path, Data, Array]) -> None:
    seen = view(made[0], 0, name="labels")
    assert seen.rgb is None
    assert "would fit the labels" in seen.warnings[0]


def test_a_lost_chunk_takes_its_plane_alone(made: tuple[Path, Data, Array], tmp_path: Path) -> None:
    shutil.copytree(made[0], tmp_path, dirs_exist_ok=True)
    record = tmp_path / "out/run.json"
    record.write_text(record.read_text().replace(str(made[0]), str(tmp_path)))
    for gone in ("s.zarr/images/c/0", "s.zarr/labels/c/0"):
        shutil.rmtree(tmp_path / gone)
    seen = view(tmp_path, 1)
    assert seen.rgb is None
    assert seen.given is None
    assert seen.predicted is not None
    assert [("images" in why, "labels" in why) for why in seen.warnings] == [(True, False), (False, True)]


@pytest.mark.parametrize("side", [None, 1, 3, 4, 9, 10, 100])
def test_an_image_in_memory_looks_the_same(made: tuple[Path, Data, Array], side: int | None) -> None:
    folder, data, pictures = made
    stored, whole = view(folder, 3, side), view(folder, 3)
    assert whole.flagged is not None
    held = make_view(pictures[3], data.labels[3], data.predictions[3].argmax(axis=0), whole.flagged, side)
    assert (held.size, held.factor, held.warnings) == (stored.size, stored.factor, ())
    for name in ("rgb", "given", "predicted", "flagged"):
        np.testing.assert_array_equal(getattr(held, name), getattr(stored, name))
    assert held.rgb is not None
    assert held.rgb.dtype == np.uint8
    bare = make_view(None, data.labels[3], None, None, side)
    assert (bare.rgb, bare.predicted, bare.flagged) == (None, None, None)


def test_labels_that_have_gone_take_their_plane_alone(made: tuple[Path, Data, Array], tmp_path: Path) -> None:
    shutil.copytree(made[0], tmp_path, dirs_exist_ok=True)
    record = tmp_path / "out/run.json"
    record.write_text(record.read_text().replace(str(made[0]), str(tmp_path)))
    shutil.rmtree(tmp_path / "s.zarr/labels")
    seen = view(tmp_path, 1)
    assert seen.given is None
    assert seen.rgb is not None
    assert seen.predicted is not None
    assert seen.flagged is not None
    assert seen.warnings == (f"there are no labels at {tmp_path}/s.zarr/labels any more",)
