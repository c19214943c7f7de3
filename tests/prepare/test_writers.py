"""Sources written where a model runs: a run scores them as if it had read the predictions."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from masksift import EvidenceWriter, PredictionWriter, condense
from masksift.core.errors import DataError, UsageError
from masksift.engine.planning import layout
from masksift.prepare.writers import predictions as prediction_writer
from masksift.storage.sources.open import open_source
from masksift.storage.sources.overrides import Overrides
from review.report.report_files import Page
from support.cli import run_cli
from support.datasets import Data
from support.errors import raises
from support.results import read_rows
from support.sources import make_data, write_source

SCORES = ("ccp", "tccp", "cil", "softmin", "clc", "iou", "coco")
TABLES = ("thresholds.parquet", "class_pairs.parquet", "class_quality.parquet")

each_writer = pytest.mark.parametrize("writer_type", [EvidenceWriter, PredictionWriter])


def writer_args(data: Data, **changes: Any) -> dict[str, Any]:
    n, classes, height, width = data.predictions.shape
    args = {"images": n, "height": height, "width": width, "classes": classes, "ignore": data.ignore}
    return args | {"dtype": data.predictions.dtype.name} | changes


def write_all(writer: Any, data: Data, sizes: tuple[int, ...]) -> None:
    """Write the images from the next one on, in calls of these sizes in turn."""
    call = 0
    while (start := writer.next_image) < writer.range.stop:
        stop = min(writer.range.stop, start + sizes[call % len(sizes)])
        writer.write(data.predictions[start:stop], data.labels[start:stop])
        call += 1


def run(source: Path, out: Path, *flags: object) -> list[tuple[Any, ...]]:
    """Run masksift and return scores, flagged pixels, status and reason of every image."""
    assert run_cli("run", "--source", source, "--out", out, "--max_quarantined", "9", *flags) == 0
    return [tuple(row[name] for name in (*SCORES, "flagged_pixels", "status", "reason")) for row in read_rows(out)]


def read_tables(out: Path) -> list[list[dict[str, Any]]]:
    return [pq.read_table(out / name).to_pylist() for name in TABLES]


def assert_same_run(written: Path, data: Data, path: Path, *flags: object, **source: Any) -> list[tuple[Any, ...]]:
    """Check that a run on ``written`` equals a run on the arrays of ``data``, and return its scores."""
    write_source(path / "arrays.zarr", data, **source)
    scores = run(written, path / "run-written", *flags)
    assert scores == run(path / "arrays.zarr", path / "run-arrays", *flags)
    assert read_tables(path / "run-written") == read_tables(path / "run-arrays")
    return scores


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MIN_BLOCK_BYTES", 3000)
    monkeypatch.setattr(prediction_writer, "SHARD_BYTES", 3000)


# -------------------------------------------------------------------------------------------------------- evidence


@pytest.mark.parametrize(
    ("dtype", "sizes"), [("uint8", (1,)), ("uint16", (3, 5)), ("float16", (100,)), ("float32", (3, 5))]
)
def test_run_on_written_evidence_equals_run_on_predictions(tmp_path: Path, dtype: str, sizes: tuple[int, ...]) -> None:
    data = make_data(images=11, dtype=dtype)
    with EvidenceWriter(str(tmp_path / "written.zarr"), **writer_args(data)) as writer:
        write_all(writer, data, sizes)
    assert_same_run(tmp_path / "written.zarr", data, tmp_path)
    assert "predictions" not in zarr.open_group(tmp_path / "written.zarr", mode="r")


def test_evidence_writer_quarantines_invalid_images(tmp_path: Path) -> None:
    data = make_data(images=5)
    data.predictions[1, :, 2, 3] = np.nan
    data.labels[3, 4, 5] = 77
    data.labels[4] = 255
    with EvidenceWriter(str(tmp_path / "written.zarr"), **writer_args(data)) as writer:
        write_all(writer, data, (2,))
    scores = assert_same_run(tmp_path / "written.zarr", data, tmp_path)
    assert [row[-2] for row in scores] == ["scored", "bad_probabilities", "scored", "bad_labels", "all_ignored"]


def test_evidence_writer_condenses_logits_to_float32(tmp_path: Path) -> None:
    data = make_data(images=4)
    logits = Data(np.log(data.predictions + np.float32(1e-6)), data.labels, data.ignore)
    args = writer_args(logits, kind="logits", evidence_dtype="float32")
    with EvidenceWriter(str(tmp_path / "written.zarr"), **args) as writer:
        write_all(writer, logits, (3,))
    attributes = {"kind": "logits", "ignore": [255]}
    assert_same_run(tmp_path / "written.zarr", logits, tmp_path, "--evidence.dtype", "float32", attributes=attributes)


def test_evidence_writer_stores_pictures_that_the_report_shows(tmp_path: Path) -> None:
    data, images = make_data(images=5), np.random.default_rng(0).integers(0, 256, (5, 8, 10, 3), np.uint8)
    with EvidenceWriter(str(tmp_path / "a.zarr"), **writer_args(data, pictures=True)) as writer:
        for start in (0, 3):
            window = slice(start, start + 3)
            writer.write(data.predictions[window], data.labels[window], pictures=images[window])
    np.testing.assert_array_equal(np.asarray(zarr.open_group(tmp_path / "a.zarr", mode="r")["images"]), images)
    run(tmp_path / "a.zarr", tmp_path / "out")
    assert [row["picture"] for row in Page(tmp_path / "out").rows] == [True] * 5
    with raises(UsageError, r"already holds evidence of another source"):
        EvidenceWriter(str(tmp_path / "a.zarr"), **writer_args(data))


def test_evidence_of_padded_images_equals_that_of_predictions(tmp_path: Path) -> None:
    data, sizes = make_data(images=5), np.array([[8, 10], [8, 9], [3, 10], [8, 10], [7, 7]])
    paths = []
    for writer_class in (EvidenceWriter, PredictionWriter):
        paths.append(tmp_path / f"{writer_class.__name__}.zarr")
        with writer_class(str(paths[-1]), **writer_args(data, padded=True)) as writer:  # type: ignore[operator]
            writer.write(data.predictions, data.labels, [f"i{i}" for i in range(5)], sizes=sizes)
    evidence, predictions = (run(path, tmp_path / f"run-{path.stem}") for path in paths)
    assert evidence == predictions
    outs = [tmp_path / f"run-{path.stem}" for path in paths]
    assert read_tables(outs[0]) == read_tables(outs[1])
    assert [(row["height"], row["width"]) for row in read_rows(outs[0])] == [tuple(size) for size in sizes.tolist()]


def test_run_combines_written_evidence_and_predictions(tmp_path: Path) -> None:
    first, second = make_data(images=4, seed=1), make_data(images=4, seed=2)
    for name, data in (("a", first), ("b", second)):
        write_source(tmp_path / f"read-{name}.zarr", data)
    with EvidenceWriter(str(tmp_path / "written-b.zarr"), **writer_args(second)) as writer:
        write_all(writer, second, (4,))
    sources = ("--source", tmp_path / "read-a.zarr", "--source")
    for name, other in (("one", "read-b.zarr"), ("two", "written-b.zarr")):
        assert run_cli("run", *sources, tmp_path / other, "--out", tmp_path / name) == 0
    assert read_tables(tmp_path / "one") == read_tables(tmp_path / "two")


def test_run_with_another_lattice_or_ignore_value_than_the_evidence_is_refused(tmp_path: Path) -> None:
    data = make_data(images=2)
    with EvidenceWriter(str(tmp_path / "a.zarr"), **writer_args(data)) as writer:
        write_all(writer, data, (2,))
    args = ("--source", tmp_path / "a.zarr", "--out", tmp_path / "out")
    assert run_cli("run", *args, "--tccp.lattice", "2") == 2
    assert run_cli("run", *args, "--ignore", "7") == 2
    assert run_cli("run", *args) == 0


# ----------------------------------------------------------------------------------------------------- predictions


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32"])
def test_prediction_writer_writes_predictions_unchanged(tmp_path: Path, dtype: str) -> None:
    data = make_data(images=7, dtype=dtype)
    with PredictionWriter(str(tmp_path / "a.zarr"), **writer_args(data)) as writer:
        write_all(writer, data, (3,))
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    np.testing.assert_array_equal(np.asarray(group["predictions"]), data.predictions)
    np.testing.assert_array_equal(np.asarray(group["labels"]), data.labels)
    assert_same_run(tmp_path / "a.zarr", data, tmp_path)


def test_prediction_writer_rounds_floats_to_integer_steps(tmp_path: Path) -> None:
    data = make_data(images=2)
    with PredictionWriter(str(tmp_path / "a.zarr"), **writer_args(data, dtype="uint8")) as writer:
        write_all(writer, data, (2,))
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert group["predictions"].dtype == np.uint8  # type: ignore[union-attr]
    np.testing.assert_allclose(np.asarray(group["predictions"]) / 255, data.predictions, atol=0.5 / 255 + 1e-6)
    assert group.attrs["scale"] == 1 / 255


def test_prediction_writer_writes_rgb_images_and_sizes(tmp_path: Path) -> None:
    data, images = make_data(images=5), np.arange(5 * 8 * 10 * 3).reshape(5, 8, 10, 3).astype(np.uint8)
    sizes = np.array([[8, 10], [8, 9], [1, 10], [8, 10], [7, 7]])
    args = writer_args(data, pictures=True, padded=True, shard_bytes=3000)
    with PredictionWriter(str(tmp_path / "a.zarr"), **args) as writer:
        assert (writer.images_per_shard, writer.shards) == (2, 3)
        for start in (0, 3):
            window = slice(start, start + 3)
            writer.write(data.predictions[window], data.labels[window], None, images[window], sizes[window])
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    arrays = {name: np.asarray(array[...]) for name, array in group.arrays()}
    np.testing.assert_array_equal(arrays["images"], images)
    np.testing.assert_array_equal(np.stack([arrays["height"], arrays["width"]], axis=1), sizes)
    np.testing.assert_array_equal(arrays["predictions"], data.predictions)
    out = tmp_path / "out"
    assert [row[-2] for row in run(tmp_path / "a.zarr", out)] == ["scored"] * 5
    assert [(row["height"], row["width"]) for row in read_rows(out)] == [tuple(size) for size in sizes.tolist()]


def test_prediction_writer_requires_rgb_images_and_sizes_for_all_images_or_none(tmp_path: Path) -> None:
    data = make_data(images=2)
    arrays, images, sizes = (data.predictions, data.labels), np.zeros((2, 8, 10, 3), np.uint8), np.full((2, 2), 8)
    writer = PredictionWriter(str(tmp_path / "a.zarr"), **writer_args(data))
    with raises(DataError, "received pictures, but the writer has pictures=False. Pass pictures=True"):
        writer.write(*arrays, pictures=images)
    writer = PredictionWriter(str(tmp_path / "b.zarr"), **writer_args(data, pictures=True, padded=True))
    with raises(DataError, "received no sizes, but the writer has padded=True. Pass padded=False"):
        writer.write(*arrays, pictures=images)
    for invalid in (images[:, :7], images.astype(np.int16)):
        with raises(DataError, r"received pictures of shape .*\. Pass uint8 of shape \(2, 8, 10, 3\)"):
            writer.write(*arrays, pictures=invalid, sizes=sizes)
    with raises(DataError, r"received sizes of shape \(2, 3\) .*\. Pass int64 of shape \(2, 2\)"):
        writer.write(*arrays, pictures=images, sizes=np.ones((2, 3), int))


# ------------------------------------------------------------------------------------------------ several writers


@settings(max_examples=10, deadline=None)
@given(writers=st.integers(1, 5), images=st.integers(1, 12))
def test_ranges_of_all_writers_cover_each_image_once(writers: int, images: int, tmp_path_factory: Any) -> None:
    args, path = writer_args(make_data(images=images)), tmp_path_factory.mktemp("ranges")
    for writer_type in (EvidenceWriter, PredictionWriter):
        url = str(path / writer_type.__name__)
        ranges = [writer_type(url, **args, part=(i, writers)).range for i in range(writers)]
        assert [i for images_of_one in ranges for i in images_of_one] == list(range(images))


@each_writer
@pytest.mark.usefixtures("small_shards")
def test_concurrent_writers_write_what_one_writes(tmp_path: Path, writer_type: Any) -> None:
    data, url = make_data(images=13), str(tmp_path / "a.zarr")

    def write(number: int) -> None:
        with writer_type(url, **writer_args(data), part=(number, 3)) as writer:
            write_all(writer, data, (2, 1))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_same_run(Path(url), data, tmp_path)


@each_writer
@pytest.mark.usefixtures("small_shards")
def test_new_writer_resumes_after_an_abandoned_one(tmp_path: Path, writer_type: Any) -> None:
    data, url = make_data(images=13), str(tmp_path / "a.zarr")
    abandoned = writer_type(url, **writer_args(data))
    abandoned.write(data.predictions[:8], data.labels[:8])
    if writer_type is EvidenceWriter:
        with raises(DataError, r"a\.zarr .*\d+ of \d+ blocks are missing"):
            open_source(url, Overrides(), {})
    else:
        assert "missing_chunk" in [row[-2] for row in run(Path(url), tmp_path / "half", "--max_quarantined", "99")]
    with writer_type(url, **writer_args(data)) as writer:
        assert 0 < writer.next_image <= 8, "complete shards are not written again"
        write_all(writer, data, (4,))
    assert_same_run(Path(url), data, tmp_path)


def test_writer_that_ends_early_is_reported(tmp_path: Path) -> None:
    data = make_data(images=4)
    with (
        raises(DataError, r"a\.zarr is incomplete: 3 of the 4 images of part \(0, 1\) were written"),
        EvidenceWriter(str(tmp_path / "a.zarr"), **writer_args(data)) as writer,
    ):
        writer.write(data.predictions[:3], data.labels[:3])


# -------------------------------------------------------------------------------------------------------- arguments


@each_writer
def test_images_have_the_ids_passed_or_source_and_index(tmp_path: Path, writer_type: Any) -> None:
    data = make_data(images=5)
    with writer_type(str(tmp_path / "a.zarr"), **writer_args(data)) as writer:
        writer.write(data.predictions[:2], data.labels[:2], ["first", "second"])
        writer.write(data.predictions[2:], data.labels[2:])
    run(tmp_path / "a.zarr", tmp_path / "out")
    assert [row["image_id"] for row in read_rows(tmp_path / "out")] == ["first", "second", "a/2", "a/3", "a/4"]
    with raises(DataError, r"b\.zarr received 1 image ids for 2 images"):
        writer_type(str(tmp_path / "b.zarr"), **writer_args(data)).write(data.predictions[:2], data.labels[:2], ["one"])


@each_writer
def test_images_that_do_not_fit_are_refused(tmp_path: Path, writer_type: Any) -> None:
    data = make_data(images=2)
    writer = writer_type(str(tmp_path / "a.zarr"), **writer_args(data))
    with raises(DataError, r"received shapes \(2, 4, 8, 9\) and \(2, 8, 10\)"):
        writer.write(data.predictions[:, :, :, :9], data.labels)
    with raises(DataError, r"stores predictions as float32, but received float64"):
        writer.write(data.predictions.astype(np.float64), data.labels)
    with raises(DataError, r"stores labels as uint8, which cannot hold some of the int64 labels"):
        writer.write(data.predictions, data.labels.astype(np.int64) + 300)
    writer.write(data.predictions, data.labels)
    with raises(DataError, r"received more than the 2 images of part \(0, 1\)"):
        writer.write(data.predictions[:1], data.labels[:1])


@each_writer
def test_classes_are_a_number_or_names(tmp_path: Path, writer_type: Any) -> None:
    args = writer_args(make_data(images=2))
    del args["classes"]
    names = ["road", "car", "sky", "tree"]
    for i, named in enumerate(({"class_names": names}, {"classes": names}, {"classes": 4, "class_names": names})):
        url = str(tmp_path / f"{i}.zarr")
        writer_type(url, **args, **named)
        assert zarr.open_group(url, mode="r").attrs["class_names"] == names
    with raises(UsageError, r"classes is missing\. Pass the number of classes, or class_names"):
        writer_type(str(tmp_path / "a"), **args)
    with raises(UsageError, r"classes is 3, but there are 4 class_names"):
        writer_type(str(tmp_path / "a"), **args, classes=3, class_names=names)
    with raises(UsageError, r"classes and class_names hold different names"):
        writer_type(str(tmp_path / "a"), **args, classes=names[::-1], class_names=names)


@each_writer
@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"kind": "odds"}, r"Pass kind probabilities or kind logits"),
        ({"scale": 0.5}, r"scale is 0.5.* Omit scale"),
        ({"dtype": "uint8", "scale": 2.0}, r"Pass scale"),
        ({"class_names": "road"}, r"class_names is one text, 'road'\. Pass a list of names"),
        ({"ignore": 2.5}, r"Pass an integer, or a list of integers"),
        ({"dtype": "uint8", "kind": "logits"}, r"[Pp]ass kind probabilities"),
    ],
)
def test_errors_name_arguments_instead_of_flags(
    tmp_path: Path, writer_type: Any, changes: dict[str, Any], match: str
) -> None:
    with pytest.raises((DataError, UsageError), match=match) as caught:
        writer_type(str(tmp_path / "a.zarr"), **writer_args(make_data(images=2), **changes))
    assert "--" not in str(caught.value)


@pytest.mark.parametrize(
    ("dtype", "options", "match"),
    [
        ("float32", {"kind": "odds"}, r"kind is 'odds'\. Pass kind='probabilities' or kind='logits'"),
        ("float32", {"scale": 0.5}, r"scale is 0.5, but pred_probs have dtype float32"),
        ("uint8", {"scale": 2.0}, r"scale is 2.0\. Pass a number in \(0, 1\]"),
        ("uint8", {"kind": "logits"}, r"pred_probs have dtype uint8 and kind 'logits'"),
        ("int16", {}, r"pred_probs have dtype int16"),
        ("float32", {"ignore": "x"}, r"ignore holds values of type str"),
    ],
)
def test_errors_of_condense_name_arguments(dtype: str, options: dict[str, Any], match: str) -> None:
    with pytest.raises((DataError, UsageError), match=match):
        condense(np.zeros((4, 8, 10), dtype), np.zeros((8, 10), int), **options)


@each_writer
def test_another_source_at_the_same_url_is_refused(tmp_path: Path, writer_type: Any) -> None:
    data = make_data(images=2)
    writer_type(str(tmp_path / "a.zarr"), **writer_args(data))
    with raises(UsageError, r"a\.zarr (already holds evidence of another source|contains predictions of shape)"):
        writer_type(str(tmp_path / "a.zarr"), **writer_args(data, images=3))


def test_invalid_part_is_refused() -> None:
    with raises(UsageError, r"part is \(2, 2\)"):
        EvidenceWriter("a.zarr", images=1, height=1, width=1, classes=2, part=(2, 2))


# ------------------------------------------------------------------------------------------------------- one image


class ArrayLike:
    """Array of another library with `__array__`."""

    def __init__(self, values: Any) -> None:
        self._values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.asarray(self._values, dtype)


class DLPackOnly:
    """Array of another library with nothing but DLPack."""

    def __init__(self, values: Any) -> None:
        self._values = values

    def __dlpack__(self, **options: Any) -> Any:
        return self._values.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._values.__dlpack_device__()


@pytest.mark.parametrize("wrap", [lambda values: values, ArrayLike, DLPackOnly])
def test_condense_returns_the_evidence_of_one_image(wrap: Any) -> None:
    data = make_data(images=1)
    predictions, labels = data.predictions[0], data.labels[0]
    planes = condense(wrap(predictions), wrap(labels), ignore=255)
    np.testing.assert_array_equal(planes.predicted_class, predictions.argmax(axis=0))
    assert planes.self_confidence.dtype == np.float16
    np.testing.assert_array_equal(planes.predicted_confidence, predictions.max(axis=0).astype(np.float16))
    valid = labels != 255
    indices = np.where(valid, labels, 0)[None].astype(int)
    expected = np.take_along_axis(predictions, indices, axis=0)[0].astype(np.float16)
    np.testing.assert_array_equal(planes.self_confidence[valid], expected[valid])


def test_condense_refuses_invalid_images() -> None:
    data = make_data(images=1)
    with raises(DataError, r"labels have the shape \(8, 9\), pred_probs \(4, 8, 10\)"):
        condense(data.predictions[0], data.labels[0][:, :9])
    with raises(DataError, r"image has pixel \(y=0, x=0\)"):
        condense(data.predictions[0] * 2, data.labels[0], ignore=255)


@each_writer
@pytest.mark.parametrize("axis", [None, 1])
def test_positive_class_is_written_as_both_classes(tmp_path: Path, writer_type: Any, axis: int | None) -> None:
    positive = np.random.default_rng(0).random((3, 8, 10), np.float32)
    labels = (positive > 0.5).astype(np.uint8)
    data = Data(np.stack([1 - positive, positive], axis=1), labels, (255,))
    with writer_type(str(tmp_path / "a"), **writer_args(data)) as writer:
        writer.write(positive if axis is None else np.expand_dims(positive, axis), labels)
    assert_same_run(tmp_path / "a", data, tmp_path)


@pytest.mark.parametrize("axis", [None, 0])
def test_condensed_positive_class_equals_that_of_both(axis: int | None) -> None:
    positive = np.random.default_rng(0).random((8, 10), np.float32)
    labels = (positive > 0.4).astype(np.uint8)
    found = condense(positive if axis is None else positive[None], labels)
    for plane, expected in zip(found.arrays, condense(np.stack([1 - positive, positive]), labels).arrays, strict=True):
        assert np.array_equal(plane, expected)
