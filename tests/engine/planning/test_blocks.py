"""Lazy sequences of blocks and numbers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masksift.core.specs import Block
from masksift.engine.planning.blocks import BlockSequence, RangeSequence

SIZES = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 8)), min_size=1, max_size=6)


class WatchedTuple(tuple[range, ...]):
    """Tuple that counts accesses to its items."""

    accesses = 0

    def __getitem__(self, index: object) -> range:  # type: ignore[override]
        type(self).accesses += 1
        return super().__getitem__(index)  # type: ignore[index]

    def __iter__(self) -> Iterator[range]:
        type(self).accesses += len(self)
        return super().__iter__()


@given(SIZES)
def test_blocks_of_several_sources_are_those_made_source_by_source(sizes: list[tuple[int, int]]) -> None:
    blocks = BlockSequence(tuple(sizes))
    expected: list[Block] = []
    for source, (images, size) in enumerate(sizes):
        first = len(expected)
        for start in range(0, images, size):
            expected.append(Block(len(expected), source, start, min(images, start + size)))
        assert blocks.source_blocks(source) == blocks.ranges[source] == range(first, len(expected))
    assert list(blocks) == blocks[:] == expected
    assert blocks[-1] == expected[-1]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=6))
def test_ranges_in_sequence_equal_their_concatenation(parts: list[tuple[int, int]]) -> None:
    numbers = RangeSequence(tuple(range(start, start + length) for start, length in parts))
    expected = [number for start, length in parts for number in range(start, start + length)]
    assert list(numbers) == numbers[:] == expected
    assert [numbers[position - len(expected)] for position in range(len(expected))] == expected
    for outside in (len(expected), -len(expected) - 1):
        with pytest.raises(IndexError, match="numbers"):
            numbers[outside]


def test_number_access_in_many_ranges_touches_one_range() -> None:
    numbers = RangeSequence(WatchedTuple(range(n, n + 2) for n in range(0, 20_000, 2)))
    WatchedTuple.accesses = 0
    assert [numbers[position] for position in (0, 9_999, 19_999)] == [0, 9_999, 19_999]
    assert WatchedTuple.accesses == 3
