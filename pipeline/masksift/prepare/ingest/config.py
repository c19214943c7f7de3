"""What an ingest is told: one frozen value, by flags or in a TOML file, with the same words."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from masksift.config.sections import ConfigSection, ExecutorSection, Remap, StorageSection
from masksift.config.types import Integers, Names
from masksift.core.errors import UsageError
from masksift.storage.credentials import StorageOptions


class IngestConfig(ConfigSection):
    """One ingest. Every key is optional but `labels`, `predictions` and `out`."""

    labels: str = Field(min_length=1, description="folder or glob of PNG and TIFF, COCO panoptic .json, or one .npy")
    predictions: str = Field(min_length=1, description="folder or glob of .npy, .npz, PNG or TIFF; or one .npy")
    out: str = Field(min_length=1, description="URL of the new source, a Zarr group")
    images: str | None = Field(None, description="folder or glob of the pictures, kept for those who review")
    ids: str | None = Field(None, description="text file: what the images of .npy arrays are called, a line each")
    preset: Literal["cityscapes", "synthia", "camvid", "voc", "ade20k", "mapillary"] | None = Field(
        None, description="data set whose classes, ignore values, ids and colours are known"
    )
    classes: Names | None = Field(
        None, description="class names; default: the preset's, the colour table's, or numbers"
    )
    ignore: Integers = Field((), description="label values that do not count")
    remap: Remap = None
    colors: str | None = Field(None, description="CSV file of the classes' colours: name,r,g,b; `ignore` is no class")
    kind: Literal["probabilities", "logits"] = Field("probabilities", description="what predictions are")
    dtype: Literal["uint8", "uint16", "float16", "float32"] | None = Field(
        None, description="precision to keep predictions in; default: theirs"
    )
    scale: float | None = Field(None, gt=0, le=1, description="probability of one step of integer predictions")
    axes: Names | None = Field(None, description="order of the axes of an image's predictions: class,y,x or y,x,class")
    resize: Literal["labels", "predictions"] | None = Field(
        None, description="what is brought to the size of the other, where they differ; pictures follow"
    )
    pad: bool = Field(False, description="whether images of several sizes are padded to the largest")
    executor: ExecutorSection = ExecutorSection()
    storage: StorageSection = StorageSection()

    @model_validator(mode="after")
    def _check(self) -> IngestConfig:
        if self.axes is not None and self.axes not in (("class", "y", "x"), ("y", "x", "class")):
            raise UsageError(
                f"axes is {','.join(self.axes)}",
                "predictions of an image are read in one of two orders",
                "Give --axes class,y,x or --axes y,x,class",
            )
        if self.kind == "logits" and (self.dtype or "").startswith("uint"):
            raise UsageError(
                f"kind is 'logits' and dtype is {self.dtype!r}",
                "logits are floats here",
                "Give --dtype float16, or leave it out",
            )
        return self

    @property
    def arrays(self) -> bool:
        """Whether labels and predictions are one array each."""
        return self.labels.endswith(".npy") and "*" not in self.labels

    def options(self) -> StorageOptions:
        """What the files and the new source are reached by."""
        places = (self.labels, self.predictions, self.out, self.images, self.ids, self.colors)
        return self.storage.options([place for place in places if place])

    def identity(self) -> dict[str, Any]:
        """The keys that decide what is written."""
        return self.model_dump(mode="json", exclude={"out", "executor", "storage"})
