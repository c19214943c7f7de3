"""FiftyOne, whose database is simulated in memory: import `fiftyone` from this module."""

from __future__ import annotations

import os
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

__all__ = ["fiftyone"]
