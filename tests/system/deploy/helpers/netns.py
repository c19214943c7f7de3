"""Networks of pods in tests: loopback addresses, or network namespaces on a bridge whose links can be cut."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

import pytest

__all__ = ["Bridge", "Loopback", "Network", "remove_stale_bridges"]


class Network(Protocol):
    """A network in which every pod has its own address, so that all can use the same ports."""

    def address(self, name: str) -> str:
        """Return the address of a pod, or of a service whose pod may start later."""
        ...

    def join(self, pod: str, address: str) -> None:
        """Add a pod with an address from `address`."""
        ...

    def within(self, pod: str, args: Sequence[str]) -> list[str]:
        """Return the command line that runs a command in a pod."""
        ...


@dataclass
class Loopback:
    """Addresses of the loopback network.

    Servers that listen on all addresses listen on the address of their pod, because all pods share the machine.
    """

    names: dict[str, str] = field(default_factory=dict)
    pods: dict[str, str] = field(default_factory=dict)
    block: str = field(default_factory=lambda: f"127.{64 + secrets.randbelow(128)}.{secrets.randbelow(256)}")

    def address(self, name: str) -> str:
        return self.names.setdefault(name, f"{self.block}.{len(self.names) + 2}")

    def join(self, pod: str, address: str) -> None:
        self.pods[pod] = address

    def within(self, pod: str, args: Sequence[str]) -> list[str]:
        address = self.pods[pod]
        here = [re.sub(r"^(0\.0\.0\.0)?(?=:\d+$)|^0\.0\.0\.0$", address, word) for word in args]
        if here[:1] == ["dask"] and "--host" not in here:
            here += ["--host", address]
        return here


def free_block() -> str:
    """Return a /24 reserved for tests that this machine does not use: equal addresses would be routed wrongly."""
    taken = _ip("-4", "-oneline", "address", "show")
    return secrets.choice([block for n in range(256) if f" {(block := f'198.18.{n}')}." not in taken])


@dataclass
class Bridge:
    """Pods in network namespaces linked to a bridge; this machine has the first address.

    The name holds the process id, so that the next process can remove the bridge of a killed one.
    """

    name: str = field(default_factory=lambda: f"ms{os.getpid():x}")
    block: str = field(init=False)
    names: dict[str, str] = field(default_factory=dict)
    pods: dict[str, int] = field(default_factory=dict)

    @property
    def gateway(self) -> str:
        """Address of this machine."""
        return f"{self.block}.1"

    def __enter__(self) -> Self:
        if shutil.which("ip") is None or os.geteuid() != 0:
            pytest.skip("network namespaces need root and iproute2")
        remove_stale_bridges()
        self.block = free_block()
        try:
            _ip("link", "add", self.name, "type", "bridge")
            _ip("address", "add", f"{self.gateway}/24", "dev", self.name)
            _ip("link", "set", self.name, "up")
            self.join("first", f"{self.block}.254")  # whether it can be done is known before there is anything to undo
        except subprocess.CalledProcessError as e:
            remove(self.name)
            pytest.skip(f"network namespaces are not permitted here: {e.stderr.strip()}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        remove(self.name)

    def address(self, name: str) -> str:
        return self.names.setdefault(name, f"{self.block}.{len(self.names) + 2}")

    def join(self, pod: str, address: str) -> None:
        self.pods[pod] = len(self.pods)
        namespace, link = self._namespace(pod), self._link(pod)
        _ip("netns", "add", namespace)
        _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        _ip("link", "set", link, "master", self.name, "up")
        _ip("-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", namespace, "link", "set", "eth0", "up")
        _ip("-n", namespace, "link", "set", "lo", "up")

    def within(self, pod: str, args: Sequence[str]) -> list[str]:
        return [shutil.which("ip") or "ip", "netns", "exec", self._namespace(pod), *args]

    def cut(self, pod: str) -> None:
        """Disconnect a pod without notice, like a pulled cable."""
        _ip("link", "set", self._link(pod), "down")

    def reconnect(self, pod: str) -> None:
        """Connect the pod again."""
        _ip("link", "set", self._link(pod), "up")

    def _namespace(self, pod: str) -> str:
        return f"{self.name}-{self.pods[pod]}"

    def _link(self, pod: str) -> str:
        return f"{self.name}v{self.pods[pod]}"


def remove(name: str) -> None:
    """Remove a bridge and its namespaces, and with them both ends of each link."""
    for namespace in re.findall(rf"^{name}-\d+", _ip("netns", "list"), re.MULTILINE):
        _ip("netns", "delete", namespace)
    subprocess.run(["ip", "link", "delete", name], capture_output=True, check=False)  # it may not have come to be


def remove_stale_bridges() -> None:
    """Remove the bridges of dead processes."""
    for name, process in re.findall(r"^\d+: (ms([0-9a-f]+)): ", _ip("-oneline", "link", "show"), re.MULTILINE):
        if not os.path.exists(f"/proc/{int(process, 16)}"):
            remove(name)


def _ip(*args: str) -> str:
    return subprocess.run(["ip", *args], check=True, capture_output=True, text=True).stdout
