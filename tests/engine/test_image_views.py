"""Views of images: downscaling, and warnings about missing data."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

from masksift.config.sections import StorageSection
from masksift.engine import image_views
from masksift.engine.completed_run import CompletedRun, open_completed_run
from masksift.engine.image_views import ImageView, ImageViewReader, make_view
from masksift.engine.planning import report_plan
from masksift.engine.planning.report_plan import reduction_factor
from support.cli import run_cli
from support.datasets import Array, Data
from support.moved_sources import move_sources
from support.sources import make_data, write_array, write_source


def make_rgb(data: Data) -> Array:
    rng = np.random.default_rng(5)
    return rng.integers(0, 256, (*data.labels.shape, 3), np.uint8)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Data, Array]:
    """Run over eight images of 8 x 10 pixels with RGB images."""
    folder = tmp_path_factory.mktemp("views")
    data = make_data(dtype="uint8")
    images = make_rgb(data)
    write_source(folder / "s.zarr", data)
    group = zarr.open_group(folder / "s.zarr", mode="a")
    write_array(group, "images", images, "nyxc", "nyxc", (2, 8, 10, 3), None)
    assert run_cli("run", "--source", folder / "s.zarr", "--out", folder / "out", "--max_quarantined", "100%") == 0
    return folder, data, images


def open_run(folder: Path) -> CompletedRun:
    return open_completed_run(str(folder / "out"), StorageSection())


def view_image(
    folder: Path, index: int = 0, side: int | None = None, *, name: str = "images", scored: bool = True
) -> ImageView:
    run = open_run(folder)
    return ImageViewReader(run.context, run.find_task("s", index), name, predicted=run.keeps_evidence).view(
        index, side, scored=scored
    )


def test_view_at_full_size_equals_the_stored_arrays(stored: tuple[Path, Data, Array]) -> None:
    folder, data, images = stored
    for index in range(8):
        shown = view_image(folder, index)
        assert (shown.size, shown.factor, shown.warnings) == ((8, 10), 1, ())
        np.testing.assert_array_equal(shown.rgb, images[index])
        np.testing.assert_array_equal(shown.given, data.labels[index])
        np.testing.assert_array_equal(shown.predicted, data.predictions[index].argmax(axis=0))
        mask = zarr.open_array(folder / "out/evidence/s.zarr/issue_mask", mode="r")[index]
        np.testing.assert_array_equal(shown.flagged, np.asarray(mask) > 0)


@pytest.mark.parametrize("side", [1, 3, 4, 9, 10, 100])
def test_downscaled_view_keeps_flags_mean_colors_and_center_classes(
    stored: tuple[Path, Data, Array], side: int
) -> None:
    folder, data, images = stored
    shown, whole = view_image(folder, 1, side), view_image(folder, 1)
    f = reduction_factor((8, 10), side)
    assert shown.factor == f == max(1, -(-10 // side))
    assert shown.rgb is not None
    assert shown.flagged is not None
    assert whole.flagged is not None
    for y, x in np.ndindex(-(-8 // f), -(-10 // f)):
        own = slice(f * y, f * y + f), slice(f * x, f * x + f)
        mean = images[1][own].reshape(-1, 3).mean(axis=0)
        assert np.abs(shown.rgb[y, x] - mean).max() < 1, "Pillow rounds up or down"
        assert shown.flagged[y, x] == whole.flagged[own].any()
        assert shown.given is not None
        assert shown.given[y, x] == data.labels[1][min(f * y + f // 2, 7), min(f * x + f // 2, 9)]


def test_downscaling_in_strips_gives_the_same_image(
    stored: tuple[Path, Data, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = view_image(stored[0], 2, 4)
    monkeypatch.setattr(image_views, "STRIP_PIXELS", 20)
    np.testing.assert_array_equal(view_image(stored[0], 2, 4).rgb, whole.rgb)


@pytest.mark.parametrize("rows", [1, 3, 8])
@pytest.mark.parametrize("strip", [1, 20, 35, 1 << 22])
@pytest.mark.parametrize("side", [3, 5, None])
def test_rgb_in_chunks_of_any_height_gives_the_same_image(
    stored: tuple[Path, Data, Array],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rows: int,
    strip: int,
    side: int | None,
) -> None:
    group = zarr.open_group(tmp_path / "photos.zarr", mode="w")
    write_array(group, "images", stored[2], "nyxc", "nyxc", (1, rows, 4, 3), None)
    monkeypatch.setattr(image_views, "STRIP_PIXELS", strip)
    again = view_image(stored[0], 2, side, name=f"{tmp_path}/photos.zarr/images")
    monkeypatch.undo()
    np.testing.assert_array_equal(again.rgb, view_image(stored[0], 2, side).rgb)


def test_view_with_a_given_size_crops_the_image(stored: tuple[Path, Data, Array]) -> None:
    run = open_run(stored[0])
    viewer = ImageViewReader(run.context, run.find_task("s", 1), "images", predicted=True)
    shown, whole = viewer.view(1, size=(5, 7)), viewer.view(1)
    assert shown.size == (5, 7)
    for name in ("rgb", "given", "predicted", "flagged"):
        np.testing.assert_array_equal(getattr(shown, name), getattr(whole, name)[:5, :7])
    assert viewer.io_counters["requests"] >= 8, "metadata and chunks of four arrays"


def test_images_of_one_chunk_are_read_once(stored: tuple[Path, Data, Array], monkeypatch: pytest.MonkeyPatch) -> None:
    run = open_run(stored[0])
    viewer = ImageViewReader(run.context, run.find_task("s", 0), "images", predicted=True)
    order = (0, 1, 5, 4, 5, 1)
    shown = [viewer.view(index, 4) for index in order]
    before = viewer.io_counters["requests"]
    viewer.view(0, 4)
    assert viewer.io_counters["requests"] == before, "the image is in the chunk that was read last"
    monkeypatch.setattr(report_plan, "MAX_CACHED_PIXELS", 0)
    for index, one in zip(order, shown, strict=True):
        alone = view_image(stored[0], index, 4)
        for name in ("rgb", "given", "predicted", "flagged"):
            np.testing.assert_array_equal(getattr(one, name), getattr(alone, name))


def test_moved_run_is_opened_at_its_new_location(stored: tuple[Path, Data, Array], tmp_path: Path) -> None:
    shutil.copytree(stored[0] / "out", tmp_path / "out")
    run = open_run(tmp_path)
    assert run.context.out == str(tmp_path / "out")
    assert run.tasks.evidence_locations[0].evidence_url.startswith(str(tmp_path))
    assert run.class_names == tuple(f"class {k}" for k in range(4))


def test_view_without_scores_and_rgb_has_only_labels(stored: tuple[Path, Data, Array]) -> None:
    shown = view_image(stored[0], 0, scored=False, name="photos")
    assert shown.rgb is None
    assert shown.predicted is None
    assert shown.flagged is None
    assert shown.given is not None
    assert shown.warnings == (f"no images: {stored[0]}/s.zarr contains no array 'photos'",)


def test_rgb_of_another_shape_gives_a_warning(stored: tuple[Path, Data, Array]) -> None:
    shown = view_image(stored[0], 0, name="labels")
    assert shown.rgb is None
    assert "the labels need" in shown.warnings[0]


def test_missing_chunks_affect_only_their_planes(stored: tuple[Path, Data, Array], tmp_path: Path) -> None:
    shutil.copytree(stored[0], tmp_path, dirs_exist_ok=True)
    move_sources(tmp_path / "out", stored[0], tmp_path)
    for gone in ("s.zarr/images/c/0", "s.zarr/labels/c/0"):
        shutil.rmtree(tmp_path / gone)
    shown = view_image(tmp_path, 1)
    assert shown.rgb is None
    assert shown.given is None
    assert shown.predicted is not None
    assert [("images" in why, "labels" in why) for why in shown.warnings] == [(True, False), (False, True)]


@pytest.mark.parametrize("side", [None, 1, 3, 4, 9, 10, 100])
def test_make_view_equals_the_view_of_a_stored_image(stored: tuple[Path, Data, Array], side: int | None) -> None:
    folder, data, images = stored
    stored, whole = view_image(folder, 3, side), view_image(folder, 3)
    assert whole.flagged is not None
    in_memory = make_view(images[3], data.labels[3], data.predictions[3].argmax(axis=0), whole.flagged, side)
    assert (in_memory.size, in_memory.factor, in_memory.warnings) == (stored.size, stored.factor, ())
    for name in ("rgb", "given", "predicted", "flagged"):
        np.testing.assert_array_equal(getattr(in_memory, name), getattr(stored, name))
    assert in_memory.rgb is not None
    assert in_memory.rgb.dtype == np.uint8
    bare = make_view(None, data.labels[3], None, None, side)
    assert (bare.rgb, bare.predicted, bare.flagged) == (None, None, None)


def test_removed_labels_affect_only_their_plane(stored: tuple[Path, Data, Array], tmp_path: Path) -> None:
    shutil.copytree(stored[0], tmp_path, dirs_exist_ok=True)
    move_sources(tmp_path / "out", stored[0], tmp_path)
    shutil.rmtree(tmp_path / "s.zarr/labels")
    shown = view_image(tmp_path, 1)
    assert shown.given is None
    assert shown.rgb is not None
    assert shown.predicted is not None
    assert shown.flagged is not None
    assert shown.warnings == (f"there are no labels at {tmp_path}/s.zarr/labels any more",)
