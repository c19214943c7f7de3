"""The tables of a configuration, and the forms in which a value may be given: by a flag as text, or by a file."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    field_serializer,
    model_validator,
)
from pydantic.fields import FieldInfo

from masksift.config.types import Amount, IntegerMap, Integers, Names, NonEmptyText, OneOrMoreNames
from masksift.core.errors import UsageError
from masksift.core.units import parse_bytes
from masksift.runtime.executors import CLUSTER_TYPES, Executor, Notify, make_executor, memory_limit
from masksift.storage.credentials import S3Config, StorageOptions, is_s3, redacted, resolve_credentials
from masksift.storage.sources.overrides import Overrides


class ConfigSection(BaseModel):
    """A table of keys: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


IgnoreValues = Annotated[
    Integers | None, Field(description="comma-separated label values to exclude from scoring; default: the source's")
]

Remap = Annotated[
    IntegerMap | None,
    Field(description="stored label values and the class numbers they mean, such as 7:0,8:1; default: no remapping"),
]

ClassNames = Annotated[
    Names | None, Field(description="comma-separated class names in the order of class numbers; default: the source's")
]

Scale = Annotated[
    float | None,
    Field(
        gt=0,
        le=1,
        description="probability of one step of integer predictions; default: the source's, else 1 / largest integer",
    ),
]


class LabelArrays(ConfigSection):
    """Names and axes of a source's label arrays."""

    labels: str = Field("labels", description="name of the label array")
    image_id: str = Field("image_id", description="name of the array of image ids")
    height: str = Field("height", description="name of the array with the unpadded rows of each image")
    width: str = Field("width", description="name of the array with the unpadded columns of each image")
    labels_axes: Names | None = Field(
        None, description="order of the stored label axes, a permutation of image,y,x; default: the source's"
    )
    empty_label_chunks: Literal["missing", "fill"] | None = Field(
        None,
        description="meaning of an absent label chunk: lost data, or a chunk of fill values; default: the source's",
    )


class Arrays(LabelArrays):
    """Names and axes of a source's arrays."""

    predictions: OneOrMoreNames = Field(
        "predictions",
        description="name or URL of the prediction array; several comma-separated arrays form an ensemble",
    )
    predictions_axes: Names | None = Field(
        None, description="order of the stored prediction axes, a permutation of image,class,y,x; default: the source's"
    )

    @property
    def members(self) -> tuple[str, ...]:
        """Prediction arrays of an ensemble; empty for a single array."""
        return () if isinstance(self.predictions, str) else self.predictions

    @model_validator(mode="after")
    def _check(self) -> Arrays:
        if isinstance(self.predictions, str):
            return self
        if len(set(self.predictions)) < len(self.predictions) or len(self.predictions) < 2:
            raise UsageError(
                f"arrays.predictions is {', '.join(self.predictions[:8]) or 'empty'}",
                "An ensemble has two or more different arrays",
                "Use --arrays.predictions a,b, or name a single array",
            )
        return self


class RunArrays(Arrays):
    """Arrays of a run, including the images shown in its report."""

    images: str = Field("images", description="name or URL of the RGB image array; used only by the report")


class PictureArrays(ConfigSection):
    """Of what is made of a complete run: its pictures, where they are others than it was told of."""

    images: str | None = Field(
        None, min_length=1, description="name of the pictures, or URL of the array; default: the run's"
    )


class ReportSection(ConfigSection):
    """The page that is looked at."""

    top: int = Field(
        500, ge=0, description="how many images it shows: the first of the ranking, with pictures; 0: no page"
    )


class SoftminSection(ConfigSection):
    """Parameters of softmin."""

    temperature: float = Field(0.1, gt=0, allow_inf_nan=True, description="T > 0: small weighs the worst pixels alone")

    @field_serializer("temperature", when_used="json")
    def _as_json(self, value: float) -> float | str:
        return value if math.isfinite(value) else str(value)  # JSON knows no infinity


class TccpSection(ConfigSection):
    """Parameters of tccp."""

    tau: Literal["balanced", "confident"] | Annotated[float, Field(ge=0, le=1)] = Field(
        "balanced", description="decision threshold: balanced, confident, or one number"
    )
    lattice: int = Field(4, ge=1, le=64, description="rows and columns from one counted pixel to the next")


class ClcSection(ConfigSection):
    """Parameters of clc."""

    rule: Literal["rank", "confident"] = Field("rank", description="which pixels are flagged")


class CocoSection(ConfigSection):
    """Parameters of coco."""

    sources: Literal["both", "labels", "predictions"] = Field("both", description="planes that components are found in")
    aggregate: Literal["mean", "min"] = Field("mean", description="over the components of an image")
    min_area: float = Field(1e-4, ge=0, le=1, description="smallest component, as a share of the valid pixels")


class RegionsSection(ConfigSection):
    """Which regions are listed."""

    min_area: int = Field(16, ge=1, description="pixels of the smallest")
    top: int = Field(100_000, ge=1, description="how many of the whole data set, those with most evidence")


class EvidenceSection(ConfigSection):
    """What is kept of the predictions."""

    keep: bool = Field(True, description="whether it stays, for `masksift score`; issue masks do in any case")
    dtype: Literal["auto", "float32"] = Field("auto", description="precision kept of 32- and 64-bit predictions")


class ExecutorSection(ConfigSection):
    """Where the blocks are run."""

    kind: str = Field(
        "local",
        description="serial (this process), local (an embedded cluster), dask (a scheduler's address), "
        "kubernetes (a cluster of its own), or the path of a class of Dask clusters",
    )
    workers: int | None = Field(
        None,
        ge=1,
        description="processes of kind local, default: one a core; elsewhere how many to ask for, or how "
        "many the cluster may grow to",
    )
    memory: Amount | None = Field(None, description="of a worker, e.g. '4 GiB'; default: an even share of the machine")
    address: str | None = Field(
        None, description="of the scheduler, for kind dask, or where kind kubernetes reaches the one that it starts"
    )
    manifest: str | None = Field(None, min_length=1, description="file with the DaskCluster that kind kubernetes opens")
    options: dict[str, Any] | None = Field(None, description="keyword arguments of a class of clusters: {cores = 4}")
    timeout: float | None = Field(
        None, gt=0, description="seconds to wait for the first worker; default: 60, or 600 where a cluster is opened"
    )

    @model_validator(mode="after")
    def _check(self) -> ExecutorSection:
        named = self.kind in CLUSTER_TYPES
        if not named and not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", self.kind):
            raise UsageError(
                f"executor.kind is {self.kind!r}; it should be {', '.join(map(repr, CLUSTER_TYPES))} "
                "or the path of a class",
                "where to run is not known",
                "Give one of them, or one such as dask_jobqueue.SLURMCluster, as --executor KIND[:WHERE]",
            )
        for key, kinds, remedy in _GOES_WITH:
            kind = self.kind if named else "a class"
            if getattr(self, key) is not None and kind not in kinds:
                raise UsageError(
                    f"executor.{key} is {getattr(self, key)!r} and executor.kind is {self.kind!r}",
                    "it would not be used",
                    f"Give --executor.kind {remedy}, or no executor.{key}",
                )
        for kind, key, consequence, remedy in _NEEDED:
            if kind == (self.kind if named else "a class") and getattr(self, key) is None:
                raise UsageError(f"executor.kind is {self.kind!r} and executor.{key} is not given", consequence, remedy)
        if self.memory is not None:
            try:
                parse_bytes(self.memory)
            except ValueError as e:
                fact = f"executor.memory is {str(self.memory)!r}, which is no amount of memory"
                raise UsageError(fact, "what fits a worker is not known", "Give one such as '4 GiB'") from e
        return self

    @property
    def memory_bytes(self) -> int | None:
        """The memory asked for, bytes."""
        return None if self.memory is None else parse_bytes(self.memory)

    @property
    def memory_limit(self) -> int | None:
        """Bytes a worker will have, as far as that is known before it starts; None where it is not, or is unlimited."""
        return memory_limit(self.kind, workers=self.workers, memory=self.memory_bytes, manifest=self.manifest)

    def open(self, items: int, say: Notify) -> Executor:
        """What runs stages of at most ``items`` tasks there, for a with-block; ``say`` tells the user of it."""
        return make_executor(
            self.kind,
            workers=self.workers,
            memory=self.memory_bytes,
            address=self.address,
            manifest=self.manifest,
            options=self.options,
            timeout=self.timeout,
            items=items,
            say=say,
        )


_GOES_WITH = (
    ("address", ("dask", "kubernetes"), "dask"),
    ("manifest", ("kubernetes",), "kubernetes"),
    ("options", ("a class",), "CLASS, such as dask_jobqueue.SLURMCluster"),
)
"""Keys of the executor, the kinds that have them, and one of these."""
_NEEDED = (
    (
        "dask",
        "address",
        "there is no scheduler to run on",
        "Give --executor dask:tls://HOST:8786 (or --executor.address tls://HOST:8786), or --executor local",
    ),
    (
        "kubernetes",
        "manifest",
        "what a scheduler and a worker are there is not known",
        "Give --executor kubernetes:cluster.yaml, a file with a DaskCluster",
    ),
    ("a class", "workers", "how many workers it should ask for is not known", "Give --executor.workers N"),
)
"""Keys without which there is no such executor, why, and what to give."""


class StorageSection(ConfigSection):
    """How S3, and what speaks like it, is reached; keys come from the environment, a profile or a role."""

    endpoint_url: str | None = Field(None, description="of a server that is not Amazon's")
    region: str | None = Field(None, description="of the buckets; default: that of the environment or the profile")
    profile: str | None = Field(None, description="of ~/.aws/config")
    anonymous: bool = Field(False, description="ask without keys: public buckets")
    path_style: bool | None = Field(None, description="bucket in the path of a URL; default: with an endpoint_url")
    price_reads: float | None = Field(None, ge=0, description="of 1,000 reads, in any currency, for `masksift plan`")
    price_writes: float | None = Field(None, ge=0, description="of 1,000 writes and lists")
    client: Literal["obstore", "s3fs"] = Field("obstore", description="what reads and writes Zarr chunks on S3")

    def options(self, urls: Iterable[str]) -> StorageOptions:
        """What the stores of these URLs are reached by: credentials too, captured here and now."""
        return (
            resolve_credentials(S3Config(**self.model_dump(exclude={"price_reads", "price_writes"})))
            if any(map(is_s3, urls))
            else StorageOptions()
        )


class LabelOptions(ConfigSection):
    """Options shared by the commands that read the labels of several sources."""

    sources: Names = Field(description="URL or glob of Zarr groups; repeat the flag for several")
    out: str = Field(min_length=1, description="URL of the results")
    ignore: IgnoreValues = None
    remap: Remap = None
    arrays: Arrays = Arrays()
    executor: ExecutorSection = ExecutorSection()
    storage: StorageSection = StorageSection()

    def options(self) -> StorageOptions:
        """Resolve the access options of the stores that hold sources and results."""
        return self.storage.options([*self.sources, self.out])

    def overrides(self) -> Overrides:
        """Collect the options that override the attributes of a source."""
        remap = tuple(sorted((self.remap or {}).items()))
        return Overrides(**self.arrays.model_dump(exclude={"images"}), ignore=self.ignore, remap=remap)


class SourceOptions(LabelOptions):
    """Options shared by the commands that also read predictions."""

    kind: Literal["probabilities", "logits"] | None = Field(
        None, description="content of the prediction array; default: the source's"
    )
    scale: Scale = None
    sum_tolerance: float | None = Field(
        None,
        ge=0,
        description="largest accepted deviation of a pixel's probability sum from 1; default: 0.02, plus half a step "
        "per class for unsigned integers",
    )

    def overrides(self) -> Overrides:
        """Collect the options that override the attributes of a source."""
        return replace(super().overrides(), kind=self.kind, scale=self.scale, sum_tolerance=self.sum_tolerance)


class IcebergSection(ConfigSection):
    """Where the tables are, for table = "iceberg"."""

    catalog: NonEmptyText = Field(
        "default",
        repr=False,
        description="name of a catalog of pyiceberg's configuration, or a URI: sqlite:, postgresql:, http:",
    )
    warehouse: NonEmptyText | None = Field(
        None, description="URL below which the tables' files lie, or a server's name for it"
    )
    namespace: NonEmptyText = Field("masksift", description="that the tables ranking and images are in")

    @field_serializer("catalog", when_used="json")
    def _without_password(self, value: str) -> str:
        return redacted(value)


def dotted_keys(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Map every dotted key to its pydantic field: the top-level keys, then those of each section."""
    fields = model.model_fields
    types = {name: field.annotation for name, field in fields.items()}
    sections = {name: kind for name, kind in types.items() if isinstance(kind, type) and issubclass(kind, BaseModel)}
    keys = {name: field for name, field in fields.items() if name not in sections}
    for name, section in sections.items():
        keys |= {f"{name}.{key}": field for key, field in dotted_keys(section).items()}
    return keys
