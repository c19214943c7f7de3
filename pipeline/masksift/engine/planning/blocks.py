"""Lazy sequences of blocks and numbers: a hundred million images make a million blocks."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import overload

from masksift.core.specs import Block


@dataclass(frozen=True)
class RangeSequence(Sequence[int]):
    """Concatenation of ranges; an access takes time in the logarithm of their number."""

    ranges: tuple[range, ...]
    _ends: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ends", tuple(accumulate(map(len, self.ranges))))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, position: int) -> int: ...
    @overload
    def __getitem__(self, position: slice) -> list[int]: ...
    def __getitem__(self, position: int | slice) -> int | list[int]:
        if isinstance(position, slice):
            return [self[n] for n in range(*position.indices(len(self)))]
        if not -len(self) <= position < len(self):
            raise IndexError(f"there are {len(self)} numbers")
        position %= len(self)
        return self.ranges[part := bisect_right(self._ends, position)][position - self._ends[part]]


@dataclass(frozen=True)
class BlockSequence(Sequence[Block]):
    """Blocks of a run in order, created on access from the images and block size of each source.

    A run of a hundred thousand sources accesses a million blocks: an access takes time in the logarithm of the sources.

    The position of an image is its number among all images of the run: sources in order, images in the order of their
    source.
    """

    sizes: tuple[tuple[int, int], ...]
    _ends: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _image_ends: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ends = accumulate(-(-images // block_images) for images, block_images in self.sizes)
        object.__setattr__(self, "_ends", tuple(ends))
        object.__setattr__(self, "_image_ends", tuple(accumulate(images for images, _ in self.sizes)))

    @property
    def images(self) -> int:
        """Number of images."""
        return self._image_ends[-1] if self._image_ends else 0

    def position(self, source: int, index: int) -> int:
        """Return the position of an image of a source."""
        return (self._image_ends[source - 1] if source else 0) + index

    def block_at(self, position: int) -> int:
        """Return the number of the block that holds the image at a position."""
        source = bisect_right(self._image_ends, position)
        first = self._ends[source - 1] if source else 0
        return first + (position - self.position(source, 0)) // self.sizes[source][1]

    @property
    def ranges(self) -> tuple[range, ...]:
        """Block numbers of each source, made on each access: `source_blocks` returns those of one source."""
        return tuple(range(start, end) for start, end in pairwise((0, *self._ends)))

    def source_blocks(self, source: int) -> range:
        """Return the block numbers of one source."""
        return range(self._ends[source - 1] if source else 0, self._ends[source])

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
        images, block_images = self.sizes[source]
        start = self.source_blocks(source).index(number) * block_images
        return Block(number, source, start, min(images, start + block_images))
