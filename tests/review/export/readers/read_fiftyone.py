"""Import a data set with FiftyOne, whose database is simulated in memory: argument DIRECTORY."""

from __future__ import annotations

import os
import sys
import tempfile

os.environ |= {
    "FIFTYONE_DATABASE_URI": "mongodb://localhost/fiftyone",
    "FIFTYONE_DATABASE_VALIDATION": "0",
    "FIFTYONE_DO_NOT_TRACK": "1",
    "HOME": tempfile.mkdtemp(),
}

import mongoengine.connection
import mongomock
import mongomock.codec_options
import pymongo
from mongomock.store import ServerStore

STORE = ServerStore()


class SharedStoreClient(mongomock.MongoClient):
    """MongoDB client; all clients share one store, like clients of one server."""

    _closed = False

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **{**kwargs, "_store": STORE})


mongomock.codec_options.is_supported = lambda options: None
pymongo.MongoClient = mongoengine.connection.MongoClient = SharedStoreClient

import fiftyone  # noqa: E402
from common import encode_mask, write_result  # noqa: E402

data = fiftyone.Dataset.from_dir(dataset_dir=sys.argv[1], dataset_type=fiftyone.types.FiftyOneDataset)
samples = []
for sample in data.iter_samples():
    fields = {
        name: sample[name] for name in data.get_field_schema() if isinstance(sample[name], str | int | float | None)
    }
    regions = []
    for detection in sample.regions.detections:
        size = (sample.metadata.width, sample.metadata.height)
        mask = detection.to_segmentation(frame_size=size, target=1).mask
        attributes = {
            name: detection[name]
            for name in detection.field_names
            if isinstance(detection[name], str | int | float | None)
        }
        regions.append({"mask": encode_mask(mask > 0), **attributes})
    given = None if sample.given is None else sample.given.get_mask().tolist()
    samples.append(
        {
            "fields": fields,
            "regions": regions,
            "given": given,
            "has_image": os.path.isfile(sample.filepath),
        }
    )
write_result(
    {
        "samples": samples,
        "targets": {str(k): v for k, v in data.mask_targets["given"].items()},
        "schema": {name: type(field).__name__ for name, field in data.get_field_schema().items()},
        "classes": data.classes["regions"],
    }
)
