"""What travels to a task: what is common to a run, and a block with all that is to be known of its source."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, overload

from masksift.core.specs import Block, EvidenceLocation, SourceSpec
from masksift.engine.planning.blocks import RangeSequence
from masksift.engine.planning.layout import Layout
from masksift.engine.planning.plan import Plan
from masksift.scoring.kernels.condense import CondenseConfig
from masksift.scoring.kernels.encoding import Encoding
from masksift.scoring.kernels.ensemble import member_config
from masksift.scoring.methods import FlaggingRule, Method
from masksift.storage.manifest import Manifest
from masksift.storage.objects import ObjectDirectory
from masksift.storage.urls import join, local_path
from masksift.storage.zarr.evidence import EvidenceArrays


@dataclass(frozen=True)
class RunContext:
    """What every task of a run knows. ``columns``: those that the paths of the sources name; ``options``: what the
    stores are reached by; ``min_area``, ``top``: of the regions that are listed, all where nothing is said."""

    fingerprint: str
    lattice: int
    methods: tuple[Method, ...]
    flagging_rule: FlaggingRule
    out: str
    path_columns: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    min_area: int = 1
    max_regions: int = 1 << 62

    def evidence_arrays(self, home: EvidenceLocation) -> EvidenceArrays:
        """The evidence arrays of a source, where they are at home."""
        return EvidenceArrays(home.evidence_url, self.options)

    def issue_mask_arrays(self, spec: SourceSpec) -> EvidenceArrays:
        """This run's own arrays of a source."""
        return EvidenceArrays(join(self.out, "evidence", f"{spec.name}.zarr"), self.options)

    def condense_manifest(self, home: EvidenceLocation) -> Manifest:
        """Where the products of condensing a source lie."""
        return Manifest(ObjectDirectory(home.out, self.options), home.fingerprint)

    def score_manifest(self) -> Manifest:
        """Where the products of scoring lie."""
        return Manifest(ObjectDirectory(self.out, self.options), self.fingerprint)


@dataclass(frozen=True)
class BlockTask:
    """A block with what a task must know of its source; ``place``: its number where its source is at home."""

    block: Block
    spec: SourceSpec
    layout: Layout
    evidence_location: EvidenceLocation
    evidence_block: int

    def condense_config(self, lattice: int) -> CondenseConfig:
        """How its predictions are condensed."""
        spec = self.spec
        return CondenseConfig(
            spec.classes,
            spec.predictions.dtype,
            spec.scale,
            spec.prediction_kind,
            self.encoding,
            spec.sum_tolerance,
            lattice,
        )

    @property
    def member_configs(self) -> list[tuple[str, CondenseConfig]]:
        """Of an ensemble, what each member is called and how it is checked."""
        return [
            (
                one.predictions.url,
                member_config(
                    self.spec.classes, one.predictions.dtype, one.scale, one.prediction_kind, one.sum_tolerance
                ),
            )
            for one in self.spec.members
        ]

    @property
    def log_fields(self) -> dict[str, Any]:
        """What is said of it where somebody watches: the numbers of its first and last image count from 0."""
        block = self.block
        images = {"first_image": block.start, "last_image": block.stop - 1}
        return {"source": self.spec.name, "block": block.number, **images}

    def __str__(self) -> str:
        return f"block {self.block.number} ({self.spec.name}, images {self.block.start} to {self.block.stop - 1})"

    @property
    def encoding(self) -> Encoding:
        """The precision of its evidence."""
        return _evidence(self.spec, self.layout)


def _evidence(spec: SourceSpec, layout: Layout) -> Encoding:
    return Encoding(layout.evidence_dtype, spec.scale if layout.evidence_dtype.startswith("uint") else 1.0)


@dataclass(frozen=True)
class BlockTasks(Sequence[BlockTask]):
    """The parts of a plan over its sources, each made when it is asked for. ``homes``: of the sources; ``numbers``: of
    its blocks, or all."""

    plan: Plan
    sources: tuple[SourceSpec, ...]
    evidence_locations: tuple[EvidenceLocation, ...]
    block_numbers: Sequence[int] | None = None

    @classmethod
    def from_plan(
        cls, plan: Plan, sources: tuple[SourceSpec, ...], out: str, kept: Sequence[EvidenceLocation | None] = ()
    ) -> BlockTasks:
        """Those of a run into `out`, which condenses every source that is not kept somewhere."""
        place = local_path(out) or out
        homes = [
            home
            or EvidenceLocation(place, plan.fingerprint, blocks.start, join(place, "evidence", f"{spec.name}.zarr"))
            for spec, blocks, home in zip(sources, plan.blocks.ranges, kept or [None] * len(sources), strict=True)
        ]
        return cls(plan, sources, tuple(homes))

    @property
    def reused_source_count(self) -> int:
        """How many sources an earlier run has condensed."""
        return sum(home.fingerprint != self.plan.fingerprint for home in self.evidence_locations)

    @property
    def to_condense(self) -> BlockTasks:
        """Those that this run condenses itself."""
        return self._where([home.fingerprint == self.plan.fingerprint for home in self.evidence_locations])

    def with_encodings(self, encodings: Collection[Encoding]) -> BlockTasks:
        """Those whose evidence has one of these precisions."""
        pairs = zip(self.sources, self.plan.layouts, strict=True)
        return self._where([_evidence(spec, layout) in encodings for spec, layout in pairs])

    def _where(self, wanted: Sequence[bool]) -> BlockTasks:
        """The parts of those sources."""
        if all(wanted):
            return self
        ranges = tuple(part for part, asked in zip(self.plan.blocks.ranges, wanted, strict=True) if asked)
        return BlockTasks(self.plan, self.sources, self.evidence_locations, RangeSequence(ranges))

    @cached_property
    def images(self) -> int:
        """Images in them."""
        if self.block_numbers is None:
            return self.plan.images
        assert isinstance(self.block_numbers, RangeSequence)
        chosen = zip(self.sources, self.plan.blocks.ranges, strict=True)
        return sum(spec.images for spec, part in chosen if part in self.block_numbers.ranges)

    def __len__(self) -> int:
        return len(self.plan.blocks) if self.block_numbers is None else len(self.block_numbers)

    @overload
    def __getitem__(self, number: int) -> BlockTask: ...
    @overload
    def __getitem__(self, number: slice) -> list[BlockTask]: ...
    def __getitem__(self, number: int | slice) -> BlockTask | list[BlockTask]:
        if isinstance(number, slice):
            return [self[n] for n in range(*number.indices(len(self)))]
        block = self.plan.blocks[number if self.block_numbers is None else self.block_numbers[number]]
        home = self.evidence_locations[block.source]
        place = home.first_block + block.number - self.plan.blocks.ranges[block.source].start
        return BlockTask(block, self.sources[block.source], self.plan.layouts[block.source], home, place)
