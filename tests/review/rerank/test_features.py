"""Features of regions: standardized, finite, and neutral where a value is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from masksift.config.sections import StorageSection
from masksift.engine.completed_run import open_completed_run
from masksift.review.rerank.features import image_scores, region_features
from review.helpers import run_sources
from support.datasets import Array
from support.results import read_rows
from support.sources import make_data, write_source


def columns(priorities: list[float], given_z: list[float] | None = None) -> dict[str, Array]:
    count = len(priorities)
    return {
        "kind": np.array(["label"] * count, object),
        "area": np.full(count, 20),
        "priority": np.array(priorities),
        "usual_evidence": np.full(count, 3.0),
        "given_z": np.array(given_z or [0.5] * count),
        "suggested_z": np.full(count, 0.25),
        "given_pixels": np.full(count, 400.0),
    }


@given(st.lists(st.floats(0, 1e9), min_size=2, max_size=20))
def test_features_are_standardized_and_keep_the_order(priorities: list[float]) -> None:
    features = region_features(columns(priorities), None)
    assert all(np.isfinite(feature).all() for feature in features.values())
    order = np.argsort(priorities)
    assert (np.diff(features["priority"][order]) >= 0).all()
    if np.ptp(np.log(np.array(priorities) + 1e-3)) > 1e-3:
        np.testing.assert_allclose([features["priority"].mean(), features["priority"].std()], [0, 1], atol=1e-6)
    assert not features["area"].any()  # a constant


def test_missing_value_counts_as_the_mean() -> None:
    features = region_features(columns([1, 2, 3], [0.0, np.nan, 4.0]), np.array([0.1, 0.3, np.nan]))
    np.testing.assert_allclose(features["given_z"], [-1, 0, 1])
    np.testing.assert_allclose(features["softmin"], [-1, 1, 0])
    assert not region_features(columns([1, 2], [np.nan, np.nan]), None)["given_z"].any()


def test_omission_is_a_feature_and_has_no_share_of_a_class() -> None:
    table = columns([1, 2, 3, 4])
    table["kind"][3] = "omission"
    table["given_pixels"] = np.array([20, 80, 40, np.nan])
    features = region_features(table, None)
    assert features["omission"].argmax() == 3
    assert features["share_of_given"].tolist()[3] == 0
    assert features["share_of_given"].argsort().tolist()[-1] == 0


def test_image_scores_are_those_of_the_image(tmp_path: Path) -> None:
    sources = [write_source(tmp_path / f"{name}.zarr", make_data(seed=seed)) for seed, name in enumerate("ab")]
    out = run_sources(tmp_path / "run", *sources, args=("--methods", "softmin,ccp"))
    run = open_completed_run(str(out), StorageSection())
    expected = np.array([row["softmin"] for row in read_rows(out)], float)
    images = np.array([9, 3, 0, 15, 3])
    np.testing.assert_array_equal(image_scores(run, images), expected[images])


def test_run_without_softmin_has_no_image_scores(tmp_path: Path) -> None:
    out = run_sources(tmp_path / "run", write_source(tmp_path / "a.zarr"), args=("--methods", "ccp"))
    assert image_scores(open_completed_run(str(out), StorageSection()), np.array([0])) is None
