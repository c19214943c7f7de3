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

import masksift
from masksift.core.errors import DataError, UsageError
from masksift.storage.sources.open import open_source
from masksift.storage.sources.overrides import Overrides
from support.cli import run_cli as typed
from support.datasets import Data
from support.errors import raises
from support.results import read_rows
from support.sources import make_data, write_source

SCORES = ("ccp", "tccp", "cil", "softmin", "clc", "iou", "coco")
TABLES = ("thresholds.parquet", "class_pairs.parquet", "class_quality.parquet")


def facts(data: Data, **more: Any) -> dict[str, Any]:
    n, classes, height, width = data.predictions.shape
    told = {"images": n, "height": height, "width": width, "classes": classes, "ignore": data.ignore}
    return told | {"dtype": data.predictions.dtype.name} | more


def feed(writer: Any, data: Data, sizes: list[int]) -> None:
    """The images from the next one on, in batches of these sizes, in turn."""
    turn = 0
    while writer.next_image < writer.range.stop:
        start = writer.next_image
        stop = min(writer.range.stop, start + sizes[turn % len(sizes)])
        writer.write(data.predictions[start:stop], data.labels[start:stop])
        turn += 1


def run(source: Path, out: Path, *flags: object) -> list[tuple[Any, ...]]:
    assert typed("run", "--source", source, "--out", out, "--max_quarantined", "9", *flags) == 0
    return [tuple(row[name] for name in (*SCORES, "flagged_pixels", "status", "reason")) for row in read_rows(out)]


def tables(out: Path) -> list[list[dict[str, Any]]]:
    return [pq.read_table(out / name).to_pylist() for name in TABLES]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32"])
@pytest.mark.parametrize("sizes", [[1], [3, 5], [100]])
def test_evidence_written_at_inference_is_as_good_as_predictions(tmp_path: Path, dtype: str, sizes: list[int]) -> None:
    data = make_data(images=11, dtype=dtype)
    write_source(tmp_path / "read.zarr", data)
    with masksift.EvidenceWriter(str(tmp_path / "written.zarr"), **facts(data)) as writer:
        feed(writer, data, sizes)
    assert run(tmp_path / "written.zarr", tmp_path / "two") == run(tmp_path / "read.zarr", tmp_path / "one")
    assert tables(tmp_path / "two") == tables(tmp_path / "one")
    assert "predictions" not in zarr.open_group(tmp_path / "written.zarr", mode="r")


def test_bad_images_are_quarantined_at_inference_too(tmp_path: Path) -> None:
    data = make_data(images=5)
    data.predictions[1, :, 2, 3] = np.nan
    data.labels[3, 4, 5] = 77
    data.labels[4] = 255
    write_source(tmp_path / "read.zarr", data)
    with masksift.EvidenceWriter(str(tmp_path / "written.zarr"), **facts(data)) as writer:
        feed(writer, data, [2])
    found = run(tmp_path / "written.zarr", tmp_path / "two")
    assert [row[-2] for row in found] == ["scored", "bad_probabilities", "scored", "bad_labels", "all_ignored"]
    assert found == run(tmp_path / "read.zarr", tmp_path / "one")


def test_logits_and_float32_evidence(tmp_path: Path) -> None:
    data = make_data(images=4)
    logits = Data(np.log(data.predictions + np.float32(1e-6)), data.labels, data.ignore)
    write_source(tmp_path / "read.zarr", logits, attributes={"kind": "logits", "ignore": [255]})
    told = facts(logits, kind="logits", evidence_dtype="float32")
    with masksift.EvidenceWriter(str(tmp_path / "written.zarr"), **told) as writer:
        feed(writer, logits, [3])
    flags = ("--evidence.dtype", "float32")
    assert run(tmp_path / "written.zarr", tmp_path / "two", *flags) == run(
        tmp_path / "read.zarr", tmp_path / "one", *flags
    )


def test_written_and_read_sources_in_one_run(tmp_path: Path) -> None:
    first, second = make_data(images=4, seed=1), make_data(images=4, seed=2)
    for name, data in (("a", first), ("b", second)):
        write_source(tmp_path / f"read-{name}.zarr", data)
    with masksift.EvidenceWriter(str(tmp_path / "written-b.zarr"), **facts(second)) as writer:
        feed(writer, second, [4])
    sources = ("--source", tmp_path / "read-a.zarr", "--source")
    for name, other in (("one", "read-b.zarr"), ("two", "written-b.zarr")):
        assert typed("run", *sources, tmp_path / other, "--out", tmp_path / name) == 0
    assert tables(tmp_path / "one") == tables(tmp_path / "two")


@pytest.mark.parametrize("kind", [masksift.EvidenceWriter, masksift.PredictionWriter])
def test_images_have_the_names_they_are_given(tmp_path: Path, kind: Any) -> None:
    data = make_data(images=5)
    with kind(str(tmp_path / "a.zarr"), **facts(data)) as writer:
        writer.write(data.predictions[:2], data.labels[:2], ["first", "second"])
        writer.write(data.predictions[2:], data.labels[2:])
    run(tmp_path / "a.zarr", tmp_path / "out")
    assert [row["image_id"] for row in read_rows(tmp_path / "out")] == ["first", "second", "a/2", "a/3", "a/4"]
    with raises(DataError, r"1 image ids came to .* with 2 images"):
        kind(str(tmp_path / "b.zarr"), **facts(data)).write(data.predictions[:2], data.labels[:2], ["one"])


def test_pictures_and_sizes_go_with_predictions_where_the_writer_was_told(tmp_path: Path) -> None:
    data, pictures = make_data(images=5), np.arange(5 * 8 * 10 * 3).reshape(5, 8, 10, 3).astype(np.uint8)
    sizes = np.array([[8, 10], [8, 9], [1, 10], [8, 10], [7, 7]])
    told = facts(data, pictures=True, padded=True, shard_bytes=3000)
    with masksift.PredictionWriter(str(tmp_path / "a.zarr"), **told) as writer:
        assert (writer.images_per_shard, writer.shards) == (2, 3)
        for start in (0, 3):
            part = slice(start, start + 3)
            writer.write(data.predictions[part], data.labels[part], None, pictures[part], sizes[part])
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    found = {name: np.asarray(array[...]) for name, array in group.arrays()}
    np.testing.assert_array_equal(found["images"], pictures)
    np.testing.assert_array_equal(np.stack([found["height"], found["width"]], axis=1), sizes)
    np.testing.assert_array_equal(found["predictions"], data.predictions)
    out = tmp_path / "out"
    assert [row[-2] for row in run(tmp_path / "a.zarr", out)] == ["scored"] * 5
    assert [(row["height"], row["width"]) for row in read_rows(out)] == [tuple(size) for size in sizes.tolist()]


def test_pictures_and_sizes_come_with_every_image_or_with_none(tmp_path: Path) -> None:
    data = make_data(images=2)
    pair, pictures, sizes = (data.predictions, data.labels), np.zeros((2, 8, 10, 3), np.uint8), np.full((2, 2), 8)
    writer = masksift.PredictionWriter(str(tmp_path / "a.zarr"), **facts(data))
    with raises(DataError, "pictures came to .*, which was told pictures=False; .*Give the writer pictures=True"):
        writer.write(*pair, pictures=pictures)
    writer = masksift.PredictionWriter(str(tmp_path / "b.zarr"), **facts(data, pictures=True, padded=True))
    with raises(DataError, "no sizes came to .*, which was told padded=True; .*Give the writer padded=False"):
        writer.write(*pair, pictures=pictures)
    for wrong in (pictures[:, :7], pictures.astype(np.int16)):
        with raises(DataError, r"pictures of the shape .* came to .*; they should be uint8 of \(2, 8, 10, 3\)"):
            writer.write(*pair, pictures=wrong, sizes=sizes)
    with raises(DataError, r"sizes of the shape \(2, 3\) .*; they should be int64 of \(2, 2\)"):
        writer.write(*pair, pictures=pictures, sizes=np.ones((2, 3), int))


# ------------------------------------------------------------------------------------------------ several writers


@settings(max_examples=10, deadline=None)
@given(parts=st.integers(1, 5), images=st.integers(1, 12))
def test_the_ranges_of_the_writers_are_all_images_once(parts: int, images: int, tmp_path_factory: Any) -> None:
    data = make_data(images=images)
    folder = tmp_path_factory.mktemp("ranges")
    for kind in (masksift.EvidenceWriter, masksift.PredictionWriter):
        found = [kind(str(folder / kind.__name__), **facts(data), part=(i, parts)).range for i in range(parts)]
        assert [i for part in found for i in part] == list(range(images))


@pytest.mark.parametrize("kind", [masksift.EvidenceWriter, masksift.PredictionWriter])
def test_writers_at_once_leave_what_one_leaves(tmp_path: Path, kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from masksift.engine.planning import layout
    from masksift.prepare.writers import predictions

    monkeypatch.setattr(layout, "MIN_BLOCK_BYTES", 3000)
    monkeypatch.setattr(predictions, "SHARD_BYTES", 3000)
    data = make_data(images=13)
    url = str(tmp_path / "a.zarr")

    def work(number: int) -> None:
        with kind(url, **facts(data), part=(number, 3)) as writer:
            feed(writer, data, [2, 1])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    write_source(tmp_path / "read.zarr", data)
    assert run(Path(url), tmp_path / "two") == run(tmp_path / "read.zarr", tmp_path / "one")
    assert tables(tmp_path / "two") == tables(tmp_path / "one")


@pytest.mark.parametrize("kind", [masksift.EvidenceWriter, masksift.PredictionWriter])
def test_a_writer_that_died_is_followed_by_one_that_goes_on(
    tmp_path: Path, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from masksift.engine.planning import layout
    from masksift.prepare.writers import predictions

    monkeypatch.setattr(layout, "MIN_BLOCK_BYTES", 3000)
    monkeypatch.setattr(predictions, "SHARD_BYTES", 3000)
    data, url = make_data(images=13), str(tmp_path / "a.zarr")
    first = kind(url, **facts(data))  # never closed
    first.write(data.predictions[:8], data.labels[:8])
    if kind is masksift.EvidenceWriter:
        with raises(DataError, r"a\.zarr is half written: \d+ of \d+ blocks are missing \(the first: images \d+ to"):
            open_source(url, Overrides(), {})
    else:
        assert "missing_chunk" in [row[-2] for row in run(Path(url), tmp_path / "half", "--max_quarantined", "99")]
    with kind(url, **facts(data)) as writer:
        assert 0 < writer.next_image <= 8, "what is whole is not written again"
        feed(writer, data, [4])
    write_source(tmp_path / "read.zarr", data)
    assert run(Path(url), tmp_path / "two") == run(tmp_path / "read.zarr", tmp_path / "one")


def test_a_writer_that_stops_too_early_says_so(tmp_path: Path) -> None:
    data = make_data(images=4)
    with (
        raises(DataError, r"3 of the 4 images of part \(0, 1\) of .* were written; the source stays half written"),
        masksift.EvidenceWriter(str(tmp_path / "a.zarr"), **facts(data)) as writer,
    ):
        writer.write(data.predictions[:3], data.labels[:3])


# ---------------------------------------------------------------------------------------------------- predictions


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32"])
def test_predictions_are_written_as_they_are(tmp_path: Path, dtype: str) -> None:
    data = make_data(images=7, dtype=dtype)
    with masksift.PredictionWriter(str(tmp_path / "a.zarr"), **facts(data)) as writer:
        feed(writer, data, [3])
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    np.testing.assert_array_equal(np.asarray(group["predictions"]), data.predictions)
    np.testing.assert_array_equal(np.asarray(group["labels"]), data.labels)
    write_source(tmp_path / "read.zarr", data)
    assert run(tmp_path / "a.zarr", tmp_path / "two") == run(tmp_path / "read.zarr", tmp_path / "one")


def test_floats_are_rounded_to_steps(tmp_path: Path) -> None:
    data = make_data(images=2)
    with masksift.PredictionWriter(str(tmp_path / "a.zarr"), **facts(data, dtype="uint8")) as writer:
        feed(writer, data, [2])
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert group["predictions"].dtype == np.uint8  # type: ignore[union-attr]
    np.testing.assert_allclose(np.asarray(group["predictions"]) / 255, data.predictions, atol=0.5 / 255 + 1e-6)
    assert group.attrs["scale"] == 1 / 255


# -------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("kind", [masksift.EvidenceWriter, masksift.PredictionWriter])
def test_what_does_not_fit_is_refused(tmp_path: Path, kind: Any) -> None:
    data = make_data(images=2)
    writer = kind(str(tmp_path / "a.zarr"), **facts(data))
    with raises(DataError, r"predictions of the shape \(2, 4, 8, 9\) and labels of \(2, 8, 10\) came to"):
        writer.write(data.predictions[:, :, :, :9], data.labels)
    with raises(DataError, r"predictions of float64 came to .*, which was told float32"):
        writer.write(data.predictions.astype(np.float64), data.labels)
    with raises(DataError, r"labels of int64 came to .* uint8 cannot hold"):
        writer.write(data.predictions, data.labels.astype(np.int64) + 300)
    writer.write(data.predictions, data.labels)
    with raises(DataError, r"more than the 2 images of part \(0, 1\) came to"):
        writer.write(data.predictions[:1], data.labels[:1])


@pytest.mark.parametrize("kind", [masksift.EvidenceWriter, masksift.PredictionWriter])
def test_another_source_in_the_same_place_is_refused(tmp_path: Path, kind: Any) -> None:
    data = make_data(images=2)
    kind(str(tmp_path / "a.zarr"), **facts(data))
    with raises(UsageError, r"they would not fit together|its parts would not fit together"):
        kind(str(tmp_path / "a.zarr"), **facts(data, images=3))


def test_a_part_that_is_none() -> None:
    with raises(UsageError, r"part is \(2, 2\)"):
        masksift.EvidenceWriter("a.zarr", images=1, height=1, width=1, classes=2, part=(2, 2))


def test_a_run_with_another_lattice_or_other_ignore_values_is_refused(tmp_path: Path) -> None:
    data = make_data(images=2)
    with masksift.EvidenceWriter(str(tmp_path / "a.zarr"), **facts(data)) as writer:
        feed(writer, data, [2])
    words = ("--source", tmp_path / "a.zarr", "--out", tmp_path / "out")
    assert typed("run", *words, "--tccp.lattice", "2") == 2
    assert typed("run", *words, "--ignore", "7") == 2
    assert typed("run", *words) == 0


# ------------------------------------------------------------------------------------------------------- one image


class Foreign:
    """An array of another library."""

    def __init__(self, values: Any) -> None:
        self._values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.asarray(self._values, dtype)


class Capsule:
    """One that has nothing but DLPack."""

    def __init__(self, values: Any) -> None:
        self._values = values

    def __dlpack__(self, **more: Any) -> Any:
        return self._values.__dlpack__(**more)

    def __dlpack_device__(self) -> Any:
        return self._values.__dlpack_device__()


@pytest.mark.parametrize("wrap", [lambda values: values, Foreign, Capsule])
def test_one_image_is_condensed(wrap: Any) -> None:
    data = make_data(images=1)
    predictions, labels = data.predictions[0], data.labels[0]
    found = masksift.condense(wrap(predictions), wrap(labels), ignore=255)
    np.testing.assert_array_equal(found.predicted_class, predictions.argmax(axis=0))
    assert found.self_confidence.dtype == np.float16
    np.testing.assert_array_equal(found.predicted_confidence, predictions.max(axis=0).astype(np.float16))
    valid = labels != 255
    own = np.take_along_axis(predictions, np.where(valid, labels, 0)[None].astype(int), axis=0)[0].astype(np.float16)
    np.testing.assert_array_equal(found.self_confidence[valid], own[valid])


def test_an_image_that_is_none_is_refused() -> None:
    data = make_data(images=1)
    with raises(DataError, r"labels have the shape \(8, 9\), pred_probs \(4, 8, 10\)"):
        masksift.condense(data.predictions[0], data.labels[0][:, :9])
    with raises(DataError, r"the image has pixel \(y=0, x=0\)"):
        masksift.condense(data.predictions[0] * 2, data.labels[0], ignore=255)
