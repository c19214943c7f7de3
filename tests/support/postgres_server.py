"""Run a real PostgreSQL server with its own cluster and password on a free loopback port."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

__all__ = ["PASSWORD", "PostgresServer", "run_postgres"]

USER, PASSWORD = "masksift", "pa/ss@word:of#the?tests"


@dataclass
class PostgresServer:
    """A running server."""

    port: int

    def uri(self, password: str = PASSWORD, driver: str = "") -> str:
        """Return the URI of the database `postgres`."""
        return f"postgresql{driver}://{USER}:{quote(password, safe='')}@127.0.0.1:{self.port}/postgres"


@contextmanager
def run_postgres() -> Iterator[PostgresServer]:
    """Make a cluster below /tmp and serve it; as root, by the user `nobody`, because PostgreSQL refuses root."""
    programs = [Path(found)] if (found := shutil.which("initdb")) else []
    programs += sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        pytest.skip("PostgreSQL is not installed (Debian package postgresql)")
    programs[0] = programs[0].resolve()
    root = os.geteuid() == 0
    identity: dict[str, Any] = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid} if root else {}
    directory = Path(tempfile.mkdtemp(prefix="masksift-postgres-"))  # pytest's directories are closed to other users
    try:
        secret, data = directory / "password", directory / "data"
        secret.write_text(PASSWORD)
        if root:
            shutil.chown(directory, "nobody")
            shutil.chown(secret, "nobody")
        command = [programs[0], "-D", data, "-A", "scram-sha-256", "-U", USER, f"--pwfile={secret}", "--no-sync"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=directory, **identity)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        server = [programs[0].with_name("postgres"), "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", directory]
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(server, stdout=log, stderr=log, cwd=directory, **identity)
        try:
            _wait_until_ready(process, directory / "log")
            yield PostgresServer(port)
        finally:
            process.terminate()
            process.wait()
    finally:
        shutil.rmtree(directory)


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while "ready to accept connections" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
