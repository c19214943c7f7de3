"""Access to S3, Azure and Google Cloud Storage: the client resolves credentials once and sends them to the workers.

Credentials come from the places that the tools of each cloud use: the environment, a profile, a file, or the role of a
container or an instance. Credentials of a role expire and are renewed; each worker resolves its own. Credentials are
never printed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from masksift.core.errors import UsageError, summarize_error
from masksift.storage.retry import StoreUnavailable

_CLOUDS = {"s3": "s3", "s3a": "s3", "az": "az", "abfs": "az", "abfss": "az", "gs": "gs", "gcs": "gs"}
"""Cloud of a URL by its scheme."""
_REMEDIES = {
    "s3": "Check the URL and --storage.endpoint_url, and that the credentials here (environment, --storage.profile, "
    "role) may read it",
    "az": "Check the URL and --storage.account, and that the credentials here (AZURE_STORAGE_* variables, service "
    "principal, managed identity) may read it",
    "gs": "Check the URL, and that the credentials here (GOOGLE_APPLICATION_CREDENTIALS, gcloud, service account) may "
    "read it",
}
_S3_METHODS = {
    "env": "the environment",
    "shared-credentials-file": "~/.aws/credentials",
    "config-file": "~/.aws/config",
    "iam-role": "the role of the instance",
    "container-role": "the role of the container",
    "assume-role": "an assumed role",
    "assume-role-with-web-identity": "a web identity",
    "sso": "a single sign-on",
}
"""Descriptions of botocore's methods."""
_AZURE_METHODS = {
    "account_key": "an account key",
    "sas_key": "a shared access signature",
    "client_secret": "a service principal",
}
_AZURE_VARIABLES = {
    "account_name": ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"),
    "account_key": ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCESS_KEY"),
    "sas_key": ("AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY"),
    "endpoint": ("AZURE_STORAGE_ENDPOINT",),
    "tenant_id": ("AZURE_STORAGE_TENANT_ID", "AZURE_TENANT_ID"),
    "client_id": ("AZURE_STORAGE_CLIENT_ID", "AZURE_CLIENT_ID"),
    "client_secret": ("AZURE_STORAGE_CLIENT_SECRET", "AZURE_CLIENT_SECRET"),
}
"""Environment variables of obstore's Azure options: those of adlfs, obstore and the Azure command line."""
_CONNECTION_STRING = "AZURE_STORAGE_CONNECTION_STRING"
_AZURITE = {
    "AccountName": "devstoreaccount1",
    # published by Microsoft for the emulator, the same everywhere
    "AccountKey": "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
    "BlobEndpoint": "http://127.0.0.1:10000/devstoreaccount1",
}
"""Meaning of the connection string `UseDevelopmentStorage=true`."""


@dataclass(frozen=True)
class StoreConfig:
    """Settings of the configuration table `[storage]` that select a store and its client."""

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    account: str | None = None
    anonymous: bool = False
    path_style: bool | None = None
    client: str = "obstore"


class StorageOptions(dict[str, Any]):
    """Options of storage clients. Only their number is printed, because they hold credentials.

    Attributes:
        config: Settings that they were resolved with, for `options_for`.
    """

    config: StoreConfig | None = None

    def __repr__(self) -> str:
        """Return the number of entries."""
        return f"Options({len(self)} entries)"

    __str__ = __repr__

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a plain dict, with the settings."""
        return StorageOptions, (dict(self),), {"config": self.config}


def cloud_of(url: str) -> str | None:
    """Return the cloud of a URL: `s3`, `az` (Azure), `gs` (Google), or None for all other URLs."""
    return _CLOUDS.get(url.partition("://")[0]) if "://" in url else None


def select_options(url: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options for the cloud of a URL, or none."""
    found: Mapping[str, Any] = options.get(cloud_of(url) or "", {})
    return found


def options_for(url: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return options that include the cloud of a URL that no configuration names, such as that of a linked file.

    Args:
        url: Any URL.
        options: Options of other URLs. Those of the cloud are resolved with the same settings, but in this process.

    Returns:
        The options.
    """
    cloud = cloud_of(url)
    if cloud is None or cloud in options:
        return options
    config = options.config if isinstance(options, StorageOptions) and options.config else StoreConfig()
    return StorageOptions({**options, **resolve_options(config, [url])})


def redact_uri(uri: str) -> str:
    """Hide the parts of a URI that may hold a password: user information and query."""
    return re.sub(r"\?\S+", "?***", re.sub(r"//.*@", "//***@", uri))


def reject_password(url: str) -> None:
    """Raise UsageError if a URL contains a password: URLs are written to run.json, tables and messages."""
    if re.match(r"[\w.+-]+://[^/]*:[^/]*@", url):
        raise UsageError(
            f"{redact_uri(url)} contains a password",
            "It would be stored with the results and printed",
            "Remove it: credentials of clouds come from the environment, --storage.profile or a role, those of other "
            "stores from the configuration of fsspec, such as FSSPEC_SFTP_PASSWORD",
        )


def unreachable_error(url: str, cause: Exception) -> UsageError:
    """Make the error for a URL of a cloud that denies access or does not exist."""
    cause = cause.__cause__ if isinstance(cause, StoreUnavailable) and isinstance(cause.__cause__, Exception) else cause
    return UsageError(f"{url} cannot be read ({summarize_error(cause)})", _REMEDIES[cloud_of(url) or "s3"])


def resolve_options(config: StoreConfig, urls: Iterable[str]) -> StorageOptions:
    """Resolve credentials and endpoints of the clouds of some URLs.

    Args:
        config: Stores and clients.
        urls: URLs of any kind.

    Returns:
        Options by cloud, without credentials if each worker resolves its own.

    Raises:
        UsageError: One endpoint is given for several clouds, or what a cloud needs is missing or damaged.
    """
    reject_password(config.endpoint_url or "")
    clouds = sorted({cloud for url in urls if (cloud := cloud_of(url))})
    if config.endpoint_url and len(clouds) > 1:
        raise UsageError(
            f"storage.endpoint_url is {config.endpoint_url}, and the URLs are on {' and '.join(clouds)}",
            "One server cannot be both",
            "Set AWS_ENDPOINT_URL, AZURE_STORAGE_ENDPOINT or STORAGE_EMULATOR_HOST instead",
        )
    resolvers: dict[str, Callable[[StoreConfig], StorageOptions]] = {
        "s3": resolve_credentials,
        "az": _resolve_azure,
        "gs": _resolve_google,
    }
    options = StorageOptions({cloud: resolvers[cloud](config) for cloud in clouds})
    options.config = config
    return options


@cache
def resolve_credentials(config: StoreConfig) -> StorageOptions:
    """Resolve credentials and endpoint of S3 once per process.

    Args:
        config: Store and client.

    Returns:
        Options for `masksift.storage.clients`, without credentials if each worker resolves its own.

    Raises:
        UsageError: The profile does not exist.
    """
    import botocore.session
    from botocore.credentials import RefreshableCredentials
    from botocore.exceptions import ProfileNotFound

    session = botocore.session.Session(profile=config.profile)
    try:
        credentials = None if config.anonymous else session.get_credentials()
        region = config.region or session.get_config_variable("region")
    except ProfileNotFound as e:
        raise UsageError(
            f"AWS profile {config.profile!r} does not exist here", "Pass a --storage.profile from ~/.aws/config"
        ) from e
    url = config.endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    # a private server has one host name, without a subdomain per bucket
    path_style = config.path_style if config.path_style is not None else url is not None
    options = StorageOptions(
        client=config.client, anonymous=config.anonymous, endpoint_url=url, region=region, path_style=path_style
    )
    if credentials is not None and not isinstance(credentials, RefreshableCredentials):
        frozen = credentials.get_frozen_credentials()
        options |= {"key": frozen.access_key, "secret": frozen.secret_key, "token": frozen.token}
    return options


def find_credentials(cloud: str, config: StoreConfig) -> str | None:
    """Name where the credentials of a cloud come from, without the credentials.

    Args:
        cloud: Result of `cloud_of`.
        config: Store and client.

    Returns:
        A description such as "credentials of the environment"; None without any.

    Raises:
        UsageError: The profile does not exist, or what a cloud needs is damaged.
    """
    if config.anonymous:
        return "unsigned requests"
    if cloud == "s3":
        import botocore.session

        resolve_credentials(config)  # explains a missing profile
        found = botocore.session.Session(profile=config.profile).get_credentials()
        return None if found is None else f"credentials of {_S3_METHODS.get(found.method, found.method)}"
    if cloud == "az":
        names = _resolve_azure(config).keys()
        found_name = next((text for name, text in _AZURE_METHODS.items() if name in names), None)
        return found_name or "no key here: the managed identity of the machine is tried"
    token = _resolve_google(config).get("token")
    if token == "anon":
        return "unsigned requests"
    return "the key of a service account" if token else "no key here: gcloud and the machine's account are tried"


def _resolve_azure(config: StoreConfig) -> StorageOptions:
    """Return options of obstore's Azure client, from the options of masksift, a connection string and variables."""
    known = {"account_key", "sas_token", "tenant_id", "client_id", "client_secret"}
    settings = _fsspec_settings("az", "abfs", "abfss")
    options = {name.replace("sas_token", "sas_key"): settings[name] for name in known & settings.keys()}
    options |= {"account_name": settings.get("account_name")}
    for name, variables in _AZURE_VARIABLES.items():
        options[name] = next(filter(None, map(os.environ.get, variables)), None) or options.get(name)
    if text := os.environ.get(_CONNECTION_STRING) or settings.get("connection_string"):
        options |= _parse_connection_string(str(text))
    options |= {"account_name": config.account} if config.account else {}
    options |= {"endpoint": config.endpoint_url} if config.endpoint_url else {}
    if config.anonymous:
        options = {name: options.get(name) for name in ("account_name", "endpoint")} | {"skip_signature": True}
    return StorageOptions({name: value for name, value in options.items() if value})


def _parse_connection_string(text: str) -> dict[str, str | None]:
    """Return the options in a connection string of Azure Storage."""
    fields = dict(part.strip().split("=", 1) for part in text.split(";") if "=" in part)
    if fields.get("UseDevelopmentStorage", "").lower() == "true":
        fields = {**_AZURITE, **fields}
    account = fields.get("AccountName")
    endpoint = fields.get("BlobEndpoint")
    if endpoint is None and account is not None and "EndpointSuffix" in fields:
        scheme = fields.get("DefaultEndpointsProtocol", "https")
        endpoint = f"{scheme}://{account}.blob.{fields['EndpointSuffix']}"
    if account is None and endpoint is not None:  # a connection string with a shared access signature has no account
        account = re.sub(r"^\w+://", "", endpoint).split(".", 1)[0]
    if account is None:
        raise UsageError(
            f"{_CONNECTION_STRING} contains neither AccountName nor BlobEndpoint",
            "Copy it from the access keys of the storage account, in quotation marks because of its semicolons",
        )
    options = {"account_name": account, "account_key": fields.get("AccountKey"), "endpoint": endpoint}
    return options | {"sas_key": fields.get("SharedAccessSignature")}


def _resolve_google(config: StoreConfig) -> StorageOptions:
    """Return options of gcsfs: the configuration of fsspec, the emulator, and the key of a service account."""
    options = _fsspec_settings("gcs", "gs")
    emulator = os.environ.get("STORAGE_EMULATOR_HOST")
    if emulator and "://" not in emulator:
        emulator = f"http://{emulator}"
    if url := config.endpoint_url or options.get("endpoint_url") or emulator:
        options["endpoint_url"] = url
    path = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    if config.anonymous:
        options["token"] = "anon"
    elif "token" not in options and path:
        if (key := _read_json(path)).get("type") == "service_account":
            options["token"] = key  # the file may not exist on the workers
    elif "token" not in options and emulator:
        options["token"] = "anon"  # an emulator knows no accounts
    return StorageOptions(options)


def _read_json(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            content = json.load(file)
    except (OSError, ValueError) as e:
        raise UsageError(
            f"GOOGLE_APPLICATION_CREDENTIALS is {path}, which cannot be read ({type(e).__name__})",
            "Set it to the key file of a service account, or remove it",
        ) from e
    return content if isinstance(content, dict) else {}


def _fsspec_settings(*protocols: str) -> dict[str, Any]:
    """Return the configuration of fsspec (`FSSPEC_AZ_ACCOUNT_NAME`, files) for some protocols, the last one first."""
    import fsspec.config

    return {name: value for protocol in protocols for name, value in fsspec.config.conf.get(protocol, {}).items()}
