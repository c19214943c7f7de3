"""Manifests of `deploy/kubernetes` rendered by kustomize, their schemas and their pods."""

from __future__ import annotations

import copy
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

__all__ = ["FOLDER", "NAMESPACE", "RENDERED", "Pod", "pods", "render", "validate", "workloads", "write_overlay"]

FOLDER = Path(__file__).parents[4] / "deploy" / "kubernetes"
NAMESPACE = "masksift"
RENDERED = ("base/cluster", "base/job", "plain", "overlays/minio", "overlays/aws", "overlays/gcp")
"""Folders for `kubectl apply -k`."""
VERSION = "1.33"
"""Kubernetes version of the schemas of built-in kinds."""
# megabytes of JSON, which the package reads again for each object
kubernetes_validate.utils.schema_contents = cache(kubernetes_validate.utils.schema_contents)

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Object = dict[str, Any]


def render(folder: str | Path) -> list[Object]:
    """Render a folder, relative to `deploy/kubernetes`. Skip the test if kubectl is not installed."""
    return copy.deepcopy(list(_rendered(str(FOLDER / folder))))


@cache
def _rendered(folder: str) -> Sequence[Object]:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl, which renders the manifests, is not installed (no cluster is needed)")
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.load_all(done.stdout, LOADER) if one]


def write_overlay(folder: Path, *, resources: str, components: list[str]) -> Path:
    """Write an overlay next to a copy of the manifests: kustomize requires relative paths."""
    shutil.copytree(FOLDER, folder / "kubernetes")
    own = folder / "own"
    own.mkdir()
    tree = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"../kubernetes/{resources}"],
        "components": [f"../kubernetes/{name}" for name in components],
    }
    (own / "kustomization.yaml").write_text(yaml.safe_dump(tree))
    return own


def validate(one: Mapping[str, Any]) -> None:
    """Validate an object strictly: an unknown field is an error. Raise ValidationError."""
    kind, version = str(one["kind"]), str(one["apiVersion"])
    if version == "kubernetes.dask.org/v1":
        _operator_schema(kind).validate(one)
        for pod in _specs(one):  # by today's schema too: the operator's own is that of an old Kubernetes
            _core({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": pod})
        if kind != "DaskAutoscaler":
            scheduler = _cluster(one)["scheduler"]
            _core({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": scheduler["service"]})
    elif (kind, version) in WRITTEN:
        jsonschema.Draft202012Validator(_object_schema(WRITTEN[kind, version])).validate(one)
    else:
        _core(one)


def _core(one: Mapping[str, Any]) -> None:
    kubernetes_validate.validate(dict(one), VERSION, strict=True)


@cache
def _operator_schema(kind: str) -> jsonschema.Draft202012Validator:
    crds = files("dask_kubernetes") / "operator/deployment/helm/dask-kubernetes-operator/crds"
    text = (crds / f"{kind.lower()}.yaml").read_text()
    [version] = yaml.load(text, LOADER)["spec"]["versions"]
    return jsonschema.Draft202012Validator(
        _object_schema(_strict(version["schema"]["openAPIV3Schema"]["properties"]["spec"]))
    )


def _object_schema(spec: Any) -> dict[str, Any]:
    """Wrap the schema of a spec into that of the object."""
    args = {"type": "object", "additionalProperties": {"type": "string"}}
    metadata = _closed(name={"type": "string"}, namespace={"const": NAMESPACE}, labels=args, annotations=args)
    return _closed(apiVersion={}, kind={}, metadata=metadata, spec=spec)


def _strict(schema: Any) -> Any:
    """Convert the OpenAPI schema of a CRD to a JSON schema that forbids unknown fields."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    found = {key: _strict(value) for key, value in schema.items() if key not in ("format", "default")}
    if isinstance(found.get("properties"), dict) and found.get("type") == "object":
        found.setdefault("additionalProperties", False)
    return found


def _closed(required: Sequence[str] = (), **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


_TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
_TEXTS = {"type": "array", "items": _TEXT, "minItems": 1}
_DURATION = {"type": "string", "pattern": r"^\d+(s|m|h)$"}
_ISSUER = _closed(["name"], name=_TEXT, kind={"enum": ["Issuer", "ClusterIssuer"]}, group={"const": "cert-manager.io"})
_EXPRESSION = _closed(["key", "operator"], key=_TEXT, operator={"enum": ["In", "NotIn", "Exists"]}, values=_TEXTS)
_SELECTOR = _closed(
    matchLabels={"type": "object", "additionalProperties": _TEXT},
    matchExpressions={"type": "array", "items": _EXPRESSION},
)
WRITTEN = {
    # No package has the schemas of these kinds: only the fields that we use are allowed.
    ("PodMonitor", "monitoring.coreos.com/v1"): _closed(
        ["selector", "podMetricsEndpoints"],
        selector=_SELECTOR,
        podTargetLabels=_TEXTS,
        podMetricsEndpoints={
            "type": "array",
            "minItems": 1,
            "items": _closed(["port"], port=_TEXT, path={"const": "/metrics"}, interval=_DURATION),
        },
    ),
    ("Issuer", "cert-manager.io/v1"): _closed(selfSigned={"const": {}}, ca=_closed(["secretName"], secretName=_TEXT)),
    ("Certificate", "cert-manager.io/v1"): _closed(
        ["secretName", "issuerRef"],
        secretName=_TEXT,
        commonName=_TEXT,
        dnsNames=_TEXTS,
        isCA={"type": "boolean"},
        usages={
            "type": "array",
            "items": {"enum": ["digital signature", "key encipherment", "server auth", "client auth"]},
        },
        duration=_DURATION,
        renewBefore=_DURATION,
        issuerRef=_ISSUER,
        privateKey=_closed(["algorithm"], algorithm={"enum": ["ECDSA", "RSA"]}, size={"type": "integer"}),
    ),
}


@dataclass(frozen=True)
class Pod:
    """A pod: component (scheduler, worker, client), labels and spec."""

    component: str
    labels: Mapping[str, str]
    spec: Mapping[str, Any]

    @property
    def container(self) -> Mapping[str, Any]:
        """Its only container."""
        [container] = self.spec["containers"]
        return container

    @property
    def env(self) -> dict[str, Any]:
        """Variables by name; values from references are tables."""
        return {one["name"]: one.get("value", one.get("valueFrom")) for one in self.container["env"]}


def pods(objects: Sequence[Object]) -> list[Pod]:
    """Return one pod of each component."""
    found = []
    for one in workloads(objects):
        template = one if one["kind"] == "Pod" else one["spec"]["template"]
        labels = template["metadata"]["labels"]
        found.append(Pod(labels["app.kubernetes.io/component"], labels, template["spec"]))
    return sorted(found, key=lambda pod: pod.component)


def workloads(objects: Sequence[Object]) -> Iterator[Object]:
    """Yield objects with pods: as written, or as the operator's code creates them."""
    for one in objects:
        if one["kind"] in ("Deployment", "Job"):
            yield one
        if one["kind"] in ("DaskCluster", "DaskJob"):
            yield from _operator_objects(one)


def _operator_objects(one: Object) -> Iterator[Object]:
    """Create the objects with the labels that the operator propagates."""
    from dask_kubernetes.operator.controller import controller

    name, cluster = one["metadata"]["name"], _cluster(one)

    def labels(part: Mapping[str, Any]) -> Any:
        return {**one["metadata"].get("labels", {}), **part["metadata"]["labels"]}

    scheduler, worker = cluster["scheduler"], cluster["worker"]
    yield controller.build_scheduler_deployment_spec(name, scheduler["spec"], {}, labels(scheduler))
    yield controller.build_worker_deployment_spec(
        f"{name}-default", NAMESPACE, name, "0123456789", worker["spec"], {}, labels(worker)
    )
    if one["kind"] == "DaskJob":
        job = one["spec"]["job"]
        yield controller.build_job_pod_spec(name, name, NAMESPACE, job["spec"], {}, labels(job))


def _cluster(one: Mapping[str, Any]) -> Mapping[str, Any]:
    return one["spec"] if one["kind"] == "DaskCluster" else one["spec"]["cluster"]["spec"]


def _specs(one: Mapping[str, Any]) -> list[Any]:
    """Return the pod specs within a kind of the operator."""
    if one["kind"] == "DaskAutoscaler":
        return []
    found = [part["spec"] for name, part in _cluster(one).items() if name in ("scheduler", "worker")]
    return found + ([one["spec"]["job"]["spec"]] if one["kind"] == "DaskJob" else [])
