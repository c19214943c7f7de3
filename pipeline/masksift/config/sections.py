"""Sections of the configuration, and the options that several commands share."""

from __future__ import annotations

import math
import os
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    field_serializer,
    model_validator,
)
from pydantic.fields import FieldInfo

from masksift.config.types import Amount, ClassNameList, IntegerMap, Integers, Names, NonEmptyText, OneOrMoreNames
from masksift.core.errors import UsageError
from masksift.core.text import pluralize
from masksift.core.units import parse_bytes
from masksift.runtime.executors import CLUSTER_TYPES, Executor, Notify, ignore_notification, make_executor, memory_limit
from masksift.storage.credentials import StorageOptions, StoreConfig, redact_uri, resolve_options
from masksift.storage.patterns import has_wildcard
from masksift.storage.sources.overrides import MAX_LABEL_OFFSET, Overrides
from masksift.storage.urls import LINKED_SOURCE, join, local_path


class ConfigSection(BaseModel):
    """Base of all configuration models: frozen, and unknown keys are rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


IgnoreValues = Annotated[
    Integers | None, Field(description="comma-separated label values to exclude from scoring; default: the source's")
]

Remap = Annotated[
    IntegerMap | None,
    Field(description="stored label values and the class numbers they mean, such as 7:0,8:1; default: no remapping"),
]

LabelOffset = Annotated[
    int | None,
    Field(
        ge=0,
        le=MAX_LABEL_OFFSET,
        description="stored label value of class 0; smaller values are ignored, so that 1 reads 0 as no label and 1 as "
        "the first class; default: the source's, else 0",
    ),
]

ClassNames = Annotated[
    ClassNameList | None,
    Field(
        description="class names in the order of class numbers, comma-separated or in a file with one per line; "
        "default: the source's"
    ),
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

    labels: str = Field("labels", description="name or URL of the label array")
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
        None,
        description="order of the stored prediction axes, a permutation of image,class,y,x, without class for the "
        "positive class alone; default: the source's",
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


class ImageArrays(ConfigSection):
    """RGB images for the commands that read a completed run."""

    images: str | None = Field(
        None, min_length=1, description="name or URL of the RGB image array; default: that of the run"
    )


class ReportSection(ConfigSection):
    """Options of the report page."""

    top: int = Field(500, ge=0, description="number of top-ranked images on the report page; 0 writes no page")


class SoftminSection(ConfigSection):
    """Parameters of the method softmin."""

    temperature: float = Field(
        0.1, gt=0, allow_inf_nan=True, description="temperature T > 0; a small T weights the worst pixels, inf averages"
    )

    @field_serializer("temperature", when_used="json")
    def _encode_infinity(self, value: float) -> float | str:
        return value if math.isfinite(value) else str(value)  # JSON has no infinity


class TccpSection(ConfigSection):
    """Parameters of the method tccp."""

    tau: Literal["balanced", "confident"] | Annotated[float, Field(ge=0, le=1)] = Field(
        "balanced", description="decision threshold of a class: balanced, confident, or a number from 0 to 1"
    )
    lattice: int = Field(4, ge=1, le=64, description="spacing of the pixels counted for thresholds, in pixels")


class ClcSection(ConfigSection):
    """Parameters of the method clc."""

    rule: Literal["rank", "confident"] = Field("rank", description="rule that flags pixels")


class CocoSection(ConfigSection):
    """Parameters of the method coco."""

    sources: Literal["both", "labels", "predictions"] = Field(
        "both", description="planes whose connected components are scored"
    )
    aggregate: Literal["mean", "min"] = Field("mean", description="aggregate over the components of an image")
    min_area: float = Field(
        1e-4, ge=0, le=1, description="smallest component area, as a fraction of the image's valid pixels"
    )


class RegionsSection(ConfigSection):
    """Options of the region table."""

    min_area: int = Field(16, ge=1, description="smallest area of a region, in pixels")
    top: int = Field(100_000, ge=1, description="number of regions to list, the first by rank_by")
    rank_by: Literal["priority", "class", "evidence"] = Field(
        "priority",
        description="order of the regions: priority (evidence against what the class pair usually has elsewhere), "
        "class (priority, raised where the classes agree less than usual in the image), or evidence",
    )


class EvidenceSection(ConfigSection):
    """Options of the stored evidence."""

    keep: bool = Field(True, description="keep the evidence after the run, for `masksift score`")
    dtype: Literal["auto", "float32"] = Field(
        "auto", description="precision of the evidence of 32-bit and 64-bit predictions"
    )


MIN_LOCAL_SECONDS = 20.0
"""Work that starts processes of this machine under the executor kind "auto", seconds on one core."""


class ExecutorSection(ConfigSection):
    """Options of the executor that runs the blocks."""

    kind: str = Field(
        "auto",
        description="auto (serial for less than 20 seconds of work, else local), serial (this process), local "
        "(processes of this machine), dask (running scheduler), kubernetes (new cluster for this run), or the path of "
        "a Dask cluster class such as dask_jobqueue.SLURMCluster",
    )
    workers: int | None = Field(
        None,
        ge=1,
        description="number of worker processes to start or to scale up to; default: one per core for local, the "
        "manifest's for kubernetes",
    )
    memory: Amount | None = Field(
        None, description="memory limit of a worker, such as '4 GiB'; default: an even share of this machine"
    )
    address: str | None = Field(
        None,
        description="address of the scheduler, such as tls://HOST:8786; with kubernetes, the address under which this "
        "process reaches the new scheduler; default: a service name or a forwarded port",
    )
    manifest: str | None = Field(
        None, min_length=1, description="YAML file with the DaskCluster that the executor kubernetes creates"
    )
    options: dict[str, Any] | None = Field(
        None, description="keyword arguments of a Dask cluster class as a TOML table, such as '{cores = 4}'"
    )
    priority: int | None = Field(
        None, description="Dask priority of all tasks of the run on a shared cluster; higher comes first; default: 0"
    )
    resources: dict[str, float] | None = Field(
        None,
        description="Dask worker resources that the tasks of `masksift predict` require, as a TOML table such as "
        "'{GPU = 1}'",
    )
    performance_report: str | None = Field(
        None, min_length=1, description="HTML file for Dask's performance report; requires bokeh on the scheduler"
    )
    timeout: float | None = Field(
        None,
        gt=0,
        description="seconds to wait for the first worker, default: 60, or 600 for a new cluster; later, seconds "
        "without a worker and without a pending one after which the run ends, default: 600",
    )

    @model_validator(mode="after")
    def _check(self) -> ExecutorSection:
        is_class = self.kind not in CLUSTER_TYPES
        if is_class and not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", self.kind):
            raise UsageError(
                f"executor.kind must be {', '.join(CLUSTER_TYPES)} or the path of a Dask cluster class, "
                f"got {self.kind!r}",
                "Pass --executor KIND[:WHERE], such as local or dask_jobqueue.SLURMCluster",
            )
        kind = "class" if is_class else self.kind
        for key, kinds, remedy in _EXCLUSIVE_KEYS:
            if getattr(self, key) is not None and kind not in kinds:
                raise UsageError(
                    f"executor.{key} is {getattr(self, key)!r}, but executor.kind {self.kind!r} does not use it",
                    f"Use --executor.kind {remedy}, or omit executor.{key}",
                )
        for required_by, key, remedy in _REQUIRED_KEYS:
            if kind == required_by and getattr(self, key) is None:
                raise UsageError(f"executor.kind {self.kind!r} requires executor.{key}", remedy)
        if self.memory is not None:
            try:
                parse_bytes(self.memory)
            except ValueError as e:
                raise UsageError(
                    f"executor.memory must be a memory size, got {str(self.memory)!r}", "Pass a size such as '4 GiB'"
                ) from e
        return self

    @property
    def memory_bytes(self) -> int | None:
        """Configured memory of a worker in bytes."""
        return None if self.memory is None else parse_bytes(self.memory)

    @property
    def memory_limit(self) -> int | None:
        """Memory of a worker in bytes; None if it is unlimited, or unknown before the worker starts."""
        return memory_limit(self.kind, workers=self.workers, memory=self.memory_bytes, manifest=self.manifest)

    def choose(self, work_seconds: float, notify: Notify = ignore_notification) -> ExecutorSection:
        """Replace the kind "auto": processes of a cluster take some seconds to start, which little work does not earn.

        Args:
            work_seconds: Estimated time of the work on one core.
            notify: Receives the choice and its reason.

        Returns:
            The section with the kind that is used.
        """
        if self.kind != "auto":
            return self
        if self.workers is not None or self.performance_report is not None:  # both concern processes
            return self.model_copy(update={"kind": "local"})
        kind = "serial" if work_seconds < MIN_LOCAL_SECONDS else "local"
        amount = pluralize(max(1, round(work_seconds)), "second") if math.isfinite(work_seconds) else "minutes"
        notify(f"executor {kind}: about {amount} of work on one core")
        return self.model_copy(update={"kind": kind})

    def open(self, items: int, work_seconds: float, notify: Notify) -> Executor:
        """Create the executor, a context manager, for stages of at most ``items`` tasks.

        Args:
            items: Tasks of the largest stage.
            work_seconds: Estimated time of the work on one core, which decides for the kind "auto".
            notify: Receives messages.

        Returns:
            The executor.
        """
        chosen = self.choose(work_seconds, notify)
        return make_executor(
            chosen.kind,
            workers=self.workers,
            memory=self.memory_bytes,
            address=self.address,
            manifest=self.manifest,
            options=self.options,
            timeout=self.timeout,
            items=items,
            priority=self.priority or 0,
            resources=self.resources,
            performance_report=self.performance_report,
            notify=notify,
        )


_EXCLUSIVE_KEYS = (
    ("address", ("dask", "kubernetes"), "dask"),
    ("manifest", ("kubernetes",), "kubernetes"),
    ("options", ("class",), "CLASS, such as dask_jobqueue.SLURMCluster"),
    ("priority", ("dask", "kubernetes", "class"), "dask"),
    ("resources", ("dask", "kubernetes", "class"), "dask"),
    ("performance_report", ("auto", "local", "dask", "kubernetes", "class"), "local"),
)
"""Keys that only some kinds of executors use: key, kinds, one of these kinds for the remedy."""
_REQUIRED_KEYS = (
    ("dask", "address", "Pass --executor dask:tls://HOST:8786, or use --executor local"),
    ("kubernetes", "manifest", "Pass --executor kubernetes:cluster.yaml, a file with a DaskCluster"),
    ("class", "workers", "Pass --executor.workers N"),
)
"""Keys that a kind of executor requires: kind, key, remedy."""


class StorageSection(ConfigSection):
    """Access options of S3, Azure and Google Cloud Storage. Credentials come from the environment or a role."""

    endpoint_url: str | None = Field(
        None, description="URL of a server that replaces the cloud's own; default: from the environment, or the cloud"
    )
    region: str | None = Field(None, description="region of S3 buckets; default: from the environment or the profile")
    profile: str | None = Field(None, description="profile of ~/.aws/config for S3; default: from the environment")
    account: str | None = Field(None, description="storage account of az:// URLs; default: from the environment")
    anonymous: bool = Field(False, description="send unsigned requests, for public buckets")
    path_style: bool | None = Field(
        None, description="put the S3 bucket into the path of a URL; default: true with an endpoint URL"
    )
    price_reads: float | None = Field(
        None, ge=0, description="price of 1,000 read requests in any currency, shown by `masksift plan`"
    )
    price_writes: float | None = Field(
        None, ge=0, description="price of 1,000 write and list requests, shown by `masksift plan`"
    )
    client: Literal["obstore", "s3fs"] = Field("obstore", description="client library for Zarr chunks on S3")

    def options(self, urls: Iterable[str]) -> StorageOptions:
        """Resolve the access options of the stores of these URLs, credentials included."""
        return resolve_options(self.store, urls)

    @property
    def store(self) -> StoreConfig:
        """Settings that select a store and its client."""
        return StoreConfig(**self.model_dump(exclude={"price_reads", "price_writes"}))


class LabelOptions(ConfigSection):
    """Options shared by the commands that read the labels of several sources."""

    sources: Names = Field(description="URL or glob of Zarr groups; repeat the flag for several")
    out: str = Field(min_length=1, description="URL of the results")
    ignore: IgnoreValues = None
    remap: Remap = None
    label_offset: LabelOffset = None
    resize: Literal["predictions"] | None = Field(
        None,
        description="arrays to resize: predictions are enlarged bilinearly to the size of the labels while they are "
        "read, logits before the softmax; default: none, sizes must be equal",
    )
    arrays: Arrays = Arrays()
    executor: ExecutorSection = ExecutorSection()
    storage: StorageSection = StorageSection()

    @model_validator(mode="after")
    def _require_sources(self) -> Self:
        if not self.sources:
            raise UsageError("No source is configured", "Pass --source URL, or a glob")
        return self

    def options(self) -> StorageOptions:
        """Resolve the access options of the stores that hold sources and results."""
        arrays = self.overrides()
        return self.storage.options([*self.sources, self.out, arrays.labels, *arrays.prediction_names])

    def overrides(self) -> Overrides:
        """Collect the options that override the attributes of a source."""
        remap = tuple(sorted((self.remap or {}).items()))
        return Overrides(
            **self.arrays.model_dump(exclude={"images"}),
            ignore=self.ignore,
            remap=remap,
            label_offset=self.label_offset,
            resize=self.resize,
        )


_FILE_ENDINGS = (".npy", ".npz", ".pt", ".pth", ".safetensors", ".pkl", ".pickle", ".json", ".xml", ".txt")
_ZARR_METADATA = ("zarr.json", ".zarray", ".zgroup")


def are_files(value: Any) -> bool:
    """Return whether a value names files: an array file, annotations, a list of files, a glob, or a local directory.

    A local directory or archive of Zarr arrays, and the URL of a directory elsewhere, do not.
    """
    if not isinstance(value, str):
        return False
    path = local_path(value)
    if path is not None and os.path.isdir(path):
        return not any(os.path.exists(os.path.join(path, name)) for name in _ZARR_METADATA)
    if path is not None and os.path.isfile(path):
        return not (path.lower().endswith(".zip") and _is_zarr_archive(path))
    return value.lower().endswith(_FILE_ENDINGS) or has_wildcard(value)


def _is_zarr_archive(path: str) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.rpartition("/")[2] in _ZARR_METADATA for name in archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile):
        return True  # opening it as Zarr explains the damage


def _array_urls(value: Any) -> Any:
    """Return the URLs of arrays as they are stored: local paths are absolute."""
    if isinstance(value, str):
        urls = [local_path(url.strip()) or url.strip() for url in value.split(",")]
        return urls[0] if len(urls) == 1 else urls
    return [local_path(url) or url for url in value] if isinstance(value, (list, tuple)) else value


class SourceOptions(LabelOptions):
    """Options shared by the commands that also read predictions.

    Attributes:
        reads_files: `labels`, `predictions` and `images` may be files, to which the source in `sources` then refers.
    """

    reads_files: ClassVar[bool] = False

    labels: str | None = Field(
        None, min_length=1, description="URL of a label array without a group; with --predictions, instead of a source"
    )
    predictions: OneOrMoreNames | None = Field(
        None, description="URL of a prediction array without a group; several comma-separated arrays form an ensemble"
    )
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

    @model_validator(mode="before")
    @classmethod
    def _make_source_of_arrays(cls, tree: Any) -> Any:
        """Turn `labels`, `predictions` and `images` into a source that is named by its arrays."""
        keys = ("labels", "predictions", "images")
        given = {key: tree[key] for key in keys if key in cls.model_fields and tree.get(key) is not None}
        if not given:
            return tree
        arrays = tree.get("arrays", {})
        conflicts = ["--source", *(f"--arrays.{key}" for key in given if key in arrays)]
        if not tree.get("sources"):
            del conflicts[0]
        if conflicts:
            raise UsageError(
                f"{' and '.join(f'--{key}' for key in given)} and {' and '.join(conflicts)} are given",
                "Pass a group with --source, or its arrays with --labels and --predictions",
            )
        files = [key for key, value in given.items() if cls.reads_files and are_files(value)]
        if files and files != list(given):
            other = next(key for key in given if key not in files)
            raise UsageError(
                f"{files[0]} are files ({given[files[0]]}), {other} are not ({given[other]})",
                "Pass files for all, or arrays for all",
            )
        if missing := [f"--{key}" for key in ("labels", "predictions") if key not in given]:
            raise UsageError(
                f"{' and '.join(f'--{key}' for key in given)} is given without {' and '.join(missing)}",
                "Pass the URLs of both arrays, or a group with --source",
            )
        if files:
            return {**tree, "sources": [join(str(tree.get("out") or ""), LINKED_SOURCE)]}
        urls = {key: _array_urls(value) for key, value in given.items()}
        rest = {key: value for key, value in tree.items() if key not in given}
        return {**rest, "sources": [urls["labels"]], "arrays": {**arrays, **urls}}

    def overrides(self) -> Overrides:
        """Collect the options that override the attributes of a source."""
        return replace(super().overrides(), kind=self.kind, scale=self.scale, sum_tolerance=self.sum_tolerance)


class IcebergSection(ConfigSection):
    """Location of the Iceberg tables, for table = "iceberg"."""

    catalog: NonEmptyText = Field(
        "default",
        repr=False,
        description="name of a catalog in the pyiceberg configuration, or its URI: sqlite:, postgresql: or http:",
    )
    warehouse: NonEmptyText | None = Field(
        None,
        description="URL of the directory for table files, or a catalog server's name for it; default: the catalog's",
    )
    namespace: NonEmptyText = Field("masksift", description="namespace of the tables ranking and images")

    @field_serializer("catalog", when_used="json")
    def _without_password(self, value: str) -> str:
        return redact_uri(value)


def value_at(tree: Mapping[str, Any], dotted_key: str) -> Any:
    """Return the value of a dotted key, None if the tree lacks it: records of older versions have fewer keys."""
    value: Any = tree
    for name in dotted_key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def dotted_keys(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Map every dotted key to its pydantic field: the top-level keys, then those of each section."""
    fields = model.model_fields
    types = {name: field.annotation for name, field in fields.items()}
    sections = {name: kind for name, kind in types.items() if isinstance(kind, type) and issubclass(kind, BaseModel)}
    keys = {name: field for name, field in fields.items() if name not in sections}
    for name, section in sections.items():
        keys |= {f"{name}.{key}": field for key, field in dotted_keys(section).items()}
    return keys
