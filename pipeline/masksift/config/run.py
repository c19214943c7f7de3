"""What a run is told: one frozen value. One TOML file = one run; every key is also a flag."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from masksift.config.sections import (
    Amount,
    ClcSection,
    CocoSection,
    EvidenceSection,
    ExecutorSection,
    IcebergSection,
    Names,
    Numbers,
    Pairs,
    RegionsSection,
    ReportSection,
    RunArrays,
    Section,
    SoftminSection,
    StorageSection,
    TccpSection,
    amount_of,
)
from masksift.core.errors import UsageError
from masksift.scoring.methods import METHODS, OF_ENSEMBLES, Method, make_methods
from masksift.storage.credentials import Options
from masksift.storage.sources.overrides import Overrides

__all__ = ["RunConfig", "build", "dotted_keys", "executor_of", "from_toml", "nearest", "resolve", "storage_of"]

Configuration = TypeVar("Configuration", bound=BaseModel)


class RunConfig(Section):
    """One run. Every key is optional but `sources` and `out`."""

    sources: Names = Field(description="URL of a Zarr group, or a glob; one or more")
    out: str = Field(min_length=1, description="URL of the results")
    base: str | None = Field(
        None, description="URL of an earlier run: what of the sources it has condensed is taken over"
    )
    thresholds_from: str | None = Field(None, description="URL of a run whose thresholds are used as they are")
    labels_from: str | None = Field(
        None, description="URL of a folder of label groups by source name, as `masksift simulate` and `masksift export "
        "corrections` write them",
    )  # fmt: skip
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
    arrays: RunArrays = RunArrays()
    softmin: SoftminSection = SoftminSection()
    tccp: TccpSection = TccpSection()
    clc: ClcSection = ClcSection()
    coco: CocoSection = CocoSection()
    regions: RegionsSection = RegionsSection()
    report: ReportSection = ReportSection()
    evidence: EvidenceSection = EvidenceSection()
    executor: ExecutorSection = ExecutorSection()
    storage: StorageSection = StorageSection()
    iceberg: IcebergSection = IcebergSection()

    @model_validator(mode="after")
    def _check(self) -> RunConfig:
        if not self.sources:
            raise UsageError("no source is given", "there is nothing to read", "Give --source URL, or a glob")
        known = {**METHODS, **OF_ENSEMBLES}
        if self.arrays.members and "methods" not in self.model_fields_set:
            object.__setattr__(self, "methods", tuple(known))  # the default of an ensemble
        for name in (*self.methods, self.rank_by):
            if name not in known:
                raise UsageError(
                    f"there is no method {name!r}, only {', '.join(known)}", "there is nothing to compute by it",
                    f"Did you mean {nearest(name, known)!r}?",
                )  # fmt: skip
            if name in OF_ENSEMBLES and not self.arrays.members:
                raise UsageError(
                    f"the method {name!r} is asked for, and the predictions are {self.arrays.predictions!r} alone",
                    "it needs the votes of an ensemble",
                    f"Give --arrays.predictions {self.arrays.predictions},OTHER, or leave {name} out",
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

    def quarantine_limit(self, images: int) -> Fraction:
        """How many of `images` may be quarantined before the exit code says so."""
        return amount_of("max_quarantined", self.max_quarantined, images, "images")

    def make_methods(self) -> tuple[Method, ...]:
        """The scores asked for, with their parameters."""
        sections = {"softmin": self.softmin.model_dump(), "coco": self.coco.model_dump()}
        return make_methods(self.methods, sections)

    def options(self) -> Options:
        """What the sources and the results are reached by."""
        named = self.overrides().names
        pictures = self.arrays.images
        places = (
            self.base,
            self.thresholds_from,
            self.labels_from,
            pictures,
            *(name for name in named if "://" in name),
        )
        return self.storage.options([*self.sources, self.out, *(place for place in places if place)])

    def overrides(self) -> Overrides:
        """What is said here of the source."""
        return Overrides(
            **self.arrays.model_dump(exclude={"images"}), classes=self.classes, ignore=self.ignore, kind=self.kind,
            scale=self.scale, sum_tolerance=self.sum_tolerance, remap=tuple(sorted((self.remap or {}).items())),
            labels_from=self.labels_from,
        )  # fmt: skip

    def identity(self) -> dict[str, Any]:
        """The keys that decide the results: all but where the blocks are run, where the results go, how they are shown
        and what the exit code says."""
        elsewhere = ("out", "executor", "storage", "max_quarantined", "sources", "table", "iceberg", "report")
        return self.model_dump(mode="json", exclude={**dict.fromkeys(elsewhere, True), "arrays": {"images"}})


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


def from_toml(path: str, named_by: str = "--source") -> dict[str, Any]:
    """The keys of a TOML file, nested as they stand. ``named_by``: the flags of data, which the path of a file may have
    been meant for. Raises UsageError where there is none to read."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as e:
        raise UsageError(
            f"{path} cannot be read ({e.strerror})", "there is no run",
            f"Give the path of a TOML file; data are named by {named_by}",
        ) from e  # fmt: skip
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise UsageError(f"{path} is no TOML ({e})", "there is no run", "Mend that line") from e


def resolve(tree: Mapping[str, Any], flags: Mapping[str, Any]) -> RunConfig:
    """The configuration of a run: see `build`."""
    return build(RunConfig, tree, flags)


def build(model: type[Configuration], tree: Mapping[str, Any], flags: Mapping[str, Any]) -> Configuration:
    """One configuration of a file's keys and the flags by dotted name, which go before. Raises UsageError, naming the
    nearest right key where one is misspelt. The flag `executor` is the common form of several keys."""
    merged: dict[str, Any] = {name: dict(part) if isinstance(part, Mapping) else part for name, part in tree.items()}
    if "executor" in flags:
        flags = dict(flags)
        merged["executor"] = _placed(merged.get("executor", {}), executor_of(flags.pop("executor")), flags)
    for key, value in flags.items():
        *path, last = key.split(".")
        place = merged
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise _no_table(model, part, place)
        place[last] = value
    try:
        return model.model_validate(merged)
    except ValidationError as e:
        raise _explain(model, e) from e


def executor_of(words: str) -> dict[str, str]:
    """What `--executor KIND[:WHERE]` says, by key of the section. Raises UsageError.

    >>> executor_of("dask:tls://scheduler:8786")
    {'kind': 'dask', 'address': 'tls://scheduler:8786'}
    """
    kind, colon, where = words.partition(":")
    key = {"dask": "address", "kubernetes": "manifest"}.get(kind)
    if colon and not (key and where):
        raise UsageError(
            f"--executor is {words!r}", "where to run is not known",
            "Give serial, local, dask:tls://HOST:8786, kubernetes:cluster.yaml, or the path of a class of clusters "
            "alone, with --executor.options",
        )  # fmt: skip
    return {"kind": kind} | ({key: where} if key and where else {})


def _placed(table: Any, told: Mapping[str, str], flags: Mapping[str, Any]) -> Any:
    """A file's table of the executor with what `--executor` says. What the file says of another kind does not hold: an
    address, or how many workers there are. Raises UsageError where other flags say something else."""
    for key, value in told.items():
        if (other := flags.get(f"executor.{key}", value)) != value:
            raise UsageError(
                f"--executor says that executor.{key} is {value!r}, and --executor.{key} that it is {other!r}",
                "where to run is said twice, and not the same", "Give one of them",
            )  # fmt: skip
    if not isinstance(table, Mapping):
        return table
    return {**(table if table.get("kind", told["kind"]) == told["kind"] else {}), **told}


def storage_of(flags: Mapping[str, Any]) -> StorageSection:
    """How stores are reached by the flags alone: where the rest of the configuration lies in one of them. Raises
    UsageError."""
    told = {key.removeprefix("storage."): value for key, value in flags.items() if key.startswith("storage.")}
    return resolve({"sources": ["-"], "out": "-", "storage": told}, {}).storage


def _explain(model: type[BaseModel], e: ValidationError) -> UsageError:
    """The first error, in this project's words; all that is said of its key where it may be of several types."""
    error = e.errors(include_url=False)[0]
    keys = dotted_keys(model)
    sections = tuple(dict.fromkeys(key.split(".")[0] for key in keys if "." in key))
    key = _key(keys, error)
    if error["type"] == "extra_forbidden":
        return UsageError(
            f"there is no key {key!r}", "a misspelt key would be a setting that does nothing",
            f"Did you mean {nearest(key, [*keys, *sections])!r}?",
        )  # fmt: skip
    if error["type"] == "missing":
        flag = "--source URL" if key == "sources" else f"--{key} URL"
        return UsageError(
            f"{key!r} is not given", "there is no run without it", f"Give {flag}, or the key in a TOML file"
        )
    if key in sections:
        return _no_table(model, key, error["input"])
    wanted = dict.fromkeys(_wanted(other) for other in e.errors(include_url=False) if _key(keys, other) == key)
    return UsageError(f"{key} is {_shown(error['input'])}", f"it should be {', or '.join(wanted)}", "Mend that value")


def _key(keys: Iterable[str], error: Any) -> str:
    words = {word for key in keys for word in key.split(".")}
    return ".".join(str(part) for part in error["loc"] if str(part) in words or error["type"] == "extra_forbidden")


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


def _no_table(model: type[BaseModel], name: str, value: Any) -> UsageError:
    keys = ", ".join(key for key in dotted_keys(model) if key.startswith(f"{name}."))
    return UsageError(f"{name} is {_shown(value)}", "it should be a table of keys", f"Give {keys}")


_TYPES = {
    "tuple_type": "a list",
    "too_short": "a list that is not empty",
    "string_type": "text",
    "string_too_short": "text that is not empty",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
}
