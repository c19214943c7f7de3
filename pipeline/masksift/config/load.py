"""Load a configuration from TOML and command-line flags."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from masksift.config.errors import explain, missing_table_error
from masksift.config.run import RunConfig
from masksift.config.sections import (
    StorageSection,
)
from masksift.core.errors import UsageError

Configuration = TypeVar("Configuration", bound=BaseModel)


def read_toml(path: str, named_by: str = "--source") -> dict[str, Any]:
    """The keys of a TOML file, nested as they stand. ``named_by``: the flags of data, which the path of a file may have
    been meant for. Raises UsageError where there is none to read."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as e:
        raise UsageError(
            f"{path} cannot be read ({e.strerror})",
            "there is no run",
            f"Give the path of a TOML file; data are named by {named_by}",
        ) from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise UsageError(f"{path} is no TOML ({e})", "there is no run", "Mend that line") from e


def build_run_config(tree: Mapping[str, Any], flags: Mapping[str, Any]) -> RunConfig:
    """The configuration of a run: see `build_config`."""
    return build_config(RunConfig, tree, flags)


def build_config(model: type[Configuration], tree: Mapping[str, Any], flags: Mapping[str, Any]) -> Configuration:
    """One configuration of a file's keys and the flags by dotted name, which go before. Raises UsageError, naming the
    nearest right key where one is misspelt. The flag `executor` is the common form of several keys."""
    merged: dict[str, Any] = {name: dict(part) if isinstance(part, Mapping) else part for name, part in tree.items()}
    if "executor" in flags:
        flags = dict(flags)
        merged["executor"] = _placed(merged.get("executor", {}), parse_executor(flags.pop("executor")), flags)
    for key, value in flags.items():
        *path, last = key.split(".")
        place = merged
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise missing_table_error(model, part, place)
        place[last] = value
    try:
        return model.model_validate(merged)
    except ValidationError as e:
        raise explain(model, e) from e


def parse_executor(words: str) -> dict[str, str]:
    """What `--executor KIND[:WHERE]` says, by key of the section. Raises UsageError.

    >>> executor_of("dask:tls://scheduler:8786")
    {'kind': 'dask', 'address': 'tls://scheduler:8786'}
    """
    kind, colon, where = words.partition(":")
    key = {"dask": "address", "kubernetes": "manifest"}.get(kind)
    if colon and not (key and where):
        raise UsageError(
            f"--executor is {words!r}",
            "where to run is not known",
            "Give serial, local, dask:tls://HOST:8786, kubernetes:cluster.yaml, or the path of a class of clusters "
            "alone, with --executor.options",
        )
    return {"kind": kind} | ({key: where} if key and where else {})


def _placed(table: Any, told: Mapping[str, str], flags: Mapping[str, Any]) -> Any:
    """A file's table of the executor with what `--executor` says. What the file says of another kind does not hold: an
    address, or how many workers there are. Raises UsageError where other flags say something else."""
    for key, value in told.items():
        if (other := flags.get(f"executor.{key}", value)) != value:
            raise UsageError(
                f"--executor says that executor.{key} is {value!r}, and --executor.{key} that it is {other!r}",
                "where to run is said twice, and not the same",
                "Give one of them",
            )
    if not isinstance(table, Mapping):
        return table
    return {**(table if table.get("kind", told["kind"]) == told["kind"] else {}), **told}


def storage_from_flags(flags: Mapping[str, Any]) -> StorageSection:
    """How stores are reached by the flags alone: where the rest of the configuration lies in one of them. Raises
    UsageError."""
    told = {key.removeprefix("storage."): value for key, value in flags.items() if key.startswith("storage.")}
    return build_run_config({"sources": ["-"], "out": "-", "storage": told}, {}).storage
