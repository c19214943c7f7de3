"""A folder of corrected labels: what it says of the sources that it leaves as they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from masksift.core.errors import DataError, UsageError
from masksift.storage.credentials import is_s3, unreachable_error
from masksift.storage.manifest import PLAN
from masksift.storage.objects import ObjectDirectory
from masksift.storage.retry import MAX_ATTEMPTS_ON_OPEN

RECORD = "corrections.json"
"""Written last: the corrections are complete."""


def unchanged_sources(folder: str, options: Mapping[str, Any]) -> dict[str, str | None]:
    """The sources that the corrections in a folder leave as they are, by name, with the folder of labels that each of
    them has instead: None for its own. None at all where the folder holds labels of another origin.

    Raises DataError where the corrections are not complete.
    """
    place = ObjectDirectory(folder, options, attempts=MAX_ATTEMPTS_ON_OPEN)
    data = _read(place, RECORD)
    if data is None:
        if _begun(place):
            raise DataError(
                f"the corrections in {folder} are not complete",
                "labels that are not written would count as lost",
                "Let `masksift export corrections` finish: the same command goes on",
            )
        return {}
    try:
        left = json.loads(data)["left"]
        return {str(name): None if labels is None else str(labels) for name, labels in left.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise DataError(
            f"{folder}/{RECORD} cannot be understood ({type(e).__name__}: {e})",
            "which sources keep their own labels is not known",
            "Write the corrections again, into a new folder",
        ) from e


def _read(folder: ObjectDirectory, name: str) -> bytes | None:
    """The bytes of an object, or None. Raises UsageError where S3 does not let anybody in: it may be the first that is
    asked of it."""
    try:
        return folder.read(name)
    except UsageError:
        raise
    except Exception as e:  # every client of S3 has errors of its own
        if is_s3(folder.url):
            raise unreachable_error(folder.url, e) from e
        raise


def _begun(folder: ObjectDirectory) -> bool:
    """Whether corrections were begun there."""
    data = _read(folder, PLAN)
    try:
        return data is not None and "corrections" in json.loads(data)["identity"]
    except (ValueError, KeyError, TypeError):
        return False
