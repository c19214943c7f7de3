"""Settings of the configuration that override the attributes of a source."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from masksift.core.errors import UsageError
from masksift.storage.urls import is_absolute

MAX_LABEL_OFFSET = 65535


def copied_label_name(labels: str) -> str:
    """Return the name, in copies of the labels, of an array that is given by its name or its URL."""
    return "labels" if is_absolute(labels) else labels


@dataclass(frozen=True)
class Overrides:
    """Array names and settings of a source. None leaves a setting to the attributes of the source."""

    predictions: str | tuple[str, ...] = "predictions"
    labels: str = "labels"
    image_id: str = "image_id"
    height: str = "height"
    width: str = "width"
    predictions_axes: tuple[str, ...] | None = None
    labels_axes: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None
    ignore: tuple[int, ...] | None = None
    kind: str | None = None
    scale: float | None = None
    sum_tolerance: float | None = None
    resize: str | None = None
    empty_label_chunks: str | None = None
    remap: tuple[tuple[int, int], ...] = ()
    label_offset: int | None = None
    labels_from: str | None = None

    @property
    def label_name(self) -> str:
        """Name of the label array in copies of the labels."""
        return copied_label_name(self.labels)

    @property
    def prediction_names(self) -> tuple[str, ...]:
        """Names of the prediction arrays: one, or those of an ensemble."""
        return (self.predictions,) if isinstance(self.predictions, str) else self.predictions


def check_remap_or_offset(remap: Collection[Any] | None, offset: int | None) -> None:
    """Raise UsageError if both settings define the class of a label value."""
    if remap and offset:
        raise UsageError(
            f"label_offset is {offset}, but remap is set, too",
            "Each of them defines the class of a label value",
            "Omit label_offset, or include the offset in the values of remap",
        )
