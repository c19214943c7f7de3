"""`masksift.lazy`: Dask collections with the numbers of `masksift.audit`, on any scheduler and any chunks."""

from __future__ import annotations

from collections import Counter
from typing import Any

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from dask.core import flatten
from distributed import Client, LocalCluster
from hypothesis import given, settings
from hypothesis import strategies as st

import masksift
from masksift import lazy
from masksift.core.errors import DataError, UsageError
from masksift.lazy.audit import LazyAudit
from support.datasets import DTYPES, Data
from support.errors import raises
from support.sources import make_data

pytestmark = pytest.mark.filterwarnings("ignore:Computing mixed collections")


def as_dask(data: Data, chunk: int = 3) -> tuple[da.Array, da.Array]:
    return da.from_array(data.labels, chunks=(2, 4, 5)), da.from_array(data.predictions, chunks=(chunk, -1, -1, -1))


def lazy_audit(data: Data, chunk: int = 3, **options: Any) -> LazyAudit:
    return lazy.audit(*as_dask(data, chunk), ignore=data.ignore, **{"min_area": 1, **options})


def eager(data: Data, **options: Any) -> masksift.Audit:
    options = {"min_area": 1, **options}
    return masksift.audit(data.labels, data.predictions, ignore=data.ignore, progress=False, **options)


def scores_of(audit: masksift.Audit, names: tuple[str, ...]) -> np.ndarray[Any, Any]:
    return np.stack([audit.images[name].to_numpy().astype(np.float64) for name in names], axis=1)


def assert_equal(found: LazyAudit, expected: masksift.Audit) -> None:
    """Compare all results bit by bit."""
    scores, masks, regions, images, thresholds = dask.compute(
        found.scores, found.issue_masks, found.regions, found.images, found.thresholds
    )
    np.testing.assert_array_equal(scores, scores_of(expected, found.score_names))
    np.testing.assert_array_equal(masks, np.stack([expected.issues(i) for i in range(len(masks))]))
    assert thresholds.equals(expected.thresholds)
    pd.testing.assert_frame_equal(images, expected.images.to_pandas(), check_dtype=False)
    rows = expected.regions.to_pandas().drop(columns="rank")
    assert list(regions.columns) == list(rows.columns)
    pd.testing.assert_frame_equal(in_order(regions), in_order(rows), check_dtype=False)


def in_order(regions: pd.DataFrame) -> pd.DataFrame:
    """Return regions by image and priority, with run-length codes as text, which pandas compares."""
    frame = regions.sort_values(["index", "priority", "y0", "x0", "suggested"]).reset_index(drop=True)
    return frame.assign(rle=[list(map(int, code)) for code in frame["rle"]]).astype({"rle": str})


# --------------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize("dtype", DTYPES)
def test_lazy_audit_of_any_dtype_equals_the_audit(dtype: str) -> None:
    data = make_data(images=8, dtype=dtype)
    assert_equal(lazy_audit(data), eager(data))


def test_lazy_audit_with_exact_evidence_equals_the_audit() -> None:
    data = make_data(images=8)
    options: dict[str, Any] = {"evidence_dtype": "float32", "rule": "rank"}
    assert_equal(lazy_audit(data, **options), eager(data, **options))


@settings(max_examples=10, deadline=None)
@given(chunk=st.integers(1, 9), seed=st.integers(0, 100))
def test_chunks_do_not_change_a_bit(chunk: int, seed: int) -> None:
    data = make_data(images=8, seed=seed, dtype="uint8")
    assert_equal(lazy_audit(data, chunk), eager(data))


def test_lazy_audit_with_options_equals_the_audit() -> None:
    data = make_data(images=8, dtype="uint8")
    options: dict[str, Any] = {
        "methods": ["softmin", "clc", "class_agreement"],
        "temperature": 0.02,
        "rule": "confident",
        "min_area": 2,
        "class_names": ["a", "b", "c", "d"],
        "image_ids": [f"image {i}" for i in range(8)],
    }
    found = lazy_audit(data, **options)
    assert found.score_names == ("softmin", "clc", "class_agreement")
    assert_equal(found, eager(data, **options))


@pytest.mark.parametrize("axes", [3, 4])
def test_lazy_audit_of_the_positive_class_equals_the_audit(axes: int) -> None:
    data = make_data(images=6, classes=2, dtype="float32")
    positive = data.predictions[:, 1] if axes == 3 else data.predictions[:, 1:]
    expected = masksift.audit(data.labels, positive, ignore=data.ignore, progress=False)
    found = lazy.audit(
        da.from_array(data.labels), da.from_array(positive, chunks=(2, *positive.shape[1:])), ignore=data.ignore
    )
    assert_equal(found, expected)


def test_invalid_images_have_no_scores_and_no_issues() -> None:
    data = make_data(images=8)
    data.labels[2, 0, 0] = 9
    data.predictions[5, 0, 0, 0] = np.nan
    found = lazy_audit(data)
    scores, masks, images = dask.compute(found.scores, found.issue_masks, found.images)
    assert np.flatnonzero(np.isnan(scores).all(axis=1)).tolist() == [2, 5]
    assert not np.isnan(scores[[0, 1, 3, 4, 6, 7]]).any()
    assert not masks[[2, 5]].any()
    assert images["status"].tolist()[2] == "bad_labels"
    assert images["status"].tolist()[5] == "bad_probabilities"
    assert_equal(found, eager(data))


# ------------------------------------------------------------------------------------------------------ collections


def test_nothing_is_computed_until_it_is_asked_for() -> None:
    def fail(block: Any) -> Any:
        raise AssertionError("computed")

    data = make_data(images=8)
    labels, predictions = as_dask(data)
    found = lazy.audit(labels, predictions.map_blocks(fail, dtype="float32", meta=np.empty((0,) * 4, "float32")))
    assert (found.scores.shape, found.scores.chunks[0]) == ((8, len(found.score_names)), (3, 3, 2))
    assert (found.issue_masks.shape, found.issue_masks.dtype) == ((8, 8, 10), bool)
    assert found.regions.npartitions == found.images.npartitions == 3
    assert "priority" in found.regions.columns
    assert repr(found) == "LazyAudit(8 images in 3 chunks, 4 classes)"
    with pytest.raises(AssertionError, match="computed"):
        found.scores.compute(scheduler="synchronous")


def counted(predictions: np.ndarray[Any, Any], reads: Counter[int]) -> da.Array:
    """Return a Dask array of chunks of two images that counts their reads."""

    def read(i: int) -> Any:
        reads[i] += 1
        return predictions[2 * i : 2 * i + 2]

    parts = [
        da.from_delayed(dask.delayed(read)(i), (2, *predictions.shape[1:]), predictions.dtype)
        for i in range(len(predictions) // 2)
    ]
    return da.concatenate(parts)


def test_results_computed_together_read_predictions_once() -> None:
    data, reads = make_data(images=8), Counter[int]()
    found = lazy.audit(da.from_array(data.labels), counted(data.predictions, reads), ignore=data.ignore)
    dask.compute(found.scores, found.issue_masks, found.regions, found.thresholds, scheduler="threads")
    assert reads == dict.fromkeys(range(4), 1)


def test_persisted_audit_does_not_read_again() -> None:
    data, reads = make_data(images=8), Counter[int]()
    found = lazy.audit(
        da.from_array(data.labels), counted(data.predictions, reads), ignore=data.ignore, min_area=1
    ).persist()
    assert reads == dict.fromkeys(range(4), 1)
    assert_equal(found, eager(data))
    assert reads == dict.fromkeys(range(4), 1)


def test_thresholds_are_a_reduction_tree() -> None:
    data = make_data(images=40, dtype="uint8")
    graph = dict(lazy_audit(data, chunk=1).thresholds.__dask_graph__())
    merges = Counter(key.rsplit("-", 1)[0] for key in flatten([*graph]) if str(key).startswith("masksift-merge"))
    assert sum(merges.values()) == 3 + 1, "40 states in groups of 16, and their results"


def test_lazy_audit_equals_the_audit_on_a_cluster() -> None:
    data = make_data(images=8, dtype="uint8")
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0") as cluster,
        Client(cluster),
    ):
        assert_equal(lazy_audit(data), eager(data))


def test_equal_inputs_have_equal_keys() -> None:
    data = make_data(images=8)
    assert lazy_audit(data).scores.name == lazy_audit(data).scores.name
    assert lazy_audit(data).token != lazy_audit(data, temperature=0.5).token


# ----------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("chunks", [(2, 1, -1, -1), (2, -1, 4, -1), (2, 2, 4, 5)])
def test_chunks_that_split_images_are_refused_with_the_call_to_make(chunks: tuple[int, ...]) -> None:
    data = make_data(images=8)
    pred_probs = da.from_array(data.predictions, chunks=chunks)
    labels = da.from_array(data.labels)
    with pytest.raises(DataError, match="Chunks of pred_probs split the ") as caught:
        lazy.audit(labels, pred_probs)
    call = str(caught.value.remedy).removeprefix("Pass ")
    assert call == "pred_probs.rechunk({0: 'auto', 1: -1, 2: -1, 3: -1})"
    assert_equal(lazy.audit(labels, eval(call), ignore=data.ignore, min_area=1), eager(data))


def test_arrays_that_do_not_fit_are_refused() -> None:
    data = make_data(images=8)
    labels, predictions = as_dask(data)
    with raises(DataError, match="pred_probs is of type ndarray, not a Dask array"):
        lazy.audit(labels, data.predictions)
    with raises(DataError, match=r"labels have shape \(7, 8, 10\), pred_probs \(8, 4, 8, 10\)"):
        lazy.audit(labels[:7], predictions)
    with raises(DataError, match=r"labels has shape \(8, 4, 8, 10\)"):
        lazy.audit(predictions, predictions)
    with raises(DataError, match="pred_probs has chunks of unknown size"):
        lazy.audit(labels, predictions[da.from_array(np.ones(8, bool))])
    with raises(DataError, match="There are 3 image ids for 8 images"):
        lazy.audit(labels, predictions, image_ids=["a", "b", "c"])
    with raises(DataError, match="pred_probs have dtype int16 and kind"):
        lazy.audit(labels, predictions.astype("int16"))
    with raises(UsageError, match="temperature"):
        lazy.audit(labels, predictions, temperature=-1.0)


# ------------------------------------------------------------------------------------------------------------ xarray


def dataset(data: Data) -> xr.Dataset:
    """Return a dataset with the class axis last and coordinates."""
    return xr.Dataset(
        {
            "predictions": (("image", "y", "x", "class"), np.moveaxis(data.predictions, 1, 3)),
            "labels": (("image", "y", "x"), data.labels),
        },
        coords={
            "image_id": ("image", [f"scene {i}" for i in range(len(data.labels))]),
            "class_names": ("class", ["road", "sky", "car", "tree"]),
        },
    ).chunk({"image": 3})


def test_accessor_audits_variables_in_the_order_of_their_dimensions() -> None:
    data = make_data(images=8)
    names, ids = ["road", "sky", "car", "tree"], [f"scene {i}" for i in range(8)]
    found = dataset(data).masksift.audit(ignore=data.ignore, min_area=1)
    assert_equal(found, eager(data, class_names=names, image_ids=ids))


def test_accessor_returns_labeled_scores_and_masks() -> None:
    data = make_data(images=8)
    scores = dataset(data).masksift.scores(ignore=data.ignore, methods=["softmin", "clc"])
    assert isinstance(scores.data, da.Array)
    assert (scores.dims, scores["score"].values.tolist()) == (("image", "score"), ["softmin", "clc"])
    expected = eager(data, methods=["softmin", "clc"]).images["softmin"].to_numpy()
    np.testing.assert_array_equal(scores.sel(score="softmin").to_numpy(), expected)
    masks = dataset(data).masksift.issue_masks(ignore=data.ignore)
    assert (masks.dims, masks["image_id"].values[0]) == (("image", "y", "x"), "scene 0")


def test_accessor_without_the_variable_fails() -> None:
    with raises(DataError, match=r"The dataset has no variable 'labels' \(predictions\)"):
        dataset(make_data(images=8)).drop_vars("labels").masksift.audit()
