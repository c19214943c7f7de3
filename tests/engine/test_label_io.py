"""Blocks of labels, and label values of classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.core.specs import SourceSpec
from masksift.engine import label_io
from masksift.engine.label_io import NO_VALUE, label_blocks, label_values
from masksift.scoring.kernels.condense import class_plane
from masksift.storage.sources.open import open_source
from masksift.storage.sources.overrides import Overrides
from support.condensed import a_few
from support.sources import write_source


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> SourceSpec:
    """Source of eight images of 8 x 10 pixels with 4 classes; label 255 is ignored."""
    return open_source(str(write_source(tmp_path_factory.mktemp("labels") / "a.zarr")), Overrides(), {})


@a_few
@given(images=st.integers(1, 60), unit=st.integers(1, 9), blocks=st.integers(1, 20), more=st.integers(0, 100))
def test_label_blocks_cover_all_images_in_whole_units(
    spec: SourceSpec, images: int, unit: int, blocks: int, more: int
) -> None:
    source = replace(spec, labels=replace(spec.labels, shape=(images, 8, 10)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_io, "TARGET_BLOCKS", blocks)
        found = list(label_blocks(source, unit, images + more))
    assert [stop for _, stop in found[:-1]] == [start for start, _ in found[1:]]
    assert (found[0][0], found[-1][1]) == (0, images)
    assert all(start % unit == 0 for start, _ in found)


def test_label_values_are_the_smallest_values_of_the_classes(spec: SourceSpec) -> None:
    assert label_values(spec)[[0, 3, 255]].tolist() == [0, 3, 255]
    mapped = replace(spec, remap=((9, 0), (7, 0), (8, 2), (300, 1)))
    assert label_values(mapped)[:4].tolist() == [7, NO_VALUE, 8, NO_VALUE], "300 is not a uint8, and no label means 3"
    assert label_values(replace(spec, ignore=(1,)))[:4].tolist() == [0, NO_VALUE, 2, 3]


@a_few
@given(
    remap=st.dictionaries(st.integers(-3, 300), st.integers(0, 3), max_size=8),
    ignore=st.sets(st.integers(-2, 260), max_size=3),
)
def test_label_values_map_back_to_their_classes(spec: SourceSpec, remap: dict[int, int], ignore: set[int]) -> None:
    source = replace(spec, remap=tuple(sorted(remap.items())), ignore=tuple(sorted(ignore)))
    for k, value in enumerate(label_values(source).tolist()):
        if value != NO_VALUE:
            plane, bad = class_plane(np.array([value], np.uint8), 4, source.ignore, source.remap)
            assert bad is None
            assert plane[0] == k
