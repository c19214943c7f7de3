"""A stand-in for a Kubernetes API server (kmock keeps its objects), and for the Dask operator on it: where a
DaskCluster is made, a real scheduler and a real worker start, and they end with it."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web
from kmock import KubernetesEmulator, Server

from system.executors.processes import free_port, start, start_worker, stop

NAMESPACE = "masksift"
CLUSTERS, PODS, EVENTS = "daskclusters.v1.kubernetes.dask.org", "pods.v1", "events.v1"
STUCK = {
    "phase": "Pending",
    "containerStatuses": [
        {"name": "scheduler", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "manifest unknown"}}}
    ],
}
READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}


class _Emulator(KubernetesEmulator):
    """With the forwarding of ports, which kmock has not: frames of a web socket, with their channel."""

    forward_to = 0
    forwarded = 0

    async def _handle(self, request: Any) -> web.StreamResponse:
        if not request.url.path.endswith("/portforward"):
            return await super()._handle(request)
        self.forwarded += 1
        socket = web.WebSocketResponse()
        await socket.prepare(request._raw_request)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.forward_to)
        for channel in (b"\x00", b"\x01"):
            await socket.send_bytes(channel + self.forward_to.to_bytes(2, "little"))

        async def back() -> None:
            while data := await reader.read(1 << 16):
                await socket.send_bytes(b"\x00" + data)
            await socket.close()

        task = asyncio.create_task(back())
        try:
            async for message in socket:
                if message.type is aiohttp.WSMsgType.BINARY:
                    writer.write(message.data[1:])
                    await writer.drain()
        finally:
            writer.transport.abort()
            task.cancel()
        with suppress(asyncio.CancelledError, ConnectionError):
            await task
        return socket


class ApiServer:
    """``broken``: its pods never start; ``absent``: nobody takes clusters up."""

    def __init__(self, folder: Path) -> None:
        self.kubeconfig, self.port = folder / "kubeconfig", free_port()
        self.url = ""
        self.broken = self.absent = False
        self.emulator = _Emulator()
        self.emulator.forward_to = self.port
        self.processes: dict[str, list[subprocess.Popen[bytes]]] = {}
        self._up, self._end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    @property
    def address(self) -> str:
        """Address of the scheduler of a cluster."""
        return f"tcp://127.0.0.1:{self.port}"

    @property
    def clusters(self) -> dict[str, dict[str, Any]]:
        """Existing clusters by name."""
        return {
            name: found.raw
            for (resource, _, name), found in list(self.emulator.objects.items())
            if resource.plural == "daskclusters" and not found.deleted
        }

    @property
    def changes(self) -> list[tuple[str, str]]:
        """Methods and paths of the requests that change objects."""
        changing = ("POST", "PUT", "PATCH", "DELETE")
        return [
            (str(one.method.value).upper(), one.url.path)
            for one in self.emulator._requests
            if str(one.method.value).upper() in changing
        ]

    async def _serve(self) -> None:
        self.emulator["get /version/"] << {"major": "1", "minor": "99", "gitVersion": "v1.99.0"}  # newer than kr8s
        for resource, kind in ((CLUSTERS, "DaskCluster"), (PODS, "Pod"), (EVENTS, "Event")):
            self.emulator.resources[resource] = {
                "namespaced": True,
                "kind": kind,
                "singular": kind.lower(),
                "verbs": ["get", "list", "create", "patch", "delete"],
                "shortnames": [],
                "categories": [],
                "subresources": [],
            }
        async with self.emulator, Server(self.emulator) as server:
            self.url = str(server.url).rstrip("/")
            self.kubeconfig.write_text(yaml.safe_dump(_kubeconfig(self.url)))
            self._up.set()
            while not self._end.is_set():
                self._operate()
                await asyncio.sleep(0.05)
        self._operate()

    def _operate(self) -> None:
        """One look of the operator."""
        for name in self.clusters:
            if name.startswith("masksift-") and name not in self.processes and not self.absent:
                self.processes[name] = [] if self.broken else self._start()
                self._show(name)
        for name in self.processes.keys() - self.clusters.keys():
            stop(*self.processes.pop(name))
            for (_, _, other), found in list(self.emulator.objects.items()):
                if other == f"{name}-scheduler" and not found.deleted:
                    found.delete()

    def _start(self) -> list[subprocess.Popen[bytes]]:
        args = ("--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard")
        return [start("scheduler", *args), start_worker(self.address)]

    def _show(self, name: str) -> None:
        labels = {"dask.org/cluster-name": name, "dask.org/component": "scheduler"}
        metadata = {"name": f"{name}-scheduler", "namespace": NAMESPACE, "labels": labels}
        self._put(PODS, {"metadata": metadata, "status": STUCK if self.broken else READY})
        if self.broken:
            event = {"type": "Warning", "reason": "FailedCreate", "message": "exceeded quota: compute"}
            self._put(EVENTS, {"metadata": metadata, "involvedObject": {"name": f"{name}-worker"}, **event})
        self.emulator.objects[CLUSTERS, NAMESPACE, name].patch(
            {"status": {"phase": "Pending" if self.broken else "Running"}}
        )

    def _put(self, resource: str, raw: dict[str, Any]) -> None:
        self.emulator.objects[resource, NAMESPACE, raw["metadata"]["name"]] = raw

    @contextmanager
    def running(self) -> Iterator[ApiServer]:
        """The server, until it is left."""
        self._thread.start()
        assert self._up.wait(30), "the stand-in listens"
        try:
            yield self
        finally:
            self._end.set()
            self._thread.join(30)
            for processes in self.processes.values():
                stop(*processes)


def _kubeconfig(url: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "stand-in",
        "contexts": [{"name": "stand-in", "context": {"cluster": "stand-in", "user": "me", "namespace": NAMESPACE}}],
        "clusters": [{"name": "stand-in", "cluster": {"server": url}}],
        "users": [{"name": "me", "user": {"token": "none"}}],
    }
