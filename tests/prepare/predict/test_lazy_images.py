"""Pictures and labels read when they are asked for: in any order, with nothing lost in silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from masksift.core.errors import DataError
from masksift.prepare.predict.lazy_images import LazyImages, LazyLabels, class_plane_of
from masksift.storage.credentials import StorageOptions
from masksift.storage.sources.labeled_source import LabeledSource, open_labeled_source
from masksift.storage.sources.overrides import Overrides
from prepare.predict.helpers import drawn_pictures, write_pictures
from support.errors import raises
from support.sources import erase_chunks


@pytest.fixture
def source(tmp_path: Path) -> LabeledSource:
    write_pictures(tmp_path / "a.zarr", *drawn_pictures(images=5))
    return opened(tmp_path / "a.zarr")


def opened(path: Path) -> LabeledSource:
    return open_labeled_source(str(path), Overrides(), StorageOptions(), pictures="images", groups=None)


def test_they_are_those_at_the_places_in_any_order(source: LabeledSource) -> None:
    pictures, labels = drawn_pictures(images=5)
    places = [4, 0, 3, 1, 0]
    images = LazyImages(source.pictures, StorageOptions(), places)
    planes = LazyLabels(
        source.spec, LazyImages(source.spec.labels, StorageOptions(), places), places, np.full((5, 2), 20)
    )
    assert len(images) == len(planes) == 5
    np.testing.assert_array_equal(np.stack(list(images)), pictures[places])
    np.testing.assert_array_equal(np.stack(planes[1:4]), labels[places[1:4]])
    np.testing.assert_array_equal(images[-1], pictures[0])
    np.testing.assert_array_equal(images[0:2][1], pictures[0])


def test_what_a_trainer_does_to_an_image_is_its_own_affair(source: LabeledSource) -> None:
    images = LazyImages(source.pictures, StorageOptions(), [0, 1])
    before = images[0].copy()
    images[0][:] = 0
    np.testing.assert_array_equal(images[0], before)


def test_a_chunk_is_read_once_while_its_images_are_asked_for_one_after_the_other(source: LabeledSource) -> None:
    images = LazyImages(source.pictures, StorageOptions(), range(4))
    images[0]
    once = images.bytes
    images[1]
    assert images.bytes == once > 0
    images[2]
    assert images.bytes > once


def test_a_lost_chunk_is_named(source: LabeledSource, tmp_path: Path) -> None:
    erase_chunks(tmp_path / "a.zarr/images", slice(2, 4))
    images = LazyImages(source.pictures, StorageOptions(), [0, 3])
    images[0]
    with raises(DataError, r"images 2 to 3 are lost: chunk images/c/1/0/0/0 .*Write that chunk again|images 2 to 3"):
        images[1]


def test_a_bad_label_takes_the_whole_image_out_of_training(source: LabeledSource) -> None:
    labels = drawn_pictures(images=5)[1][0].copy()
    size = np.array(labels.shape)
    plane, good = class_plane_of(source.spec, labels, size)
    assert good
    np.testing.assert_array_equal(plane, labels)
    labels[5, 5] = 77
    plane, good = class_plane_of(source.spec, labels, size)
    assert not good
    assert (plane == 255).all()


def test_what_lies_beyond_the_own_size_is_ignored_whatever_it_holds(source: LabeledSource) -> None:
    labels = np.full((16, 20), 77, np.uint8)
    labels[:7, :9] = 2
    plane, good = class_plane_of(source.spec, labels, np.array([7, 9]))
    assert good
    assert (plane[:7, :9] == 2).all()
    assert (plane == 255).sum() == 16 * 20 - 7 * 9
