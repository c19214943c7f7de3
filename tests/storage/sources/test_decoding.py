"""Decoding of predictions: the axes, dtype, scale and class names that a source has by its arrays, or a refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from masksift.core.errors import DataError
from masksift.core.specs import SourceSpec
from masksift.storage.sources.open import open_source
from masksift.storage.sources.overrides import Overrides
from support.errors import raises

N, K, H, W = 4, 3, 8, 10


def open_arrays(
    folder: Path,
    shape: tuple[int, ...],
    dtype: str = "float32",
    *,
    labels: tuple[int, ...] = (N, H, W),
    packing: dict[str, Any] | None = None,
    names: tuple[str, ...] | None = None,
    attributes: dict[str, Any] | None = None,
    **overrides: Any,
) -> SourceSpec:
    """Open a source with predictions of this shape, chunks of one number and attributes."""
    group = zarr.open_group(folder, mode="w", attributes=attributes)
    one = (1,) * len(shape)
    group.create_array(
        "predictions", shape=shape, dtype=dtype, chunks=one, attributes=packing, dimension_names=names, overwrite=True
    )
    group.create_array("labels", shape=labels, dtype="uint8", chunks=(1, 1, 1), overwrite=True)
    spec = open_source(str(folder), Overrides(**overrides), {})
    assert SourceSpec.from_json(spec.as_json()) == spec
    return spec


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((N, H, W), (0, 1, 2)),
        ((N, 1, H, W), (0, 2, 3)),
        ((N, H, W, 1), (0, 1, 2)),
        ((1, N, H, W), (1, 2, 3)),
        ((N, 1, H, W, 1), (0, 2, 3)),
    ],
)
def test_predictions_of_one_class_are_the_positive_class(
    tmp_path: Path, shape: tuple[int, ...], axes: tuple[int, ...]
) -> None:
    spec = open_arrays(tmp_path, shape)
    assert (spec.predictions.shape, spec.predictions.stored.axes, spec.predictions.stored.shape) == (
        (N, 2, H, W),
        axes,
        (N, H, W),
    )
    assert spec.class_names == ("background", "foreground")


@pytest.mark.parametrize(
    ("shape", "labels", "axes"),
    [
        ((N, K, 1, H, W), (N, H, W), (0, 1, 3, 4)),
        ((N, K, H, W, 1), (N, H, W), (0, 1, 2, 3)),
        ((1, N, K, H, W), (N, H, W), (1, 2, 3, 4)),
        ((1, K, 1, H, W), (1, H, W), (0, 1, 3, 4)),
        ((K, 1, H, W), (1, H, W), (1, 0, 2, 3)),
        ((N, K, 1, W), (N, 1, W), (0, 1, 2, 3)),
        ((N, K, 1, 1), (N, 1, 1), (0, 1, 2, 3)),
    ],
)
@pytest.mark.parametrize("names", [None, ("image", "class", "y", "x", "z")])
def test_axes_of_length_1_are_left_out_as_the_labels_show(
    tmp_path: Path,
    shape: tuple[int, ...],
    labels: tuple[int, ...],
    axes: tuple[int, ...],
    names: tuple[str, ...] | None,
) -> None:
    spec = open_arrays(tmp_path, shape, labels=labels, names=names and names[: len(shape)])
    assert (spec.predictions.axes, spec.predictions.decoding) == (axes, None)
    assert spec.predictions.shape[0] == labels[0]


@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [
        ((H, W, N), ("y", "x", "image"), (2, 0, 1)),
        ((H, W, 1, N), ("y", "x", "class", "image"), (3, 0, 1)),
        ((N, 1, H, W), ("image", "time", "y", "x"), (0, 2, 3)),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_axes_of_the_positive_class_are_taken_by_name(
    tmp_path: Path, shape: tuple[int, ...], axes: tuple[str, ...], expected: tuple[int, ...], named: bool
) -> None:
    spec = open_arrays(tmp_path, shape, names=axes if named else None, predictions_axes=None if named else axes)
    assert spec.predictions.stored.axes == expected


@pytest.mark.parametrize("shape", [(N, 6, 5), (N, 6, 5, 1), (N, K, 6, 5), (N, K, 1, 6, 5), (N, K, 8, 5), (N, 2, 2)])
def test_smaller_predictions_are_refused_unless_resizing_is_requested(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with raises(DataError, r"its labels 4 of 8 x 10\. .*pass --resize predictions"):
        open_arrays(tmp_path, shape)
    spec = open_arrays(tmp_path, shape, resize="predictions")
    assert spec.predictions.shape == (N, 2 if K not in shape else K, H, W)
    assert spec.predictions.is_resized
    assert (spec.predictions.dtype, spec.predictions.chunks[2:]) == ("float32", (1, W))


@pytest.mark.parametrize("shape", [(N, K, 16, 20), (N, K, 9, 10), (N, K, 4, 11), (5, K, 4, 5)])
def test_larger_predictions_are_refused_even_with_resizing(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with raises(DataError, r"its labels 4 of 8 x 10\. Pass arrays of equal size"):
        open_arrays(tmp_path, shape)
    effect = "" if shape[0] == 5 else r"Predictions are enlarged, but not reduced\. "
    with raises(DataError, rf"its labels 4 of 8 x 10\. {effect}Pass arrays of equal size"):
        open_arrays(tmp_path, shape, resize="predictions")


def test_predictions_of_equal_size_are_not_decoded_with_resizing(tmp_path: Path) -> None:
    assert open_arrays(tmp_path, (N, K, H, W), resize="predictions").predictions.decoding is None


@pytest.mark.parametrize(
    ("dtype", "packing", "overrides", "expected"),
    [
        ("uint8", {"scale_factor": 1 / 250}, {}, ("uint8", 1 / 250)),
        ("uint8", {"scale_factor": 1 / 250}, {"scale": 1 / 250}, ("uint8", 1 / 250)),
        ("uint8", {"scale_factor": 1}, {}, ("uint8", 1.0)),
        ("uint16", {"scale_factor": 1e-4, "add_offset": 0.0}, {}, ("uint16", 1e-4)),
        ("int8", {"_Unsigned": "true"}, {}, ("uint8", 1 / 255)),
        ("uint8", {"scale_factor": 1 / 250, "_FillValue": 255}, {}, ("float32", 1.0)),
        ("uint8", {"_FillValue": 255}, {"scale": 1 / 250}, ("float32", 1.0)),
        ("uint8", {"scale_factor": 2.0, "add_offset": -1.0}, {}, ("float32", 1.0)),
        ("uint8", {"scale_factor": 0.1}, {"kind": "logits"}, ("float32", 1.0)),
        ("int16", {"scale_factor": 1e-4}, {"scale": 1e-4}, ("float32", 1.0)),
        ("float64", {"scale_factor": 0.5}, {}, ("float32", 1.0)),
        ("float64", {"scale_factor": 1.0}, {}, ("float64", 1.0)),
        ("float16", {"_FillValue": -1.0}, {}, ("float32", 1.0)),
    ],
)
def test_packed_predictions_stay_integers_where_the_kernels_can_scale_them(
    tmp_path: Path, dtype: str, packing: dict[str, Any], overrides: dict[str, Any], expected: tuple[str, float]
) -> None:
    spec = open_arrays(tmp_path, (N, K, H, W), dtype, packing=packing, **overrides)
    assert (spec.predictions.dtype, spec.scale) == expected


def test_sum_tolerance_of_packed_integers_has_half_a_step_per_class(tmp_path: Path) -> None:
    spec = open_arrays(tmp_path, (N, K, H, W), "int8", packing={"scale_factor": 0.01, "add_offset": 0.5})
    assert spec.sum_tolerance == pytest.approx(0.02 + K * 0.005)
    assert open_arrays(tmp_path, (N, K, H, W), packing={"scale_factor": 0.5}).sum_tolerance == 0.02


@pytest.mark.parametrize(
    ("dtype", "packing", "settings", "message"),
    [
        (
            "uint8",
            {"scale_factor": 0.1},
            {"scale": 0.2},
            r"packed with scale_factor 0\.1, but --scale is 0\.2\. .*Omit",
        ),
        (
            "int16",
            {"scale_factor": 0.1},
            {"attributes": {"scale": 0.2}},
            r"scale_factor 0\.1, but the attribute scale is",
        ),
        (
            "float32",
            {"add_offset": 1},
            {"attributes": {"scale": 1.0}},
            r"packed with add_offset 1, but the attribute scale",
        ),
        ("int16", {}, {}, r"are stored as int16\. .* give other integers the attribute scale_factor"),
        ("int16", {"_FillValue": -1}, {}, r"are stored as int16\. "),
        (
            "uint8",
            {},
            {"kind": "logits"},
            r"uint8 of kind 'logits', .* scale_factor and add_offset\. .*write the logits",
        ),
        (
            "uint8",
            {"scale_factor": "x"},
            {},
            r"The attribute scale_factor of 'predictions' of .* is \"x\"\. It must be",
        ),
    ],
)
def test_contradicting_or_missing_packing_is_refused(
    tmp_path: Path, dtype: str, packing: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    with raises(DataError, message):
        open_arrays(tmp_path, (N, K, H, W), dtype, packing=packing, **settings)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"attributes": {"class_names": ["no road", "road"]}}, ("no road", "road")),
        ({"attributes": {"class_names": ["road"]}}, ("background", "road")),
        ({"classes": ("a", "b"), "attributes": {"class_names": ["road"]}}, ("a", "b")),
    ],
)
def test_binary_classes_have_the_given_names(
    tmp_path: Path, settings: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert open_arrays(tmp_path, (N, H, W), **settings).class_names == expected


def test_class_names_of_another_number_than_two_are_refused_for_binary_predictions(tmp_path: Path) -> None:
    with raises(DataError, r"has predictions of 2 classes and 3 class names: a, b, c"):
        open_arrays(tmp_path, (N, H, W), classes=("a", "b", "c"))


@pytest.mark.parametrize(
    ("dtype", "scale", "expected"),
    [("uint8", None, "uint8"), ("uint8", 0.0039, "float32"), ("uint16", 1e-4, "uint16"), ("float16", None, "float16")],
)
def test_binary_predictions_keep_their_dtype_if_it_holds_the_complement(
    tmp_path: Path, dtype: str, scale: float | None, expected: str
) -> None:
    spec = open_arrays(tmp_path, (N, H, W), dtype, scale=scale)
    assert spec.predictions.dtype == expected
    assert spec.scale == (scale or 1 / 255 if expected.startswith("uint") else 1.0)


def test_layout_of_binary_predictions_keeps_chunks_and_shards(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path, mode="w")
    group.create_array("predictions", data=np.zeros((N, H, W), "f4"), chunks=(1, 4, 5), shards=(2, 8, 10))
    group.create_array("labels", data=np.zeros((N, H, W), "u1"))
    spec = open_source(str(tmp_path), Overrides(), {})
    assert (spec.predictions.chunks, spec.predictions.shards) == ((1, 2, 4, 5), (2, 2, 8, 10))
