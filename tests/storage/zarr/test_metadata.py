"""Metadata of a group and its arrays, read at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar

import pytest
import zarr
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore

from masksift.storage.zarr.metadata import MetadataStore, open_group, open_member
from support.sources import make_data, write_source

NAMES = ("predictions", "labels", "nothing")


class CountingStore(LocalStore):
    """Local store that records the keys it reads."""

    keys: ClassVar[list[str]] = []

    async def get(self, key: str, prototype: BufferPrototype | None = None, byte_range: object = None) -> Buffer | None:
        self.keys.append(key)
        return await super().get(key, prototype, byte_range)  # type: ignore[arg-type]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_group_and_named_arrays_are_read_once(tmp_path: Path, zarr_format: int) -> None:
    source = write_source(tmp_path / "a.zarr", make_data(images=2), zarr_format=zarr_format)
    inner = CountingStore(source.path)
    inner.keys.clear()
    store = MetadataStore(inner, NAMES)
    asyncio.run(store.prefetch())
    group = zarr.open_group(store, mode="r", use_consolidated=False)
    expected = zarr.open_group(source.path, mode="r", use_consolidated=False)
    for name in NAMES[:2]:
        array = open_member(group, name)
        assert isinstance(array, zarr.Array)
        assert array.metadata.to_dict() == expected[name].metadata.to_dict()
        assert (array.path, array.name) == (expected[name].path, expected[name].name)
    assert open_member(group, "nothing") is None
    if zarr_format == 3:
        assert sorted(inner.keys) == sorted(["zarr.json", *(f"{name}/zarr.json" for name in NAMES)])
    assert max(map(inner.keys.count, inner.keys)) == 1


def test_name_outside_of_the_group_is_not_read(tmp_path: Path) -> None:
    write_source(tmp_path / "a.zarr", make_data(images=2))
    write_source(tmp_path / "b.zarr", make_data(images=2))
    group = open_group(str(tmp_path / "a.zarr"), {}, names=["../b.zarr/labels"])
    with pytest.raises(ValueError, match=r"\.\."):
        open_member(group, "../b.zarr/labels")


def test_array_that_was_not_named_is_opened_too(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.zarr", make_data(images=2))
    group = open_group(str(source.path), {})
    assert isinstance(open_member(group, "labels"), zarr.Array)
    assert open_member(group, "nothing") is None
