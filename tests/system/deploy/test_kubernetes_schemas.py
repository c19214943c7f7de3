"""Rendered manifests of every overlay pass strict schemas, and planted mistakes do not."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from system.deploy.helpers.kustomize import FOLDER, RENDERED, pods, render, validate, workloads, write_overlay

Change = tuple[str, list[Any], Any]
"""Kind, path in it, and the value planted there."""
POD = ["spec", "cluster", "spec", "worker", "spec"]
MISTAKES: dict[str, Change] = {
    "a misspelled field of a container, in a pod inside the operator's kind": (
        "DaskJob",
        [*POD, "containers", 0, "imagePullPolcy"],
        "Always",
    ),
    "a misspelled field of such a pod": ("DaskJob", [*POD, "terminationGracePeriodSecond"], 60),
    "a field that the operator's old schema does not know and would drop": (
        "DaskJob",
        [*POD, "topologySpreadConstraints", 0, "minDomains"],
        2,
    ),
    "a text where such a pod wants a number": ("DaskJob", [*POD, "terminationGracePeriodSeconds"], "60"),
    "a misspelled field of the operator's kind": ("DaskJob", ["spec", "cluster", "spec", "idleTimout"], 60),
    "a misspelled field of the scheduler's service": (
        "DaskJob",
        ["spec", "cluster", "spec", "scheduler", "service", "typ"],
        "ClusterIP",
    ),
    "a text where the autoscaler wants a number": ("DaskAutoscaler", ["spec", "maximum"], "8"),
    "a misspelled field of the autoscaler": ("DaskAutoscaler", ["spec", "max"], 8),
    "a misspelled field of a policy": ("NetworkPolicy", ["spec", "policyType"], ["Ingress"]),
    "a number where a label should be": ("ServiceAccount", ["metadata", "labels", "tier"], 1),
    "a misspelled field of a budget": ("PodDisruptionBudget", ["spec", "minAvailible"], 1),
    "a misspelled field of a pod monitor": ("PodMonitor", ["spec", "podMetricEndpoints"], []),
    "a text where a port's name should be": ("PodMonitor", ["spec", "podMetricsEndpoints", 0, "port"], 8788),
}


@pytest.mark.parametrize("folder", RENDERED)
def test_objects_pass_their_strict_schema(folder: str) -> None:
    objects = render(folder)
    assert len(objects) >= 13
    for one in objects:
        validate(one)


@pytest.mark.parametrize("folder", RENDERED)
def test_objects_need_no_operator_but_that_of_dask(folder: str) -> None:
    groups = {one["apiVersion"].rpartition("/")[0] for one in render(folder)}
    assert groups - {"", "apps", "batch", "networking.k8s.io", "policy"} <= {"kubernetes.dask.org"}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_planted_mistake_fails_the_schema(mistake: str) -> None:
    kind, (*path, last), value = MISTAKES[mistake]
    monitor = yaml.safe_load((FOLDER / "components/monitoring/podmonitor.yaml").read_text())
    one = copy.deepcopy(next(one for one in [*render("base/job"), monitor] if one["kind"] == kind))
    place = one
    for step in path:
        place = place[step]
    place[last] = value
    with pytest.raises(jsonschema.ValidationError, match=r"is not of type|unexpected|does not match|was expected"):
        validate(one)


def test_mistake_in_a_built_in_kind_fails_the_schema() -> None:
    [job] = [one for one in render("plain") if one["kind"] == "Job"]
    job["spec"]["podFailurePolicy"]["rules"][0]["onExitCode"] = {}
    with pytest.raises(jsonschema.ValidationError, match="onExitCode"):
        validate(job)


def test_cert_manager_certificates_pass_their_schema() -> None:
    objects = list(yaml.safe_load_all((FOLDER / "cert-manager/certificate.yaml").read_text()))
    for one in objects:
        validate(one)
    objects[-1]["spec"]["dnsName"] = "a"
    with pytest.raises(jsonschema.ValidationError, match="dnsName"):
        validate(objects[-1])


def test_cert_manager_secret_is_mounted_and_serves_client_and_server() -> None:
    issuers = {}
    for one in yaml.safe_load_all((FOLDER / "cert-manager/certificate.yaml").read_text()):
        issuers[one["kind"], one["metadata"]["name"]] = one["spec"]
    leaf = issuers["Certificate", "masksift"]
    assert leaf["secretName"] == "masksift-tls"
    assert {"server auth", "client auth"} <= set(leaf["usages"])
    ca = issuers["Issuer", leaf["issuerRef"]["name"]]["ca"]["secretName"]
    assert issuers["Certificate", "masksift-ca"]["secretName"] == ca


@pytest.mark.parametrize("folder", RENDERED)
def test_pods_are_scheduler_worker_and_client_unless_the_cluster_is_permanent(folder: str) -> None:
    objects = render(folder)
    for one in workloads(objects):
        validate(one)
    found = [pod.component for pod in pods(objects)]
    assert found == (["scheduler", "worker"] if folder == "base/cluster" else ["client", "scheduler", "worker"])


def test_job_and_cluster_of_one_name_are_not_rendered_together() -> None:
    kinds = {folder: {one["kind"] for one in render(folder)} for folder in RENDERED}
    assert all(not {"DaskJob", "DaskCluster"} <= found for found in kinds.values())
    assert not any(kind.startswith("Dask") for kind in kinds["plain"])


def test_cluster_of_the_job_equals_the_cluster_manifest() -> None:
    [cluster] = [one for one in render("base/cluster") if one["kind"] == "DaskCluster"]
    [job] = [one for one in render("base/job") if one["kind"] == "DaskJob"]
    assert job["spec"]["cluster"]["spec"] == cluster["spec"]


def test_plain_pods_equal_operator_pods_except_for_worker_names() -> None:
    operator_pods, plain_pods = pods(render("base/job")), pods(render("plain"))
    assert [pod.component for pod in operator_pods] == [pod.component for pod in plain_pods]
    for one, other in zip(operator_pods, plain_pods, strict=True):
        assert one.container | {"env": []} == other.container | {"env": []}
        names = {"DASK_WORKER_NAME"} if one.component == "worker" else set()
        assert {name for name in one.env if one.env[name] != other.env[name]} == names
        assert {name: one.spec[name] for name in one.spec if name != "containers"} == {
            name: other.spec[name] for name in other.spec if name != "containers"
        }


@pytest.mark.parametrize("base", ["base/cluster", "base/job", "plain"])
@pytest.mark.parametrize("store", ["minio", "aws", "gcp"])
def test_store_components_combine_with_every_base(base: str, store: str, tmp_path: Path) -> None:
    objects = render(write_overlay(tmp_path, resources=base, components=[f"components/{store}"]))
    for one in objects:
        validate(one)
    assert {one["metadata"]["name"] for one in objects if one["kind"] == "NetworkPolicy"} >= {"masksift-store"}


@pytest.mark.parametrize("base", ["base/cluster", "base/job"])
def test_spot_nodes_run_only_workers(base: str, tmp_path: Path) -> None:
    objects = render(write_overlay(tmp_path, resources=base, components=["components/aws", "components/spot"]))
    for one in objects:
        validate(one)
    for pod in pods(objects):
        assert ("nodeSelector" in pod.spec) == ("tolerations" in pod.spec) == (pod.component == "worker")
        assert ("--lifetime-restart" in pod.container["args"]) == (pod.component == "worker")
