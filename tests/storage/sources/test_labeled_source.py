"""Sources of images and labels without predictions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from masksift.core.errors import DataError
from masksift.storage.credentials import StorageOptions
from masksift.storage.sources.labeled_source import LabeledSource, open_labeled_source
from masksift.storage.sources.overrides import Overrides
from prepare.predict.helpers import NAMES, make_images, write_images
from support.errors import raises

PLAIN = Overrides()


def open_images(path: Path, overrides: Overrides = PLAIN, groups: str | None = None) -> LabeledSource:
    return open_labeled_source(str(path), overrides, StorageOptions(), pictures="images", groups=groups)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_images(tmp_path / "street.zarr", *make_images(), video=np.arange(9) // 3)


def test_labeled_source_has_the_specification_of_a_source(path: Path) -> None:
    spec = open_images(path).spec
    assert (spec.name, spec.images, spec.classes, spec.height, spec.width) == ("street", 9, 3, 16, 20)
    assert (spec.class_names, spec.ignore, spec.size_arrays) == (NAMES, (255,), (None, None))
    assert spec.labels.url == str(path / "labels")
    assert open_images(path).pictures.chunks == (2, 16, 20, 3)


def test_overrides_take_precedence_over_attributes(path: Path) -> None:
    overrides = Overrides(classes=("a", "b", "c", "d"), ignore=(7, 255))
    spec = open_images(path, overrides).spec
    assert (spec.class_names, spec.ignore) == (("a", "b", "c", "d"), (7, 255))


@pytest.mark.parametrize("values", [np.arange(9) // 3, np.array(list("aaabbbccc"), dtype=np.dtypes.StringDType())])
def test_groups_are_the_values_of_the_group_array_as_strings(path: Path, values: Any) -> None:
    group = zarr.open_group(path, mode="r+")
    array = group.create_array("site", shape=(9,), dtype=values.dtype, chunks=(4,))
    array[:] = values
    assert open_images(path, groups="site").groups == tuple(map(str, values.tolist()))
    assert open_images(path).groups is None


def test_content_hashes_change_with_images_and_labels(path: Path) -> None:
    before = open_images(path).spec.content_hashes
    assert open_images(path).spec.content_hashes == before
    zarr.open_array(path / "images", mode="r+")[0] = 7
    after = open_images(path).spec.content_hashes
    assert after != before
    zarr.open_array(path / "labels", mode="r+")[0] = 1
    assert open_images(path).spec.content_hashes not in (before, after)


def test_absent_label_chunk_is_missing_unless_its_fill_value_is_allowed(path: Path) -> None:
    assert open_images(path).spec.absent_labels_are_missing
    assert not open_images(path, replace(PLAIN, ignore=(0,))).spec.absent_labels_are_missing
    zarr.open_group(path, mode="r+").attrs["empty_label_chunks"] = "fill"
    assert not open_images(path).spec.absent_labels_are_missing


@pytest.mark.parametrize("names", [None, "sky", ["sky"], 3])
def test_labeled_source_without_class_names_is_refused(tmp_path: Path, names: Any) -> None:
    path = write_images(tmp_path / "a.zarr", *make_images(), attributes={"class_names": names})
    with raises(DataError, r"The class_names of .*Pass two or more: --classes a,b,c"):
        open_images(path)


def test_images_of_another_shape_or_dtype_are_refused(tmp_path: Path) -> None:
    images, labels = make_images()
    for number, invalid in enumerate((images[:, :8], images[..., :1], images.astype(np.float32))):
        path = write_images(tmp_path / f"{number}.zarr", invalid, labels)
        with raises(DataError, r"Images 'images' of .* Write the images as \(9, 16, 20, 3\) of uint8"):
            open_images(path)


def test_missing_labeled_source_is_refused(tmp_path: Path) -> None:
    with raises(DataError, "There is no Zarr group at .*nowhere"):
        open_images(tmp_path / "nowhere")
