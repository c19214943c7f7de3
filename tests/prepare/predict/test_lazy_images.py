"""Images and labels that are read on access."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from masksift.core.errors import DataError
from masksift.prepare.predict.lazy_images import LazyImages, LazyLabels, to_class_plane
from masksift.storage.credentials import StorageOptions
from masksift.storage.sources.labeled_source import LabeledSource, open_labeled_source
from masksift.storage.sources.overrides import Overrides
from prepare.predict.helpers import make_images, write_images
from support.errors import raises
from support.sources import erase_chunks

OPTIONS = StorageOptions()


@pytest.fixture
def source(tmp_path: Path) -> LabeledSource:
    path = write_images(tmp_path / "a.zarr", *make_images(images=5))
    return open_labeled_source(str(path), Overrides(), OPTIONS, pictures="images", groups=None)


def test_images_and_labels_are_read_in_any_order(source: LabeledSource) -> None:
    images, labels = make_images(images=5)
    indices = [4, 0, 3, 1, 0]
    lazy_images = LazyImages(source.pictures, OPTIONS, indices)
    stored_labels = LazyImages(source.spec.labels, OPTIONS, indices)
    planes = LazyLabels(source.spec, stored_labels, indices, np.full((5, 2), 20))
    assert len(lazy_images) == len(planes) == 5
    np.testing.assert_array_equal(np.stack(list(lazy_images)), images[indices])
    np.testing.assert_array_equal(np.stack(planes[1:4]), labels[indices[1:4]])
    np.testing.assert_array_equal(lazy_images[-1], images[0])
    np.testing.assert_array_equal(lazy_images[0:2][1], images[0])


def test_images_are_copies(source: LabeledSource) -> None:
    images = LazyImages(source.pictures, OPTIONS, [0, 1])
    before = images[0].copy()
    images[0][:] = 0
    np.testing.assert_array_equal(images[0], before)


def test_consecutive_images_of_a_chunk_read_it_once(source: LabeledSource) -> None:
    images = LazyImages(source.pictures, OPTIONS, range(4))
    images[0]
    first_chunk = images.bytes_read
    images[1]
    assert images.bytes_read == first_chunk > 0
    images[2]
    assert images.bytes_read > first_chunk


def test_lost_chunk_is_reported(source: LabeledSource, tmp_path: Path) -> None:
    erase_chunks(tmp_path / "a.zarr/images", slice(2, 4))
    images = LazyImages(source.pictures, OPTIONS, [0, 3])
    images[0]
    with raises(DataError, r"Images 2 to 3 cannot be read: chunk c/1/0/0/0 of .*Write that chunk again"):
        images[1]


def test_invalid_label_excludes_the_whole_image(source: LabeledSource) -> None:
    labels = make_images(images=5)[1][0].copy()
    size = np.array(labels.shape)
    plane, valid = to_class_plane(source.spec, labels, size)
    assert valid
    np.testing.assert_array_equal(plane, labels)
    labels[5, 5] = 77
    plane, valid = to_class_plane(source.spec, labels, size)
    assert not valid
    assert (plane == 255).all()


def test_padding_is_ignored_with_any_content(source: LabeledSource) -> None:
    labels = np.full((16, 20), 77, np.uint8)
    labels[:7, :9] = 2
    plane, valid = to_class_plane(source.spec, labels, np.array([7, 9]))
    assert valid
    assert (plane[:7, :9] == 2).all()
    assert (plane == 255).sum() == 16 * 20 - 7 * 9
