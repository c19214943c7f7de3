"""Opening of sources: arrays, axes, attributes, overrides, ids, refusals."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from masksift.core.errors import DataError, UsageError
from masksift.core.specs import SourceSpec
from masksift.storage.sources.open import open_source
from masksift.storage.sources.overrides import Overrides
from masksift.storage.zarr.per_image import image_ids
from support.errors import raises
from support.sources import LABEL_AXES, PREDICTION_AXES, Source, make_data, write_source

NAMES = ["road", "sky", "tree", "car"]


def nested_metadata(node: str, depth: int) -> str:
    """Return the zarr.json of a group or an array whose attributes hold lists in lists."""
    return f'{{"zarr_format": 3, "node_type": "{node}", "attributes": {{"a": {"[" * depth}{"]" * depth}}}}}'


def open_spec(source: Source | Path | str, **overrides: Any) -> SourceSpec:
    return open_source(str(source), Overrides(**overrides), {})


# ---------------------------------------------------------------------------------------------- arrays


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_source_specification_describes_its_arrays(tmp_path: Path, zarr_format: int) -> None:
    source = write_source(tmp_path / "a.zarr", zarr_format=zarr_format, chunks=(3, 4, 4, 5))
    spec = open_spec(source)
    assert (spec.name, spec.url) == ("a", str(source))
    assert (spec.images, spec.classes, spec.height, spec.width) == (8, 4, 8, 10)
    assert (spec.predictions.chunks, spec.predictions.shards) == ((3, 4, 4, 5), None)
    assert (spec.predictions.dtype, spec.predictions.itemsize, spec.labels.dtype) == ("float32", 4, "uint8")
    assert spec.predictions.zarr_format == zarr_format


def test_chunks_of_a_sharded_array_are_its_inner_chunks(tmp_path: Path) -> None:
    spec = open_spec(write_source(tmp_path / "a.zarr", chunks=(2, 4, 4, 10), shards=(4, 4, 8, 10)))
    assert (spec.predictions.chunks, spec.predictions.shards) == ((2, 4, 4, 10), (4, 4, 8, 10))


def test_source_specification_round_trips_through_json(tmp_path: Path) -> None:
    spec = open_spec(write_source(tmp_path / "a.zarr", ids=list("abcdefgh"), shards=(4, 4, 8, 10)))
    assert SourceSpec.from_json(spec.as_json()) == spec


def test_metadata_hash_changes_with_shape_dtype_chunks_and_codec(tmp_path: Path) -> None:
    forms: list[dict[str, Any]] = [
        {},
        {"chunks": (1, 4, 8, 10)},
        {"data": make_data(images=7)},
        {"data": make_data(dtype="float16")},
        {"codec": "gzip"},
    ]
    digests = [
        open_spec(write_source(tmp_path / f"{i}.zarr", **form)).content_hashes["metadata"]
        for i, form in enumerate(forms)
    ]
    assert len(set(digests)) == len(forms)
    assert open_spec(write_source(tmp_path / "again.zarr")).content_hashes["metadata"] == digests[0]


# ------------------------------------------------------------------------------------------------------- axes


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(PREDICTION_AXES), label_order=st.permutations(LABEL_AXES), configured=st.booleans())
def test_axes_are_taken_from_dimension_names_or_overrides(
    tmp_path_factory: pytest.TempPathFactory, order: list[str], label_order: list[str], configured: bool
) -> None:
    source = write_source(
        tmp_path_factory.mktemp("axes") / "a.zarr",
        make_data(images=2, height=3, width=4),
        order=order,
        label_order=label_order,
        dimension_names=not configured,
    )
    axes = {"predictions_axes": tuple(order), "labels_axes": tuple(label_order)} if configured else {}
    spec = open_spec(source, **axes)
    assert (spec.predictions.shape, spec.labels.shape) == ((2, 4, 3, 4), (2, 3, 4))
    assert spec.predictions.axes == tuple(order.index(dim) for dim in PREDICTION_AXES)
    assert spec.labels.axes == tuple(label_order.index(dim) for dim in LABEL_AXES)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_arrays_written_by_xarray_open_without_overrides(tmp_path: Path, zarr_format: int) -> None:
    data = make_data()
    scenes = xr.Dataset(
        {
            "predictions": (("image", "y", "x", "class"), data.predictions.transpose(0, 2, 3, 1)),
            "labels": (LABEL_AXES, data.labels),
            "image_id": (("image",), np.array([f"scene {i}" for i in range(8)])),
        },
        attrs={"class_names": NAMES, "ignore": 255},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr warns of consolidated metadata and of strings in v3
        scenes.to_zarr(tmp_path / "a.zarr", zarr_format=zarr_format)  # type: ignore[call-overload]
    spec = open_spec(tmp_path / "a.zarr")
    assert spec.predictions.shape == (8, 4, 8, 10)
    assert spec.predictions.axes == (0, 3, 1, 2)
    assert (spec.class_names, spec.ignore) == (tuple(NAMES), (255,))
    assert image_ids(spec, 2, 4, {}) == ["scene 2", "scene 3"]


def test_arrays_missing_from_consolidated_metadata_are_found(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.zarr", make_data(images=2), zarr_format=2)
    zarr.consolidate_metadata(str(source))
    zarr.open_group(str(source), mode="r+", use_consolidated=False).create_array("image_id", data=np.array([8, 9]))
    assert image_ids(open_spec(source), 0, 2, {}) == ["8", "9"]


def test_unknown_dimension_names_mean_the_default_axis_order(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path, mode="w")
    group.create_array("predictions", data=make_data().predictions, dimension_names=("n", "channel", "height", "width"))
    group.create_array("labels", data=make_data().labels)
    assert open_spec(tmp_path).predictions.axes == (0, 1, 2, 3)


# -------------------------------------------------------------------------------------------------- attributes


def test_attributes_are_read_from_the_group_or_the_array(tmp_path: Path) -> None:
    attributes: dict[str, Any] = {"class_names": NAMES, "kind": "logits", "ignore": [255], "empty_label_chunks": "fill"}
    on_group = open_spec(write_source(tmp_path / "a.zarr", attributes=attributes))
    group = zarr.open_group(str(write_source(tmp_path / "b.zarr", attributes={})), mode="r+")
    group["predictions"].attrs.update({"class_names": NAMES, "kind": "logits"})
    group["labels"].attrs.update({"ignore": 255, "empty_label_chunks": "fill"})
    for spec in (on_group, open_spec(tmp_path / "b.zarr")):
        actual = (spec.class_names, spec.prediction_kind, spec.ignore, spec.absent_labels_are_missing)
        assert actual == (tuple(NAMES), "logits", (255,), False)


def test_attributes_of_an_array_take_precedence_over_the_group(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.zarr", attributes={"ignore": [1], "class_names": ["no"] * 4})
    group = zarr.open_group(str(source), mode="r+")
    group["labels"].attrs["ignore"] = [2]
    group["predictions"].attrs["class_names"] = NAMES
    assert (open_spec(source).ignore, open_spec(source).class_names) == ((2,), tuple(NAMES))


def test_attributes_of_the_labels_do_not_apply_to_the_predictions(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.zarr")
    zarr.open_group(str(source), mode="r+")["labels"].attrs.update({"kind": "semantic", "scale": [1, 0.5]})
    assert open_spec(source).prediction_kind == "probabilities"


def test_missing_or_null_attributes_mean_the_defaults(tmp_path: Path) -> None:
    nulls = dict.fromkeys(("class_names", "kind", "ignore", "scale", "empty_label_chunks"))
    for i, attributes in enumerate(({}, nulls)):
        spec = open_spec(write_source(tmp_path / f"{i}.zarr", make_data(dtype="uint8"), attributes=attributes))
        assert spec.class_names == ("class 0", "class 1", "class 2", "class 3")
        assert (spec.prediction_kind, spec.scale, spec.ignore, spec.absent_labels_are_missing) == (
            "probabilities",
            1 / 255,
            (),
            True,
        )


def test_overrides_take_precedence_over_attributes(tmp_path: Path) -> None:
    attributes = {
        "class_names": ["no"] * 4,
        "kind": "logits",
        "ignore": [1],
        "scale": 0.5,
        "empty_label_chunks": "fill",
    }
    source = write_source(tmp_path / "a.zarr", make_data(dtype="uint8"), attributes=attributes)
    spec = open_spec(
        source,
        classes=tuple(NAMES),
        kind="probabilities",
        ignore=(7,),
        scale=0.25,
        empty_label_chunks="missing",
        sum_tolerance=0.5,
    )
    assert (spec.class_names, spec.prediction_kind, spec.ignore, spec.scale) == (
        tuple(NAMES),
        "probabilities",
        (7,),
        0.25,
    )
    assert (spec.absent_labels_are_missing, spec.sum_tolerance) == (True, 0.5)


def test_empty_ignore_override_removes_the_ignore_values(tmp_path: Path) -> None:
    assert open_spec(write_source(tmp_path / "a.zarr"), ignore=()).ignore == ()


@pytest.mark.parametrize(
    ("dtype", "scale", "tolerance"),
    [
        ("uint8", 1 / 255, 0.02 + 4 / 510),
        ("uint16", 1 / 65535, 0.02 + 4 / 131070),
        ("float16", 1.0, 0.02),
        ("float64", 1.0, 0.02),
    ],
)
def test_default_scale_and_sum_tolerance_depend_on_the_dtype(
    tmp_path: Path, dtype: str, scale: float, tolerance: float
) -> None:
    spec = open_spec(write_source(tmp_path / "a.zarr", make_data(dtype=dtype)))
    assert (spec.scale, spec.sum_tolerance) == (scale, pytest.approx(tolerance))


@pytest.mark.parametrize(("fill", "missing"), [(255, False), (0, True)])
def test_absent_label_chunk_is_missing_unless_its_fill_value_is_ignored(
    tmp_path: Path, fill: int, missing: bool
) -> None:
    assert open_spec(write_source(tmp_path / "a.zarr", label_fill=fill)).absent_labels_are_missing is missing


# -------------------------------------------------------------------------------------------------------- ids


def test_image_ids_are_read_or_made_of_source_name_and_index(tmp_path: Path) -> None:
    with_ids = open_spec(write_source(tmp_path / "a.zarr", ids=[f"münster_{i}" for i in range(8)]))
    assert image_ids(with_ids, 5, 7, {}) == ["münster_5", "münster_6"]
    assert image_ids(open_spec(write_source(tmp_path / "b.zarr")), 5, 7, {}) == ["b/5", "b/6"]


@pytest.mark.parametrize("values", [np.array([b"a", b"b"]), np.array(["a", "b"])])
def test_image_ids_of_any_text_dtype_are_strings(tmp_path: Path, values: np.ndarray[Any, Any]) -> None:
    source = write_source(tmp_path / "a.zarr", make_data(images=2), zarr_format=2)
    zarr.open_group(str(source), mode="r+").create_array("image_id", data=values)
    assert image_ids(open_spec(source), 0, 2, {}) == ["a", "b"]


def test_image_ids_may_be_numbers_and_empty_ids_are_replaced(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.zarr", make_data(images=2))
    zarr.open_group(str(source), mode="r+").create_array("image_id", data=np.array([17, 4]))
    assert image_ids(open_spec(source), 0, 2, {}) == ["17", "4"]
    assert image_ids(open_spec(write_source(tmp_path / "b.zarr", ids=["x"] + [""] * 7)), 0, 2, {}) == ["x", "b/1"]


def test_image_ids_of_another_length_are_refused(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.zarr")
    zarr.open_group(str(source), mode="r+").create_array("image_id", data=np.arange(7))
    with raises(DataError, r"'image_id' of .* has shape \(7,\), for 8 images"):
        open_spec(source)


def test_missing_id_array_with_a_configured_name_is_refused(tmp_path: Path) -> None:
    with raises(DataError, r"contains no array 'file_name', only 'labels', 'predictions'.* --arrays.image_id NAME"):
        open_spec(write_source(tmp_path / "a.zarr"), image_id="file_name")


# ------------------------------------------------------------------------------------------------ refusals


def test_url_without_a_group_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    for place in ("nothing", "empty", "file", "file/below"):
        with raises(DataError, rf"There is no Zarr group at .*{place}\. .*'predictions' and 'labels'"):
            open_spec(tmp_path / place)


def test_url_of_an_unknown_protocol_is_refused() -> None:
    with raises(UsageError, r"nosuch://a cannot be opened .*Protocol not known: nosuch"):
        open_spec("nosuch://a")


def test_url_of_an_array_is_refused(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.zarr")
    with raises(DataError, r"a\.zarr/labels is an array, .*Pass the URL of its group"):
        open_spec(source.labels)


def change_metadata(source: Source, array: str, **changes: Any) -> None:
    """Change top-level keys of the metadata of an array."""
    file = next(path for name in ("zarr.json", ".zarray") if (path := source.path / array / name).exists())
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize("array", ["predictions", "labels"])
def test_chunks_larger_than_any_memory_are_refused_with_their_size(tmp_path: Path, array: str) -> None:
    source = write_source(tmp_path / "a.zarr", zarr_format=2)
    change_metadata(source, array, chunks=[1 << 20] * (4 if array == "predictions" else 3))
    with raises(
        DataError, match=rf"{array} has chunks of shape .*1048576\) and dtype .*, .* TiB each, more than 64.0 GiB"
    ):
        open_spec(source)


def test_chunks_without_values_are_refused(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.zarr", zarr_format=2)
    change_metadata(source, "labels", chunks=[1, 0, 10])
    with raises(DataError, match=r"labels has chunks of shape \(1, 0, 10\)"):
        open_spec(source)


def test_shards_of_too_many_chunks_are_refused(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.zarr", chunks=(1, 4, 1, 1), shards=(2, 4, 8, 10))
    grid = {"name": "regular", "configuration": {"chunk_shape": [1 << 20, 4, 8, 10]}}
    change_metadata(source, "predictions", chunk_grid=grid)
    with raises(DataError, match="predictions has 83,886,080 chunks per shard, more than 4,194,304"):
        open_spec(source)


@pytest.mark.parametrize("filters", [[{"id": "json2"}], [{"id": "msgpack2"}], [{"id": "vlen-utf8"}]])
def test_codecs_whose_decoded_size_has_no_bound_are_refused(tmp_path: Path, filters: list[dict[str, Any]]) -> None:
    source = write_source(tmp_path / "a.zarr", zarr_format=2)
    change_metadata(source, "labels", filters=filters)
    with raises(DataError, match=r"labels (is encoded with .*, whose decoded size has no bound|cannot be parsed)"):
        open_spec(source)


@pytest.mark.parametrize(("images", "height"), [(10**12, 8), (8, 10**11)])
def test_shapes_larger_than_any_data_set_are_refused(tmp_path: Path, images: int, height: int) -> None:
    source = write_source(tmp_path / "a.zarr", zarr_format=2)
    change_metadata(source, "predictions", shape=[images, 4, height, 10])
    change_metadata(source, "labels", shape=[images, height, 10])
    with raises(DataError, match=rf"declares {images:,} images of {height:,} x 10, more than 4,294,967,296 images"):
        open_spec(source)


def test_storage_transformers_are_refused(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.zarr")
    change_metadata(source, "labels", storage_transformers=[{"name": "x"}])
    with raises(DataError, match=r"labels cannot be parsed \(ValueError: .*storage transformers are not supported"):
        open_spec(source)


def test_per_image_array_of_huge_chunks_is_refused(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.zarr", zarr_format=2, ids=list("abcdefgh"))
    change_metadata(source, "image_id", chunks=[1 << 27])
    with raises(DataError, match="'image_id' of .* has 134,217,728 values per chunk, for 8 images"):
        open_spec(source)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("zarr.json", "{"),
        ("zarr.json", '{"zarr_format": 3, "node_type": "array"}'),
        ("labels/zarr.json", "{"),
        ("labels/zarr.json", "{}"),
        ("labels/zarr.json", '{"zarr_format": 3, "node_type": "array"}'),
        ("zarr.json", nested_metadata("group", 100)),
        ("zarr.json", nested_metadata("group", 800)),
        ("zarr.json", nested_metadata("group", 100_000)),
        ("labels/zarr.json", nested_metadata("array", 100_000)),
    ],
)
def test_invalid_metadata_are_refused(tmp_path: Path, place: str, text: str) -> None:
    source = write_source(tmp_path / "a.zarr")
    (source.path / place).write_text(text)
    with raises(DataError, r"(The metadata of .* cannot be parsed|is an array)"):
        open_spec(source)


def test_other_directories_in_the_group_are_ignored(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.zarr")
    (source.path / "notes").mkdir()
    (source.path / "notes/today.txt").write_text("x")
    assert open_spec(source).images == 8
    with raises(DataError, r"no array 'labels_v2', only 'labels', 'predictions'"):
        open_spec(source, labels="labels_v2")


def test_missing_array_is_refused_with_the_existing_names(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.zarr", names=("prediction", "labels"))
    with raises(
        DataError, r"no array 'predictions', only 'labels', 'prediction'\. .*--arrays.predictions prediction\."
    ):
        open_spec(source)
    assert open_spec(source, predictions="prediction").classes == 4
    os.makedirs(tmp_path / "b.zarr")
    zarr.open_group(tmp_path / "b.zarr", mode="w").create_group("labels")
    with raises(DataError, r"no array 'predictions', and no other"):
        open_spec(tmp_path / "b.zarr")


@pytest.mark.parametrize("dtype", ["float32", "complex64", "float64"])
def test_labels_that_are_not_integers_are_refused(tmp_path: Path, dtype: str) -> None:
    data = make_data()
    source = write_source(tmp_path / "a.zarr", data._replace(labels=(data.labels % 2).astype(dtype)))
    with raises(DataError, rf"Labels 'labels' of .* are stored as {dtype}\. Write them as integers"):
        open_spec(source)


def test_labels_of_text_are_refused(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path, mode="w")
    group.create_array("predictions", data=make_data().predictions)
    group.create_array("labels", shape=(8, 8, 10), dtype=str)
    with raises(DataError, r"Labels 'labels' of .* are stored as text"):
        open_spec(tmp_path)


@pytest.mark.parametrize("dtype", ["int8", "uint32", "int64", "bool", "complex64"])
def test_predictions_of_an_unsupported_dtype_are_refused(tmp_path: Path, dtype: str) -> None:
    data = make_data()
    source = write_source(tmp_path / "a.zarr", data._replace(predictions=data.predictions.astype(dtype)))
    with raises(DataError, rf"are stored as {dtype}\. .* uint8, uint16, float16, float32, float64"):
        open_spec(source)


def test_labels_of_another_size_than_the_predictions_are_refused(tmp_path: Path) -> None:
    data = make_data()
    for i, labels in enumerate((data.labels[:7], data.labels[:, :, :9])):
        source = write_source(tmp_path / f"{i}.zarr", data._replace(labels=labels))
        size = " of ".join((str(len(labels)), " x ".join(map(str, labels.shape[1:]))))
        with raises(DataError, rf"are 8 images of 8 x 10, its labels {size}\. Pass arrays of equal size"):
            open_spec(source)


def test_predictions_with_another_number_of_axes_are_refused(tmp_path: Path) -> None:
    data = make_data()
    group = zarr.open_group(tmp_path, mode="w")
    group.create_array("predictions", data=data.predictions[:, :, None].repeat(2, axis=2))
    group.create_array("labels", data=data.labels)
    message = (
        r"shape \(8, 4, 2, 8, 10\)\. They need the 4 axes image, class, y, x, or image, y, x with .*--arrays.predic"
    )
    with raises(DataError, message):
        open_spec(tmp_path)


@pytest.mark.parametrize("axes", [("image", "y", "x"), ("image", "klass", "y", "x"), ("image", "image", "y", "x")])
def test_axes_override_that_is_incomplete_is_refused(tmp_path: Path, axes: tuple[str, ...]) -> None:
    with raises(DataError, rf"and axes {', '.join(axes)}\. They need the 4 axes image, class, y, x"):
        open_spec(write_source(tmp_path / "a.zarr"), predictions_axes=axes)


@pytest.mark.parametrize("shape", [(0, 4, 3, 3), (2, 0, 3, 3), (2, 4, 0, 3)])
def test_source_without_images_pixels_or_two_classes_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    group = zarr.open_group(tmp_path, mode="w")
    group.create_array("predictions", shape=shape, dtype="float32", chunks=(1, 1, 1, 1))
    group.create_array("labels", shape=(shape[0], *shape[2:]), dtype="uint8", chunks=(1, 1, 1))
    with raises(DataError, r"Pass at least one image, one pixel and two classes"):
        open_spec(tmp_path)


@pytest.mark.parametrize(
    ("attributes", "overrides", "message"),
    [
        ({"class_names": NAMES[:3]}, {}, "has predictions of 4 classes and 3 class names: road, sky, tree"),
        ({}, {"classes": ("a", "b")}, "has predictions of 4 classes and 2 class names: a, b"),
        ({"class_names": "abcd"}, {}, 'class_names of .* is "abcd", but must be a list'),
        ({"class_names": dict(enumerate(NAMES))}, {}, "class_names of .* must be a list"),
        ({"class_names": 4}, {}, "class_names of .* is 4, but must be a list"),
        ({"kind": "probs"}, {}, "are of unknown kind 'probs'"),
        ({"kind": "logits"}, {}, "are uint8 of kind 'logits', but logits must be floats"),
        ({}, {"kind": "logits"}, "are uint8 of kind 'logits'"),
        ({"scale": 0}, {}, r"scale of .* is 0, but must be in \(0, 1\]"),
        ({"scale": 1.5}, {}, "scale of .* is 1.5"),
        ({"scale": "1/255"}, {}, 'scale of .* is "1/255"'),
        ({"ignore": "255"}, {}, 'ignore of .* is "255", but must be integers'),
        ({"ignore": [254.5]}, {}, r"ignore of .* is \[254.5\]"),
        ({"ignore": [True]}, {}, r"ignore of .* is \[true\]"),
        ({"empty_label_chunks": "fil"}, {}, 'empty_label_chunks of .* is "fil".* missing or --'),
    ],
)
def test_invalid_attribute_or_override_is_refused(
    tmp_path: Path, attributes: dict[str, Any], overrides: dict[str, Any], message: str
) -> None:
    source = write_source(tmp_path / "a.zarr", make_data(dtype="uint8"), attributes=attributes)
    with raises(DataError, message):
        open_spec(source, **overrides)


def test_more_classes_than_the_encoding_holds_are_refused(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path, mode="w")
    group.create_array("predictions", shape=(1, 65534, 1, 1), dtype="float32", chunks=(1, 65534, 1, 1))
    group.create_array("labels", shape=(1, 1, 1), dtype="uint16", chunks=(1, 1, 1))
    with raises(DataError, r"have 65534 classes, more than 65,533"):
        open_spec(tmp_path)
