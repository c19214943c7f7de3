"""Meaning of stored label values: ignore, remap, offset, packing, and masks of 0 and 255."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from masksift.core.errors import DataError, UsageError
from masksift.core.specs import BINARY_MASK, SourceSpec
from masksift.storage.sources import label_values
from masksift.storage.sources.dataset import open_data_set
from masksift.storage.sources.overrides import Overrides
from support.datasets import Array
from support.errors import raises
from support.sources import Source, erase_chunks, make_data, write_source


def open_specs(*sources: object, **overrides: Any) -> tuple[SourceSpec, ...]:
    return open_data_set([str(source) for source in sources], Overrides(**overrides), {})


def write_labels(path: Path, labels: Array, classes: int = 2, **attributes: Any) -> Source:
    """Write labels (N, H, W) and uniform predictions, an image per chunk."""
    n, height, width = labels.shape
    data = make_data()._replace(
        predictions=np.full((n, classes, height, width), 1 / classes, np.float32), labels=labels, ignore=()
    )
    return write_source(path, data, chunks=(1, classes, height, width), label_chunks=(1, height, width), **attributes)


def write_masks(path: Path, *values: int, images: int = 4, dtype: str = "uint8", **attributes: Any) -> Source:
    """Write labels of two classes that hold these values in turn."""
    return write_labels(path, np.resize(np.array(values), (images, 6, 8)).astype(dtype), attributes=attributes)


def set_array_attributes(source: Source, **attributes: Any) -> Source:
    zarr.open_array(source.labels, mode="r+").attrs.update(attributes)
    return source


# --------------------------------------------------------------------------------------------------- offset


def test_offset_ignores_smaller_values_and_leaves_remap_empty(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.zarr")
    for overrides, ignore, offset in (
        ({}, (255,), 0),
        ({"label_offset": 1}, (0, 255), 1),
        ({"label_offset": 3, "ignore": (7,)}, (0, 1, 2, 7), 3),
    ):
        (spec,) = open_specs(source, **overrides)
        assert (spec.ignore, spec.remap, spec.label_offset) == (ignore, (), offset)
        assert SourceSpec.from_json(spec.as_json()) == spec


def test_offset_attribute_holds_unless_a_setting_replaces_it(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.zarr", attributes={"label_offset": 1, "ignore": [255]})
    assert open_specs(source)[0].label_offset == 1
    assert open_specs(source, label_offset=0)[0].ignore == (255,)
    (spec,) = open_specs(source, remap=((7, 0), (8, 1)))
    assert (spec.label_offset, spec.ignore) == (0, (255,)), "a remap defines the class of every value"
    with raises(UsageError, r"label_offset is 1, but remap is set, too"):
        open_specs(source, remap=((7, 0),), label_offset=1)


@pytest.mark.parametrize("value", [-1, 1.5, "one", True, [1]])
def test_invalid_offset_attribute_is_refused(tmp_path: Path, value: Any) -> None:
    source = write_source(tmp_path / "a.zarr", attributes={"label_offset": value})
    with raises(DataError, r"label_offset of .* must be an integer from 0 to 65,535\. .*--label_offset 1"):
        open_specs(source)


@pytest.mark.parametrize("settings", [{"label_offset": 1}, {"remap": ((1, 0),)}])
def test_evidence_is_refused_with_other_label_values(tmp_path: Path, settings: dict[str, Any]) -> None:
    from masksift import EvidenceWriter

    with EvidenceWriter(str(tmp_path / "e.zarr"), images=1, height=4, width=4, classes=2) as writer:
        writer.write(np.full((1, 2, 4, 4), 0.5, np.float32), np.zeros((1, 4, 4), np.uint8))
    with raises(DataError, rf"contains evidence instead of predictions, but {next(iter(settings))} is set"):
        open_specs(tmp_path / "e.zarr", **settings)


# -------------------------------------------------------------------------------------------------- packing


def test_packing_of_labels_gives_ignore_values_offset_and_pairs(tmp_path: Path) -> None:
    labels = np.zeros((2, 4, 6), np.uint8)
    for number, (attributes, settings, wanted) in enumerate(
        (
            ({"_FillValue": 9}, {}, ((9,), (), 0)),
            ({"missing_value": 9, "scale_factor": 1.0, "add_offset": 0.0}, {}, ((9,), (), 0)),
            ({"_FillValue": 9}, {"ignore": (7,)}, ((7,), (), 0)),
            ({"add_offset": -1, "_FillValue": 0}, {}, ((0,), (), 1)),
            ({"add_offset": 2.0}, {"label_offset": 3}, ((0, 1, 2), (), 1)),
            ({"scale_factor": 1 / 50}, {}, ((), ((0, 0), (50, 1), (100, 2)), 0)),
            ({"scale_factor": 0.5, "add_offset": -1, "_FillValue": 4}, {}, ((4,), ((2, 0), (6, 2)), 0)),
            ({"scale_factor": 2}, {}, ((), ((0, 0), (1, 2)), 0)),
            ({"scale_factor": 2}, {"remap": ((5, 0),)}, ((), ((5, 0),), 0)),
        )
    ):
        source = set_array_attributes(write_labels(tmp_path / f"{number}.zarr", labels, 3, attributes={}), **attributes)
        (spec,) = open_specs(source, **settings)
        assert (spec.ignore, spec.remap, spec.label_offset) == wanted, (attributes, settings)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (
            {"scale_factor": 0.3, "add_offset": 0.05},
            r"packed with scale_factor 0.3 and add_offset 0.05\. This does not",
        ),
        ({"add_offset": 0.5}, r"packed with add_offset 0.5\. This does not give class numbers\. .*--remap 0:0,200:1"),
        ({"scale_factor": 0.5, "_FillValue": 1}, r"Some of its class numbers are stored ignore values"),
        ({"scale_factor": "x"}, r"The attribute scale_factor of 'labels' of .* is \"x\""),
    ],
)
def test_packing_that_gives_no_classes_is_refused(tmp_path: Path, attributes: dict[str, Any], message: str) -> None:
    source = write_labels(tmp_path / "a.zarr", np.zeros((2, 4, 6), np.uint8), 3, attributes={})
    with raises(DataError, message):
        open_specs(set_array_attributes(source, **attributes))


def test_unsigned_attribute_reads_signed_labels_as_unsigned(tmp_path: Path) -> None:
    labels = np.array([0, 1, 200, 255], np.uint8).view(np.int8)
    source = write_labels(tmp_path / "a.zarr", np.resize(labels, (2, 4, 6)), 3, attributes={})
    (spec,) = open_specs(set_array_attributes(source, _Unsigned="true", _FillValue=-1))
    assert (spec.labels.dtype, spec.ignore) == ("uint8", (255,))


# ------------------------------------------------------------------------------------ masks of 0 and 255


def test_labels_of_0_and_255_are_read_as_two_classes(tmp_path: Path) -> None:
    for dtype in ("uint8", "int16", "uint16", "int32", "int64"):
        (spec,) = open_specs(write_masks(tmp_path / f"{dtype}.zarr", 0, 0, 255, dtype=dtype))
        assert (spec.remap, spec.ignore) == (BINARY_MASK, ()), dtype


@pytest.mark.parametrize(
    ("values", "settings"),
    [
        ((0, 1, 255), {}),  # 255 may mean no label
        ((0, 254, 255), {}),
        ((0, 0), {}),
        ((255, 255), {}),
        ((0, 255), {"ignore": (255,)}),
        ((0, 255), {"remap": ((0, 0), (255, 0))}),
        ((0, 255), {"label_offset": 0}),
        ((0, 255), {"label_offset": 1}),
    ],
)
def test_other_labels_of_two_classes_keep_their_values(
    tmp_path: Path, values: tuple[int, ...], settings: dict[str, Any]
) -> None:
    (spec,) = open_specs(write_masks(tmp_path / "a.zarr", *values), **settings)
    assert spec.remap == settings.get("remap", ())


def test_ignore_attribute_or_a_third_class_keeps_255(tmp_path: Path) -> None:
    assert open_specs(write_masks(tmp_path / "a.zarr", 0, 255, ignore=[255]))[0].remap == ()
    labels = np.resize(np.array([0, 255], np.uint8), (4, 6, 8))
    assert open_specs(write_labels(tmp_path / "b.zarr", labels, classes=3, attributes={}))[0].remap == ()


def test_sources_of_one_data_set_are_decided_together(tmp_path: Path) -> None:
    masks, empty = write_masks(tmp_path / "a.zarr", 0, 255), write_masks(tmp_path / "b.zarr", 0)
    numbers = write_masks(tmp_path / "c.zarr", 0, 1)
    assert [spec.remap for spec in open_specs(masks, empty)] == [BINARY_MASK] * 2
    assert [spec.remap for spec in open_specs(masks, numbers)] == [(), ()]


def test_padding_and_lost_chunks_do_not_count(tmp_path: Path) -> None:
    labels = np.zeros((4, 6, 8), np.uint8)
    labels[:, :2, :2], labels[:, 4:], labels[3] = 255, 77, 9
    source = write_labels(tmp_path / "a.zarr", labels, attributes={})
    group = zarr.open_group(source.path, mode="r+")
    for name, side in (("height", 4), ("width", 8)):
        group.create_array(name, shape=(4,), dtype="int32", chunks=(4,))[:] = side
    assert open_specs(source)[0].remap == ()
    erase_chunks(source.labels, slice(3, 4))
    assert open_specs(source)[0].remap == BINARY_MASK


def test_sample_is_bounded_and_spread_over_all_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.resize(np.array([0, 255], np.uint8), (40, 6, 8))
    labels[[1, 39]] = 7
    source = write_labels(tmp_path / "a.zarr", labels, attributes={})
    read: list[tuple[int, ...]] = []
    values_of_chunk = label_values._chunk_values

    def record(spec: SourceSpec, index: tuple[int, ...], options: Any) -> set[int]:
        read.append(index)
        return values_of_chunk(spec, index, options)

    monkeypatch.setattr(label_values, "_chunk_values", record)
    for chunks, limit, wanted in ((4, 1 << 20, 4), (64, 48 * 5, 5), (64, 1, 1), (64, 1 << 20, 40)):
        monkeypatch.setattr(label_values, "SAMPLE_CHUNKS", chunks)
        monkeypatch.setattr(label_values, "SAMPLE_BYTES", limit)
        read.clear()
        (spec,) = open_specs(source)
        assert sorted(read) == [(i * 40 // wanted, 0, 0) for i in range(wanted)]
        assert spec.remap == (() if wanted == 40 else BINARY_MASK)


# ---------------------------------------------------------------------------------------- axis of length 1


@pytest.mark.parametrize(
    ("shape", "names", "axes"),
    [
        ((5, 1, 6, 8), None, (0, 2, 3)),
        ((5, 6, 8, 1), None, (0, 1, 2)),
        ((1, 5, 6, 8), None, (1, 2, 3)),
        ((1, 1, 6, 8), None, (0, 2, 3)),
        ((6, 1, 8, 5), ("y", "band", "x", "image"), (3, 0, 2)),
        ((5, 1, 6, 8), ("n", "c", "h", "w"), (0, 2, 3)),
    ],
)
def test_axis_of_length_1_in_labels_is_left_out(
    tmp_path: Path, shape: tuple[int, ...], names: tuple[str, ...] | None, axes: tuple[int, ...]
) -> None:
    images = shape[axes[0]]
    source = write_labels(tmp_path / "a.zarr", np.zeros((images, 6, 8), np.uint8), attributes={})
    group = zarr.open_group(source.path, mode="r+")
    group.create_array("four", shape=shape, chunks=shape, dtype="uint8", dimension_names=names)
    (spec,) = open_specs(source, labels="four")
    assert (spec.labels.axes, spec.labels.shape) == (axes, (images, 6, 8))


def test_labels_with_a_longer_fourth_axis_are_refused(tmp_path: Path) -> None:
    source = write_labels(tmp_path / "a.zarr", np.zeros((5, 6, 8), np.uint8), attributes={})
    zarr.open_group(source.path, mode="r+").create_array("four", shape=(5, 2, 6, 8), dtype="uint8")
    with raises(DataError, r"have shape \(5, 2, 6, 8\)\. They need the 3 axes image, y, x"):
        open_specs(source, labels="four")
