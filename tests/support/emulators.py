"""Run emulators of Azure Blob Storage (Azurite) and Google Cloud Storage (gcp-storage-emulator) on loopback ports."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

__all__ = ["CLOUD_VARIABLES", "Emulator", "free_port", "run_azurite", "run_gcs_emulator"]

ROOT = Path(__file__).parents[2]
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
CLOUD_VARIABLES = ("AZURE_", "AWS_", "GOOGLE_", "STORAGE_EMULATOR", "FSSPEC_", "GCSFS_")
"""First letters of the environment variables that select a store."""


@dataclass
class Emulator:
    """A running emulator with an empty bucket `lake`."""

    scheme: str
    url: str
    environment: Mapping[str, str]

    def clean_environment(self) -> dict[str, str]:
        """Return the environment of this process with the emulator's variables instead of those of other stores."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(CLOUD_VARIABLES)}
        return {**kept, **self.environment}


@contextmanager
def run_azurite(directory: Path) -> Iterator[Emulator]:
    """Run Azurite with its data in memory."""
    program = ROOT / ".venv-emulators/node_modules/.bin/azurite-blob"
    found = str(program) if program.exists() else shutil.which("azurite-blob")
    if found is None:
        pytest.skip("Azurite is not installed (`make emulators`)")
    port = free_port()
    url = f"http://127.0.0.1:{port}/{ACCOUNT}"
    options = ("--skipApiVersionCheck", "--inMemoryPersistence", "--disableTelemetry", "--silent")
    with _run([found, *options, "--blobHost", "127.0.0.1", "--blobPort", str(port)], directory, port):
        request = urllib.request.Request(f"{url}/lake?restype=container&{shared_access_signature()}", method="PUT")
        urllib.request.urlopen(request).close()
        text = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};BlobEndpoint={url};"
        yield Emulator("az", url, {"AZURE_STORAGE_CONNECTION_STRING": text})


@contextmanager
def run_gcs_emulator(directory: Path) -> Iterator[Emulator]:
    """Run gcp-storage-emulator with its data below a directory."""
    pytest.importorskip("gcsfs", reason="gcsfs is not installed (extra `gcs`)")
    program = ROOT / ".venv-emulators/bin/gcp-storage-emulator"
    found = str(program) if program.exists() else shutil.which("gcp-storage-emulator")
    if found is None:
        pytest.skip("gcp-storage-emulator is not installed (`make emulators`)")
    port = free_port()
    command = [found, "-d", str(directory), "start", "--host", "127.0.0.1", "--port", str(port)]
    with _run([*command, "--default-bucket", "lake"], directory, port):
        url = f"http://127.0.0.1:{port}"
        yield Emulator("gs", url, {"STORAGE_EMULATOR_HOST": url})


def shared_access_signature(permissions: str = "rwdlac") -> str:
    """Return a signature that gives access to the account of Azurite for an hour."""
    expiry = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    version = "2018-11-09"
    fields: dict[str, Any] = {"sv": version, "ss": "b", "srt": "sco", "sp": permissions, "se": expiry}
    text = "\n".join([ACCOUNT, permissions, "b", "sco", "", expiry, "", "", version, ""])
    digest = hmac.new(base64.b64decode(ACCOUNT_KEY), text.encode(), hashlib.sha256).digest()
    return urlencode({**fields, "sig": base64.b64encode(digest).decode()})


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def _run(command: list[str], directory: Path, port: int, seconds: float = 60) -> Iterator[None]:
    """Run a server until the block ends, which starts when the port accepts connections."""
    with (directory / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=directory)
    try:
        deadline = time.monotonic() + seconds
        while True:
            assert process.poll() is None, (directory / "server.log").read_text()
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield
    finally:
        process.kill()
        process.wait()
