"""Descriptions of arrays, sources, blocks and read windows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

PREDICTION_DTYPES = ("uint8", "uint16", "float16", "float32", "float64")
"""Dtypes of probabilities; logits are floats."""

Color = tuple[int, int, int]
"""Red, green and blue."""

BINARY_MASK = ((0, 0), (255, 1))
"""Remap of the labels of two classes that are stored as 0 and 255."""


@dataclass(frozen=True)
class Packing:
    """Encoding of stored numbers by the attributes of the CF conventions: number * scale_factor + add_offset.

    Attributes:
        dtype: Dtype as which the stored bytes are read: `_Unsigned` makes int8 uint8.
        scale_factor: Value of one step; None if the attribute is absent, which means 1.
        add_offset: Value of the stored number 0.
        missing: Stored finite numbers that mean a missing value.
    """

    dtype: str
    scale_factor: float | None = None
    add_offset: float = 0.0
    missing: tuple[float, ...] = ()

    @property
    def is_linear(self) -> bool:
        """Return whether numbers are scaled or shifted."""
        return self.scale_factor is not None or self.add_offset != 0

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Self:
        """Rebuild a packing from what `dataclasses.asdict` wrote."""
        return cls(**{**tree, "missing": tuple(tree["missing"])})


@dataclass(frozen=True)
class Decoding:
    """Conversion of the stored numbers of a prediction array to predictions (image, class, y, x) while they are read.

    In this order, numbers are unpacked, resized to the size of the labels, and completed by the background's class.
    Unpacked and resized predictions are float32.

    Attributes:
        stored: The stored array: (image, class, y, x), or (image, y, x) if it holds the positive class of two.
        packing: Packing of the stored numbers; None if they are the values.
    """

    stored: ArraySpec
    packing: Packing | None = None

    @property
    def is_binary(self) -> bool:
        """Return whether only the positive class is stored."""
        return len(self.stored.shape) == 3

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Self:
        """Rebuild a decoding from what `dataclasses.asdict` wrote."""
        packing = tree["packing"] and Packing.from_json(tree["packing"])
        return cls(ArraySpec.from_json(tree["stored"]), packing)


@dataclass(frozen=True)
class ArraySpec:
    """Metadata of one stored array.

    Attributes:
        url: URL of the array.
        shape: Shape in canonical axis order: (image, class, y, x) or (image, y, x).
        chunks: Shape of the unit that is read and decoded, in canonical order; inner chunks of a sharded array.
        dtype: Name of the NumPy dtype.
        itemsize: Bytes of one element.
        axes: Position of each canonical axis in the store. Stored axes at other positions have length 1.
        shards: Shape of a shard, or None without shards.
        zarr_format: Zarr format, 2 or 3.
        decoding: Conversion of the stored array to this one; None if they are the same.
    """

    url: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: str
    itemsize: int
    axes: tuple[int, ...]
    shards: tuple[int, ...] | None = None
    zarr_format: int = 3
    decoding: Decoding | None = None

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Self:
        """Rebuild a spec from what `dataclasses.asdict` wrote."""
        fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in tree.items()}
        decoding = tree.get("decoding")
        return cls(**{**fields, "decoding": decoding and Decoding.from_json(decoding)})

    @property
    def stored(self) -> ArraySpec:
        """The array that is read."""
        return self if self.decoding is None else self.decoding.stored

    @property
    def missing(self) -> tuple[float, ...]:
        """Stored numbers that mean a missing value."""
        packing = None if self.decoding is None else self.decoding.packing
        return () if packing is None else packing.missing

    @property
    def is_binary(self) -> bool:
        """Return whether only the positive class of two is stored."""
        return self.decoding is not None and self.decoding.is_binary

    @property
    def is_resized(self) -> bool:
        """Return whether predictions have another size than the stored array."""
        return self.shape[-2:] != self.stored.shape[-2:]

    @property
    def nbytes(self) -> int:
        """Decoded bytes of the whole array."""
        return math.prod(self.shape) * self.itemsize


@dataclass(frozen=True)
class EnsembleMember:
    """One prediction array of an ensemble, with the same options as the single array of a `SourceSpec`."""

    predictions: ArraySpec
    prediction_kind: str
    scale: float
    sum_tolerance: float

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Self:
        """Rebuild a member from what `dataclasses.asdict` wrote."""
        return cls(**{**tree, "predictions": ArraySpec.from_json(tree["predictions"])})


@dataclass(frozen=True)
class SourceSpec:
    """Description of one source: the metadata of its store, overridden by the configuration.

    Attributes:
        index: Number of the source in the run.
        name: Unique name of the source in the run.
        url: URL of the Zarr group.
        predictions: Predictions (image, class, y, x), with a `Decoding` if another form is stored; for an ensemble the
            mean as if it were an array, with chunks that hold whole chunks of every member.
        labels: Label array.
        image_id: Array of image ids, if there is one.
        class_names: Name of each class.
        ignore: Stored label values that are excluded.
        prediction_kind: "probabilities" or "logits".
        scale: Probability of one step of integer predictions.
        sum_tolerance: Largest accepted deviation of a pixel's probability sum from 1.
        absent_labels_are_missing: An absent label chunk is lost data; otherwise it holds the fill value.
        partitions: Keys and values of the `key=value` parts of the URL.
        remap: Pairs of stored label value and class number; empty if class k is stored as k + `label_offset`.
        label_offset: Stored label value of class 0.
        size_arrays: Arrays with the unpadded rows and columns of each image.
        stored_evidence: Location, layout and lattice of a source that holds evidence instead of predictions.
        content_hashes: Hashes that identify the content of the arrays, and the places of files that they are linked to.
        members: Members of an ensemble; empty for a single prediction array.
        class_colors: sRGB color of each class, 0 to 255, for display only; empty for generated colors.
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
    label_offset: int = 0
    size_arrays: tuple[ArraySpec | None, ...] = (None, None)
    stored_evidence: Mapping[str, Any] = field(default_factory=dict)
    content_hashes: Mapping[str, Any] = field(default_factory=dict)
    members: tuple[EnsembleMember, ...] = ()
    class_colors: tuple[Color, ...] = ()

    @property
    def prediction_arrays(self) -> tuple[ArraySpec, ...]:
        """Prediction arrays: one, or those of the ensemble members in order."""
        return tuple(member.predictions for member in self.members) or (self.predictions,)

    @property
    def linked_places(self) -> tuple[str, ...]:
        """Buckets or hosts of the remote files that hold the predictions of a linked source."""
        return tuple(self.content_hashes.get("places", ()))

    @property
    def images(self) -> int:
        """Number of images."""
        return self.labels.shape[0]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.predictions.shape[1]

    @property
    def height(self) -> int:
        """Rows of an image, padding included."""
        return self.labels.shape[1]

    @property
    def width(self) -> int:
        """Columns of an image, padding included."""
        return self.labels.shape[2]

    @property
    def pixels(self) -> int:
        """Pixels of one image, padding included."""
        return self.height * self.width

    def as_json(self) -> dict[str, Any]:
        """Return all fields as plain JSON values; `class_colors` only if the source has colors."""
        tree: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return tree if self.class_colors else _without_colors(tree)

    def identity(self) -> dict[str, Any]:
        """Return the fields that decide results as plain JSON values; they enter the fingerprint of the plan."""
        return _without_colors(self.as_json())

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Self:
        """Rebuild a spec from what `as_json` wrote."""

        def array(value: Mapping[str, Any] | None) -> ArraySpec | None:
            return None if value is None else ArraySpec.from_json(value)

        return cls(
            **{
                **tree,
                **{name: array(tree[name]) for name in ("predictions", "labels", "image_id")},
                **{name: tuple(tree[name]) for name in ("class_names", "ignore")},
                "remap": tuple((value, number) for value, number in tree["remap"]),
                "size_arrays": tuple(map(array, tree["size_arrays"])),
                "members": tuple(map(EnsembleMember.from_json, tree.get("members", ()))),
                "class_colors": tuple(map(_color, tree.get("class_colors", ()))),
            }
        )


def _without_colors(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in tree.items() if name != "class_colors"}


def _color(levels: Sequence[int]) -> Color:
    red, green, blue = bytes(levels)  # a ValueError unless all are from 0 to 255
    return red, green, blue


@dataclass(frozen=True)
class EvidenceLocation:
    """Location of a source's condensed evidence.

    Attributes:
        out: URL of the run, or of an evidence writer's output, that holds the block manifests.
        fingerprint: Fingerprint of that run or writer.
        first_block: Number of the source's first block there.
        evidence_url: URL of the Zarr group with the evidence planes.
    """

    out: str
    fingerprint: str
    first_block: int
    evidence_url: str


@dataclass(frozen=True, order=True)
class Block:
    """Images [start, stop) of one source, handled by one task; ``number`` counts the blocks of a plan."""

    number: int
    source: int
    start: int
    stop: int

    @property
    def images(self) -> int:
        """Number of images."""
        return self.stop - self.start


@dataclass(frozen=True)
class ReadWindow:
    """Part of the arrays read at once: images [start, stop), rows [y0, y1), columns [x0, x1), all classes."""

    start: int
    stop: int
    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (images, rows, columns)."""
        return self.stop - self.start, self.y1 - self.y0, self.x1 - self.x0
