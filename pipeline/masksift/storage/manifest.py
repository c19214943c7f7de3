"""What a run keeps for itself: its plan, the products of its blocks, and the record that says it is complete.

A product is one object under a name made of the plan's fingerprint and the block's number, put as a whole:
a block whose product exists is done, whoever did it and however often.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from masksift.core.errors import UsageError
from masksift.storage.objects import ObjectDirectory

RECORD = "run.json"
RUNNING = "manifest/running.json"
PLAN = "manifest/plan.json"


def pack(parts: Mapping[str, bytes]) -> bytes:
    """Several named parts as the bytes of one archive; the same parts give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(parts):
            archive.writestr(zipfile.ZipInfo(name), parts[name])
    return buffer.getvalue()


def unpack(data: bytes) -> dict[str, bytes]:
    """The parts that `pack` put together. Raises zipfile.BadZipFile where the bytes are none."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


class Manifest:
    """The manifest of the run at one URL with one fingerprint."""

    def __init__(self, folder: ObjectDirectory, fingerprint: str) -> None:
        self._folder = folder
        self._fingerprint = fingerprint

    @property
    def io_counters(self) -> Counter[str]:
        """Requests that it took: see `ObjectDirectory.io_counters`."""
        return self._folder.io_counters

    @property
    def url(self) -> str:
        """Of the run's results."""
        return self._folder.url

    def is_resumable(self, plan: Mapping[str, Any], *, verb: str) -> bool:
        """Whether an earlier attempt of the same run left its plan in the folder. Nothing is written.

        Raises UsageError where the folder holds another run, or files that are no run's.
        """
        other = _plan(self._folder.read(PLAN))
        if other is not None:
            if other.get("fingerprint") == self._fingerprint:
                return True
            raise UsageError(
                f"{self._folder.url} holds another run ({difference(other, plan)})",
                "its results would be overwritten",
                "Give another --out, or remove that folder"
                + (", or score its evidence again with `masksift score`" if verb == "run" else ""),
            )
        strangers = [name for name in self._folder.names() if not self._is_leftover(name)]
        if strangers:
            raise UsageError(
                f"{self._folder.url} holds files that are no run of masksift ({', '.join(strangers[:3])})",
                "they could be mistaken for results",
                "Give an empty or a new folder as --out",
            )
        return False

    def write_plan(self, plan: Mapping[str, Any], *, verb: str) -> bool:
        """Make the folder this run's own; True where it was before. Raises as `recognise` does."""
        if self.is_resumable(plan, verb=verb):
            return True
        try:
            self._folder.write(PLAN, json.dumps(plan, indent=2, sort_keys=True).encode())
        except (FileExistsError, NotADirectoryError, PermissionError) as e:
            raise UsageError(
                f"{self._folder.url} cannot be made a folder and written ({e.strerror})",
                "there is no place for the results",
                "Give a new folder as --out",
            ) from e
        return False

    def _is_leftover(self, name: str) -> bool:
        """Whether it is all that an attempt leaves which was killed while it wrote its plan."""
        return name == PLAN.split("/")[0] and all(
            n.endswith(".partial") or n == RUNNING.split("/")[1] for n in self._folder.names(name)
        )

    def _product(self, stage: str, number: int) -> str:
        return f"manifest/{stage}/{self._fingerprint[:12]}-{number:08d}.zip"

    def load(self, stage: str, number: int) -> dict[str, bytes] | None:
        """The product of a block in a stage, or None where it is not done."""
        data = self._folder.read(self._product(stage, number))
        return None if data is None else unpack(data)

    def save(self, stage: str, number: int, parts: Mapping[str, bytes]) -> None:
        """Put the product of a block: the last thing a task does."""
        self._folder.write(self._product(stage, number), pack(parts))

    def missing(self, stage: str, numbers: Iterable[int]) -> list[int]:
        """The blocks that have no product in a stage."""
        present = set(self._folder.names(f"manifest/{stage}"))
        return [n for n in numbers if self._product(stage, n).rsplit("/", 1)[-1] not in present]


def _plan(data: bytes | None) -> dict[str, Any] | None:
    """The plan that lies there, or None where there is none of masksift's."""
    try:
        found = None if data is None else json.loads(data)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "fingerprint" in found else None


def difference(other: Mapping[str, Any], plan: Mapping[str, Any]) -> str:
    """The first keys in which two plans differ, with both values."""
    theirs, ours = _flat(other.get("identity", {})), _flat(plan.get("identity", {}))
    keys = sorted(key for key in theirs.keys() | ours.keys() if theirs.get(key) != ours.get(key))
    told = [
        f"{key.removeprefix('configuration.')} was {_format_value(theirs.get(key))}, is {_format_value(ours.get(key))}"
        for key in keys[:2]
    ]
    return "; ".join(told) or "its plan differs"


def _format_value(value: Any) -> str:
    return "not set" if value is None else json.dumps(value)


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(tree, dict):
        return {k: v for name, part in tree.items() for k, v in _flat(part, f"{prefix}{name}.").items()}
    if isinstance(tree, list) and any(isinstance(part, dict) for part in tree):
        return {k: v for i, part in enumerate(tree) for k, v in _flat(part, f"{prefix}{i}.").items()}
    return {prefix.rstrip("."): tree}
