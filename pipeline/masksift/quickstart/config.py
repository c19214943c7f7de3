"""Configuration of `masksift quickstart`."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from masksift.config.sections import ConfigSection, ExecutorSection, LabelOffset, StorageSection
from masksift.config.types import ClassNameList, Integers, SliceAxis, Window
from masksift.core.errors import UsageError
from masksift.prepare.ingest.config import IngestConfig, PresetName
from masksift.prepare.predict.config import PredictConfig
from masksift.prepare.predict.trainers import HUB_PREFIX, PIXELS
from masksift.storage.credentials import StorageOptions

Flags = dict[str, Any]
"""Values of the keys of a command, by dotted key."""


def _description(model: type[ConfigSection], key: str) -> str | None:
    return model.model_fields[key].description


class QuickstartConfig(ConfigSection):
    """Configuration of one quickstart; `labels`, and `images` or `predictions`, are required."""

    labels: str = Field(min_length=1, description=_description(IngestConfig, "labels"))
    images: str | None = Field(
        None, description="RGB images: directory or glob; required for predictions, else shown in the report"
    )
    predictions: str | None = Field(
        None, description="prediction files, as for `masksift ingest`; default: predict by cross-validation"
    )
    model: str | None = Field(
        None,
        description="FILE.onnx or hf:NAME that predicts in place of cross-validation; it must not have seen the labels",
    )
    trainer: str = Field(PIXELS, description="model to cross-validate: pixels, torch or MODULE:FACTORY")
    group_pattern: str | None = Field(None, description=_description(PredictConfig, "group_pattern"))
    out: str = Field("quickstart-run", min_length=1, description="URL of a directory for the sources and the results")
    ids: str | None = Field(None, description=_description(IngestConfig, "ids"))
    preset: PresetName | None = Field(None, description=_description(IngestConfig, "preset"))
    classes: ClassNameList | None = Field(
        None, description="class names, comma-separated or in a file with one per line; default: from the label values"
    )
    ignore: Integers = Field((), description="ignored label values; default: 255 (65535) among other values")
    background: str | None = Field(None, min_length=1, description=_description(IngestConfig, "background"))
    label_offset: LabelOffset = None
    window: Window | None = Field(None, description=_description(IngestConfig, "window"))
    slice_axis: SliceAxis | None = Field(None, description=f"{_description(IngestConfig, 'slice_axis')} (default: 2)")
    bands: Integers = Field((), description=_description(IngestConfig, "bands"))
    colors: str | None = Field(None, description=_description(IngestConfig, "colors"))
    executor: ExecutorSection = ExecutorSection()
    storage: StorageSection = StorageSection()

    @model_validator(mode="after")
    def _check(self) -> QuickstartConfig:
        if self.images is None and self.predictions is None:
            raise UsageError(
                "images and predictions are missing", "Pass --images to make predictions of them, or --predictions"
            )
        if self.model is not None and not (self.model.lower().endswith(".onnx") or self.model.startswith(HUB_PREFIX)):
            raise UsageError(f"model is {self.model!r}", "Pass the path of a FILE.onnx, or hf:NAME")
        given: list[str] = [key for key in ("predictions", "model", "trainer") if key in self.model_fields_set]
        if self.predictions is not None and "group_pattern" in self.model_fields_set:
            given.append("group_pattern")
        if len(given) > 1:
            raise UsageError(
                f"{' and '.join(given)} are set, but each says where predictions come from", "Pass one of them"
            )
        return self

    def options(self) -> StorageOptions:
        """Resolve storage options for the files and the results."""
        urls = (self.labels, self.images, self.predictions, self.colors, self.out)
        return self.storage.options([url for url in urls if url])

    def label_flags(self) -> Flags:
        """Return the flags of `masksift ingest` that describe labels and images, as far as they are set."""
        names = ("ids", "preset", "classes", "ignore", "background", "label_offset", "colors")
        keys = (*names, "window", "slice_axis", "bands")
        return {key: value for key in keys if (value := getattr(self, key)) not in (None, ())}

    def shared_flags(self) -> Flags:
        """Return the flags of the executor and the storage, as far as they are set."""
        return {
            f"{section}.{key}": value
            for section in ("executor", "storage")
            for key, value in getattr(self, section).model_dump(mode="json", exclude_unset=True).items()
        }
