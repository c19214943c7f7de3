"""Manifest of a job: its plan, which claims the output directory, and one output per finished task.

A task output is one object, named by the fingerprint of the plan and the number of the task and written as a whole. A
task whose output exists is finished, no matter which worker wrote it and how often.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from masksift.core.errors import UsageError
from masksift.core.json_text import parse_json
from masksift.storage.objects import ObjectDirectory
from masksift.storage.urls import LINKED_SOURCE

RECORD = "run.json"
LOCK = "manifest/running.json"
PLAN = "manifest/plan.json"


def pack(parts: Mapping[str, bytes]) -> bytes:
    """Pack named byte strings into an archive. Equal contents give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(parts):
            archive.writestr(zipfile.ZipInfo(name), parts[name])
    return buffer.getvalue()


def unpack(data: bytes) -> dict[str, bytes]:
    """Unpack an archive of `pack`. Other bytes raise `zipfile.BadZipFile`."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def make_job_plan(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Make the plan of a job that is identified by everything that determines its results."""
    data = json.dumps(identity, sort_keys=True).encode()
    return {"fingerprint": hashlib.sha256(data).hexdigest(), "identity": identity}


class PlanFile:
    """Plan of a job, stored as a JSON object."""

    def __init__(self, directory: ObjectDirectory, name: str = PLAN) -> None:
        self.directory, self.name = directory, name

    def read(self) -> dict[str, Any] | None:
        """Return the plan, or None if no such object exists or it is not a plan."""
        data = self.directory.read(self.name)
        try:
            plan = None if data is None else self._decode(parse_json(data))
        except (ValueError, KeyError, TypeError):
            return None
        return plan if isinstance(plan, dict) and "fingerprint" in plan else None

    def write(self, plan: Mapping[str, Any]) -> None:
        """Write the plan as a whole."""
        self.directory.write(self.name, json.dumps(self._encode(plan), indent=2, sort_keys=True).encode())

    def _decode(self, value: Any) -> Any:
        return value

    def _encode(self, plan: Mapping[str, Any]) -> Mapping[str, Any]:
        return plan


class GroupAttributesPlan(PlanFile):
    """Plan stored as the attributes of a Zarr group, for outputs that are Zarr groups themselves.

    Readers of arrays ignore the group, and every reader of JSON can read `GROUP/zarr.json`.
    """

    def __init__(self, directory: ObjectDirectory, group: str) -> None:
        super().__init__(directory, f"{group}/zarr.json")

    def _decode(self, value: Any) -> Any:
        return value["attributes"]

    def _encode(self, plan: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"zarr_format": 3, "node_type": "group", "attributes": plan}


class Manifest:
    """Manifest in an output directory.

    Args:
        directory: The output directory.
        fingerprint: Hash of everything that determines the results.
        plan_file: Where the plan is stored; `manifest/plan.json` by default.
    """

    def __init__(self, directory: ObjectDirectory, fingerprint: str, plan_file: PlanFile | None = None) -> None:
        self.directory = directory
        self._fingerprint = fingerprint
        self._plan_file = plan_file or PlanFile(directory)

    @property
    def io_counters(self) -> Counter[str]:
        """Requests of this manifest: see `ObjectDirectory.io_counters`."""
        return self.directory.io_counters

    @property
    def url(self) -> str:
        """URL of the output directory."""
        return self.directory.url

    def is_resumable(self, plan: Mapping[str, Any], *, verb: str) -> bool:
        """Return whether an earlier attempt of the same job left its plan here. Write nothing.

        Args:
            plan: Plan of this job, with its `fingerprint` and its `identity`.
            verb: Subcommand, which decides the advice in an error.

        Returns:
            True if the job can be resumed, False if the directory is empty or new.

        Raises:
            UsageError: The directory holds the results of another job, or other files.
        """
        other = self._plan_file.read()
        if other is not None:
            if other["fingerprint"] == self._fingerprint:
                return True
            raise UsageError(
                f"{self.url} holds results of other inputs or settings ({difference(other, plan)})",
                "They would be overwritten",
                "Pass another --out, or remove this directory"
                + (", or score its evidence again with `masksift score`" if verb == "run" else ""),
            )
        foreign = [name for name in self.directory.names() if name != LINKED_SOURCE and not self._is_leftover(name)]
        if foreign:
            raise UsageError(
                f"{self.url} contains files that are not results of masksift ({', '.join(foreign[:3])})",
                "They could be mistaken for results",
                "Use an empty or new directory for --out",
            )
        return False

    def write_plan(self, plan: Mapping[str, Any], *, verb: str) -> bool:
        """Claim the directory for this job by writing the plan, unless an earlier attempt has done so.

        Args:
            plan: See `is_resumable`.
            verb: See `is_resumable`.

        Returns:
            True if the plan was there before.

        Raises:
            UsageError: The directory holds other files, or cannot be written.
        """
        if self.is_resumable(plan, verb=verb):
            return True
        try:
            self._plan_file.write(plan)
        except (FileExistsError, NotADirectoryError, PermissionError) as e:
            raise UsageError(
                f"{self.url} cannot be created or written ({e.strerror})", "Use a new directory for --out"
            ) from e
        return False

    def _is_leftover(self, name: str) -> bool:
        """Return whether an entry is what an attempt leaves that is killed while it writes its plan."""
        return name == self._plan_file.name.split("/")[0] and all(
            entry.endswith(".partial") or entry == LOCK.split("/")[1] for entry in self.directory.names(name)
        )

    def _output_name(self, stage: str, number: int) -> str:
        return f"manifest/{stage}/{self._fingerprint[:12]}-{number:08d}.zip"

    def load(self, stage: str, number: int) -> dict[str, bytes] | None:
        """Return the output of a task of a stage, or None if it is not finished."""
        data = self.directory.read(self._output_name(stage, number))
        return None if data is None else unpack(data)

    def save(self, stage: str, number: int, parts: Mapping[str, bytes]) -> None:
        """Write the output of a task: the last action of the task."""
        self.directory.write(self._output_name(stage, number), pack(parts))

    def is_finished(self, stage: str, number: int) -> bool:
        """Return whether a task has an output, with one request."""
        try:
            return self.directory.size(self._output_name(stage, number)) > 0
        except (FileNotFoundError, NotADirectoryError):
            return False

    def missing(self, stage: str, numbers: Iterable[int]) -> list[int]:
        """Return the numbers of the tasks without an output in a stage. Lists all outputs of the stage."""
        present = set(self.directory.names(f"manifest/{stage}"))
        return [number for number in numbers if self._output_name(stage, number).rsplit("/", 1)[-1] not in present]


def difference(other: Mapping[str, Any], plan: Mapping[str, Any]) -> str:
    """Describe the first two keys in which the identities of two plans differ, with both values."""
    before, now = _flatten(other.get("identity", {})), _flatten(plan.get("identity", {}))
    keys = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    changes = [
        f"{key.removeprefix('configuration.')} was {_format_value(before.get(key))}, is {_format_value(now.get(key))}"
        for key in keys[:2]
    ]
    return "; ".join(changes) or "the plan differs"


def _format_value(value: Any) -> str:
    return "not set" if value is None else json.dumps(value)


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested objects by their dotted path. A list of plain values is a leaf."""
    if isinstance(tree, list) and any(isinstance(entry, dict) for entry in tree):
        tree = dict(enumerate(tree))
    if isinstance(tree, dict):
        return {k: v for key, entry in tree.items() for k, v in _flatten(entry, f"{prefix}{key}.").items()}
    return {prefix.rstrip("."): tree}
