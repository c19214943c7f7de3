"""Simulated kubelet: runs pods as local processes with their arguments and environment.

It handles a pod of one container like a kubelet: it makes variables and files from ConfigMaps, Secrets and fields,
starts the command, calls the probes, and ends it by `preStop`, SIGTERM and, after the grace period, SIGKILL. It
provides nothing of a container engine: no image (the commands are those of this environment), no separate user, no
read-only root; paths of mounts become folders, and names of services the addresses of pods.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from system.deploy.helpers.netns import Network

__all__ = ["Kubelet", "Pod", "named"]

Object = dict[str, Any]

IMAGE = {"HOME": "/scratch", "TMPDIR": "/scratch", "DASK_TEMPORARY_DIRECTORY": "/scratch", "PYTHONUNBUFFERED": "1"}
"""Environment variables of the image."""
NAMESPACE = "masksift"
UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


def named(objects: Iterable[Object], kind: str, name: str) -> Object:
    """Return the only object of that kind and name."""
    (found,) = [o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name]
    return found


def quantity(text: str) -> int:
    """Parse a quantity such as `4Gi` into bytes."""
    number, unit = re.fullmatch(r"(\d+)([A-Za-z]*)", text).groups()  # type: ignore[union-attr]
    return int(number) * UNITS[unit]


@dataclass
class Pod:
    """A started pod: ``process`` is PID 1 of its container."""

    name: str
    address: str
    spec: Object
    folder: Path
    kubelet: Kubelet
    environment: dict[str, str] = field(default_factory=dict)
    container_args: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def container(self) -> Object:
        found: Object = self.spec["containers"][0]
        return found

    def begin(self) -> None:
        """Start or restart its container."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.container_args,
                env=self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        """Its log."""
        return (self.folder / "log").read_text(errors="replace")

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def wait(self, seconds: float) -> int:
        """Wait for its exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{self.name} did not end within {seconds:.0f} s:\n{self.log[-4000:]}")

    def healthy(self, kind: str) -> bool:
        """Return whether a probe succeeds: `livenessProbe` or `readinessProbe`."""
        place = self.container[kind]["httpGet"]
        ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        connection = HTTPConnection(self.address, ports[place["port"]], timeout=2)
        try:
            connection.request("GET", place["path"])
            return 200 <= connection.getresponse().status < 400
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def wait_for(self, kind: str, seconds: float = 120) -> None:
        """Wait until a probe succeeds."""
        until = time.monotonic() + seconds
        while not self.healthy(kind):
            assert self.running, self.log
            assert time.monotonic() < until, f"{self.name} is not up after {seconds:.0f} s: {self.log}"
            time.sleep(0.1)

    def run(self, args: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a command in the container, like `kubectl exec`."""
        command = self.kubelet.network.within(self.name, [self.kubelet.localize(arg, self) for arg in args])
        return subprocess.run(
            command, env=self.environment, cwd=self.folder, capture_output=True, text=True, check=False
        )

    def terminate(self) -> int:
        """Terminate it like a drained node; return its exit code, -9 if the grace period was too short."""
        until = time.monotonic() + self.spec.get("terminationGracePeriodSeconds", 30)
        before = self.container.get("lifecycle", {}).get("preStop", {})
        if "exec" in before and self.running:
            self.run(before["exec"]["command"])  # if it fails, a kubelet goes on all the same
        if self.running:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(max(0.1, until - time.monotonic()))
        self.kill()
        return self.process.returncode

    def kill(self) -> None:
        """Kill it and its children at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass
class Kubelet:
    """Runs pods in folders below ``folder``. ``objects``: those of the manifests, for their ConfigMaps; ``secrets``:
    what the user has put into the cluster; ``instead``: texts of the manifests that stand for something of the test,
    such as the address of a store."""

    folder: Path
    network: Network
    objects: Sequence[Object] = ()
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    instead: Mapping[str, str] = field(default_factory=dict)
    identity: Mapping[str, str] = field(default_factory=dict)
    """Variables that a cloud injects into pods of the service account for access to the store."""
    pods: dict[str, Pod] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pod in self.pods.values():
            pod.kill()

    def start(self, name: str, template: Object, service: str = "") -> Pod:
        """Start the pod of a template; the pod behind a service gets the address of the service."""
        spec = template["spec"]
        (container,) = spec["containers"]
        assert "initContainers" not in spec
        folder = self.folder / name
        folder.mkdir(parents=True)
        address = self.network.address(service or name)
        self.network.join(name, address)
        pod = Pod(name, address, spec, folder, self)
        volumes = {volume["name"]: volume for volume in spec.get("volumes", ())}
        for mount in container.get("volumeMounts", ()):
            self._mount(pod, volumes[mount["name"]], mount["mountPath"])
        pod.environment = self._environment(pod)
        args = [_expanded(self.localize(word, pod), pod.environment) for word in container["args"]]
        limit = quantity(container["resources"]["limits"]["memory"])
        # Dask reads this limit like a container limit, so the worker gets the memory of its manifest
        args = ["sh", "-c", 'ulimit -m "$0" && exec "$@"', str(limit >> 10), *self.network.within(name, args)]
        pod.container_args = args
        pod.begin()
        self.pods[name] = pod
        return pod

    def localize(self, text: str, pod: Pod) -> str:
        """Replace cluster names and paths in a text by local ones."""
        known = {path: str(self._inside(pod, path)) for path in self._paths(pod)} | dict(self.instead)
        longest_first = sorted(known, key=len, reverse=True)
        patterns = [rf"(?<![\w.-]){re.escape(name)}(?![\w.-])" for name in longest_first]
        patterns.append(rf"(?<![\w.-])(?P<service>[a-z][\w-]*)\.{NAMESPACE}\.svc(\.cluster\.local)?(?![\w.-])")
        return re.sub(
            "|".join(patterns), lambda found: known.get(found[0]) or self.network.address(found["service"]), text
        )

    def _paths(self, pod: Pod) -> list[str]:
        return [mount["mountPath"] for mount in pod.container.get("volumeMounts", ())]

    def _inside(self, pod: Pod, path: str) -> Path:
        return pod.folder / "root" / path.lstrip("/")

    def _mount(self, pod: Pod, volume: Object, path: str) -> None:
        place = self._inside(pod, path)
        place.mkdir(parents=True)
        if "configMap" in volume:
            files = dict(named(self.objects, "ConfigMap", volume["configMap"]["name"])["data"])
        elif "secret" in volume:
            files = dict(self.secrets[volume["secret"]["secretName"]])
        else:
            assert "emptyDir" in volume, f"unknown kind of volume: {volume}"
            files = {}
        for name, text in files.items():
            (place / name).write_text(self.localize(text, pod) if "configMap" in volume else text)

    def _environment(self, pod: Pod) -> dict[str, str]:
        """Environment of a container: no variable of the test process except PYTHONPATH."""
        made = {name: self.localize(value, pod) for name, value in IMAGE.items()}
        made["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.defpath])
        if "PYTHONPATH" in os.environ:
            made["PYTHONPATH"] = os.environ["PYTHONPATH"]
        if pod.spec.get("serviceAccountName") == "masksift":
            made |= self.identity
        for source in pod.container.get("envFrom", ()):
            made |= self.secrets[source["secretRef"]["name"]]
        fields = {"metadata.name": pod.name}
        for variable in pod.container.get("env", ()):
            value = variable.get("value") or fields[variable["valueFrom"]["fieldRef"]["fieldPath"]]
            made[variable["name"]] = _expanded(self.localize(value, pod), made)
        return made


def _expanded(text: str, environment: Mapping[str, str]) -> str:
    """Expand `$(NAME)` of defined variables."""
    return re.sub(r"\$\(([A-Za-z_][\w.-]*)\)", lambda found: environment.get(found[1], found[0]), text)
