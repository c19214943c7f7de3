"""Configuration of `masksift predict`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from masksift.config.sections import (
    ClassNames,
    ConfigSection,
    ExecutorSection,
    IgnoreValues,
    LabelArrays,
    LabelOffset,
    Remap,
    StorageSection,
)
from masksift.core.errors import UsageError
from masksift.prepare.predict.trainers import ONLY_PREDICT, ONNX, TORCH, trainer_kind
from masksift.storage.credentials import StorageOptions
from masksift.storage.sources.overrides import Overrides


def _split(value: Any) -> Any:
    return [item.strip() for item in value.split(",")] if isinstance(value, str) else value


ChannelValues = Annotated[tuple[float, float, float], BeforeValidator(_split)]


class TrainingArrays(LabelArrays):
    """Names and axes of the arrays that predictions are made from."""

    images: str = Field("images", description="name of the RGB image array")


class TorchSection(ConfigSection):
    """Options of the trainer `torch`."""

    model: Literal["unet", "fpn", "deeplabv3plus"] = Field("unet", description="network architecture")
    encoder: str = Field("resnet18", description="encoder name in segmentation-models-pytorch")
    weights: str | None = Field(
        None, description="pretrained encoder weights to download, such as imagenet; default: random initialization"
    )
    epochs: int = Field(20, ge=1, description="training epochs")
    batch: int = Field(4, ge=1, description="images per training step")
    rate: float = Field(1e-3, gt=0, description="initial learning rate")
    crop: int | None = Field(
        None, ge=32, description="side of random square training crops, pixels; default: whole images"
    )


class OnnxSection(ConfigSection):
    """Options of a trainer FILE.onnx."""

    mean: ChannelValues = Field((0.0, 0.0, 0.0), description="channel means to subtract, on a scale of 0 to 1")
    std: ChannelValues = Field((1.0, 1.0, 1.0), description="channel standard deviations to divide by")


class PredictConfig(ConfigSection):
    """Configuration of one cross-validation; `source` and `out` are required."""

    source: str = Field(min_length=1, description="URL of a Zarr group with images and labels")
    out: str = Field(min_length=1, description="URL of the new source")
    trainer: str = Field(
        "pixels", description="pixels, torch, MODULE:FACTORY, or one that only predicts: FILE.onnx or hf:NAME"
    )
    folds: int = Field(5, ge=2, description="folds; each image is predicted by a model that was not trained on it")
    groups: str | None = Field(None, description="name of an array; images with equal values stay in one fold")
    group_pattern: str | None = Field(
        None, description="regular expression for image ids; images with an equal first group stay in one fold"
    )
    write: Literal["predictions", "evidence"] = Field("predictions", description="content of the new source")
    balance: float = Field(
        0.5, ge=0, le=1, description="exponent of class areas in training: 1 keeps the areas, 0 balances all classes"
    )
    seed: int = Field(0, ge=0, description="random seed for folds and training")
    classes: ClassNames = None
    ignore: IgnoreValues = None
    remap: Remap = None
    label_offset: LabelOffset = None
    arrays: TrainingArrays = TrainingArrays()
    torch: TorchSection = TorchSection()
    onnx: OnnxSection = OnnxSection()
    executor: ExecutorSection = ExecutorSection()
    storage: StorageSection = StorageSection()

    @model_validator(mode="after")
    def _check(self) -> PredictConfig:
        kind = trainer_kind(self.trainer)
        if self.groups is not None and self.group_pattern is not None:
            raise UsageError(
                f"groups is {self.groups!r} and group_pattern is {self.group_pattern!r}, but only one can apply",
                "Pass one of them",
            )
        unused = {name for name in (TORCH, ONNX) if name != kind}
        unused |= set() if self.trains else {"folds", "groups", "group_pattern", "balance"}
        if keys := sorted(unused & self.model_fields_set):
            raise UsageError(
                f"{keys[0]} is set, but trainer {self.trainer!r} does not use it",
                f"Drop {keys[0]}, or pass another --trainer",
            )
        return self

    @property
    def trains(self) -> bool:
        """True unless the trainer is a model that only predicts."""
        return trainer_kind(self.trainer) not in ONLY_PREDICT

    @property
    def trainer_settings(self) -> dict[str, Any]:
        """Keys of the trainer's own section."""
        section = {TORCH: self.torch, ONNX: self.onnx}.get(trainer_kind(self.trainer))
        return {} if section is None else section.model_dump()

    def options(self) -> StorageOptions:
        """Resolve storage options for the source, the results and the model file."""
        files = [self.trainer] if trainer_kind(self.trainer) == ONNX else []
        return self.storage.options([self.source, self.out, *files])

    def overrides(self) -> Overrides:
        """Collect the options that override the attributes of the source."""
        arrays = self.arrays.model_dump(exclude={"images"})
        remap = tuple(sorted((self.remap or {}).items()))
        return Overrides(
            **arrays, classes=self.classes, ignore=self.ignore, remap=remap, label_offset=self.label_offset
        )

    def identity(self) -> dict[str, Any]:
        """Return the keys that decide what is written."""
        return self.model_dump(mode="json", exclude={"source", "out", "executor", "storage"})
