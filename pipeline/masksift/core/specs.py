"""The nouns that travel between the rooms, and the names that the results carry.

Letters: N images, K classes, H x W pixels of an image.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class ArraySpec:
    """One stored array as facts. ``shape`` and ``chunks`` in canonical axis order: (image, class, y, x) or
    (image, y, x); ``axes``: where each of these lies in the store; ``chunks``: the unit that is read and decoded
    (inside a shard: the inner chunk); ``shards``: None, or the shape of a shard."""

    url: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: str
    itemsize: int
    axes: tuple[int, ...]
    shards: tuple[int, ...] | None = None
    zarr_format: int = 3

    @classmethod
    def from_json(cls, tree: Mapping[str, Any] | None) -> Any:
        """The facts that `dataclasses.asdict` wrote; None of None."""
        if tree is None:
            return None
        plain: dict[str, Any] = {name: tuple(part) if isinstance(part, list) else part for name, part in tree.items()}
        return cls(**plain)

    @property
    def nbytes(self) -> int:
        """Decoded bytes of the whole array."""
        return math.prod(self.shape) * self.itemsize


@dataclass(frozen=True)
class EnsembleMember:
    """One of the predictions of an ensemble, with what `SourceSpec` says of the only ones of other sources."""

    predictions: ArraySpec
    prediction_kind: str
    scale: float
    sum_tolerance: float

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> EnsembleMember:
        """The facts that `dataclasses.asdict` wrote."""
        return cls(**{**tree, "predictions": ArraySpec.from_json(tree["predictions"])})


@dataclass(frozen=True)
class SourceSpec:
    """One source as facts: what was found in the store, with what the configuration overrides.

    ``scale``: probability of one step of integer predictions; ``ignore``: label values that do not count;
    ``fill_is_missing``: whether an absent label chunk is lost data (else it is its fill value). ``partitions``: what
    the parts `key=value` of its path say; ``remap``: label values and what they stand for; ``extent``: the arrays that
    say how many rows and columns of an image are its own, where it is padded; ``written``: of a source that holds
    evidence in place of predictions, its home, layout and lattice. ``members``: of an ensemble; its ``predictions`` are
    then what the mean would be as an array, whose chunks hold whole chunks of each member.
    """

    index: int
    name: str
    url: str
    predictions: ArraySpec
    labels: ArraySpec
    image_id: ArraySpec | None
    class_names: tuple[str, ...]
    ignore: tuple[int, ...]
    prediction_kind: str
    scale: float
    sum_tolerance: float
    absent_labels_are_missing: bool
    partitions: Mapping[str, str | None] = field(default_factory=dict)
    remap: tuple[tuple[int, int], ...] = ()
    size_arrays: tuple[ArraySpec | None, ...] = (None, None)
    stored_evidence: Mapping[str, Any] = field(default_factory=dict)
    content_hashes: Mapping[str, Any] = field(default_factory=dict)
    members: tuple[EnsembleMember, ...] = ()

    @property
    def prediction_arrays(self) -> tuple[ArraySpec, ...]:
        """The arrays of predictions that are read: one, or those of the members in their order."""
        return tuple(member.predictions for member in self.members) or (self.predictions,)

    @property
    def images(self) -> int:
        return self.labels.shape[0]

    @property
    def classes(self) -> int:
        return self.predictions.shape[1]

    @property
    def height(self) -> int:
        return self.labels.shape[1]

    @property
    def width(self) -> int:
        return self.labels.shape[2]

    @property
    def pixels(self) -> int:
        """Pixels of one image."""
        return self.height * self.width

    def as_json(self) -> dict[str, Any]:
        """All fields as plain values: part of what the plan's fingerprint is made of."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> SourceSpec:
        """The facts that `as_json` wrote."""
        arrays = {name: ArraySpec.from_json(tree[name]) for name in ("predictions", "labels", "image_id")}
        plain = {name: tuple(tree[name]) for name in ("class_names", "ignore")}
        remap = tuple((value, meant) for value, meant in tree["remap"])
        size_arrays = tuple(ArraySpec.from_json(array) for array in tree["size_arrays"])
        members = tuple(map(EnsembleMember.from_json, tree.get("members", ())))
        return cls(**{**tree, **arrays, **plain, "remap": remap, "size_arrays": size_arrays, "members": members})


@dataclass(frozen=True)
class EvidenceLocation:
    """Where what was condensed of a source lies: the planes in the Zarr group ``evidence``, all else below ``out``, of
    a run (or of writers at inference time) with that ``fingerprint``, whose blocks of the source are numbered from
    ``first`` on."""

    out: str
    fingerprint: str
    first_block: int
    evidence: str


@dataclass(frozen=True, order=True)
class Block:
    """The unit of work: images [start, stop) of one source; ``number`` counts the blocks of a plan."""

    number: int
    source: int
    start: int
    stop: int

    @property
    def images(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class ReadWindow:
    """What is read at once: all classes of rows [y0, y1) and columns [x0, x1) of images [start, stop)."""

    start: int
    stop: int
    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(images, rows, columns)."""
        return self.stop - self.start, self.y1 - self.y0, self.x1 - self.x0
