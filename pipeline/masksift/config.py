"""What a run is told: one frozen value. One TOML file = one run; every key is also a flag."""

from __future__ import annotations

import difflib
import math
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_serializer, model_validator

from masksift.errors import UsageError
from masksift.methods import METHODS, Method, make_methods
from masksift.storage.access import Endpoint, Options, capture, is_s3, redacted
from masksift.storage.sources import Overrides

__all__ = ["RunConfig", "dotted_keys", "from_toml", "parse_bytes", "resolve", "storage_of"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _listed(value: Any) -> Any:
    """A flag's `a,b,c` as a list, and one number as a list of one; anything else as it is."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [value] if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _counted(value: Any) -> Any:
    """Digits as a number, so that a flag and a file say the same; other numbers as text, to be read as such."""
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    return str(value) if isinstance(value, (bool, float)) else value


def _paired(value: Any) -> Any:
    """A flag's `7:0,8:1` as a table; anything else as it is."""
    if isinstance(value, str):
        return dict(part.split(":", 1) if ":" in part else (part, None) for part in _listed(value))
    return value


Word = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Word, ...], BeforeValidator(_listed)]
Numbers = Annotated[tuple[int, ...], BeforeValidator(_listed)]
Pairs = Annotated[dict[int, int], BeforeValidator(_paired)]
Amount = Annotated[str | int, BeforeValidator(_counted)]


def parse_bytes(text: str | int) -> int:
    """Bytes of a number or of words such as `4 GiB`, `4GB`, `512 MiB`.

    >>> parse_bytes("4 GiB")
    4294967296
    """
    found = re.fullmatch(r"\s*([0-9.]+)\s*([KMGT]?)(i?)B?\s*", str(text), flags=re.IGNORECASE)
    if not found or found[1].count(".") > 1 or found[1] == ".":
        raise ValueError(f"{text!r} is no amount of memory; give one such as '4 GiB'")
    power = " KMGT".index(found[2].upper() or " ")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** power)


class Arrays(_Section):
    """Names and axes of a source's arrays, where they differ."""

    predictions: str = Field("predictions", description="name of the predictions")
    labels: str = Field("labels", description="name of the labels")
    image_id: str = Field("image_id", description="name of the ids")
    height: str = Field("height", description="name of the rows of padded images that are their own")
    width: str = Field("width", description="name of their columns")
    predictions_axes: Names | None = Field(None, description="order of the stored axes: image,class,y,x")
    labels_axes: Names | None = Field(None, description="order of the stored axes: image,y,x")
    empty_label_chunks: Literal["missing", "fill"] | None = Field(
        None, description="what an absent label chunk is: lost data, or its fill value"
    )


class SoftminSection(_Section):
    """Parameters of softmin."""

    temperature: float = Field(0.1, gt=0, allow_inf_nan=True, description="T > 0: small weighs the worst pixels alone")

    @field_serializer("temperature", when_used="json")
    def _as_json(self, value: float) -> float | str:
        return value if math.isfinite(value) else str(value)  # JSON knows no infinity


class TccpSection(_Section):
    """Parameters of tccp."""

    tau: Literal["balanced", "confident"] | Annotated[float, Field(ge=0, le=1)] = Field(
        "balanced", description="decision threshold: balanced, confident, or one number"
    )
    lattice: int = Field(4, ge=1, le=64, description="rows and columns from one counted pixel to the next")


class ClcSection(_Section):
    """Parameters of clc."""

    rule: Literal["rank", "confident"] = Field("rank", description="which pixels are flagged")


class CocoSection(_Section):
    """Parameters of coco."""

    sources: Literal["both", "labels", "predictions"] = Field("both", description="planes that components are found in")
    aggregate: Literal["mean", "min"] = Field("mean", description="over the components of an image")
    min_area: float = Field(1e-4, ge=0, le=1, description="smallest component, as a share of the valid pixels")


class EvidenceSection(_Section):
    """What is kept of the predictions."""

    keep: bool = Field(True, description="whether it stays, for `masksift score`; issue masks do in any case")
    dtype: Literal["auto", "float32"] = Field("auto", description="precision kept of 32- and 64-bit predictions")


class ExecutorSection(_Section):
    """Where the blocks are run."""

    kind: Literal["serial", "local", "dask"] = Field(
        "local", description="this process, an embedded cluster, an address"
    )
    workers: int | None = Field(None, ge=1, description="processes of kind local; default: one a core")
    memory: Amount | None = Field(None, description="of a worker, e.g. '4 GiB'; default: an even share of the machine")
    address: str | None = Field(None, description="of the scheduler, for kind dask")
    timeout: float = Field(60.0, gt=0, description="seconds to wait for the first worker")

    @model_validator(mode="after")
    def _check(self) -> ExecutorSection:
        if self.kind == "dask" and self.address is None:
            raise UsageError(
                "executor.kind is 'dask' and executor.address is not given", "there is no scheduler to run on",
                "Give --executor.address tls://HOST:8786, or --executor.kind local",
            )  # fmt: skip
        if self.kind != "dask" and self.address is not None:
            raise UsageError(
                f"executor.address is {self.address!r} and executor.kind is {self.kind!r}",
                "the cluster would not be used", "Give --executor.kind dask, or no address",
            )  # fmt: skip
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
    def worker_count(self) -> int:
        """Processes of kind local."""
        return self.workers or len(os.sched_getaffinity(0))


class StorageSection(_Section):
    """How S3, and what speaks like it, is reached; keys come from the environment, a profile or a role."""

    endpoint_url: str | None = Field(None, description="of a server that is not Amazon's")
    region: str | None = Field(None, description="of the buckets; default: that of the environment or the profile")
    profile: str | None = Field(None, description="of ~/.aws/config")
    anonymous: bool = Field(False, description="ask without keys: public buckets")
    path_style: bool | None = Field(None, description="bucket in the path of a URL; default: with an endpoint_url")
    price_reads: float | None = Field(None, ge=0, description="of 1,000 reads, in any currency, for `masksift plan`")
    price_writes: float | None = Field(None, ge=0, description="of 1,000 writes and lists")
    client: Literal["obstore", "s3fs"] = Field("obstore", description="what reads and writes Zarr chunks on S3")

    def options(self, urls: Iterable[str]) -> Options:
        """What the stores of these URLs are reached by: credentials too, captured here and now."""
        return (
            capture(Endpoint(**self.model_dump(exclude={"price_reads", "price_writes"})))
            if any(map(is_s3, urls))
            else Options()
        )


class IcebergSection(_Section):
    """Where the tables are, for table = "iceberg"."""

    catalog: Word = Field(
        "default",
        repr=False,
        description="name of a catalog of pyiceberg's configuration, or a URI: sqlite:, postgresql:, http:",
    )
    warehouse: Word | None = Field(None, description="URL below which the tables' files lie, or a server's name for it")
    namespace: Word = Field("masksift", description="that the tables ranking and images are in")

    @field_serializer("catalog", when_used="json")
    def _without_password(self, value: str) -> str:
        return redacted(value)


class RunConfig(_Section):
    """One run. Every key is optional but `sources` and `out`."""

    sources: Names = Field(description="URL of a Zarr group, or a glob; one or more")
    out: str = Field(min_length=1, description="URL of the results")
    base: str | None = Field(
        None, description="URL of an earlier run: what of the sources it has condensed is taken over"
    )
    thresholds_from: str | None = Field(None, description="URL of a run whose thresholds are used as they are")
    methods: Names = Field(tuple(METHODS), description="scores to compute")
    rank_by: str = Field("softmin", description="score that the ranking is by")
    classes: Names | None = Field(None, description="class names; default: the source's")
    ignore: Numbers | None = Field(None, description="label values that do not count; default: the source's")
    remap: Pairs | None = Field(None, description="label values and the classes they stand for: 7:0,8:1")
    kind: Literal["probabilities", "logits"] | None = Field(
        None, description="what predictions are; default: the source's"
    )
    scale: float | None = Field(None, gt=0, le=1, description="probability of one step of integer predictions")
    sum_tolerance: float | None = Field(None, ge=0, description="how far a pixel's sum may lie from 1")
    max_quarantined: Amount = Field(
        0, description="images, or a share such as '0.1%%', beyond which the exit code is 3"
    )
    table: Literal["parquet", "iceberg"] = Field(
        "parquet", description="where ranking and images go: this run's folder alone, or Iceberg tables too"
    )
    arrays: Arrays = Arrays()
    softmin: SoftminSection = SoftminSection()
    tccp: TccpSection = TccpSection()
    clc: ClcSection = ClcSection()
    coco: CocoSection = CocoSection()
    evidence: EvidenceSection = EvidenceSection()
    executor: ExecutorSection = ExecutorSection()
    storage: StorageSection = StorageSection()
    iceberg: IcebergSection = IcebergSection()

    @model_validator(mode="after")
    def _check(self) -> RunConfig:
        if not self.sources:
            raise UsageError("no source is given", "there is nothing to read", "Give --source URL, or a glob")
        for name in (*self.methods, self.rank_by):
            if name not in METHODS:
                raise UsageError(
                    f"there is no method {name!r}, only {', '.join(METHODS)}", "there is nothing to compute by it",
                    f"Did you mean {nearest(name, METHODS)!r}?",
                )  # fmt: skip
        if self.rank_by not in self.methods:
            raise UsageError(
                f"rank_by is {self.rank_by!r}, and the methods are {', '.join(self.methods) or 'none'}",
                "images are ranked by a score that is computed",
                f"Give --rank_by {self.methods[0]}, or add {self.rank_by} to --methods"
                if self.methods
                else f"Give --methods {self.rank_by}",
            )
        self.quarantine_limit(0)
        return self

    def quarantine_limit(self, images: int) -> float:
        """How many of `images` may be quarantined before the exit code says so."""
        text = str(self.max_quarantined).strip()
        found = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*(%?)", text)
        if not found or (not found[2] and "." in found[1]):
            raise UsageError(
                f"max_quarantined is {text!r}, which is no number of images and no share",
                "when the exit code is 3 is not known", "Give a whole number of images, or a share such as '0.1%'",
            )  # fmt: skip
        return float(found[1]) * images / 100 if found[2] else float(found[1])

    def make_methods(self) -> tuple[Method, ...]:
        """The scores asked for, with their parameters."""
        sections = {"softmin": self.softmin.model_dump(), "coco": self.coco.model_dump()}
        return make_methods(self.methods, sections)

    def options(self) -> Options:
        """What the sources and the results are reached by."""
        return self.storage.options([*self.sources, self.out, self.base or "", self.thresholds_from or ""])

    def overrides(self) -> Overrides:
        """What is said here of the source."""
        return Overrides(
            **self.arrays.model_dump(), classes=self.classes, ignore=self.ignore, kind=self.kind, scale=self.scale,
            sum_tolerance=self.sum_tolerance, remap=tuple(sorted((self.remap or {}).items())),
        )  # fmt: skip

    def identity(self) -> dict[str, Any]:
        """The keys that decide the results: all but where the blocks are run, where the results go and what the exit
        code says."""
        elsewhere = {"out", "executor", "storage", "max_quarantined", "sources", "table", "iceberg"}
        return self.model_dump(mode="json", exclude=elsewhere)


def dotted_keys(model: type[BaseModel] = RunConfig, prefix: str = "") -> dict[str, Any]:
    """Every key as its dotted name, with its pydantic field."""
    keys: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            keys |= dotted_keys(inner, f"{prefix}{name}.")
        else:
            keys[prefix + name] = field
    return keys


def nearest(word: str, words: Iterable[str]) -> str:
    """The word most like another one, as a whole or in its last dotted part: `temprature` -> `softmin.temperature`."""

    def likeness(known: str) -> tuple[float, float]:
        whole = difflib.SequenceMatcher(None, word, known).ratio()
        last = difflib.SequenceMatcher(None, word.rsplit(".", 1)[-1], known.rsplit(".", 1)[-1]).ratio()
        return max(whole, last), whole

    return max(words, key=likeness)


def from_toml(path: str) -> dict[str, Any]:
    """The keys of a TOML file, nested as they stand. Raises UsageError where there is none to read."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as e:
        raise UsageError(
            f"{path} cannot be read ({e.strerror})", "there is no run",
            "Give the path of a TOML file; data are named by --source",
        ) from e  # fmt: skip
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise UsageError(f"{path} is no TOML ({e})", "there is no run", "Mend that line") from e


def resolve(tree: Mapping[str, Any], flags: Mapping[str, Any]) -> RunConfig:
    """One configuration of a file's keys and the flags by dotted name, which go before. Raises UsageError, naming the
    nearest right key where one is misspelt."""
    merged: dict[str, Any] = {name: dict(part) if isinstance(part, Mapping) else part for name, part in tree.items()}
    for key, value in flags.items():
        *path, last = key.split(".")
        place = merged
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise _no_table(part, place)
        place[last] = value
    try:
        return RunConfig.model_validate(merged)
    except ValidationError as e:
        raise _explain(e) from e


def storage_of(flags: Mapping[str, Any]) -> StorageSection:
    """How stores are reached by the flags alone: where the rest of the configuration lies in one of them. Raises
    UsageError."""
    told = {key.removeprefix("storage."): value for key, value in flags.items() if key.startswith("storage.")}
    return resolve({"sources": ["-"], "out": "-", "storage": told}, {}).storage


def _explain(e: ValidationError) -> UsageError:
    """The first error, in this project's words; all that is said of its key where it may be of several types."""
    error = e.errors(include_url=False)[0]
    key = _key(error)
    if error["type"] == "extra_forbidden":
        return UsageError(
            f"there is no key {key!r}", "a misspelt key would be a setting that does nothing",
            f"Did you mean {nearest(key, [*dotted_keys(), *_SECTIONS])!r}?",
        )  # fmt: skip
    if error["type"] == "missing":
        flag = "--source URL" if key == "sources" else f"--{key} URL"
        return UsageError(
            f"{key!r} is not given", "there is no run without it", f"Give {flag}, or the key in a TOML file"
        )
    if key in _SECTIONS:
        return _no_table(key, error["input"])
    wanted = dict.fromkeys(_wanted(other) for other in e.errors(include_url=False) if _key(other) == key)
    return UsageError(f"{key} is {_shown(error['input'])}", f"it should be {', or '.join(wanted)}", "Mend that value")


def _key(error: Any) -> str:
    parts = [str(part) for part in error["loc"] if str(part) in _WORDS or error["type"] == "extra_forbidden"]
    return ".".join(parts)


def _wanted(error: Any) -> str:
    """What pydantic says that an input should be, in the words of a TOML file."""
    if error["type"] in _TYPES:
        return _TYPES[error["type"]]
    said = re.sub(r"^Input should be |, unable to parse.*$|, got .*$", "", str(error["msg"]))
    return re.sub(r"^a valid |^(?=greater|less)", lambda found: "a " if found[0] else "a number ", said)


def _shown(value: Any) -> str:
    """A value as a TOML file has it, more or less: `'a'`, `[1, 2]`, `true`."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a table"
    return repr(value)


def _no_table(name: str, value: Any) -> UsageError:
    keys = ", ".join(key for key in dotted_keys() if key.startswith(f"{name}."))
    return UsageError(f"{name} is {_shown(value)}", "it should be a table of keys", f"Give {keys}")


_TYPES = {
    "tuple_type": "a list",
    "string_type": "text",
    "string_too_short": "text that is not empty",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
}
_WORDS = {word for key in dotted_keys() for word in key.split(".")}
_SECTIONS = tuple(dict.fromkeys(key.split(".")[0] for key in dotted_keys() if "." in key))
