"""Certificates from certificates.sh: files, refusals, and a scheduler and a worker that use them for TLS."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import distributed
import pytest

from support.certificates import certificates, run_script
from system.deploy.helpers.kustomize import Pod, pods, render

BIN = Path(sys.executable).parent
MOUNTED = "/etc/masksift/tls"
WAIT = 180.0

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl, which creates the keys, is not installed"
)


# ------------------------------------------------------------------------------------------------------------ files


def test_script_writes_key_certificate_and_ca_for_the_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    done = run_script(folder, 30)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in folder.iterdir()) == ["ca.crt", "tls.crt", "tls.key"]
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, *sorted(folder.iterdir()))] == [0o700] + [0o600] * 3
    output = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "ca.crt", "tls.crt"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert output.stdout == "tls.crt: OK\n", output.stderr


def test_script_prints_the_command_that_creates_the_secret(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    output = " ".join(run_script(folder, 30, "elsewhere").stdout.replace("\\\n", " ").split())
    assert "kubectl --namespace elsewhere create secret generic masksift-tls --type kubernetes.io/tls" in output
    assert re.findall(r"--from-file (\S+)=(\S+)", output) == [
        (name, str(folder / name)) for name in ("ca.crt", "tls.crt", "tls.key")
    ]


def test_script_overwrites_no_key(tmp_path: Path) -> None:
    run_script(tmp_path / "new")
    before = (tmp_path / "new/tls.key").read_bytes()
    done = run_script(tmp_path / "new")
    assert (done.returncode, "keys are not overwritten" in done.stderr) == (2, True)
    assert (tmp_path / "new/tls.key").read_bytes() == before


@pytest.mark.parametrize("args", [(), ("--help",), ("new", "ten"), ("new", "0"), ("new", "-1")])
def test_script_refuses_unknown_arguments(
    args: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run_script(*args)
    assert done.returncode == 2
    assert "certificates.sh" in done.stderr
    assert not (tmp_path / "new").exists()


# ------------------------------------------------------------------------------------------------------- TLS cluster


@dataclass(frozen=True)
class Cluster:
    """A scheduler and a worker with their addresses and pods."""

    address: str
    http: int
    worker: Pod
    environment: dict[str, str]
    certificates: Path


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The pods of base/job as processes on loopback, with other ports and mount folders."""
    objects, folder = render("base/job"), tmp_path_factory.mktemp("pods")
    keys = certificates(tmp_path_factory.mktemp("tls"))
    [settings] = [one["data"]["masksift.yaml"] for one in objects if one["metadata"]["name"] == "masksift-dask"]
    (folder / "dask").mkdir()
    (folder / "scratch").mkdir()
    (folder / "dask/masksift.yaml").write_text(settings.replace(MOUNTED, str(keys)))
    found = {pod.component: pod for pod in pods(objects)}
    port, http = free_ports(2)
    address = f"tls://127.0.0.1:{port}"
    ports = {"8786": str(port), ":8787": f"127.0.0.1:{http}", ":8788": "127.0.0.1:0", "8789": "0", "8790": "0"}
    started = []

    def start(pod: Pod) -> dict[str, str]:
        configured = {"/etc/dask": str(folder / "dask"), "/scratch": str(folder / "scratch")}
        own = {name: configured.get(value, value) for name, value in pod.env.items()}
        environment = {**os.environ, **own, "DASK_SCHEDULER_ADDRESS": address}
        args = [
            ports.get(arg, arg).replace("$(DASK_WORKER_NAME)", own.get("DASK_WORKER_NAME", ""))
            for arg in pod.container["args"]
        ]
        with (folder / f"{pod.component}.log").open("w") as log:
            started.append(
                subprocess.Popen(
                    [str(BIN / args[0]), *args[1:], "--host", "127.0.0.1"], env=environment, stderr=log, stdout=log
                )
            )
        return environment

    try:
        start(found["scheduler"])
        environment = start(found["worker"])
        yield Cluster(address, http, found["worker"], environment, keys)
    finally:
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
        for process in started:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def connected(address: str, folder: Path) -> distributed.Client:
    security = distributed.Security(
        tls_ca_file=str(folder / "ca.crt"),
        tls_client_cert=str(folder / "tls.crt"),
        tls_client_key=str(folder / "tls.key"),
        require_encryption=True,
    )
    return distributed.Client(address, security=security, timeout=WAIT, set_as_default=False)


def test_client_with_certificates_runs_tasks(cluster: Cluster) -> None:
    with connected(cluster.address, cluster.certificates) as client:
        client.wait_for_workers(1, timeout=WAIT)
        [address] = client.scheduler_info()["workers"]
        assert address.startswith("tls://")
        assert client.submit(sum, [1, 2]).result(timeout=WAIT) == 3


def test_client_without_a_certificate_of_the_ca_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    connected(cluster.address, cluster.certificates).close()  # it is up
    host, port = cluster.address.removeprefix("tls://").split(":")
    certificates(tmp_path / "other")
    for other in (None, tmp_path / "other"):
        with pytest.raises((ssl.SSLError, ConnectionError), match=r"(?i)certificate|alert|unknown ca|reset"):
            handshake(host, int(port), cluster.certificates / "ca.crt", other)
    with pytest.raises(OSError, match=r"Timed out|closed|reset"):
        distributed.Client(f"tcp://{host}:{port}", timeout=2, set_as_default=False)


def handshake(host: str, port: int, ca: Path, own: Path | None) -> None:
    """TLS handshake and the first bytes of the peer: with TLS 1.3 a refusal comes after the handshake."""
    context = ssl.create_default_context(cafile=str(ca))
    context.check_hostname = False
    if own is not None:
        context.load_cert_chain(own / "tls.crt", own / "tls.key")
    with socket.create_connection((host, port), timeout=WAIT) as plain, context.wrap_socket(plain) as secure:
        assert secure.recv(1), "closed without a word"


def test_operator_gets_the_desired_worker_count_over_http(cluster: Cluster) -> None:
    with connected(cluster.address, cluster.certificates) as client:
        client.wait_for_workers(1, timeout=WAIT)
    for path, key in {"/api/v1/adaptive_target": "workers", "/api/v1/check_idle": "idle_since"}.items():
        assert key in json.loads(http_get(cluster.http, path))
    assert http_get(cluster.http, "/health") == "ok"
    assert "dask_scheduler_workers" in http_get(cluster.http, "/metrics")


def http_get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=WAIT) as answer:
        return str(answer.read().decode())


def test_pre_stop_hook_retires_the_worker_by_name(cluster: Cluster) -> None:
    with connected(cluster.address, cluster.certificates) as client:
        client.wait_for_workers(1, timeout=WAIT)
        [facts] = client.scheduler_info()["workers"].values()
        assert facts["name"] == cluster.environment["DASK_WORKER_NAME"] == "masksift-default-worker-0123456789"
        command: list[str] = cluster.worker.container["lifecycle"]["preStop"]["exec"]["command"]
        assert command[:3] == ["timeout", "20", "python"]
        args: list[Any] = ["timeout", str(WAIT), sys.executable, *command[3:]]
        done = subprocess.run(args, env=cluster.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        until = time.monotonic() + WAIT
        while client.sync(client.scheduler.identity)["workers"]:
            assert time.monotonic() < until, "the scheduler still counts on it"


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in found]
