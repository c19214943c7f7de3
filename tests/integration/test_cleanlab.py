"""Agreement with cleanlab.

Differences:

- pixels whose s equals the cut: cleanlab breaks ties by the order of the arrays, masksift flags all of them;
- a class that is predicted but never labeled: cleanlab gives it the least threshold there is, 2e-6, so that every
  pixel predicted so counts among the estimated issues; here its threshold is +inf, and none does (methods.md).
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import masksift
from reference import audit as reference
from support import datasets as drawn
from support.condensed import a_few

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # from its imports
    filter_ = pytest.importorskip("cleanlab.segmentation.filter", reason="cleanlab is a development dependency")
    rank = pytest.importorskip("cleanlab.segmentation.rank")
    summary = pytest.importorskip("cleanlab.segmentation.summary")

SETS = pytest.mark.parametrize(
    ("dtype", "classes", "seed"),
    [("uint8", 5, 0), ("uint8", 2, 1), ("uint16", 12, 2), ("float16", 7, 3), ("float32", 3, 4), ("float64", 20, 5)],
)


def a_set(dtype: str, classes: int, seed: int, *, ignore: int | None = None) -> drawn.Data:
    return drawn.make_dataset(seed, images=4, classes=classes, height=37, width=40, dtype=dtype, ignore=ignore)


def in_float64(data: drawn.Data) -> drawn.Array:
    """Return the probabilities that masksift uses; float64 predictions are stored as float32."""
    if data.predictions.dtype.kind == "u":
        return np.asarray(data.predictions * (1 / np.iinfo(data.predictions.dtype).max))
    return data.predictions.astype(np.float32).astype(np.float64)


def audit_of(data: drawn.Data, temperature: float = 0.1) -> masksift.Audit:
    predictions = data.predictions.astype(np.float32) if data.predictions.dtype == np.float64 else data.predictions
    return masksift.audit(
        data.labels, predictions, ignore=data.ignore, temperature=temperature, evidence_dtype="float32"
    )


def masks_of(audit: masksift.Audit) -> drawn.Array:
    return np.array([audit.issues(i) for i in range(len(audit.images))])


# ------------------------------------------------------------------------------------------------------------- softmin


@SETS
@pytest.mark.parametrize("temperature", [0.02, 0.1, 1.5])
def test_softmin_equals_cleanlab(dtype: str, classes: int, seed: int, temperature: float) -> None:
    data = a_set(dtype, classes, seed)
    expected, _ = rank.get_label_quality_scores(
        data.labels, in_float64(data), method="softmin", temperature=temperature, n_jobs=1, verbose=False
    )
    found = audit_of(data, temperature).images["softmin"].to_pylist()
    assert found == pytest.approx(expected.tolist(), abs=1e-12, rel=0)


def test_softmin_of_valid_pixels_equals_cleanlab() -> None:
    data = a_set("float32", 4, 9, ignore=255)
    found = audit_of(data).images["softmin"].to_pylist()
    for labels, p, score in zip(data.labels, in_float64(data), found, strict=True):
        valid = labels != 255
        alone = p[:, valid][None, :, None, :]  # one row of the pixels that count
        expected, _ = rank.get_label_quality_scores(labels[valid][None, None], alone, n_jobs=1, verbose=False)
        assert score == pytest.approx(expected[0], abs=1e-12, rel=0)


# ------------------------------------------------------------------------------------------------------------ the mask


def same_masks(data: drawn.Data) -> int:
    """cleanlab's mask and ours differ on pixels at the cut alone; answers how many are flagged here."""
    expected = filter_.find_label_issues(data.labels, in_float64(data), n_jobs=1, verbose=False)
    actual = masks_of(audit_of(data))
    assert not (expected & ~actual).any(), "all ties at the cut are flagged here, in part there"
    s = np.take_along_axis(in_float64(data), data.labels[:, None].astype(np.int64), axis=1)[:, 0]
    cut = reference.audit(*data[:2], ignore=data.ignore, evidence_dtype="float32").cut
    assert set(s[actual != expected].tolist()) <= {cut}
    return int(actual.sum())


@SETS
def test_issue_masks_equal_cleanlab_except_at_the_cut(dtype: str, classes: int, seed: int) -> None:
    data = drawn.make_dataset(seed, images=4, classes=classes, height=17, width=20, dtype=dtype, ignore=None)
    predictions = data.predictions.astype(np.float32) if dtype == "float64" else data.predictions
    assert same_masks(data._replace(predictions=predictions)) > 20, "a set that shows something"


@a_few
@given(seed=st.integers(0, 2**32 - 1), classes=st.integers(2, 5), dtype=st.sampled_from(["uint8", "float32"]))
def test_issue_masks_of_small_data_sets_equal_cleanlab_except_at_the_cut(seed: int, classes: int, dtype: str) -> None:
    data = drawn.make_dataset(seed, images=2, classes=classes, height=7, width=7, dtype=dtype, ignore=None)
    labels = data.labels.copy()
    labels.reshape(-1)[:classes] = np.arange(classes)  # every class is labeled (see above)
    same_masks(data._replace(labels=labels))


def test_issue_masks_of_a_class_without_labels_differ_from_cleanlab() -> None:
    """Class 2 is predicted, never given: each such pixel counts in cleanlab's number of issues, none in ours."""
    p = np.array([[0.2, 0.1, 0.7], [0.1, 0.3, 0.6], [0.9, 0.1, 0.0], [0.1, 0.9, 0.0]]).T[None, :, None, :]
    labels = np.array([[[0, 1, 0, 1]]])
    expected = filter_.find_label_issues(labels, p, n_jobs=1, verbose=False)
    assert expected.tolist() == [[[True, True, False, False]]]
    assert masks_of(masksift.audit(labels, p)).tolist() == [[[False] * 4]]


# ----------------------------------------------------------------------------------------------------------- the pairs


@SETS
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of its progress bar
def test_class_pairs_equal_the_common_issues_of_cleanlab(dtype: str, classes: int, seed: int) -> None:
    """cleanlab's table of common issues, made of our mask."""
    data = a_set(dtype, classes, seed)
    audit = audit_of(data)
    table = summary.common_label_issues(masks_of(audit), data.labels, in_float64(data), top=10_000, verbose=False)
    columns = ("given_label", "predicted_label", "num_pixel_issues")
    expected = [tuple(int(row[name]) for name in columns) for _, row in table.iterrows()]
    actual = [(row["given"], row["suggested"], row["pixels"]) for row in audit.class_pairs.to_pylist()]
    assert len(actual) > 1, "a set that shows something"
    assert actual == sorted(expected, key=lambda row: (-row[2], row[0], row[1]))
