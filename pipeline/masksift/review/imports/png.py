"""PNG masks, one per image, named by image ID, in the form of the label files that the source was made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from masksift.engine.completed_run import CompletedRun
from masksift.review.imports.masks import list_masks
from masksift.review.imports.reviewed import ReviewedImage


def read(url: str, run: CompletedRun, options: Mapping[str, Any]) -> list[ReviewedImage]:
    """List the masks; see `FileReader`."""
    return [ReviewedImage(name, plane) for name, plane in list_masks(url, options).planes("/", {})]
