"""Load a configuration from TOML and command-line flags."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from masksift.config.errors import explain_validation_error, not_a_table_error
from masksift.config.run import RunConfig
from masksift.config.sections import StorageSection
from masksift.core.errors import UsageError

Model = TypeVar("Model", bound=BaseModel)


def read_toml(path: str, data_flags: str = "--source") -> dict[str, Any]:
    """Read the keys of a TOML file.

    Args:
        path: Path of the file.
        data_flags: Flags that name data, for the error: the path may be that of a data set.

    Returns:
        The nested keys.

    Raises:
        UsageError: The file cannot be read, or is not valid TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as e:
        raise UsageError(
            f"Cannot read {path} ({e.strerror})", f"Pass the path of a TOML file; data sets go to {data_flags}"
        ) from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as e:
        raise UsageError(f"{path} is not valid TOML ({e})", "Correct that line") from e


def build_run_config(tree: Mapping[str, Any], flags: Mapping[str, Any]) -> RunConfig:
    """Build the configuration of a run; see `build_config`."""
    return build_config(RunConfig, tree, flags)


def build_config(model: type[Model], tree: Mapping[str, Any], flags: Mapping[str, Any]) -> Model:
    """Build a configuration from the keys of a TOML file and from flags.

    Args:
        model: Class of the configuration.
        tree: Nested keys of the file.
        flags: Values by dotted key; they override the file. The flag `executor` sets several keys.

    Returns:
        The validated configuration.

    Raises:
        UsageError: A key is unknown, missing or invalid.
    """
    merged: dict[str, Any] = {
        name: dict(value) if isinstance(value, Mapping) else value for name, value in tree.items()
    }
    flags = dict(flags)
    if "executor" in flags:
        merged["executor"] = _merge_executor(merged.get("executor", {}), parse_executor(flags.pop("executor")), flags)
    for key, value in flags.items():
        *path, last = key.split(".")
        table = merged
        for name in path:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                error = not_a_table_error(model, name, table)
                raise error
        table[last] = value
    try:
        return model.model_validate(merged)
    except ValidationError as e:
        error = explain_validation_error(model, e)
        raise error from e


def parse_executor(text: str) -> dict[str, str]:
    """Parse `--executor KIND[:WHERE]` into keys of the executor section.

    >>> parse_executor("dask:tls://scheduler:8786")
    {'kind': 'dask', 'address': 'tls://scheduler:8786'}

    Args:
        text: Value of the flag.

    Returns:
        The keys `kind` and, if WHERE is given, `address` or `manifest`.

    Raises:
        UsageError: WHERE is missing after the colon, or the kind takes none.
    """
    kind, colon, where = text.partition(":")
    key = {"dask": "address", "kubernetes": "manifest"}.get(kind)
    if colon and not (key and where):
        raise UsageError(
            f"--executor {text!r} is not valid",
            "Use auto, serial, local, dask:tls://HOST:8786, kubernetes:cluster.yaml, or the path of a Dask cluster "
            "class with --executor.options",
        )
    return {"kind": kind} | ({key: where} if key and where else {})


def _merge_executor(table: Any, chosen: Mapping[str, str], flags: Mapping[str, Any]) -> Any:
    """Merge `--executor` into a file's executor table. Keys of another kind, such as an address, are dropped."""
    for key, value in chosen.items():
        if (other := flags.get(f"executor.{key}", value)) != value:
            raise UsageError(
                f"--executor sets executor.{key} to {value!r}, but --executor.{key} sets it to {other!r}",
                "Pass only one of them",
            )
    if not isinstance(table, Mapping):
        return table
    return {**(table if table.get("kind", chosen["kind"]) == chosen["kind"] else {}), **chosen}


def storage_from_flags(flags: Mapping[str, Any]) -> StorageSection:
    """Build the storage section from flags alone, for reading the rest of a configuration from a store."""
    options = {key.removeprefix("storage."): value for key, value in flags.items() if key.startswith("storage.")}
    return build_run_config({"sources": ["-"], "out": "-", "storage": options}, {}).storage
