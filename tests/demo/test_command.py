"""A tiny demo data set: contents, truth, reuse and atomic replacement."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

from masksift.core.errors import UsageError
from masksift.demo import DemoTruth, KnownError, found_at_top, make_demo
from masksift.demo import predictions as classifier
from masksift.demo.command import show
from masksift.demo.inject_errors import changed_share
from masksift.demo.scenes.scene import draw_scene
from masksift.demo.scenes.street import CLASS_NAMES

TINY = {"images": 6, "height": 48, "width": 96, "workers": 1}


def ignore_progress(sentence: str) -> None:
    """Discard a progress report."""


@pytest.fixture(scope="module")
def progress() -> list[str]:
    return []


@pytest.fixture(scope="module")
def demo(tmp_path_factory, progress) -> DemoTruth:
    return make_demo(tmp_path_factory.mktemp("demo") / "new" / "directory", seed=1, report=progress.append, **TINY)


@pytest.fixture(scope="module")
def group(demo) -> zarr.Group:
    return zarr.open_group(demo.source, mode="r", zarr_format=3)


def read_bytes(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_source_is_a_zarr_v3_group_of_uint8_arrays(group):
    assert sorted(name for name, _ in group.arrays()) == ["image_id", "images", "labels", "predictions"]
    shapes = {"images": (6, 48, 96, 3), "labels": (6, 48, 96), "predictions": (6, 8, 48, 96)}
    for name, shape in shapes.items():
        assert group[name].shape == shape
        assert group[name].dtype == np.uint8
        assert group[name].chunks[0] == 4
    assert group["labels"].fill_value == 255


def test_arrays_have_dimension_names_and_attributes(group):
    names = {name: array.metadata.dimension_names for name, array in group.arrays()}
    assert names["predictions"] == ("image", "class", "y", "x")
    assert names["labels"] == ("image", "y", "x")
    assert names["images"] == ("image", "y", "x", "channel")
    assert group["predictions"].attrs.asdict() == {"kind": "probabilities", "scale": 1 / 255}
    assert group.attrs["class_names"] == list(CLASS_NAMES)
    assert group.attrs["ignore"] == [255]


def test_images_have_ids_in_order(group, demo):
    assert [str(value) for value in group["image_id"][:]] == [f"scene_{index:04d}" for index in range(6)]
    assert demo.image_ids[3] == "scene_0003"


def test_truth_equals_the_difference_of_clean_and_given_labels(group, demo):
    with demo.truth.open(newline="", encoding="utf-8") as file:
        rows = {row["image_id"]: row for row in csv.DictReader(file)}
    assert set(rows) == set(demo.errors)
    for index, image_id in enumerate(demo.image_ids):
        image, clean = draw_scene(1, index, 48, 96)
        given = group["labels"][index]
        assert np.array_equal(group["images"][index], image)
        assert np.array_equal(given == 255, clean == 255)
        share = float(rows[image_id]["changed_share"]) if image_id in rows else 0.0
        assert changed_share(clean, given) == pytest.approx(share, abs=1e-6)
        if image_id in rows:
            changed = {CLASS_NAMES[label] for label in np.unique(clean[clean != given])}
            changed |= {CLASS_NAMES[label] for label in np.unique(given[clean != given])}
            assert changed & set(rows[image_id]["classes"].split("|"))


def test_errors_cover_each_type(demo):
    assert sorted(error.kind for error in demo.errors.values()) == ["drop", "shift", "swap"]


def test_predictions_are_probabilities(group):
    sums = group["predictions"][:].sum(axis=1, dtype=int) / 255
    assert np.abs(sums - 1).max() <= 8 / 510


def test_stages_are_reported_in_one_sentence_each(demo, progress):
    assert [sentence.split()[0] for sentence in progress] == ["drew", "injected", "trained", "predicted", "wrote"]


def test_complete_demo_is_reused(demo):
    before = read_bytes(demo.source)
    progress: list[str] = []
    assert make_demo(demo.source.parent, seed=1, report=progress.append, **TINY) == demo
    assert read_bytes(demo.source) == before
    assert len(progress) == 1
    assert progress[0].startswith("reused")


def test_demo_with_other_parameters_is_replaced_only_on_success(demo, tmp_path, monkeypatch):
    shutil.copytree(demo.source, tmp_path / "source.zarr")
    previous = zarr.open_group(tmp_path / "source.zarr")
    previous.attrs["demo"] = {**previous.attrs["demo"], "seed": 99}
    (tmp_path / "truth.csv").write_text("truth of the previous demo")
    before = read_bytes(tmp_path)

    def fail(*args):
        raise RuntimeError("training failed")

    monkeypatch.setattr(classifier, "fit_classifier", fail)
    with pytest.raises(RuntimeError, match="training failed"):
        make_demo(tmp_path, seed=1, report=ignore_progress, **TINY)
    assert read_bytes(tmp_path) == before, "the previous demo is unchanged"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source.zarr", "truth.csv"], "no temporary file is left"

    monkeypatch.undo()
    progress: list[str] = []
    make_demo(tmp_path, seed=1, report=progress.append, **TINY)
    assert progress[0].startswith("replaced")
    assert read_bytes(tmp_path) == read_bytes(demo.source.parent), "equal parameters give equal bytes"


def test_foreign_source_is_not_replaced(tmp_path):
    zarr.create_group(tmp_path / "source.zarr")
    (tmp_path / "other" / "source.zarr").mkdir(parents=True)
    for directory in (tmp_path, tmp_path / "other"):
        with pytest.raises(UsageError, match="was not written by the demo"):
            make_demo(directory, report=ignore_progress, **TINY)


@pytest.mark.parametrize("size", [{"images": 5}, {"height": 47}, {"width": 30}])
def test_too_small_demo_is_rejected(tmp_path, size):
    with pytest.raises(ValueError, match="too few or too small"):
        make_demo(tmp_path, report=ignore_progress, **{**TINY, **size})


IDS = tuple("abcdef")
KNOWN = {"b": KnownError("drop", (1,), 0.1), "d": KnownError("swap", (0, 2), 0.2), "e": KnownError("drop", (3,), 0.3)}
TRUTH = DemoTruth(Path("source.zarr"), Path("truth.csv"), CLASS_NAMES, IDS, KNOWN)


def test_found_at_top_of_a_perfect_ranking_counts_every_error():
    counts = found_at_top(["e", "b", "d", "a", "c", "f"], TRUTH)
    assert (counts.found, counts.known) == (3, 3)
    assert counts.by_kind == {"drop": (2, 2), "swap": (1, 1)}


def test_found_at_top_ignores_errors_below_the_first_e_images():
    counts = found_at_top(["a", "b", "c", "d", "e", "f"], TRUTH)
    assert (counts.found, counts.known) == (1, 3)
    assert counts.by_kind == {"drop": (1, 2), "swap": (0, 1)}


@pytest.mark.parametrize(("ranking", "match"), [(["a", "x"], "'x'"), (["a", "a"], "ranked twice")])
def test_found_at_top_rejects_rankings_of_other_images(ranking, match):
    with pytest.raises(ValueError, match=match):
        found_at_top(ranking, TRUTH)


def test_demo_without_workers_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(UsageError, match=r"executor\.workers must be a number greater than or equal to 1, got 0"):
        show(str(tmp_path / "demo"), workers=0)
    assert not (tmp_path / "demo").exists()
