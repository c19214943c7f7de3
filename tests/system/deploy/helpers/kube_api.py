"""Simulated Kubernetes API server: objects in memory behind the HTTP that the Dask operator speaks.

It has discovery, lists with selectors, watches, merge and JSON patches, `status` as a separate resource where one is
defined, versions and finalizers, and removes the dependents of a removed object. It has no admission: nothing is
checked, defaulted or refused for a missing permission (RBAC). `kmock` 0.8, by kopf's author, lacks JSON patches and
versions, which this kopf needs to set finalizers, and selectors, which the operator needs to find its pods.
"""

from __future__ import annotations

import asyncio
import copy
import json
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonpatch
import yaml
from aiohttp import web

__all__ = ["Kind", "KubeApi", "api_server"]

Object = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """A resource as discovery lists it; ``status`` is True if it has a status subresource."""

    group: str
    version: str
    kind: str
    plural: str
    status: bool = True
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}".lstrip("/")

    @property
    def resources(self) -> list[Object]:
        facts = {
            "kind": self.kind,
            "singularName": self.kind.lower(),
            "namespaced": self.namespaced,
            "verbs": ["create", "delete", "get", "list", "patch", "watch"],
        }
        return [{"name": name, **facts} for name in (self.plural, f"{self.plural}/status")[: 1 + self.status]]


CORE = (
    Kind("", "v1", "Namespace", "namespaces", namespaced=False),
    Kind("", "v1", "Pod", "pods"),
    Kind("", "v1", "Service", "services"),
    Kind("", "v1", "Event", "events", status=False),
    Kind("apps", "v1", "Deployment", "deployments"),
)


def operator_kinds() -> Iterator[Kind]:
    """Yield the resources of the Dask operator from its CRDs."""
    import dask_kubernetes

    folder = Path(dask_kubernetes.__file__).parent / "operator/deployment/helm/dask-kubernetes-operator/crds"
    for file in sorted(folder.glob("*.yaml")):
        spec = yaml.load(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["spec"]
        (version,) = spec["versions"]
        names, subresources = spec["names"], version.get("subresources", {})
        yield Kind(spec["group"], version["name"], names["kind"], names["plural"], status="status" in subresources)


class Refused(Exception):
    """An error response: HTTP code and Kubernetes reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code, self.reason = code, reason


@dataclass
class KubeApi:
    """Objects and their history. Methods are thread-safe."""

    kinds: tuple[Kind, ...]
    objects: dict[tuple[str, str, str], Object] = field(default_factory=dict)
    history: list[tuple[str, str, Object]] = field(default_factory=list)
    """(plural, event, object) in order: entry n has resource version n + 1."""
    port: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _loop: asyncio.AbstractEventLoop = field(init=False)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # ------------------------------------------------------------------------------------------ the objects

    def kind(self, plural: str) -> Kind:
        for kind in self.kinds:
            if kind.plural == plural:
                return kind
        raise Refused(404, "NotFound")

    def get(self, plural: str, space: str, name: str) -> Object:
        """Return a copy of an object. Raise Refused if it does not exist."""
        with self._lock:
            if (found := self.objects.get((plural, space, name))) is None:
                raise Refused(404, "NotFound")
            return copy.deepcopy(found)

    def list(self, plural: str, space: str = "", labels: str = "") -> list[Object]:
        """List objects of one namespace or all, filtered by a label selector `a=b,c=d`."""
        selected = dict(pair.replace("==", "=").split("=") for pair in labels.split(",") if pair)
        with self._lock:
            return [
                copy.deepcopy(o)
                for (which, where, _), o in self.objects.items()
                if which == plural
                and space in ("", where)
                and selected.items() <= o["metadata"].get("labels", {}).items()
            ]

    def create(self, plural: str, space: str, body: Object) -> Object:
        """Create an object. Raise Refused if it exists."""
        kind, made = self.kind(plural), copy.deepcopy(body)
        meta = made.setdefault("metadata", {})
        name = meta.setdefault("name", meta.get("generateName", "") + uuid.uuid4().hex[:8])
        with self._lock:
            if (plural, space, name) in self.objects:
                raise Refused(409, "AlreadyExists")
            made |= {"apiVersion": kind.api_version, "kind": kind.kind}
            meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": _now(), "generation": 1}
            if kind.namespaced:
                meta["namespace"] = space
            if kind.status:
                made.pop("status", None)
            if plural == "services":
                made["status"] = {"loadBalancer": {}}
            return self._keep(plural, space, made, "ADDED")

    def patch(self, plural: str, space: str, name: str, change: Any, part: str = "") -> Object:
        """Apply a merge patch (dictionary) or a JSON patch (list) to an object or its `status`."""
        with self._lock:
            before = self.get(plural, space, name)
            try:
                after = jsonpatch.apply_patch(before, change) if isinstance(change, list) else _merged(before, change)
            except jsonpatch.JsonPatchException as e:
                raise Refused(422, "Invalid") from e
            if part == "status":
                after = {**before, "status": after.get("status", {})}
            elif self.kind(plural).status:
                after = {**after, "status": before.get("status", {})}
            if after == before:
                return before
            if after.get("spec") != before.get("spec"):
                after["metadata"]["generation"] += 1
            after = self._keep(plural, space, after, "MODIFIED")
            if after["metadata"].get("deletionTimestamp") and not after["metadata"].get("finalizers"):
                self._remove(plural, space, name)
            return after

    def delete(self, plural: str, space: str, name: str) -> Object:
        """Delete an object, or mark it for deletion while it has finalizers."""
        with self._lock:
            found = self.get(plural, space, name)
            if not found["metadata"].get("finalizers"):
                return self._remove(plural, space, name)
            if "deletionTimestamp" in found["metadata"]:
                return found
            found["metadata"]["deletionTimestamp"] = _now()
            return self._keep(plural, space, found, "MODIFIED")

    def _remove(self, plural: str, space: str, name: str) -> Object:
        removed = self.objects.pop((plural, space, name))
        self._keep(plural, space, removed, "DELETED")
        owned = [
            key
            for key, o in self.objects.items()
            if any(owner["uid"] == removed["metadata"]["uid"] for owner in o["metadata"].get("ownerReferences", ()))
        ]
        for key in owned:
            with suppress(Refused):
                self.delete(*key)
        return removed

    def _keep(self, plural: str, space: str, o: Object, event: str) -> Object:
        kept = copy.deepcopy(o)
        kept["metadata"]["resourceVersion"] = str(len(self.history) + 1)
        if event != "DELETED":
            self.objects[plural, space, kept["metadata"]["name"]] = kept
        self.history.append((plural, event, copy.deepcopy(kept)))
        self._loop.call_soon_threadsafe(self._changed.set)
        return copy.deepcopy(kept)

    # ------------------------------------------------------------------------------------------------- HTTP

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Handle one request."""
        args = request.path.strip("/").split("/")
        try:
            if (found := self._discovery(args)) is not None:
                return web.json_response(found)
            group, rest = ("", args[2:]) if args[0] == "api" else (args[1], args[3:])
            space = ""
            if rest[0] == "namespaces" and len(rest) > 2:
                space, rest = rest[1], rest[2:]
            if self.kind(rest[0]).group != group:
                raise Refused(404, "NotFound")
            if request.query.get("watch") == "true":
                return await self._watch(request, rest[0], space)
            body = await request.json() if request.can_read_body else None
            return web.json_response(self._respond(request, rest, space, body))
        except Refused as e:
            output = {"kind": "Status", "status": "Failure", "code": e.code, "reason": e.reason, "message": str(e)}
            return web.json_response(output, status=e.code)

    def _respond(self, request: web.Request, rest: list[str], space: str, body: Any) -> Object:
        plural, name, part = (*rest, "", "")[:3]
        match request.method, bool(name):
            case "GET", False:
                with self._lock:
                    version, kind = str(len(self.history)), self.kind(plural)
                    items = self.list(plural, space, request.query.get("labelSelector", ""))
                return {
                    "apiVersion": kind.api_version,
                    "kind": f"{kind.kind}List",
                    "items": items,
                    "metadata": {"resourceVersion": version},
                }
            case "GET", True:
                return self.get(plural, space, name)
            case "POST", False:
                return self.create(plural, space, body)
            case "PATCH", True:
                return self.patch(plural, space, name, body, part)
            case "DELETE", True:
                return self.delete(plural, space, name)
        raise Refused(405, "MethodNotAllowed")

    def _discovery(self, args: list[str]) -> Object | None:
        groups = sorted({(kind.group, kind.version) for kind in self.kinds if kind.group})
        match args:
            case ["version"]:
                return {"major": "1", "minor": "33", "gitVersion": "v1.33.0"}
            case ["api"]:
                return {"kind": "APIVersions", "versions": ["v1"]}
            case ["apis"]:
                versions = [{"groupVersion": f"{group}/{version}", "version": version} for group, version in groups]
                resources = [
                    {"name": v["groupVersion"].split("/")[0], "versions": [v], "preferredVersion": v} for v in versions
                ]
                return {"kind": "APIGroupList", "groups": resources}
            case ["api", _] | ["apis", _, _]:
                of = args[1] if args[0] == "apis" else ""
                resources = [fact for kind in self.kinds if kind.group == of for fact in kind.resources]
                return {"kind": "APIResourceList", "groupVersion": "/".join(args[1:]), "resources": resources}
        return None

    async def _watch(self, request: web.Request, plural: str, space: str) -> web.StreamResponse:
        """Stream events after a version until the client disconnects or the timeout ends."""
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        seen = int(request.query.get("resourceVersion") or 0)
        until = self._loop.time() + float(request.query.get("timeoutSeconds", 120))
        with suppress(ConnectionError):
            while (left := until - self._loop.time()) > 0:
                self._changed.clear()
                for which, event, o in self.history[seen:]:
                    seen += 1
                    if which == plural and space in ("", o["metadata"].get("namespace", "")):
                        await answer.write(json.dumps({"type": event, "object": o}).encode() + b"\n")
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), min(left, 0.2))
        return answer


def _merged(before: Any, change: Any) -> Any:
    """Merge patch of RFC 7386: `null` removes a key."""
    if not isinstance(change, dict):
        return copy.deepcopy(change)
    after = dict(before) if isinstance(before, dict) else {}
    for key, value in change.items():
        if value is None:
            after.pop(key, None)
        else:
            after[key] = _merged(after.get(key), value)
    return after


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def api_server() -> Iterator[KubeApi]:
    """Serve the API on loopback in a thread."""
    api = KubeApi((*CORE, *operator_kinds()))
    ready, stop = threading.Event(), asyncio.Event()

    @asynccontextmanager
    async def listening() -> AsyncIterator[None]:
        runner = web.ServerRunner(web.Server(api.serve), shutdown_timeout=0.5)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        api.port = runner.addresses[0][1]
        try:
            yield
        finally:
            await runner.cleanup()

    async def work() -> None:
        api._loop = asyncio.get_running_loop()
        async with listening():
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(work()), name="api")
    thread.start()
    ready.wait()
    try:
        yield api
    finally:
        api._loop.call_soon_threadsafe(stop.set)
        thread.join()
