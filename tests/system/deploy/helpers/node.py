"""Simulated node: runs the pods of Deployments from the API server, and starts the Dask operator."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from system.deploy.helpers.kube_api import KubeApi, Refused
from system.deploy.helpers.kubelet import NAMESPACE, Kubelet

__all__ = ["Node", "node", "operator"]

Object = dict[str, Any]

OPERATOR = """
import socket, sys
straight, names = socket.getaddrinfo, dict(pair.split("=") for pair in sys.argv.pop(1).split(","))
def known(host, *words, **more):
    return straight(names.get(host, host), *words, **more)
socket.getaddrinfo = known
from kopf.cli import main
main()
"""
"""Command of the operator with a resolver for service names of the cluster."""


@dataclass
class Node:
    """Reconcile pods with the API server, step by step."""

    api: KubeApi
    kubelet: Kubelet
    ending: dict[str, threading.Thread] = field(default_factory=dict)
    failed: list[BaseException] = field(default_factory=list)

    def step(self) -> None:
        """Reconcile once."""
        existing = self.api.list("pods")
        owners = {owner["uid"] for pod in existing for owner in pod["metadata"].get("ownerReferences", ())}
        for deployment in self.api.list("deployments"):
            if deployment["metadata"]["uid"] not in owners:
                existing.append(self._pod_of(deployment))
        for pod in existing:
            self._update_pod(pod)
        for name in set(self.kubelet.pods) - {pod["metadata"]["name"] for pod in existing} - set(self.ending):
            self.ending[name] = threading.Thread(target=self.kubelet.pods[name].terminate, name=f"end of {name}")
            self.ending[name].start()

    def _pod_of(self, deployment: Object) -> Object:
        meta, template = deployment["metadata"], deployment["spec"]["template"]
        owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": meta["name"], "uid": meta["uid"]}
        made = {
            "metadata": {
                "labels": template["metadata"]["labels"],
                "ownerReferences": [owner],
                "name": f"{meta['name']}-{uuid.uuid4().hex[:5]}",
            },
            "spec": template["spec"],
        }
        return self.api.create("pods", meta["namespace"], made)

    def _update_pod(self, pod: Object) -> None:
        meta, phase = pod["metadata"], pod.get("status", {}).get("phase")
        if meta["name"] not in self.kubelet.pods:
            # the operator uses the name of the Deployment as the name of its service
            service = "".join(owner["name"] for owner in meta["ownerReferences"] if owner["kind"] == "Deployment")
            self.kubelet.start(meta["name"], pod, service)
            return self._set_phase(pod, "Running")
        here = self.kubelet.pods[meta["name"]]
        if phase == "Running" and not here.running:
            if pod["spec"].get("restartPolicy") != "Never":
                here.begin()
            else:
                self._set_phase(pod, "Succeeded" if here.process.returncode == 0 else "Failed")
        return None

    def _set_phase(self, pod: Object, phase: str) -> None:
        ready = {"type": "Ready", "status": str(phase == "Running")}
        with suppress(Refused):  # removed in the meantime
            status = {"status": {"phase": phase, "conditions": [ready]}}
            self.api.patch("pods", pod["metadata"]["namespace"], pod["metadata"]["name"], status, "status")


@contextmanager
def node(api: KubeApi, kubelet: Kubelet) -> Iterator[Node]:
    """Run a node in a thread until the block ends; raise its error then."""
    made, stop = Node(api, kubelet), threading.Event()

    def work() -> None:
        while not stop.wait(0.05):
            try:
                made.step()
            except BaseException as e:
                made.failed.append(e)
                return

    thread = threading.Thread(target=work, name="node")
    thread.start()
    try:
        yield made
    finally:
        stop.set()
        for waited in (thread, *made.ending.values()):
            waited.join()
        if made.failed:
            raise made.failed[0]


@contextmanager
def operator(api: KubeApi, kubelet: Kubelet, folder: Path, service: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start the real Dask operator like its image does. Its log is `operator.log`."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "users": [{"name": "test", "user": {}}],
        "clusters": [{"name": "test", "cluster": {"server": api.url}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": NAMESPACE}}],
    }
    (folder / "kubeconfig").write_text(yaml.safe_dump(config))
    args = [
        sys.executable,
        "-c",
        OPERATOR,
        f"{service}.{NAMESPACE}={kubelet.network.address(service)}",
        "run",
        "-m",
        "dask_kubernetes.operator.controller",
        "--verbose",
        "--all-namespaces",
    ]
    environment = {**os.environ, "KUBECONFIG": str(folder / "kubeconfig"), "HOME": str(folder)}
    with (folder / "operator.log").open("wb") as log:
        process = subprocess.Popen(args, env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(output: str, reached: Any, seconds: float = 120) -> None:
    """Wait until a condition holds, or fail the test."""
    until = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < until, f"{output} within {seconds:.0f} s"
        time.sleep(0.3)  # a check may be slow: it lists objects of the store or of an API server
