"""Blocks and whole numbers in ranges, each made when it is asked for: a hundred million images are a million blocks."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import overload

from masksift.core.specs import Block


@dataclass(frozen=True)
class RangeSequence(Sequence[int]):
    """Whole numbers in ranges, one range after the other: a million of them in no memory."""

    ranges: tuple[range, ...]

    def __len__(self) -> int:
        return sum(map(len, self.ranges))

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> list[int]: ...
    def __getitem__(self, place: int | slice) -> int | list[int]:
        if isinstance(place, slice):
            return [self[n] for n in range(*place.indices(len(self)))]
        for part in self.ranges:
            if place < len(part):
                return part[place]
            place -= len(part)
        raise IndexError(f"there are {len(self)} numbers")


@dataclass(frozen=True)
class BlockSequence(Sequence[Block]):
    """The blocks of a run, in order, each made when it is asked for: a hundred million images are a million blocks.
    ``sizes``: (images, images of a block) of each source."""

    sizes: tuple[tuple[int, int], ...]
    _ends: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ends = accumulate(-(-images // block) for images, block in self.sizes)
        object.__setattr__(self, "_ends", tuple(ends))

    @property
    def ranges(self) -> tuple[range, ...]:
        """The numbers of each source's blocks."""
        return tuple(range(start, end) for start, end in pairwise((0, *self._ends)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, number: int) -> Block: ...
    @overload
    def __getitem__(self, number: slice) -> list[Block]: ...
    def __getitem__(self, number: int | slice) -> Block | list[Block]:
        if isinstance(number, slice):
            return [self[n] for n in range(*number.indices(len(self)))]
        if not -len(self) <= number < len(self):
            raise IndexError(f"there are {len(self)} blocks, none has the number {number}")
        number %= len(self)
        source = bisect_right(self._ends, number)
        images, block = self.sizes[source]
        start = (number - (self._ends[source - 1] if source else 0)) * block
        return Block(number, source, start, min(images, start + block))
