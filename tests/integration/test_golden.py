"""Golden vectors: small data sets with results of an independent computation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import masksift
from support import condensed, datasets

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
NAMES = ("uint8", "float16", "float32")
PAPER = ("ccp", "tccp", "cil", "softmin", "clc", "iou", "coco")
"""Scores of the paper, which were computed independently."""

pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="golden vectors are not in the repository")


@pytest.fixture(scope="module", params=NAMES)
def golden(request: pytest.FixtureRequest) -> tuple[datasets.Data, datasets.Array, dict[str, Any]]:
    """Load the arrays, issue masks and results of one data set."""
    expected = json.loads((GOLDEN / f"{request.param}.json").read_text())
    with np.load(GOLDEN / f"{request.param}.npz") as arrays:
        data = datasets.Data(arrays["predictions"], arrays["labels"], tuple(expected["ignore"]))
        return data, arrays["issue_mask"], expected


@pytest.fixture(scope="module")
def audit(golden: tuple[datasets.Data, datasets.Array, dict[str, Any]]) -> masksift.Audit:
    data, _, expected = golden
    assert expected["lattice"] == 4, "the default"
    return masksift.audit(
        data.labels,
        data.predictions,
        ignore=data.ignore,
        temperature=expected["temperature"],
        evidence_dtype="float32" if data.predictions.dtype == np.float32 else "auto",
    )


Golden = tuple[datasets.Data, datasets.Array, dict[str, Any]]


def column(table: pa.Table, name: str) -> list[Any]:
    values: list[Any] = table[name].to_pylist()
    return values


@pytest.mark.parametrize("name", PAPER)
def test_scores_equal_the_golden_vectors(golden: Golden, audit: masksift.Audit, name: str) -> None:
    expected = [image[name] for image in golden[2]["images"]]
    assert column(audit.images, name) == [v if v is None else pytest.approx(v, abs=1e-9, rel=0) for v in expected]


def test_ignored_image_has_no_score_and_no_rank(golden: Golden, audit: masksift.Audit) -> None:
    ignored = [(labels == 255).all() for labels in golden[0].labels]
    statuses = ["all_ignored" if hidden else "scored" for hidden in ignored]
    assert column(audit.images, "status") == statuses
    assert sorted(column(audit.ranking, "index")) == [i for i, hidden in enumerate(ignored) if not hidden]


def test_thresholds_equal_the_golden_vectors(golden: Golden, audit: masksift.Audit) -> None:
    expected = golden[2]
    assert column(audit.thresholds, "pixels") == expected["n"]
    assert column(audit.thresholds, "decision_threshold") == expected["decision_threshold"]
    confident = column(audit.thresholds, "confident_threshold")
    assert confident == pytest.approx(expected["confident_threshold"], abs=1e-15, rel=0)


def test_issue_masks_equal_the_golden_vectors(golden: Golden, audit: masksift.Audit) -> None:
    data, mask, expected = golden
    found = np.array([audit.issues(i) for i in range(len(data.labels))])
    np.testing.assert_array_equal(found, mask)
    assert found.sum() == expected["flagged"] == sum(column(audit.class_pairs, "pixels"))


def test_statistics_and_cut_equal_the_golden_vectors(golden: Golden) -> None:
    data, _, expected = golden
    evidence = "float32" if data.predictions.dtype == np.float32 else "auto"
    config = condensed.make_config(expected["num_classes"], data.predictions.dtype, evidence=evidence)
    assert config.evidence.dtype == data.predictions.dtype.name, "same precision as the predictions"
    statistics, thresholds = condensed.thresholds(condensed.condense(data, config), config)
    assert statistics.joint.tolist() == expected["joint"]
    assert statistics.pixels.tolist() == expected["n"]
    assert thresholds.estimated_issues == expected["estimated_issues"]
    assert thresholds.cut == expected["cut"]
