"""Credentials and endpoints of the clouds, from options, variables and files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from masksift.core.errors import UsageError
from masksift.storage.clients import open_filesystem
from masksift.storage.credentials import StorageOptions, StoreConfig, cloud_of, resolve_options
from support.emulators import CLOUD_VARIABLES
from support.errors import raises

KEY = {"type": "service_account", "private_key": "hush"}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(CLOUD_VARIABLES)]:
        monkeypatch.delenv(name)


def resolve(url: str, **settings: Any) -> dict[str, Any]:
    """Return the options for the cloud of a URL."""
    return dict(resolve_options(StoreConfig(**settings), [url])[cloud_of(url) or ""])


@pytest.mark.parametrize(
    ("url", "cloud"),
    [
        ("s3a://b/x", "s3"),
        ("abfss://c@account.dfs.core.windows.net/x", "az"),
        ("gcs://b/x", "gs"),
        ("https://b/x", None),
        ("az", None),
        ("/data/gs", None),
    ],
)
def test_cloud_of_a_url_is_that_of_its_scheme(url: str, cloud: str | None) -> None:
    assert cloud_of(url) == cloud


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "DefaultEndpointsProtocol=https;AccountName=lake;AccountKey=a2V5==;EndpointSuffix=core.windows.net",
            {"account_name": "lake", "account_key": "a2V5==", "endpoint": "https://lake.blob.core.windows.net"},
        ),
        (
            "BlobEndpoint=https://lake.blob.core.windows.net;SharedAccessSignature=sv=2022&sig=a%3D",
            {"account_name": "lake", "sas_key": "sv=2022&sig=a%3D", "endpoint": "https://lake.blob.core.windows.net"},
        ),
        ("AccountName=lake;AccountKey=a2V5", {"account_name": "lake", "account_key": "a2V5"}),
    ],
)
def test_connection_string_of_azure_gives_account_credential_and_endpoint(
    text: str, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
    assert resolve("az://c/x") == expected


def test_connection_string_without_account_is_refused_without_printing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "AccountKey=hush")
    with pytest.raises(UsageError, match="contains neither AccountName nor BlobEndpoint") as caught:
        resolve("az://c/x")
    assert "hush" not in str(caught.value)


def test_variables_of_the_azure_command_line_are_used_and_options_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "lake")
    monkeypatch.setenv("AZURE_STORAGE_KEY", "a2V5")
    assert resolve("az://c/x") == {"account_name": "lake", "account_key": "a2V5"}
    assert resolve("az://c/x", account="other")["account_name"] == "other"
    anonymous = resolve("az://c/x", anonymous=True)
    assert anonymous == {"account_name": "lake", "skip_signature": True}


def test_azure_without_an_account_is_refused() -> None:
    filesystem, path = open_filesystem("az://c/x", {})
    with raises(UsageError, r"^The account of az://c is unknown\. Pass --storage\.account"):
        filesystem.cat_file(path)


def test_key_file_of_a_google_service_account_is_read_for_the_workers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "key.json"
    file.write_text(json.dumps(KEY))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    assert resolve("gs://b/x") == {"token": KEY}
    assert resolve("gs://b/x", anonymous=True) == {"token": "anon"}
    assert "hush" not in repr(resolve_options(StoreConfig(), ["gs://b/x"]))
    file.write_text("{")
    with raises(
        UsageError, r"^GOOGLE_APPLICATION_CREDENTIALS is .*key\.json, which cannot be read \(JSONDecodeError\)"
    ):
        resolve("gs://b/x")


@pytest.mark.parametrize("host", ["127.0.0.1:9023", "http://127.0.0.1:9023"])
def test_emulator_of_google_is_used_without_an_account(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", host)
    assert resolve("gs://b/x") == {"endpoint_url": "http://127.0.0.1:9023", "token": "anon"}


def test_configuration_of_fsspec_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec.config

    settings = {"gs": {"token": "cloud"}, "abfs": {"account_name": "lake", "sas_token": "sv=1"}}
    monkeypatch.setattr(fsspec.config, "conf", settings)
    assert resolve("gs://b/x") == {"token": "cloud"}
    assert resolve("az://c/x") == {"account_name": "lake", "sas_key": "sv=1"}


def test_one_endpoint_for_two_clouds_is_refused() -> None:
    config = StoreConfig(endpoint_url="http://minio:9000")
    with raises(UsageError, r"^storage\.endpoint_url is http://minio:9000, and the URLs are on az and s3"):
        resolve_options(config, ["s3://b/x", "az://c/x", "out"])


def test_urls_without_a_cloud_need_no_options() -> None:
    assert resolve_options(StoreConfig(), ["out", "sftp://host/x"]) == StorageOptions()
