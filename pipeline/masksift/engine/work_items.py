"""What travels to a task: what is common to a run, and a block with all that is to be known of its source."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, overload

from masksift.core.specs import Block, DataSpec, Home
from masksift.engine.planning.blocks import Numbers
from masksift.engine.planning.layout import Layout
from masksift.engine.planning.plan import Plan
from masksift.scoring.kernels.condense import Recipe
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.kernels.ensemble import member_recipe
from masksift.scoring.methods import Method, Rule
from masksift.storage.manifest import Manifest
from masksift.storage.objects import Folder
from masksift.storage.urls import join, local_path
from masksift.storage.zarr.evidence import EvidenceArrays

__all__ = ["Job", "Part", "Parts"]


@dataclass(frozen=True)
class Job:
    """What every task of a run knows. ``columns``: those that the paths of the sources name; ``options``: what the
    stores are reached by; ``min_area``, ``top``: of the regions that are listed, all where nothing is said."""

    fingerprint: str
    lattice: int
    methods: tuple[Method, ...]
    rule: Rule
    out: str
    columns: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    min_area: int = 1
    top: int = 1 << 62

    def evidence(self, home: Home) -> EvidenceArrays:
        """The evidence arrays of a source, where they are at home."""
        return EvidenceArrays(home.evidence, self.options)

    def masks(self, spec: DataSpec) -> EvidenceArrays:
        """This run's own arrays of a source."""
        return EvidenceArrays(join(self.out, "evidence", f"{spec.name}.zarr"), self.options)

    def condensed(self, home: Home) -> Manifest:
        """Where the products of condensing a source lie."""
        return Manifest(Folder(home.out, self.options), home.fingerprint)

    def scored(self) -> Manifest:
        """Where the products of scoring lie."""
        return Manifest(Folder(self.out, self.options), self.fingerprint)


@dataclass(frozen=True)
class Part:
    """A block with what a task must know of its source; ``place``: its number where its source is at home."""

    block: Block
    spec: DataSpec
    layout: Layout
    home: Home
    place: int

    def recipe(self, lattice: int) -> Recipe:
        """How its predictions are condensed."""
        spec = self.spec
        return Recipe(
            spec.classes, spec.predictions.dtype, spec.scale, spec.kind, self.evidence, spec.sum_tolerance, lattice
        )

    @property
    def members(self) -> list[tuple[str, Recipe]]:
        """Of an ensemble, what each member is called and how it is checked."""
        return [
            (one.predictions.url, member_recipe(self.spec.classes, one.predictions.dtype, one.scale, one.kind,
                                                one.sum_tolerance))
            for one in self.spec.members
        ]  # fmt: skip

    @property
    def facts(self) -> dict[str, Any]:
        """What is said of it where somebody watches: the numbers of its first and last image count from 0."""
        block = self.block
        images = {"first_image": block.start, "last_image": block.stop - 1}
        return {"source": self.spec.name, "block": block.number, **images}

    def __str__(self) -> str:
        return f"block {self.block.number} ({self.spec.name}, images {self.block.start} to {self.block.stop - 1})"

    @property
    def evidence(self) -> Encoding:
        """The precision of its evidence."""
        return _evidence(self.spec, self.layout)


def _evidence(spec: DataSpec, layout: Layout) -> Encoding:
    return Encoding(layout.evidence, spec.scale if layout.evidence.startswith("uint") else 1.0)


@dataclass(frozen=True)
class Parts(Sequence[Part]):
    """The parts of a plan over its sources, each made when it is asked for. ``homes``: of the sources; ``numbers``: of
    its blocks, or all."""

    plan: Plan
    sources: tuple[DataSpec, ...]
    homes: tuple[Home, ...]
    numbers: Sequence[int] | None = None

    @classmethod
    def of_run(cls, plan: Plan, sources: tuple[DataSpec, ...], out: str, kept: Sequence[Home | None] = ()) -> Parts:
        """Those of a run into `out`, which condenses every source that is not kept somewhere."""
        place = local_path(out) or out
        homes = [
            home or Home(place, plan.fingerprint, blocks.start, join(place, "evidence", f"{spec.name}.zarr"))
            for spec, blocks, home in zip(
                sources, plan.blocks.ranges, kept or [None] * len(sources), strict=True
            )
        ]  # fmt: skip
        return cls(plan, sources, tuple(homes))

    @property
    def kept_sources(self) -> int:
        """How many sources an earlier run has condensed."""
        return sum(home.fingerprint != self.plan.fingerprint for home in self.homes)

    @property
    def own(self) -> Parts:
        """Those that this run condenses itself."""
        return self._where([home.fingerprint == self.plan.fingerprint for home in self.homes])

    def of(self, encodings: Collection[Encoding]) -> Parts:
        """Those whose evidence has one of these precisions."""
        pairs = zip(self.sources, self.plan.layouts, strict=True)
        return self._where([_evidence(spec, layout) in encodings for spec, layout in pairs])

    def _where(self, wanted: Sequence[bool]) -> Parts:
        """The parts of those sources."""
        if all(wanted):
            return self
        ranges = tuple(part for part, asked in zip(self.plan.blocks.ranges, wanted, strict=True) if asked)
        return Parts(self.plan, self.sources, self.homes, Numbers(ranges))

    @cached_property
    def images(self) -> int:
        """Images in them."""
        if self.numbers is None:
            return self.plan.images
        assert isinstance(self.numbers, Numbers)
        chosen = zip(self.sources, self.plan.blocks.ranges, strict=True)
        return sum(spec.images for spec, part in chosen if part in self.numbers.ranges)

    def __len__(self) -> int:
        return len(self.plan.blocks) if self.numbers is None else len(self.numbers)

    @overload
    def __getitem__(self, number: int) -> Part: ...
    @overload
    def __getitem__(self, number: slice) -> list[Part]: ...
    def __getitem__(self, number: int | slice) -> Part | list[Part]:
        if isinstance(number, slice):
            return [self[n] for n in range(*number.indices(len(self)))]
        block = self.plan.blocks[number if self.numbers is None else self.numbers[number]]
        home = self.homes[block.source]
        place = home.first + block.number - self.plan.blocks.ranges[block.source].start
        return Part(block, self.sources[block.source], self.plan.layouts[block.source], home, place)
