"""FiftyOne's own importer: FOLDER. In place of the server of its database stands one in memory."""

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


class Client(mongomock.MongoClient):
    """All clients see the same data, as those of one server do."""

    _closed = False

    def __init__(self, *words: object, **more: object) -> None:
        super().__init__(*words, **{**more, "_store": STORE})


mongomock.codec_options.is_supported = lambda options: None
pymongo.MongoClient = mongoengine.connection.MongoClient = Client

import fiftyone  # noqa: E402
from common import answer, packed  # noqa: E402

data = fiftyone.Dataset.from_dir(dataset_dir=sys.argv[1], dataset_type=fiftyone.types.FiftyOneDataset)
samples = []
for sample in data.iter_samples():
    plain = {
        name: sample[name] for name in data.get_field_schema() if isinstance(sample[name], str | int | float | None)
    }
    regions = []
    for one in sample.regions.detections:
        frame = (sample.metadata.width, sample.metadata.height)
        full = one.to_segmentation(frame_size=frame, target=1).mask
        told = {name: one[name] for name in one.field_names if isinstance(one[name], str | int | float | None)}
        regions.append({"mask": packed(full > 0), **told})
    given = None if sample.given is None else sample.given.get_mask().tolist()
    samples.append(
        {
            "plain": plain,
            "regions": regions,
            "given": given,
            "picture": os.path.isfile(sample.filepath),
        }
    )
answer(
    {
        "samples": samples,
        "targets": {str(k): v for k, v in data.mask_targets["given"].items()},
        "schema": {name: type(kind).__name__ for name, kind in data.get_field_schema().items()},
        "classes": data.classes["regions"],
    }
)
