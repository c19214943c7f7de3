"""Find the sources that a directory of corrected labels leaves unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from masksift.core.errors import DataError, UsageError
from masksift.core.json_text import parse_json
from masksift.storage.credentials import cloud_of, unreachable_error
from masksift.storage.manifest import PlanFile
from masksift.storage.objects import ObjectDirectory
from masksift.storage.retry import MAX_ATTEMPTS_ON_OPEN

RECORD = "corrections.json"
"""Record of `masksift export corrections` and `masksift import`, written last."""


def unchanged_sources(url: str, options: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the sources that corrections leave unchanged, by name.

    Args:
        url: Directory of labels.
        options: Storage options of S3.

    Returns:
        URL of the directory with the labels of each unchanged source; None for the labels of the source itself. Empty
        if the directory was not written by `masksift export corrections` or `masksift import`.

    Raises:
        DataError: The corrections are incomplete or damaged.
    """
    directory = ObjectDirectory(url, options, attempts=MAX_ATTEMPTS_ON_OPEN)
    data = _read_record(directory)
    if data is None:
        plan = PlanFile(directory).read() or {}
        if "corrections" in plan.get("identity", {}):
            raise DataError(
                f"The corrections in {url} are incomplete",
                "Missing labels would count as lost",
                "Let the command that writes them finish; the same command resumes",
            )
        return {}
    try:
        unchanged = parse_json(data)["left"]
        return {str(name): None if labels is None else str(labels) for name, labels in unchanged.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise DataError(
            f"{url}/{RECORD} cannot be parsed ({type(e).__name__}: {e})",
            "Write the corrections again into a new directory",
        ) from e


def _read_record(directory: ObjectDirectory) -> bytes | None:
    """Read the record. It may be the first request to a cloud, so the error explains access."""
    try:
        return directory.read(RECORD)
    except UsageError:
        raise
    except Exception as e:  # the clients have no common base class of errors
        if cloud_of(directory.url):
            raise unreachable_error(directory.url, e) from e
        raise
