"""Configuration of `masksift ingest`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from masksift.config.sections import ConfigSection, ExecutorSection, LabelOffset, Remap, StorageSection
from masksift.config.types import ClassNameList, Integers, Names, Numbers, SliceAxis, Window
from masksift.core.errors import UsageError
from masksift.storage.credentials import StorageOptions
from masksift.storage.sources.overrides import check_remap_or_offset

PresetName = Literal[
    "cityscapes",
    "acdc",
    "kitti",
    "bdd100k",
    "synthia",
    "camvid",
    "mapillary",
    "mapillary-v2",
    "voc",
    "ade20k",
    "coco-stuff",
    "coco-stuff-182",
    "pascal-context-59",
    "pascal-context-60",
    "potsdam",
    "vaihingen",
    "loveda",
    "isaid",
    "floodnet",
    "spacenet-buildings",
    "spacenet-roads",
]
AXIS_ORDERS = (("class", "y", "x"), ("y", "x", "class"))
_PREDICTION_KEYS = ("kind", "dtype", "scale", "axes", "resize")
"""Keys without a meaning where there are no predictions."""


class IngestConfig(ConfigSection):
    """Configuration of one ingest; `labels`, `out`, and `predictions` or `images` are required."""

    labels: str = Field(
        min_length=1,
        description="label files: directory or glob of images, arrays, volumes or Parquet tables, one array file, "
        "or annotations: file or directory of COCO, CVAT, Datumaro, Label Studio, LabelMe, Supervisely or YOLO",
    )
    predictions: str | None = Field(
        None,
        min_length=1,
        description="prediction files: directory or glob of .npy, .npz, .pt, .safetensors, PNG or TIFF, or one array "
        "file of all images, also .pkl of mmsegmentation; default: none, for a source that `masksift predict` takes",
    )
    out: str = Field(min_length=1, description="URL of the new source, a Zarr group")
    images: str | None = Field(
        None, description="RGB images to copy, for review and for `masksift predict`: directory or glob"
    )
    ids: str | None = Field(
        None, description="text file with the name of one image per line, for an array of all images"
    )
    preset: PresetName | None = Field(None, description="data set that defines classes, ignored values, ids and colors")
    classes: ClassNameList | None = Field(
        None,
        description="class names, comma-separated or in a file with one per line; default: those of the preset or "
        "color table, else numbers",
    )
    ignore: Integers = Field((), description="ignored label values")
    background: str | None = Field(
        None,
        min_length=1,
        description="class of pixels that no polygon or mask of an annotation covers; default: they are ignored",
    )
    remap: Remap = None
    label_offset: LabelOffset = None
    colors: str | None = Field(
        None, description="CSV file with rows name,r,g,b; the name `ignore` marks ignored colors"
    )
    kind: Literal["probabilities", "logits"] = Field("probabilities", description="meaning of predictions")
    dtype: Literal["uint8", "uint16", "float16", "float32"] | None = Field(
        None, description="dtype of written predictions; default: the stored one"
    )
    scale: float | None = Field(
        None, gt=0, le=1, description="probability per step of integer predictions; default: 1 / maximum of the dtype"
    )
    axes: Names | None = Field(
        None, description="stored axes of one image's predictions: class,y,x or y,x,class; default: detected"
    )
    resize: Literal["labels", "predictions"] | None = Field(
        None, description="resize these to the size of the other side (images follow); default: sizes must agree"
    )
    allow_lossy: bool = Field(
        False, description="read labels and predictions also from files that are compressed with loss, such as JPEG"
    )
    window: Window | None = Field(
        None, description="cut rasters into images of this size, ROWS or ROWSxCOLUMNS; default: whole rasters"
    )
    slice_axis: SliceAxis = Field(
        "2", description="axis that slices of volumes are perpendicular to: a number, or an anatomical plane"
    )
    bands: Integers = Field(
        (), description="one or three bands of the images to show, from 1 on; default: the first three"
    )
    picture_range: Numbers = Field(
        (), description="stored values of the images to show black and white; default: estimated, except for 8 bits"
    )
    pad: bool = Field(False, description="pad images of different sizes to the largest")
    link: bool = Field(
        False,
        description="keep predictions in their .npy, .npz, .pt or .safetensors files, to which the source refers",
    )
    executor: ExecutorSection = ExecutorSection()
    storage: StorageSection = StorageSection()

    @model_validator(mode="after")
    def _check(self) -> IngestConfig:
        if self.axes is not None and self.axes not in AXIS_ORDERS:
            raise UsageError(
                f"axes is {','.join(self.axes)}, which is not a supported order",
                "Pass --axes class,y,x or --axes y,x,class",
            )
        check_remap_or_offset(self.remap, self.label_offset)
        self._check_pictures()
        if self.predictions is None:
            self._check_without_predictions()
        if self.link:
            self._check_link()
        if self.kind == "logits" and (self.dtype or "").startswith("uint"):
            raise UsageError(
                f"kind is 'logits' and dtype is {self.dtype!r}, but logits must be floats",
                "Pass --dtype float16, or drop --dtype",
            )
        return self

    def _check_pictures(self) -> None:
        if self.bands and (len(self.bands) not in (1, 3) or min(self.bands) < 1):
            raise UsageError(f"bands is {','.join(map(str, self.bands))}", "Pass one or three numbers from 1 on")
        if self.picture_range and (len(self.picture_range) != 2 or self.picture_range[0] >= self.picture_range[1]):
            raise UsageError(
                f"picture_range is {','.join(f'{value:g}' for value in self.picture_range)}", "Pass LOW,HIGH: 0,3000"
            )

    @property
    def window_size(self) -> tuple[int, int]:
        """Rows and columns of a window; (0, 0) without windows."""
        rows, _, columns = (self.window or "0").partition("x")
        return int(rows), int(columns or rows)

    def _check_without_predictions(self) -> None:
        if self.images is None:
            raise UsageError(
                "predictions and images are missing",
                "Pass --predictions, or --images to make predictions of them with `masksift predict`",
            )
        if unused := [key for key in _PREDICTION_KEYS if key in self.model_fields_set]:
            raise UsageError(f"{unused[0]} is set, but there are no predictions", f"Drop --{unused[0]}")

    def _check_link(self) -> None:
        for key in ("dtype", "resize", "pad"):
            if getattr(self, key):
                raise UsageError(
                    f"{key} is set, but linked predictions are read as they are stored",
                    f"Drop --{key}, or drop --link to convert the predictions",
                )
        if self.predictions is None:
            raise UsageError("link is set, but there are no predictions", "Drop --link, or pass --predictions")

    def options(self) -> StorageOptions:
        """Resolve storage options for the files and the new source."""
        urls = (self.labels, self.predictions, self.out, self.images, self.ids, self.colors)
        return self.storage.options([url for url in urls if url])

    def identity(self) -> dict[str, Any]:
        """Return the keys that decide what is written."""
        excluded = {"out", "executor", "storage"} | ({"link"} if not self.link else set())
        return self.model_dump(mode="json", exclude=excluded)
