"""What predictions are made of: one frozen value, by flags or in a TOML file, with the same words."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from masksift.config.sections import (
    ClassNames,
    ConfigSection,
    ExecutorSection,
    IgnoreValues,
    LabelArrays,
    StorageSection,
)
from masksift.core.errors import UsageError
from masksift.prepare.predict.trainers import ONNX, TORCH, kind_of
from masksift.storage.credentials import StorageOptions
from masksift.storage.sources.overrides import Overrides


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


Channels = Annotated[tuple[float, float, float], BeforeValidator(_split)]


class TrainingArrays(LabelArrays):
    """Names and axes of the arrays that predictions are made from."""

    images: str = Field("images", description="name of the RGB image array")


class TorchSection(ConfigSection):
    """Of the trainer `torch`."""

    model: Literal["unet", "fpn", "deeplabv3plus"] = Field("unet", description="network")
    encoder: str = Field("resnet18", description="of it, by its name in segmentation-models-pytorch")
    weights: str | None = Field(None, description="of the encoder, such as imagenet, downloaded; default: by lot")
    epochs: int = Field(20, ge=1, description="times that each image is seen")
    batch: int = Field(4, ge=1, description="images of a step")
    rate: float = Field(1e-3, gt=0, description="learning rate at the beginning")
    crop: int | None = Field(None, ge=32, description="side of the squares trained on; default: whole images")


class OnnxSection(ConfigSection):
    """Of a trainer FILE.onnx."""

    mean: Channels = Field((0.0, 0.0, 0.0), description="of the channels, of 0 to 1, which is taken off")
    std: Channels = Field((1.0, 1.0, 1.0), description="of the channels, which they are divided by")


class PredictConfig(ConfigSection):
    """One cross-validation. Every key is optional but `source` and `out`."""

    source: str = Field(min_length=1, description="URL of a Zarr group with pictures and labels")
    out: str = Field(min_length=1, description="URL of the new source")
    trainer: str = Field("pixels", description="pixels, torch, MODULE:FACTORY, or FILE.onnx, which only predicts")
    folds: int = Field(5, ge=2, description="models: each image is predicted by one that never saw it")
    groups: str | None = Field(None, description="name of an array: images of one value stay in one fold")
    group_pattern: str | None = Field(
        None, description="regular expression on the image id, whose first parentheses hold the group"
    )
    write: Literal["predictions", "evidence"] = Field("predictions", description="what is kept of the predictions")
    balance: float = Field(
        0.5, ge=0, le=1, description="exponent of a class's area in what it counts: 1 as it comes, 0 all classes alike"
    )
    seed: int = Field(0, ge=0, description="of all that is drawn by lot")
    classes: ClassNames = None
    ignore: IgnoreValues = None
    arrays: TrainingArrays = TrainingArrays()
    torch: TorchSection = TorchSection()
    onnx: OnnxSection = OnnxSection()
    executor: ExecutorSection = ExecutorSection()
    storage: StorageSection = StorageSection()

    @model_validator(mode="after")
    def _check(self) -> PredictConfig:
        kind, told = kind_of(self.trainer), self.model_fields_set
        if self.groups is not None and self.group_pattern is not None:
            raise UsageError(
                f"groups is {self.groups!r} and group_pattern is {self.group_pattern!r}",
                "an image has one group",
                "Give one of them",
            )
        beside = {name for name in (TORCH, ONNX) if name != kind}
        beside |= {"folds", "groups", "group_pattern", "balance"} if kind == ONNX else set()
        if useless := sorted(beside & told):
            raise UsageError(
                f"trainer is {self.trainer!r} and {useless[0]} is given",
                "it would change nothing",
                f"Leave {useless[0]} out, or give another --trainer",
            )
        return self

    @property
    def folded(self) -> bool:
        """Whether anything is trained."""
        return kind_of(self.trainer) != ONNX

    def told(self) -> dict[str, Any]:
        """The keys of the trainer's own section."""
        kind = kind_of(self.trainer)
        section = {TORCH: self.torch, ONNX: self.onnx}.get(kind)
        return {} if section is None else section.model_dump()

    def options(self) -> StorageOptions:
        """What the source and the results are reached by."""
        return self.storage.options([self.source, self.out, *([] if self.folded else [self.trainer])])

    def overrides(self) -> Overrides:
        """What is said here of the source."""
        arrays = self.arrays.model_dump(exclude={"images"})
        return Overrides(**arrays, classes=self.classes, ignore=self.ignore)

    def identity(self) -> dict[str, Any]:
        """The keys that decide what is written."""
        return self.model_dump(mode="json", exclude={"source", "out", "executor", "storage"})
