"""FiftyOne format (docs.voxel51.com, "FiftyOneDataset"): one sample per image.

A data set is opened by

    fiftyone.Dataset.from_dir(OUT, dataset_type=fiftyone.types.FiftyOneDataset)

A sample has ``regions`` (detections with masks, worst first), ``given`` (a segmentation with class ids from 1 on), the
scores, and the columns of the image table. It is written without the library, which needs a database.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from masksift.review.export.export_writer import ExportWriter, encode_png, stream_json_list, to_json
from masksift.review.export.run_length import Mask
from masksift.review.export.selection import ExportImage, ExportRegion

VERSION = "1.0.0"
"""Version of FiftyOne to declare: later versions migrate older data sets and refuse newer ones."""
_FIELDS = "fiftyone.core.fields"
_REGION_FIELDS = {
    "label": "String",
    "confidence": "Float",
    "given": "String",
    "suggested": "String",
    "priority": "Float",
    "evidence": "Float",
    "reason": "String",
    "rank": "Int",
    "area": "Int",
    "mean_self_confidence": "Float",
    "mean_predicted_confidence": "Float",
}


def write(export: ExportWriter) -> None:
    """Write metadata.json, samples.json, RGB images (or colored labels) in data/, and labels in fields/given/."""
    with stream_json_list(export.directory, "samples.json", b'{"samples": ', b"}") as add:
        for image in export.iter_images():
            view = export.load_view(image)
            png = export.encode_rgb_or_labels(view)
            if png is not None:
                export.directory.write(f"data/{image.name}.png", png)
            if view.given is not None:
                export.directory.write(f"fields/given/{image.name}.png", encode_png(export.class_ids(view.given)))
            add(_sample(export, image, labeled=view.given is not None))
    export.directory.write("metadata.json", to_json(_data_set(export), indent=1))


def _sample(export: ExportWriter, image: ExportImage, *, labeled: bool) -> dict[str, Any]:
    key = f"{export.run.context.fingerprint}/{image.source}/{image.index}"
    return {
        "_id": _id(key),
        "filepath": f"data/{image.name}.png",
        "tags": [],
        "metadata": {"_cls": "ImageMetadata", "width": image.size[1], "height": image.size[0]},
        "_media_type": "image",
        "_rand": int(hashlib.sha256(key.encode()).hexdigest()[:12], 16) / 16**12,
        **{_field_name(name): value for name, value in image.columns.items()},
        "given": {
            "_id": _id(f"{key}/given"),
            "_cls": "Segmentation",
            "tags": [],
            "mask_path": f"fields/given/{image.name}.png",
        }
        if labeled
        else None,
        "regions": {
            "_cls": "Detections",
            "detections": [_detection(region, image.size, export.classes, key) for region in image.regions],
        },
    }


def _detection(region: ExportRegion, size: tuple[int, int], classes: tuple[str, ...], key: str) -> dict[str, Any]:
    (height, width), (y0, x0, y1, x1) = size, region.box
    return {
        "_id": _id(f"{key}/{region.rank}"),
        "_cls": "Detection",
        "attributes": {},
        "tags": [],
        "label": classes[region.suggested],
        "bounding_box": [x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height],
        "mask": _binary(region.mask(height)),
        "confidence": region.mean_predicted_confidence,
        "area": region.area,
        **region.attributes(classes),
    }


def _binary(mask: Mask) -> dict[str, Any]:
    """Encode a mask as FiftyOne stores arrays: .npy, compressed."""
    buffer = io.BytesIO()
    np.save(buffer, mask, allow_pickle=False)
    return {"$binary": {"base64": base64.b64encode(zlib.compress(buffer.getvalue())).decode("ascii"), "subType": "00"}}


def _id(text: str) -> dict[str, str]:
    """Derive an object id, the same in every export of a run."""
    return {"$oid": hashlib.sha256(text.encode()).hexdigest()[:24]}


def _field_name(name: str) -> str:
    """Name the field of a column: some names are reserved, and none may begin with an underscore."""
    return f"column_{name}" if name in _RESERVED_FIELDS or name.startswith("_") or "." in name else name


_RESERVED_FIELDS = (
    "id",
    "filepath",
    "tags",
    "metadata",
    "given",
    "regions",
    "created_at",
    "last_modified_at",
    "media_type",
)


def _data_set(export: ExportWriter) -> dict[str, Any]:
    """Describe the data set: its fields and the classes of its masks."""
    mask_targets = {str(k + 1): name for k, name in enumerate(export.classes)}
    methods, columns = export.run.methods, export.run.context.path_columns
    column_types = {
        "image_id": "String",
        "source": "String",
        "index": "Int",
        **dict.fromkeys(columns, "String"),
        **dict.fromkeys(methods, "Float"),
        "flagged_pixels": "Int",
        "valid_pixels": "Int",
    }
    return {
        "_id": _id(export.run.context.fingerprint),
        "name": "masksift",
        "version": VERSION,
        "sample_collection_name": "samples",
        "persistent": False,
        "media_type": "image",
        "group_media_types": {},
        "tags": [],
        "info": {"masksift_run": export.run.context.fingerprint},
        "classes": {"regions": list(export.classes)},
        "default_classes": [],
        "mask_targets": {"given": mask_targets},
        "default_mask_targets": {},
        "skeletons": {},
        "sample_fields": [
            *_standard_fields(),
            *(_simple_field(_field_name(name), field_type) for name, field_type in column_types.items()),
            *_label_fields(),
        ],
        "frame_fields": [],
        "saved_views": [],
        "workspaces": [],
        "annotation_runs": {},
        "brain_methods": {},
        "evaluations": {},
        "runs": {},
    }


def _standard_fields() -> Iterable[dict[str, Any]]:
    """Yield the fields that every sample has."""
    yield _field("id", "ObjectIdField", stored="_id")
    yield _simple_field("filepath", "String")
    yield _field("tags", "ListField", inner="StringField")
    sizes = [
        ("size_bytes", "Int"),
        ("mime_type", "String"),
        ("width", "Int"),
        ("height", "Int"),
        ("num_channels", "Int"),
    ]
    yield _field(
        "metadata",
        "EmbeddedDocumentField",
        document="fiftyone.core.metadata.ImageMetadata",
        fields=[_simple_field(*size) for size in sizes],
    )
    yield _simple_field("_media_type", "String")
    yield _simple_field("_rand", "Float")
    yield _field("_dataset_id", "ObjectIdField")


def _label_fields() -> Iterable[dict[str, Any]]:
    """Yield the fields of given labels and regions."""
    common = [
        _field("id", "ObjectIdField", stored="_id"),
        _field("tags", "ListField", inner="StringField"),
    ]
    yield _field(
        "given",
        "EmbeddedDocumentField",
        document="fiftyone.core.labels.Segmentation",
        fields=[*common, _field("mask", "ArrayField"), _simple_field("mask_path", "String")],
    )
    detection = [
        *common,
        _field("attributes", "DictField", inner="EmbeddedDocumentField", document="fiftyone.core.labels.Attribute"),
        _field("bounding_box", "ListField", inner="FloatField"),
        _field("mask", "ArrayField"),
        _simple_field("mask_path", "String"),
        _simple_field("index", "Int"),
        *(_simple_field(name, field_type) for name, field_type in _REGION_FIELDS.items()),
    ]
    detections = _field(
        "detections",
        "ListField",
        inner="EmbeddedDocumentField",
        document="fiftyone.core.labels.Detection",
        fields=detection,
    )
    yield _field("regions", "EmbeddedDocumentField", document="fiftyone.core.labels.Detections", fields=[detections])


def _simple_field(name: str, field_type: str) -> dict[str, Any]:
    return _field(name, f"{field_type}Field")


def _field(
    name: str,
    field_type: str,
    *,
    inner: str | None = None,
    document: str | None = None,
    fields: list[dict[str, Any]] | None = None,
    stored: str | None = None,
) -> dict[str, Any]:
    """Describe a field as FiftyOne does."""
    return {
        "name": name,
        "ftype": f"{_FIELDS}.{field_type}",
        "embedded_doc_type": document,
        "subfield": None if inner is None else f"{_FIELDS}.{inner}",
        "fields": fields or [],
        "db_field": stored or name,
        "description": None,
        "info": None,
        "read_only": False,
        "created_at": None,
    }
