"""Configuration of `masksift simulate`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from masksift.config.sections import LabelOptions
from masksift.config.types import ClassNameList
from masksift.core.errors import UsageError
from masksift.evaluation.simulate.error_types import ERROR_TYPES, ErrorParams, ErrorType

_SIZES = "; ".join(f"{name}: {error.size_unit} ({error.default_size:g})" for name, error in ERROR_TYPES.items())


class SimulateConfig(LabelOptions):
    """Options of a simulation; only `kind`, `sources` and `out` are required."""

    kind: Literal["drop", "swap", "shift", "boundary", "coarse", "missing_region"] = Field(
        description="error type: drop, swap, shift, boundary, coarse or missing_region"
    )
    out: str = Field(min_length=1, description="URL of the changed labels and of the table of errors")
    share: float = Field(0.2, ge=0, le=1, description="share of the images of each source that get an error, 0 to 1")
    objects: Literal["whole", "one"] | None = Field(
        None, description="extent of an error: a whole class of the image, or one object; default: whole"
    )
    fill: Literal["nearest", "background", "ignore"] | None = Field(
        None,
        description="replacement of lost pixels: the nearest other class, the background class, or no label; "
        "default: nearest, or background for missing_region",
    )
    size: float | None = Field(
        None, gt=0, description=f"size of the change; its meaning depends on the error type (default): {_SIZES}"
    )
    classes: ClassNameList | None = Field(
        None,
        description="names of the classes that may lose pixels or be assigned, comma-separated or in a file with one "
        "per line; default: all",
    )
    background: str | None = Field(None, description="name of the class used by --fill background")
    seed: int = Field(0, ge=0, description="random seed for the choice of images and for the errors")

    @model_validator(mode="after")
    def _check(self) -> SimulateConfig:
        error = self._error
        if self.objects is not None and not error.single_object:
            raise self._unused("objects", self.objects, "The error affects a region, not a class or an object")
        if self.fill is not None and self.fill not in error.fills:
            reason = f"The fill must be {' or '.join(error.fills)}" if error.fills else "No pixel is lost"
            raise self._unused("fill", self.fill, reason)
        if self._fill == "background" and self.background is None:
            raise UsageError(
                f"kind is {self.kind!r} and fill is 'background', but background is not set",
                "Pass --background NAME or another --fill",
            )
        if self._fill != "background" and self.background is not None:
            raise self._unused("background", self.background, "No pixel is filled with the background")
        valid = self._size >= 3 and self._size == int(self._size) if self.kind == "coarse" else self._size <= 1
        if not valid:
            raise UsageError(
                f"kind is {self.kind!r} and size is {self._size:g}",
                f"The size is the {error.size_unit}",
                f"Pass a value such as --size {error.default_size:g}",
            )
        if self.kind == "swap" and self.classes is not None and len(set(self.classes)) < 2:
            raise UsageError(
                f"kind is 'swap' and classes is {', '.join(self.classes)}",
                "A swap needs two classes",
                "Name at least two classes, or omit --classes",
            )
        from masksift.storage.zarr.label_copy import TRUTH

        if self.arrays.labels == TRUTH:
            raise UsageError(
                f"arrays.labels is {TRUTH!r}", "The copy has an error mask of that name", "Rename the label array"
            )
        return self

    def _unused(self, name: str, value: object, reason: str) -> UsageError:
        return UsageError(
            f"kind is {self.kind!r} and {name} is {value!r}", reason, f"Omit --{name}, or use another value"
        )

    @property
    def _error(self) -> ErrorType:
        return ERROR_TYPES[self.kind]

    @property
    def _fill(self) -> str:
        return self.fill or next(iter(self._error.fills), "nearest")

    @property
    def _size(self) -> float:
        return self._error.default_size if self.size is None else self.size

    def error_params(self, classes: tuple[int, ...], background: int | None) -> ErrorParams:
        """Resolve the defaults; ``classes`` and ``background`` are class indices."""
        return ErrorParams(self.kind, self._size, classes, self.objects or "whole", self._fill, background)

    def identity(self) -> dict[str, Any]:
        """Keys that determine the output, with the defaults of the error type resolved."""
        keys = self.model_dump(mode="json", exclude={"sources", "out", "executor", "storage"})
        return {**keys, "fill": self._fill, "size": self._size, "objects": self.objects or "whole"}
