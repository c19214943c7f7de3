"""Give one region another label and export the data set again with FiftyOne: DIRECTORY OUT FORMAT RANK LABEL."""

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

directory, out, _, rank, label = sys.argv[1:]
data = fiftyone.Dataset.from_dir(dataset_dir=directory, dataset_type=fiftyone.types.FiftyOneDataset)
for sample in data.iter_samples():
    for detection in sample.regions.detections:
        if detection["rank"] == int(rank):
            detection.label = label
    sample.save()
data.export(export_dir=out, dataset_type=fiftyone.types.FiftyOneDataset, export_media=False)
