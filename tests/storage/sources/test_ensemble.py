"""Ensembles: a source with the mean of several prediction arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from masksift.core.errors import DataError
from masksift.core.specs import SourceSpec
from masksift.prepare.writers.evidence import EvidenceWriter
from masksift.storage.sources.ensemble import check_same_shape, split_array_url
from masksift.storage.sources.open import open_source
from masksift.storage.sources.overrides import Overrides
from support.datasets import make_dataset
from support.run_processes import write_dataset_source

SHAPE = (6, 3, 8, 10)


def write_ensemble_source(directory: Path) -> Path:
    return write_dataset_source(
        directory / "a.zarr", make_dataset(0, images=6, classes=3, height=8, width=10, dtype="uint8")
    )


def add_predictions(
    group: Path,
    name: str,
    *,
    dtype: str = "float16",
    attributes: dict[str, Any] | None = None,
    shape: tuple[int, ...] = SHAPE,
    **kwargs: Any,
) -> None:
    """Add an array of equal probabilities."""
    array = zarr.open_group(group, mode="a").create_array(
        name, shape=shape, dtype=dtype, attributes=attributes or {}, **kwargs
    )
    array[:] = np.full(shape, 1 / shape[1], dtype)


def open_ensemble(url: Path, *names: str, **overrides: Any) -> SourceSpec:
    return open_source(str(url), Overrides(predictions=names, **overrides), {})


def test_mean_is_float32_with_whole_chunks_of_every_member(tmp_path: Path) -> None:
    url = write_ensemble_source(tmp_path)
    add_predictions(url, "b", chunks=(2, 3, 4, 10))
    add_predictions(url, "c", chunks=(1, 3, 2, 5), shards=(3, 3, 8, 10), attributes={"kind": "logits"}, dtype="float32")
    spec = open_ensemble(url, "b", "c")
    assert (spec.prediction_kind, spec.scale, spec.predictions.dtype, spec.predictions.shape) == (
        "probabilities",
        1.0,
        "float32",
        SHAPE,
    )
    assert (spec.predictions.chunks, spec.predictions.shards) == ((2, 3, 4, 10), (6, 3, 8, 10))
    assert [member.prediction_kind for member in spec.members] == ["probabilities", "logits"]
    assert [array.dtype for array in spec.prediction_arrays] == ["float16", "float32"]
    assert SourceSpec.from_json(spec.as_json()) == spec


def test_source_of_a_single_prediction_array_has_no_members(tmp_path: Path) -> None:
    spec = open_source(str(write_ensemble_source(tmp_path)), Overrides(), {})
    assert spec.members == ()
    assert spec.prediction_arrays == (spec.predictions,)


def test_members_have_separate_scales_and_tolerances(tmp_path: Path) -> None:
    url = write_ensemble_source(tmp_path)
    add_predictions(url, "b")
    spec = open_ensemble(url, "predictions", "b")
    assert [member.scale for member in spec.members] == [1 / 255, 1.0]
    assert [member.sum_tolerance for member in spec.members] == [pytest.approx(0.02 + 3 / 510), 0.02]


@pytest.mark.parametrize(
    ("name", "location"),
    [
        ("b", ("url", "b")),
        ("deep/b", ("url", "deep/b")),
        ("/lake/other.zarr/b", ("/lake/other.zarr", "b")),
        ("s3://lake/{source}.zarr/b", ("s3://lake/day.zarr", "b")),
    ],
)
def test_split_array_url_separates_group_and_name(name: str, location: tuple[str, str]) -> None:
    assert split_array_url(name, "url", "day") == location


def test_member_url_may_contain_the_source_name(tmp_path: Path) -> None:
    url = write_ensemble_source(tmp_path)
    zarr.create_group(tmp_path / "more-a.zarr")
    add_predictions(tmp_path / "more-a.zarr", "b")
    spec = open_ensemble(url, "predictions", f"{tmp_path}/more-{{source}}.zarr/b")
    assert [array.url for array in spec.prediction_arrays] == [f"{url}/predictions", f"{tmp_path}/more-a.zarr/b"]


def test_members_of_different_shapes_are_refused_with_their_names(tmp_path: Path) -> None:
    url = write_ensemble_source(tmp_path)
    add_predictions(url, "b", shape=(6, 4, 8, 10))
    add_predictions(url, "c", shape=(6, 3, 8, 9))
    message = r"differ in shape .* predictions \(6, 3, 8, 10\), b \(6, 4, 8, 10\)\. Pass .*the same images"
    with pytest.raises(DataError, match=message):
        open_ensemble(url, "predictions", "b")
    with pytest.raises(DataError, match=r"6 images of 8 x 9, its labels 6 of 8 x 10\. .* --resize predictions"):
        open_ensemble(url, "predictions", "c")
    with pytest.raises(DataError, match=r"pred_probs\[0\] \(1, 2\), pred_probs\[1\] \(1, 3\)"):
        check_same_shape({"pred_probs[0]": (1, 2), "pred_probs[1]": (1, 3)})


def test_members_with_different_class_names_are_refused_without_an_override(tmp_path: Path) -> None:
    url = write_ensemble_source(tmp_path)
    add_predictions(url, "b", attributes={"class_names": ["road", "sky", "car"]})
    add_predictions(url, "c", attributes={"class_names": ["road", "car", "sky"]})
    assert open_ensemble(url, "predictions", "b").class_names == ("road", "sky", "car")
    with pytest.raises(DataError, match=r"Class 1 is 'sky' in .*/b and 'car' in .*/c\. Their mean .*--classes"):
        open_ensemble(url, "b", "c")
    assert open_ensemble(url, "b", "c", classes=("x", "y", "z")).class_names == ("x", "y", "z")


def test_ensemble_with_evidence_is_refused(tmp_path: Path) -> None:
    data = make_dataset(0, images=2, classes=3, height=8, width=10, dtype="float32")
    with EvidenceWriter(str(tmp_path / "e"), images=2, height=8, width=10, classes=3, ignore=255) as writer:
        writer.write(data.predictions, data.labels)
    with pytest.raises(DataError, match=r"contains evidence .* are predictions, b.* Evidence is of one prediction"):
        open_ensemble(tmp_path / "e", "predictions", "b")
