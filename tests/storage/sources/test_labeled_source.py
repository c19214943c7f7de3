"""A source of pictures and labels: what is found of it, and what is refused (more: tests/predict/test_refusals)."""

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


def opened(path: Path, overrides: Overrides = PLAIN, groups: str | None = None) -> LabeledSource:
    return open_labeled_source(str(path), overrides, StorageOptions(), pictures="images", groups=groups)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_images(tmp_path / "street.zarr", *make_images(), video=np.arange(9) // 3)


def test_it_has_the_facts_of_a_source_with_predictions(path: Path) -> None:
    spec = opened(path).spec
    assert (spec.name, spec.images, spec.classes, spec.height, spec.width) == ("street", 9, 3, 16, 20)
    assert (spec.class_names, spec.ignore, spec.size_arrays) == (NAMES, (255,), (None, None))
    assert spec.labels.url == str(path / "labels")
    assert opened(path).pictures.chunks == (2, 16, 20, 3)


def test_what_the_configuration_says_goes_before_the_attributes(path: Path) -> None:
    told = Overrides(classes=("a", "b", "c", "d"), ignore=(7, 255))
    spec = opened(path, told).spec
    assert (spec.class_names, spec.ignore) == (("a", "b", "c", "d"), (7, 255))


@pytest.mark.parametrize("values", [np.arange(9) // 3, np.array(list("aaabbbccc"), dtype=np.dtypes.StringDType())])
def test_groups_are_the_values_of_their_array_as_text(path: Path, values: Any) -> None:
    group = zarr.open_group(path, mode="r+")
    made = group.create_array("home", shape=(9,), dtype=values.dtype, chunks=(4,))
    made[:] = values
    assert opened(path, groups="home").groups == tuple(map(str, values.tolist()))
    assert opened(path).groups is None


def test_other_pictures_or_labels_are_another_source(path: Path) -> None:
    before = opened(path).spec.content_hashes
    assert opened(path).spec.content_hashes == before
    zarr.open_array(path / "images", mode="r+")[0] = 7
    after = opened(path).spec.content_hashes
    assert after != before
    zarr.open_array(path / "labels", mode="r+")[0] = 1
    assert opened(path).spec.content_hashes not in (before, after)


def test_an_absent_chunk_of_labels_is_lost_unless_it_is_said_to_be_ignored(path: Path) -> None:
    assert opened(path).spec.absent_labels_are_missing
    assert not opened(path, replace(PLAIN, ignore=(0,))).spec.absent_labels_are_missing
    zarr.open_group(path, mode="r+").attrs["empty_label_chunks"] = "fill"
    assert not opened(path).spec.absent_labels_are_missing


@pytest.mark.parametrize("names", [None, "sky", ["sky"], 3])
def test_without_names_of_classes_it_is_refused(tmp_path: Path, names: Any) -> None:
    path = write_images(tmp_path / "a.zarr", *make_images(), attributes={"class_names": names})
    with raises(DataError, r"The class_names of .*Pass two or more: --classes a,b,c"):
        opened(path)


def test_pictures_of_another_size_or_precision_are_refused(tmp_path: Path) -> None:
    pictures, labels = make_images()
    for number, spoilt in enumerate((pictures[:, :8], pictures[..., :1], pictures.astype(np.float32))):
        path = write_images(tmp_path / f"{number}.zarr", spoilt, labels)
        with raises(DataError, r"Images 'images' of .* Write the images as \(9, 16, 20, 3\) of uint8"):
            opened(path)


def test_where_nothing_is_nothing_is_read(tmp_path: Path) -> None:
    with raises(DataError, "There is no Zarr group at .*nowhere"):
        opened(tmp_path / "nowhere")
