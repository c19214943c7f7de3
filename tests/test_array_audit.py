"""`masksift.audit` on arrays in memory, compared with the reference; array types, figures, refusals."""

from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

import dask.array
import numpy as np
import pyarrow as pa
import pytest
import xarray
import zarr
from hypothesis import given
from hypothesis import strategies as st

import masksift
from masksift.core.errors import DataError
from masksift.review.rendering.palette import class_colors
from masksift.scoring.methods import METHODS, score_names
from reference import audit as reference
from reference.agreement import combined
from support import datasets as drawn
from support.condensed import a_few
from support.errors import raises

SCORES = score_names()


def column(table: pa.Table, name: str) -> list[Any]:
    values: list[Any] = table[name].to_pylist()
    return values


def statuses(audit: masksift.Audit) -> list[str]:
    """Return the statuses by the names of the reference."""
    return ["ok" if status == "scored" else status for status in column(audit.images, "status")]


def same_as_the_reference(data: drawn.Data, **options: Any) -> masksift.Audit:
    """Check all results of an audit against the reference. Options are those of `audit`."""
    renamed = {"clc_rule" if name == "rule" else name: value for name, value in options.items()}
    reference_audit = reference.audit(data.predictions, data.labels, ignore=data.ignore, **renamed)
    with (
        nullcontext()
        if "ok" in reference_audit.status
        else pytest.warns(UserWarning, match=r"None of the .* could be scored")
    ):
        found = masksift.audit(data.labels, data.predictions, ignore=data.ignore, min_area=1, **options)
    assert statuses(found) == reference_audit.status
    for name in METHODS:
        expected = [image[name] for image in reference_audit.scores]
        near = [None if score is None else pytest.approx(score, abs=1e-12, rel=0) for score in expected]
        assert column(found.images, name) == near, name
    expected = combined(*(column(found.images, name) for name in ("softmin", "class_agreement", "worst_region")))
    assert column(found.images, "combined") == [None if s is None else pytest.approx(s, abs=1e-12) for s in expected]
    assert column(found.ranking, "score") == sorted(s for s in column(found.images, "combined") if s is not None)
    masks = np.array([found.issues(i) for i in range(len(data.labels))])
    np.testing.assert_array_equal(masks, reference_audit.issue_mask)
    assert [flagged or 0 for flagged in column(found.images, "flagged_pixels")] == masks.sum(axis=(1, 2)).tolist()
    transforms = zip(column(found.images, "suspected_transform"), column(found.images, "transform_gain"), strict=True)
    assert list(transforms) == reference_audit.misplaced
    same_regions(found, reference_audit)
    same_classes(found, reference_audit)
    return found


def same_regions(found: masksift.Audit, expected: reference.Reference) -> None:
    """Check regions of given labels and the worst region of each image."""
    labels = {
        (one.image, one.region.given, one.region.suggested, one.region.bbox, *one.region.centroid): one
        for one in expected.regions
    }
    rows = [row for row in found.regions.to_pylist() if row["kind"] == "label"]
    assert len(rows) == len(expected.regions)
    priorities = column(found.regions, "priority")
    assert priorities == sorted(priorities, reverse=True)
    worst = {row["index"]: row for row in reversed(found.regions.to_pylist())}
    for row in rows:
        box = row["y0"], row["x0"], row["y1"], row["x1"]
        one = labels[row["index"], row["given"], row["suggested"], box, row["centroid_y"], row["centroid_x"]]
        for name in ("priority", "class_priority", "usual_evidence"):
            assert row[name] == pytest.approx(getattr(one, name), rel=1e-3, abs=1e-4), name
    highest: dict[int, float] = {}
    for row in rows:
        highest[row["index"]] = max(row["priority"], highest.get(row["index"], 0.0))
    for index, row in enumerate(found.images.to_pylist()):
        assert row["worst_region"] == (1 / (1 + highest.get(index, 0.0)) if row["status"] == "scored" else None)
        assert row["region_priority"] == (worst[index]["priority"] if index in worst else None)


def same_classes(found: masksift.Audit, expected: reference.Reference) -> None:
    """Check thresholds, class pairs and class quality."""
    rows = found.class_pairs.to_pylist()
    pairs = {(row["given"], row["suggested"]): (row["pixels"], row["images"]) for row in rows}
    assert pairs == expected.class_pairs
    assert [row["pixels"] for row in rows] == sorted((row["pixels"] for row in rows), reverse=True), "most first"
    assert column(found.class_quality, "quality") == expected.class_quality
    assert column(found.class_quality, "pixels") == column(found.thresholds, "pixels") == expected.n
    finite = [None if math.isinf(t) else t for t in expected.confident_threshold]
    assert column(found.thresholds, "confident_threshold") == finite
    finite = [None if math.isinf(t) else t for t in expected.decision_threshold]
    assert column(found.thresholds, "decision_threshold") == finite


# ------------------------------------------------------------------------------------ against the reference


@pytest.mark.parametrize("dtype", drawn.DTYPES)
@a_few
@given(
    data=st.data(),
    evidence=st.sampled_from(["auto", "float32"]),
    rule=st.sampled_from(["rank", "confident"]),
    tau=st.sampled_from(["balanced", "confident", 0.0, 0.5, 1.0]),
    temperature=st.sampled_from([0.02, 0.1, 1.0, math.inf]),
)
def test_audit_of_any_data_equals_the_reference(
    dtype: str, data: st.DataObject, evidence: str, rule: str, tau: str | float, temperature: float
) -> None:
    images = data.draw(drawn.any_data(dtypes=[dtype]))
    same_as_the_reference(images, evidence_dtype=evidence, rule=rule, tau=tau, temperature=temperature)


@pytest.mark.parametrize("evidence", ["auto", "float32"])
@pytest.mark.parametrize("dtype", drawn.DTYPES)
def test_audit_of_realistic_data_equals_the_reference(dtype: str, evidence: str) -> None:
    data = drawn.make_dataset(5, images=5, classes=7, height=24, width=19, dtype=dtype, ignored_image=3)
    audit = same_as_the_reference(data, evidence_dtype=evidence)
    assert sum(column(audit.class_pairs, "pixels")) > 20, "a set that shows something"
    assert "5 images, 4 scored" in repr(audit)


@pytest.mark.parametrize(("dtype", "scale"), [("uint8", 0.01), ("uint16", 1e-4), ("uint16", 1 / 333)])
def test_integers_with_another_scale_equal_the_reference(dtype: str, scale: float) -> None:
    rng = np.random.default_rng(2)
    p = np.rint(np.moveaxis(rng.dirichlet([0.4] * 3, size=(3, 9, 9)), -1, 1) / scale).astype(dtype)
    same_as_the_reference(drawn.Data(p, rng.integers(0, 3, (3, 9, 9)), ()), scale=scale)


@pytest.mark.parametrize("sum_tolerance", [None, 0.04])
def test_bad_images_keep_their_rows_and_do_not_count(sum_tolerance: float | None) -> None:
    data = drawn.make_dataset(5, images=6, classes=4, height=8, width=9, dtype="float32", ignored_image=0)
    labels = data.labels.astype(np.int32)
    data.predictions[1, :, 7, 8] = math.nan
    data.predictions[2, :, 0, 0] = (0.25, 0.25, 0.25, 0.28)  # within 0.04
    labels[3, 2, 2] = 77
    data.predictions[3, 0, 0, 0] = math.inf  # labels are judged first
    audit = same_as_the_reference(data._replace(labels=labels), sum_tolerance=sum_tolerance)
    third = "bad_probabilities" if sum_tolerance is None else "ok"
    assert statuses(audit) == ["all_ignored", "bad_probabilities", third, "bad_labels", "ok", "ok"]
    reasons = column(audit.images, "reason")
    assert reasons[0] == "every pixel is ignored"
    assert reasons[1].startswith("pixel (y=7, x=8): not all values are finite: [nan, nan, nan, nan]")
    assert reasons[3].startswith(
        "label 77 at (y=2, x=2) is neither a class 0..3 nor an ignore value [255]; 1 such pixel"
    )
    assert reasons[4] is None
    assert not any(audit.issues(i).any() for i in (0, 1, 3))


def test_audit_without_scored_images_is_valid() -> None:
    data = drawn.make_dataset(5, images=2, classes=4, height=8, width=9, dtype="uint8")
    with pytest.warns(
        UserWarning, match=r"None of the 2 images could be scored \(all_ignored: .*fewer values in ignore"
    ):
        audit = masksift.audit(np.full_like(data.labels, 255), data.predictions, ignore=255)
    assert len(audit.ranking) == len(audit.class_pairs) == 0
    assert repr(audit) == "Audit(2 images, 0 scored; review first: )"


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("evidence", ["auto", "float32"])
def test_logits_are_softmaxed(dtype: str, evidence: str) -> None:
    """Confidences equal an exact softmax within 1e-5 and half a step of the evidence."""
    data = drawn.make_dataset(3, images=4, classes=5, height=16, width=17, dtype="float64")
    logits = (np.log(data.predictions) + 3).astype(dtype)
    powers = np.exp(logits.astype(np.float64))
    exact = data._replace(predictions=powers / powers.sum(axis=1, keepdims=True))
    options: dict[str, Any] = {"ignore": data.ignore, "evidence_dtype": evidence}
    found = masksift.audit(data.labels, logits, kind="logits", **options)
    expected = reference.audit(exact.predictions, data.labels, **options)
    tolerance = 1e-5 if evidence == "float32" else 1e-3
    for name in ("cil", "softmin", "coco"):
        assert column(found.images, name) == pytest.approx([image[name] for image in expected.scores], abs=tolerance)
    for name in ("ccp", "iou"):
        assert column(found.images, name) == pytest.approx([image[name] for image in expected.scores], abs=1e-12)


# ----------------------------------------------------------------------------------------------- array-likes


def tables_of(audit: masksift.Audit) -> list[pa.Table]:
    return [audit.images, audit.ranking, audit.thresholds, audit.class_pairs, audit.class_quality]


@pytest.mark.parametrize("form", ["zarr", "dask", "xarray", "xarray of dask", "memory map", "big-endian", "read-only"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_audit_accepts_any_array_like(form: str, dtype: str, tmp_path: Path) -> None:
    data = drawn.make_dataset(5, images=3, classes=4, height=11, width=13, dtype=dtype)
    labels = data.labels.astype(np.int16)
    expected = masksift.audit(labels, data.predictions, ignore=255)
    given = []
    for name, array in (("labels", labels), ("pred_probs", data.predictions)):
        chunked = dask.array.from_array(array, chunks=(2, *array.shape[1:-1], 5))
        if form == "zarr":
            stored = zarr.create_array(store={}, shape=array.shape, chunks=chunked.chunksize, dtype=array.dtype)
            stored[:] = array
            given.append(stored)
        elif form == "memory map":
            np.save(tmp_path / f"{name}.npy", array)
            given.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
        elif form == "read-only":
            copy = array.copy()
            copy.flags.writeable = False
            given.append(copy)
        elif form == "big-endian":
            given.append(array.astype(array.dtype.newbyteorder(">")))
        else:
            given.append({"dask": chunked, "xarray": xarray.DataArray(array)}.get(form, xarray.DataArray(chunked)))
    audit = masksift.audit(*given, ignore=255)
    assert all(one.equals(other) for one, other in zip(tables_of(audit), tables_of(expected), strict=True))
    for i in range(3):
        np.testing.assert_array_equal(audit.issues(i), expected.issues(i))
        assert audit.issues(i).dtype == bool


# --------------------------------------------------------------------------------------------- names, ranking


def test_audit_with_names_and_ids_uses_them_in_the_ranking() -> None:
    data = drawn.make_dataset(5, images=4, classes=3, height=8, width=9, dtype="uint8", ignored_image=2)
    audit = masksift.audit(
        data.labels,
        data.predictions,
        ignore=255,
        class_names=["road", "car", "sky"],
        image_ids=["d", "c", "b", "a"],
        methods=["ccp", "cil"],
        rank_by="cil",
    )
    assert column(audit.images, "image_id") == ["d", "c", "b", "a"]
    assert column(audit.thresholds, "class_name") == ["road", "car", "sky"]
    assert set(column(audit.class_pairs, "given_name")) <= {"road", "car", "sky"}
    assert [name for name in audit.images.column_names if name in SCORES] == ["ccp", "cil"]
    assert column(audit.ranking, "rank") == [1, 2, 3]
    assert column(audit.ranking, "score") == sorted(column(audit.ranking, "cil"))
    assert column(audit.ranking, "ranked_by") == ["cil"] * 3
    assert sorted(column(audit.ranking, "image_id")) == ["a", "c", "d"], "the ignored image has no rank"
    assert f"review first: {', '.join(column(audit.ranking, 'image_id'))}" in repr(audit)


# ------------------------------------------------------------------------------------------------------ figures


def figure_panels(figure: Any) -> dict[str, drawn.Array]:
    """Return the panels of a figure by caption."""
    titles = ("picture", "given labels", "predicted", "flagged")
    captions = [text.get_text() for text in figure.texts if text.get_text() in titles]
    images = [np.asarray(axes.get_images()[0].get_array()) for axes in figure.axes]
    return dict(zip(captions, images, strict=True))


def figure_text(figure: Any) -> str:
    return " | ".join(text.get_text() for text in figure.texts)


@pytest.fixture(scope="module")
def scenes() -> tuple[drawn.Data, drawn.Array, masksift.Audit]:
    """Return four images of 16 x 20, the third completely ignored, their RGB images, and their audit."""
    data = drawn.make_dataset(5, images=4, classes=3, height=16, width=20, dtype="uint8", ignored_image=2)
    pictures = np.random.default_rng(7).integers(0, 256, (4, 16, 20, 3), np.uint8)
    audit = masksift.audit(
        data.labels,
        data.predictions,
        ignore=255,
        class_names=["road", "car", "sky"],
        image_ids=["d", "c", "b", "d"],
        images=pictures,
        min_area=1,
    )
    return data, pictures, audit


def test_show_draws_panels_title_and_regions(scenes: tuple[drawn.Data, drawn.Array, masksift.Audit]) -> None:
    data, pictures, audit = scenes
    figure = audit.show(1)
    panels = figure_panels(figure)
    assert list(panels) == ["picture", "given labels", "predicted", "flagged"]
    np.testing.assert_array_equal(panels["picture"], pictures[1])
    given, predicted = data.labels[1], data.predictions[1].argmax(axis=0)
    np.testing.assert_array_equal(panels["given labels"][given < 3], class_colors(3)[given[given < 3]])
    np.testing.assert_array_equal(panels["predicted"], class_colors(3)[predicted])
    np.testing.assert_array_equal((panels["flagged"] == [255, 70, 40]).all(axis=2), audit.issues(1))
    rank = column(audit.ranking, "index").index(1) + 1
    score = column(audit.ranking, "score")[rank - 1]
    assert f"c · rank {rank} of 3 · combined {score:.4f} · {audit.issues(1).sum()} of " in figure_text(figure)
    assert set(figure_text(figure).split(" | ")) >= {"road", "car", "sky", "(no label)"}
    own = [row for row in audit.regions.to_pylist() if row["index"] == 1]
    worst, count = own[0], len(own)
    assert f"1  given {worst['given_name']}, suggested {worst['suggested_name']}, {worst['area']} px" in figure_text(
        figure
    )
    assert ("8  given" in figure_text(figure)) == (count >= 8)
    few = audit.show(1, regions=2)
    assert "3  given" not in figure_text(few)
    assert f"and {count - 2} regions of lower rank" in figure_text(few)
    none = audit.show(1, regions=0)
    assert "1  given" not in figure_text(none)
    assert not none.axes[0].patches


def test_show_accepts_an_index_or_an_id(scenes: tuple[drawn.Data, drawn.Array, masksift.Audit]) -> None:
    _, pictures, audit = scenes
    for name, number in ((1, 1), (np.int64(1), 1), ("c", 1), (-1, 3), (3, 3), (np.uint8(0), 0)):
        np.testing.assert_array_equal(figure_panels(audit.show(name, side=64))["picture"], pictures[number])
    with raises(masksift.UsageError, r"Images 0, 3 have the same id 'd'\. Pass the index: show\(0\)"):
        audit.show("d")
    with raises(masksift.UsageError, r"No image has the id 'cc'\. Did you mean 'c'\?"):
        audit.show("cc")
    for number in (4, -5):
        with raises(masksift.UsageError, rf"There is no image {number} among 4 images\. Pass an index from 0 to 3"):
            audit.show(number)
    with pytest.raises(TypeError, match="float"):
        audit.show(1.0)  # type: ignore[arg-type]


def test_show_of_an_unscored_image_gives_the_reason(
    scenes: tuple[drawn.Data, drawn.Array, masksift.Audit],
) -> None:
    figure = scenes[2].show("b")
    assert list(figure_panels(figure)) == ["picture", "given labels"]
    assert "b · not scored: all_ignored | every pixel is ignored" in figure_text(figure)


def test_show_without_rgb_images_draws_planes(scenes: tuple[drawn.Data, drawn.Array, masksift.Audit]) -> None:
    data = scenes[0]
    assert list(figure_panels(masksift.audit(data.labels, data.predictions, ignore=255).show(0))) == [
        "given labels",
        "predicted",
        "flagged",
    ]


def test_show_reduces_large_images(scenes: tuple[drawn.Data, drawn.Array, masksift.Audit]) -> None:
    assert {panel.shape for panel in figure_panels(scenes[2].show(1, side=10)).values()} == {(8, 10, 3)}


def test_show_reads_rgb_images_lazily_from_any_container() -> None:
    data = drawn.make_dataset(5, images=2, classes=3, height=16, width=20, dtype="uint8")
    pictures = np.random.default_rng(7).integers(0, 256, (2, 16, 20, 3), np.uint8)

    class Album:
        reads: ClassVar[list[int]] = []

        def __getitem__(self, i: int) -> drawn.Array:
            self.reads.append(i)
            return pictures[i]

    stored = zarr.create_array(store={}, shape=pictures.shape, chunks=(1, 16, 20, 3), dtype="uint8")
    stored[:] = pictures
    for album in (Album(), list(pictures), xarray.DataArray(pictures), dask.array.from_array(pictures), stored):
        audit = masksift.audit(data.labels, data.predictions, ignore=255, images=album)
        assert Album.reads == []
        np.testing.assert_array_equal(figure_panels(audit.show(1, side=64))["picture"], pictures[1])
        Album.reads.clear()


@pytest.mark.parametrize(
    "pictures",
    [
        np.zeros((2, 4, 5), np.uint8),
        np.zeros((2, 4, 5, 3)),
        np.zeros((2, 4, 5, 4), np.uint8),
        np.zeros((2, 8, 5, 3), "u1"),
    ],
)
def test_show_refuses_rgb_images_of_another_shape(pictures: drawn.Array) -> None:
    audit = masksift.audit(LABELS, UINT8, images=pictures)
    with raises(DataError, r"RGB image 1 has shape .* Pass images \(N, H, W, 3\) of uint8"):
        audit.show(1)


def test_rgb_images_of_another_number_are_refused() -> None:
    for pictures in (np.zeros((3, 4, 5, 3), np.uint8), [np.zeros((4, 5, 3), np.uint8)] * 3):
        with raises(DataError, r"There are 3 RGB images for 2 images\. Pass one per image"):
            masksift.audit(LABELS, UINT8, images=pictures)


# --------------------------------------------------------------------------------------------------- refusals

LABELS = np.zeros((2, 4, 5), np.uint8)
UINT8 = np.stack([np.full((2, 4, 5), 255, np.uint8), np.zeros((2, 4, 5), np.uint8)], axis=1)


@pytest.mark.parametrize(
    ("labels", "pred_probs", "match"),
    [
        (LABELS[0], UINT8, r"labels is an array of shape \(4, 5\)\. It must be \(N, H, W\), or a list of \(H, W\)"),
        (LABELS, UINT8[0, 0], r"pred_probs is an array of shape \(4, 5\)\. It must be \(N, K, H, W\)"),
        (LABELS, np.moveaxis(UINT8, 1, -1), r"labels\[0\] has shape \(4, 5\), pred_probs\[0\] has shape \(4, 5, 2\)"),
        (LABELS[:1], UINT8, r"There are 1 labels and 2 pred_probs"),
        (LABELS[:0], UINT8[:0], r"labels is an array of shape \(0, 4, 5\)"),
        (LABELS.astype(float), UINT8, "labels have dtype float64. Cast them to integers"),
        (LABELS, UINT8.astype(np.int32), "pred_probs have dtype int32 and kind 'probabilities'"),
        (LABELS, UINT8.astype(complex), "pred_probs have dtype complex128 and kind 'probabilities'"),
    ],
)
def test_arrays_of_wrong_shape_or_dtype_are_refused(labels: Any, pred_probs: Any, match: str) -> None:
    with pytest.raises(masksift.DataError, match=match):
        masksift.audit(labels, pred_probs)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"kind": "logits"}, "pred_probs have dtype uint8 and kind 'logits'"),
        ({"class_names": ["a"]}, "There are 1 class names for 2 classes"),
        ({"image_ids": ["a"]}, "There are 1 image ids for 2 images"),
    ],
)
def test_names_of_another_number_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(masksift.DataError, match=match):
        masksift.audit(LABELS, UINT8, **options)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"temperature": 0.0}, "temperature must be .*, got 0.0"),
        ({"temperature": math.nan}, "temperature must be .*, got nan"),
        ({"tau": 1.5}, "tau must be .*, got 1.5"),
        ({"tau": "fair"}, "tau must be 'balanced' or 'confident'"),
        ({"rule": "all"}, "rule must be 'rank' or 'confident'"),
        ({"kind": "odds"}, "kind must be 'probabilities' or 'logits'"),
        ({"evidence_dtype": "float64"}, "dtype must be 'auto' or 'float32'"),
        ({"methods": ["softmax"]}, "Unknown method 'softmax'.*Did you mean 'softmin'"),
        ({"rank_by": "ccpp"}, "Unknown method 'ccpp'.*Did you mean 'ccp'"),
        ({"methods": ["ccp"], "rank_by": "iou"}, "rank_by is 'iou', which is not among the methods .ccp"),
        ({"scale": 0.0}, "scale must be .*, got 0.0"),
        ({"scale": -1.0}, "scale must be .*, got -1.0"),
        ({"scale": 2.0}, "scale must be .*, got 2.0"),
        ({"scale": math.nan}, "scale must be .*, got nan"),
        ({"sum_tolerance": -0.1}, "sum_tolerance must be .*, got -0.1"),
        ({"sum_tolerance": math.inf}, "sum_tolerance must be .*, got inf"),
    ],
)
def test_parameters_out_of_range_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(masksift.UsageError, match=match):
        masksift.audit(LABELS, UINT8, **options)


@pytest.mark.parametrize("ignore", [255, [255], (255,), np.int64(255), np.array([255]), range(255, 256), {255}])
def test_ignore_values_may_be_any_iterable_or_a_number(ignore: Any) -> None:
    labels = LABELS.copy()
    labels[0, 0, 0] = 255
    assert column(masksift.audit(labels, UINT8, ignore=ignore).images, "valid_pixels") == [19, 20]


def test_tau_may_be_an_integer() -> None:
    assert column(masksift.audit(LABELS, UINT8, tau=1).images, "tccp") == [1.0, 1.0]


def test_scale_of_floats_is_refused() -> None:
    labels, pred_probs = np.zeros((1, 2, 2), np.uint8), np.full((1, 2, 2, 2), 0.5, np.float32)
    with pytest.raises(DataError, match=r"scale is 0.5, but pred_probs have dtype float32\. Pass scale with"):
        masksift.audit(labels, pred_probs, scale=0.5)


@pytest.mark.parametrize("shape", ["(N, H, W)", "(N, 1, H, W)", "list of (H, W)", "list of (1, H, W)"])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_audit_of_the_positive_class_equals_that_of_both(shape: str, dtype: str) -> None:
    positive, labels = binary_data(dtype)
    one = 255 if dtype == "uint8" else 1
    expected = masksift.audit(
        labels, np.stack([one - positive, positive], axis=1), class_names=["background", "foreground"]
    )
    given = positive[:, None] if "1" in shape else positive
    found = masksift.audit(labels, list(given) if "list" in shape else given)
    assert found.images.equals(expected.images)
    assert found.thresholds.equals(expected.thresholds)


def test_audit_of_binary_logits_integers_and_ensembles_equals_that_of_both_classes() -> None:
    positive, labels = binary_data("float32")
    logits = np.log(positive / (1 - positive))
    both = np.stack([np.zeros_like(logits), logits], axis=1)
    names = ["a", "b"]
    assert masksift.audit(labels, logits, kind="logits", class_names=names).images.equals(
        masksift.audit(labels, both, kind="logits", class_names=names).images
    )
    codes = np.rint(positive / 0.0045).astype(np.uint8)
    values = (codes * np.float64(0.0045)).astype(np.float32)
    assert masksift.audit(labels, codes, scale=0.0045).images.equals(masksift.audit(labels, values).images)
    full = np.stack([1 - values, values], axis=1)
    members = [positive[:, None], full], [np.stack([1 - positive, positive], axis=1), full]
    assert masksift.audit(labels, members[0]).images.equals(masksift.audit(labels, members[1]).images)


def test_audit_of_binary_logits_without_kind_warns_of_logits() -> None:
    positive, labels = binary_data("float32")
    with pytest.warns(UserWarning, match="outside .0, 1. .if these are logits, set kind to logits"):
        masksift.audit(labels, np.log(positive / (1 - positive)))


def binary_data(dtype: str) -> tuple[drawn.Array, drawn.Array]:
    """Return the positive class (N, H, W) and labels with an error."""
    positive = 0.02 + 0.96 * np.random.default_rng(3).random((4, 12, 16))
    labels = (positive > 0.5).astype(np.uint8)
    labels[1, :5] = 1
    return (np.rint(positive * 255) if dtype == "uint8" else positive).astype(dtype), labels
