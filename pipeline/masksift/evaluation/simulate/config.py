"""What a simulation is told: one frozen value, by flags or in a TOML file, with the same words."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from masksift.config.sections import LabelOptions
from masksift.config.types import Names
from masksift.core.errors import UsageError
from masksift.evaluation.simulate.error_types import ERROR_TYPES, ErrorParams
from masksift.storage.zarr.label_copy import TRUTH

_SIZES = "; ".join(f"{name}: {kind.unit} ({kind.size:g})" for name, kind in ERROR_TYPES.items())


class SimulateConfig(LabelOptions):
    """One simulation. Every key is optional but `kind`, `sources` and `out`."""

    kind: Literal["drop", "swap", "shift", "boundary", "coarse", "missing_region"] = Field(
        description="of error: drop, swap, shift, boundary, coarse or missing_region"
    )
    out: str = Field(min_length=1, description="URL of the changed labels, and of what is known of them")
    share: float = Field(0.2, ge=0, le=1, description="of the images of each source that get an error")
    objects: Literal["whole", "one"] | None = Field(
        None, description="whether an error befalls a whole class of the image, or one object (default: whole)"
    )
    fill: Literal["nearest", "background", "ignore"] | None = Field(
        None,
        description="what lost pixels become: the nearest other class, the background, no label (default: "
        "nearest; of missing_region: background)",
    )
    size: float | None = Field(None, gt=0, description=f"of the change, by kind, and its default. {_SIZES}")
    classes: Names | None = Field(None, description="names of the classes that may suffer, or be given; default: all")
    background: str | None = Field(None, description="name of the class that fill = background fills with")
    seed: int = Field(0, ge=0, description="of all that is drawn by lot")

    @model_validator(mode="after")
    def _check(self) -> SimulateConfig:
        kind = ERROR_TYPES[self.kind]
        if not self.sources:
            raise UsageError("no source is given", "there are no labels to change", "Give --source URL, or a glob")
        if self.objects is not None and not kind.objects:
            raise self._useless("objects", self.objects, "it befalls a region, and no class or object")
        if self.fill is not None and self.fill not in kind.fills:
            may = f"it may be {' or '.join(kind.fills)}" if kind.fills else "nothing is lost that could be filled"
            raise self._useless("fill", self.fill, may)
        if self._fill == "background" and self.background is None:
            raise UsageError(
                f"kind is {self.kind!r}, fill is 'background', and no class is said to be it",
                "what lost pixels become is not known",
                "Give --background NAME, or another --fill",
            )
        if self._fill != "background" and self.background is not None:
            raise self._useless("background", self.background, "nothing is filled with it")
        self._check_size()
        if self.kind == "swap" and self.classes is not None and len(set(self.classes)) < 2:
            raise UsageError(
                f"kind is 'swap' and classes is {', '.join(self.classes)}",
                "there is no other class to give",
                "Name two classes or more, or leave --classes out",
            )
        if self.arrays.labels == TRUTH:
            raise UsageError(
                f"arrays.labels is {TRUTH!r}",
                "the mask of what was changed is called so in the copy",
                "Give the labels another name",
            )
        return self

    def _useless(self, name: str, value: object, why: str) -> UsageError:
        return UsageError(f"kind is {self.kind!r} and {name} is {value!r}", why, f"Leave --{name} out, or change it")

    def _check_size(self) -> None:
        size = self._size
        good = size >= 3 and size == int(size) if self.kind == "coarse" else size <= 1
        if not good:
            raise UsageError(
                f"kind is {self.kind!r} and size is {size:g}",
                f"it is the {ERROR_TYPES[self.kind].unit}",
                f"Give one such as --size {ERROR_TYPES[self.kind].size:g}",
            )

    @property
    def _fill(self) -> str:
        return self.fill or next(iter(ERROR_TYPES[self.kind].fills), "nearest")

    @property
    def _size(self) -> float:
        return ERROR_TYPES[self.kind].size if self.size is None else self.size

    def setting(self, classes: tuple[int, ...], background: int | None) -> ErrorParams:
        """How errors are made, with every default resolved; ``classes`` and ``background`` by number."""
        return ErrorParams(self.kind, self._size, classes, self.objects or "whole", self._fill, background)

    def identity(self) -> dict[str, Any]:
        """The keys that decide what is written, those of the kind with their defaults resolved."""
        told = self.model_dump(mode="json", exclude={"sources", "out", "executor", "storage"})
        return {**told, "fill": self._fill, "size": self._size, "objects": self.objects or "whole"}
