"""What an ingest leaves of itself: as the attributes of a Zarr group `ingest` in the source, which no reader of arrays
stumbles over and every reader of JSON understands (`ingest/zarr.json`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from masksift.core.errors import UsageError
from masksift.storage.manifest import difference
from masksift.storage.objects import ObjectDirectory

RECORD = "ingest/zarr.json"


class Record:
    """The record at one URL. It is put before the first shard, and again, complete, after the last one."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self._folder = ObjectDirectory(url, options)

    def is_resumable(self, identity: Mapping[str, Any]) -> bool:
        """Whether the same ingest was begun there. Raises UsageError where another one was, or anything else is."""
        attributes = self._attributes()
        if attributes.get("identity") == identity:
            return True
        if attributes:
            raise UsageError(
                f"{self._folder.url} was ingested otherwise ({difference(attributes, {'identity': identity})})",
                "its shards would not fit together",
                "Give another --out, or remove that folder",
            )
        strangers = [name for name in self._folder.names() if name != RECORD.split("/")[0]]
        if strangers:
            raise UsageError(
                f"{self._folder.url} holds what is no ingest ({', '.join(strangers[:3])})",
                "it would be mixed with the new source",
                "Give an empty or a new folder as --out",
            )
        return False

    @property
    def complete(self) -> bool:
        """Whether all shards were written."""
        return bool(self._attributes().get("complete"))

    def write_plan(self, identity: Mapping[str, Any]) -> None:
        """Say what is being ingested. Raises UsageError where nothing can be written."""
        try:
            self._write({"identity": identity, "complete": False})
        except (FileExistsError, NotADirectoryError, PermissionError) as e:
            raise UsageError(
                f"{self._folder.url} cannot be made a folder and written ({e.strerror})",
                "there is no place for the source",
                "Give a new folder as --out",
            ) from e

    def finish(self, identity: Mapping[str, Any], told: Mapping[str, Any]) -> None:
        """Say that all of it is there, and how it came about."""
        self._write({"identity": identity, "complete": True, **told})

    def _attributes(self) -> dict[str, Any]:
        data = self._folder.read(RECORD)
        try:
            found = {} if data is None else json.loads(data)["attributes"]
        except (ValueError, KeyError, TypeError):
            found = {}
        return found if isinstance(found, dict) else {}

    def _write(self, attributes: Mapping[str, Any]) -> None:
        tree = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        self._folder.write(RECORD, json.dumps(tree, indent=2).encode())
