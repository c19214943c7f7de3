"""Security of the rendered manifests: privileges, secrets, resource limits and network policies."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from system.deploy.helpers.kustomize import FOLDER, NAMESPACE, RENDERED, Pod, pods, render, write_overlay

OVERLAYS = [folder for folder in RENDERED if folder.startswith("overlays/")]
LABEL = "app.kubernetes.io/component"


@pytest.fixture(params=RENDERED)
def objects(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return render(request.param)


# ------------------------------------------------------------------------------------------------------ privileges


def test_pods_run_without_root_privileges(objects: list[dict[str, Any]]) -> None:
    for pod in pods(objects):
        own = pod.spec["securityContext"]
        assert own["runAsNonRoot"] is True
        assert own["runAsUser"] == own["runAsGroup"] == own["fsGroup"] == 10001
        assert own["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod.container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(pod.spec)


def test_namespace_enforces_the_restricted_standard(objects: list[dict[str, Any]]) -> None:
    [namespace] = [one for one in objects if one["kind"] == "Namespace"]
    assert namespace["metadata"]["name"] == NAMESPACE
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_pods_write_only_to_limited_scratch(objects: list[dict[str, Any]]) -> None:
    for pod in pods(objects):
        volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
        for mount in pod.container["volumeMounts"]:
            assert mount.get("readOnly", False) == (mount["name"] != "scratch"), mount
            assert set(volumes[mount["name"]]) & {"configMap", "secret", "emptyDir"}
        limit = quantity(volumes["scratch"]["emptyDir"]["sizeLimit"])
        assert limit < quantity(pod.container["resources"]["limits"]["ephemeral-storage"])
        assert {mount["mountPath"] for mount in pod.container["volumeMounts"] if mount["name"] == "scratch"} == {
            "/scratch"
        }
        assert {pod.env[name] for name in ("HOME", "TMPDIR", "DASK_TEMPORARY_DIRECTORY")} == {"/scratch"}


def test_pods_have_requests_and_limits(objects: list[dict[str, Any]]) -> None:
    for pod in pods(objects):
        requested, most = pod.container["resources"]["requests"], pod.container["resources"]["limits"]
        assert set(requested) == set(most) == {"cpu", "memory", "ephemeral-storage"}
        assert (requested["memory"], requested["ephemeral-storage"]) == (most["memory"], most["ephemeral-storage"])
        assert int(requested["cpu"]) == 1


def test_pods_have_no_api_token_and_only_some_have_the_store_role(
    objects: list[dict[str, Any]],
) -> None:
    for pod in pods(objects):
        assert pod.spec["automountServiceAccountToken"] is False
        assert pod.spec.get("serviceAccountName") == (None if pod.component == "scheduler" else "masksift")


def test_pods_have_minutes_to_terminate(objects: list[dict[str, Any]]) -> None:
    for pod in pods(objects):
        probe = pod.container.get("livenessProbe")
        assert (probe is None) == (pod.component == "client")
        assert probe is None or probe["periodSeconds"] * probe["failureThreshold"] >= 300


def test_worker_pre_stop_fits_the_grace_period(objects: list[dict[str, Any]]) -> None:
    [worker] = [pod for pod in pods(objects) if pod.component == "worker"]
    command = worker.container["lifecycle"]["preStop"]["exec"]["command"]
    assert command[0] == "timeout"
    stop_of_dask = 10
    assert int(command[1]) + stop_of_dask < worker.spec["terminationGracePeriodSeconds"]


# --------------------------------------------------------------------------------------------- contents of manifests


def test_manifests_hold_no_secret(objects: list[dict[str, Any]]) -> None:
    assert not [one for one in objects if one["kind"] == "Secret"]
    suspicious = ("key", "secret", "password", "token", "credential")
    for pod in pods(objects):
        assert not [name for name in pod.env if any(word in name.lower() for word in suspicious)]
    for one in objects:
        if one["kind"] == "ConfigMap":
            text = "\n".join(one["data"].values()).lower()
            assert not [word for word in ("aws_", "secret", "password", "private key", "token") if word in text]


def test_references_of_pods_exist_or_are_created_by_the_readme(objects: list[dict[str, Any]]) -> None:
    there = {(one["kind"], one["metadata"]["name"]) for one in objects}
    guide = (FOLDER.parents[1] / "docs/guides/kubernetes.md").read_text()
    for pod in pods(objects):
        for volume in pod.spec["volumes"]:
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in there
        secrets = [volume["secret"]["secretName"] for volume in pod.spec["volumes"] if "secret" in volume]
        secrets += [source["secretRef"]["name"] for source in pod.container.get("envFrom", [])]
        for secret in secrets:
            assert f"secret generic {secret}" in guide + (FOLDER / "certificates.sh").read_text()
        assert ("ServiceAccount", pod.spec.get("serviceAccountName", "masksift")) in there
        mounted = {mount["name"] for mount in pod.container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod.spec["volumes"]}


def test_objects_share_one_namespace_and_image(objects: list[dict[str, Any]]) -> None:
    assert {one["metadata"].get("namespace") for one in objects if one["kind"] != "Namespace"} == {NAMESPACE}
    [image] = {pod.container["image"] for pod in pods(objects)}
    assert image.rpartition("/")[2] == "masksift:0.3.0"


def test_only_the_client_has_static_store_keys() -> None:
    having = {pod.component for pod in pods(render("overlays/minio")) if "envFrom" in pod.container}
    assert having == {"client"}
    assert not [
        pod for folder in ("overlays/aws", "overlays/gcp") for pod in pods(render(folder)) if "envFrom" in pod.container
    ]


@pytest.mark.parametrize(
    ("folder", "annotation"),
    [("overlays/aws", "eks.amazonaws.com/role-arn"), ("overlays/gcp", "iam.gke.io/gcp-service-account")],
)
def test_cloud_service_account_has_a_role_and_no_keys(folder: str, annotation: str) -> None:
    [account] = [one for one in render(folder) if one["kind"] == "ServiceAccount"]
    assert list(account["metadata"]["annotations"]) == [annotation]


# --------------------------------------------------------------------------------------------------------- network


def test_cluster_exposes_nothing_to_the_outside(objects: list[dict[str, Any]]) -> None:
    kinds = {one["kind"] for one in objects}
    assert not kinds & {"Ingress", "Gateway", "HTTPRoute", "TCPRoute"}
    found = services(objects)
    assert [service["type"] for service in found] == ["ClusterIP"]
    assert all("nodePort" not in port for service in found for port in service["ports"])
    assert not [port for pod in pods(objects) for port in pod.container.get("ports", []) if "hostPort" in port]


def test_scheduler_service_selects_only_the_scheduler(objects: list[dict[str, Any]]) -> None:
    [service] = services(objects)
    found = [pod for pod in pods(objects) if selects({"matchLabels": service["selector"]}, pod.labels)]
    assert [pod.component for pod in found] == ["scheduler"]
    names = {port["name"]: port["containerPort"] for port in found[0].container["ports"]}
    assert {port["port"]: names[port["targetPort"]] for port in service["ports"]} == {8786: 8786, 8787: 8787}


def test_pods_reach_the_scheduler_by_tls(
    objects: list[dict[str, Any]],
) -> None:
    address = f"tls://masksift-scheduler.{NAMESPACE}.svc.cluster.local:8786"
    configured = {pod.component: pod.env.get("DASK_SCHEDULER_ADDRESS") for pod in pods(objects)}
    assert configured == {"scheduler": None} | dict.fromkeys(configured.keys() - {"scheduler"}, address)


def test_drain_waits_for_scheduler_and_client_only(objects: list[dict[str, Any]]) -> None:
    budgets = [one["spec"] for one in objects if one["kind"] == "PodDisruptionBudget"]
    for pod in pods(objects):
        minima = [budget["minAvailable"] for budget in budgets if selects(budget["selector"], pod.labels)]
        assert minima == ([] if pod.component == "worker" else [1])


@pytest.mark.parametrize("base", ["base/cluster", "base/job", "plain"])
def test_prometheus_scrapes_scheduler_and_workers(base: str, tmp_path: Path) -> None:
    objects = render(write_overlay(tmp_path, resources=base, components=["components/monitoring"]))
    [monitor] = [one["spec"] for one in objects if one["kind"] == "PodMonitor"]
    found = [pod for pod in pods(objects) if selects(monitor["selector"], pod.labels)]
    assert [pod.component for pod in found] == ["scheduler", "worker"]
    [port] = [endpoint["port"] for endpoint in monitor["podMetricsEndpoints"]]
    assert all(port in [one["name"] for one in pod.container["ports"]] for pod in found)


@dataclass(frozen=True)
class Endpoint:
    """An endpoint of a connection: a pod of a namespace, or an address outside the cluster."""

    labels: Mapping[str, str] = field(default_factory=dict)
    namespace: str = NAMESPACE
    address: str | None = None


OUTSIDER, OPERATOR = Endpoint({}, "default"), Endpoint({"app": "operator"}, "dask-operator")
PROMETHEUS, DNS = Endpoint({"app": "prometheus"}, "monitoring"), Endpoint({"k8s-app": "kube-dns"}, "kube-system")
INTERNET, PRIVATE, NODE = (
    Endpoint(address="52.219.47.1"),
    Endpoint(address="10.3.2.1"),
    Endpoint(address="169.254.169.254"),
)
MINIO = Endpoint({"app": "minio"}, "minio")


def test_policies_allow_the_connections_of_dask_and_no_others(objects: list[dict[str, Any]]) -> None:
    policies, end = network_policies(objects), ends(objects)
    scheduler, worker = end["scheduler"], end["worker"]
    for source, target, port in [
        (worker, scheduler, 8786),
        (scheduler, worker, 8789),
        (scheduler, worker, 8790),
        (worker, worker, 8789),
        (OPERATOR, scheduler, 8787),
        (PROMETHEUS, scheduler, 8787),
        (PROMETHEUS, worker, 8788),
    ]:
        assert allowed(policies, source, target, port), (source, target, port)
    for source, target, port in [
        (OUTSIDER, scheduler, 8786),
        (OUTSIDER, scheduler, 8787),
        (OUTSIDER, worker, 8789),
        (OUTSIDER, worker, 8788),
        (OPERATOR, scheduler, 8786),
        (OPERATOR, worker, 8789),
        (PROMETHEUS, scheduler, 8786),
        (PROMETHEUS, worker, 8790),
        (worker, scheduler, 8787),
        (worker, worker, 8788),
        (worker, worker, 8790),
        (scheduler, worker, 22),
        (scheduler, INTERNET, 443),
        (scheduler, MINIO, 9000),
        (worker, OUTSIDER, 8080),
        (worker, NODE, 443),
        (worker, PRIVATE, 443),
        (Endpoint({"app": "other"}), scheduler, 8786),
        (worker, Endpoint({"app": "other"}), 8080),
    ]:
        assert not allowed(policies, source, target, port), (source, target, port)
    for source in (scheduler, worker):
        assert allowed(policies, source, DNS, 53, "UDP")
    if (client := end.get("client")) is not None:
        assert allowed(policies, client, scheduler, 8786)
        assert allowed(policies, client, DNS, 53, "UDP")
        assert not any(allowed(policies, client, worker, port) for port in (8788, 8789, 8790))
        assert not any(allowed(policies, one, client, 8786) for one in (OUTSIDER, worker, scheduler, OPERATOR))


@pytest.mark.parametrize("folder", OVERLAYS)
def test_policies_allow_only_the_configured_store(folder: str) -> None:
    objects = render(folder)
    policies, end = network_policies(objects), ends(objects)
    inside = folder == "overlays/minio"
    for source in (end["worker"], end["client"]):
        assert allowed(policies, source, MINIO, 9000) == inside
        assert allowed(policies, source, INTERNET, 443) == (not inside)
        assert not allowed(policies, source, INTERNET, 80)
    assert allowed(policies, end["worker"], NODE, 80) == (folder == "overlays/gcp")  # the node's role is not the pod's


@pytest.mark.parametrize("folder", ["base/cluster", "base/job", "plain"])
def test_policies_without_overlay_allow_no_store(folder: str) -> None:
    objects = render(folder)
    worker = ends(objects)["worker"]
    assert not any(
        allowed(network_policies(objects), worker, place, port) for place in (MINIO, INTERNET) for port in (443, 9000)
    )


# ------------------------------------------------------------------------------------- semantics of Kubernetes


def services(objects: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Specs of all services, including those that the operator creates."""
    found = []
    for one in objects:
        spec = one.get("spec", {})
        found += [spec] if one["kind"] == "Service" else []
        found += [spec["scheduler"]["service"]] if one["kind"] == "DaskCluster" else []
        found += [spec["cluster"]["spec"]["scheduler"]["service"]] if one["kind"] == "DaskJob" else []
    return found


def quantity(text: str) -> int:
    return int(text[:-2]) * {"Mi": 1 << 20, "Gi": 1 << 30}[text[-2:]]


def network_policies(objects: Iterable[Mapping[str, Any]]) -> list[Any]:
    return [one["spec"] for one in objects if one["kind"] == "NetworkPolicy"]


def ends(objects: Sequence[Any]) -> dict[str, Endpoint]:
    def end(pod: Pod) -> Endpoint:
        assert pod.labels[LABEL] == pod.component
        return Endpoint(pod.labels)

    return {pod.component: end(pod) for pod in pods(objects)}


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Return whether a label selector matches the labels."""
    for rule in selector.get("matchExpressions", []):
        assert rule["operator"] == "In"
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def allowed(policies: Sequence[Any], source: Endpoint, target: Endpoint, port: int, protocol: str = "TCP") -> bool:
    """Return whether the network policies allow a connection, on egress and on ingress."""
    return _passes(policies, source, target, "Egress", port, protocol) and _passes(
        policies, target, source, "Ingress", port, protocol
    )


def _passes(policies: Sequence[Any], own: Endpoint, other: Endpoint, direction: str, port: int, protocol: str) -> bool:
    if own.address is not None or own.namespace != NAMESPACE:
        return True  # what holds there is not for these policies to say
    selecting = [
        policy
        for policy in policies
        if direction in policy["policyTypes"] and selects(policy["podSelector"], own.labels)
    ]
    rules = [rule for policy in selecting for rule in policy.get(direction.lower(), [])]
    peers = "to" if direction == "Egress" else "from"
    return not selecting or any(
        any(_is(peer, other) for peer in rule[peers])
        and any((one["port"], one["protocol"]) == (port, protocol) for one in rule["ports"])
        for rule in rules
    )


def _is(peer: Mapping[str, Any], end: Endpoint) -> bool:
    if "ipBlock" in peer:
        if end.address is None:
            return False
        place = ipaddress.ip_address(end.address)
        return place in ipaddress.ip_network(peer["ipBlock"]["cidr"]) and not any(
            place in ipaddress.ip_network(part) for part in peer["ipBlock"].get("except", [])
        )
    if end.address is not None:
        return False
    namespace = {"kubernetes.io/metadata.name": end.namespace}
    there = selects(peer["namespaceSelector"], namespace) if "namespaceSelector" in peer else end.namespace == NAMESPACE
    return there and selects(peer.get("podSelector", {}), end.labels)
