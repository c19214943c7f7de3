"""FiftyOne's own format (docs.voxel51.com, "FiftyOneDataset"): a sample an image, opened by

    fiftyone.Dataset.from_dir(OUT, dataset_type=fiftyone.types.FiftyOneDataset)

Of a sample: ``regions`` (detections with masks, worst first), ``given`` (a segmentation, whose values are class numbers
from 1 on), the scores, and the columns of the table of images. It is written here: the library runs on a database.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from masksift.review.export.export_writer import ExportWriter, png, stream_json_list, to_json
from masksift.review.export.run_length import Mask
from masksift.review.export.selection import ExportImage, ExportRegion

VERSION = "1.0.0"
"""Of FiftyOne: later ones bring up to date what an earlier one has written, and refuse what a later one has."""
_FIELDS = "fiftyone.core.fields"
_REGION = {
    "label": "String",
    "confidence": "Float",
    "given": "String",
    "suggested": "String",
    "evidence": "Float",
    "reason": "String",
    "rank": "Int",
    "area": "Int",
    "mean_self_confidence": "Float",
    "mean_predicted_confidence": "Float",
}


def write(export: ExportWriter) -> None:
    """metadata.json, samples.json, pictures in data/ (where there are none, the given labels in colours), labels in
    fields/given/."""
    with stream_json_list(export.folder, "samples.json", b'{"samples": ', b"}") as add:
        for image in export.each():
            view = export.load_view(image)
            picture = export.shown(view)
            if picture is not None:
                export.folder.write(f"data/{image.name}.png", picture)
            if view.given is not None:
                export.folder.write(f"fields/given/{image.name}.png", png(export.numbered(view.given)))
            add(_sample(export, image, labelled=view.given is not None))
    export.folder.write("metadata.json", to_json(_data_set(export), indent=1))


def _sample(export: ExportWriter, image: ExportImage, *, labelled: bool) -> dict[str, Any]:
    own = f"{export.run.context.fingerprint}/{image.source}/{image.index}"
    return {
        "_id": _id(own),
        "filepath": f"data/{image.name}.png",
        "tags": [],
        "metadata": {"_cls": "ImageMetadata", "width": image.size[1], "height": image.size[0]},
        "_media_type": "image",
        "_rand": int(hashlib.sha256(own.encode()).hexdigest()[:12], 16) / 16**12,
        **{_field(name): value for name, value in image.facts.items()},
        "given": {
            "_id": _id(f"{own}/given"),
            "_cls": "Segmentation",
            "tags": [],
            "mask_path": f"fields/given/{image.name}.png",
        }
        if labelled
        else None,
        "regions": {
            "_cls": "Detections",
            "detections": [_detection(region, image.size, export.classes, own) for region in image.regions],
        },
    }


def _detection(region: ExportRegion, size: tuple[int, int], classes: tuple[str, ...], own: str) -> dict[str, Any]:
    (height, width), (y0, x0, y1, x1) = size, region.box
    return {
        "_id": _id(f"{own}/{region.rank}"),
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
    """A mask as FiftyOne keeps arrays: .npy, packed."""
    buffer = io.BytesIO()
    np.save(buffer, mask, allow_pickle=False)
    return {"$binary": {"base64": base64.b64encode(zlib.compress(buffer.getvalue())).decode("ascii"), "subType": "00"}}


def _id(text: str) -> dict[str, str]:
    """An identifier that is the same whenever the same run is exported."""
    return {"$oid": hashlib.sha256(text.encode()).hexdigest()[:24]}


def _field(name: str) -> str:
    """A column as a field: FiftyOne has fields of its own of some names, and none that begins with an underscore."""
    return f"column_{name}" if name in _OWN or name.startswith("_") or "." in name else name


_OWN = ("id", "filepath", "tags", "metadata", "given", "regions", "created_at", "last_modified_at", "media_type")


def _data_set(export: ExportWriter) -> dict[str, Any]:
    """What FiftyOne says of a data set: which fields there are, and what the values of the masks mean."""
    numbers = {str(k + 1): name for k, name in enumerate(export.classes)}
    methods, columns = export.run.methods, export.run.context.path_columns
    plain = {
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
        "mask_targets": {"given": numbers},
        "default_mask_targets": {},
        "skeletons": {},
        "sample_fields": [*_standard(), *(_plain(_field(name), kind) for name, kind in plain.items()), *_labels()],
        "frame_fields": [],
        "saved_views": [],
        "workspaces": [],
        "annotation_runs": {},
        "brain_methods": {},
        "evaluations": {},
        "runs": {},
    }


def _standard() -> Iterable[dict[str, Any]]:
    """The fields that every sample has."""
    yield _described("id", "ObjectIdField", stored="_id")
    yield _plain("filepath", "String")
    yield _described("tags", "ListField", inner="StringField")
    sizes = [
        ("size_bytes", "Int"),
        ("mime_type", "String"),
        ("width", "Int"),
        ("height", "Int"),
        ("num_channels", "Int"),
    ]
    yield _described(
        "metadata",
        "EmbeddedDocumentField",
        document="fiftyone.core.metadata.ImageMetadata",
        fields=[_plain(*size) for size in sizes],
    )
    yield _plain("_media_type", "String")
    yield _plain("_rand", "Float")
    yield _described("_dataset_id", "ObjectIdField")


def _labels() -> Iterable[dict[str, Any]]:
    """The fields of labels: the given ones, and the regions."""
    common = [_described("id", "ObjectIdField", stored="_id"), _described("tags", "ListField", inner="StringField")]
    yield _described(
        "given",
        "EmbeddedDocumentField",
        document="fiftyone.core.labels.Segmentation",
        fields=[*common, _described("mask", "ArrayField"), _plain("mask_path", "String")],
    )
    detection = [
        *common,
        _described("attributes", "DictField", inner="EmbeddedDocumentField", document="fiftyone.core.labels.Attribute"),
        _described("bounding_box", "ListField", inner="FloatField"),
        _described("mask", "ArrayField"),
        _plain("mask_path", "String"),
        _plain("index", "Int"),
        *(_plain(name, kind) for name, kind in _REGION.items()),
    ]
    inside = _described(
        "detections",
        "ListField",
        inner="EmbeddedDocumentField",
        document="fiftyone.core.labels.Detection",
        fields=detection,
    )
    yield _described("regions", "EmbeddedDocumentField", document="fiftyone.core.labels.Detections", fields=[inside])


def _plain(name: str, kind: str) -> dict[str, Any]:
    return _described(name, f"{kind}Field")


def _described(
    name: str,
    kind: str,
    *,
    inner: str | None = None,
    document: str | None = None,
    fields: list[dict[str, Any]] | None = None,
    stored: str | None = None,
) -> dict[str, Any]:
    """A field as FiftyOne describes it."""
    return {
        "name": name,
        "ftype": f"{_FIELDS}.{kind}",
        "embedded_doc_type": document,
        "subfield": None if inner is None else f"{_FIELDS}.{inner}",
        "fields": fields or [],
        "db_field": stored or name,
        "description": None,
        "info": None,
        "read_only": False,
        "created_at": None,
    }
