"""Clients of object stores."""

from __future__ import annotations

import sys

import pytest

from masksift.core.errors import UsageError
from masksift.storage.clients import obstore_store, open_filesystem
from masksift.storage.credentials import StorageOptions
from support.errors import raises


def test_google_storage_without_gcsfs_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs.core", None)
    with raises(UsageError, r"^gs://lake/x needs the package gcsfs, which is not installed.*'masksift\[gcs\]'"):
        open_filesystem("gs://lake/x", {})


def test_url_of_azure_with_an_account_uses_its_host() -> None:
    options = StorageOptions(az={"account_name": "other", "account_key": "a2V5"})
    place = obstore_store("abfss://lake@street.dfs.core.windows.net/seg/a.zarr", options)
    assert place is not None
    store, path = place
    assert path == "seg/a.zarr"
    assert store.config["account_name"] == "street"
    assert store.config["container_name"] == "lake"
    assert store.config["endpoint"] == "https://street.blob.core.windows.net"


@pytest.mark.parametrize("url", ["gs://lake/x", "sftp://host/x", "/data/x"])
def test_obstore_is_the_client_of_azure_and_s3_only(url: str) -> None:
    assert obstore_store(url, {}) is None
