"""Commands and settings of the pods are accepted by the installed programs."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from dask.utils import parse_timedelta
from distributed.cli import dask_scheduler, dask_worker

from masksift.cli.parser import make_parser
from masksift.config.load import build_config, read_toml
from masksift.config.run import RunConfig
from system.deploy.helpers.kustomize import FOLDER, RENDERED, Pod, pods, render

BIN = Path(sys.executable).parent
CLICK = {"scheduler": dask_scheduler.main, "worker": dask_worker.main}


@pytest.fixture(params=RENDERED)
def objects(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return render(request.param)


@cache
def help_of(args: tuple[str, ...]) -> str:
    """Output of `--help` of a command."""
    done = subprocess.run([str(BIN / args[0]), *args[1:], "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def flags(args: list[str]) -> list[str]:
    return [word.split("=")[0] for word in args if word.startswith("--")]


def test_commands_exist_and_know_their_flags(objects: list[dict[str, Any]]) -> None:
    for pod in pods(objects):
        assert "command" not in pod.container, "the image's entry point has to run first"
        args = pod.container["args"]
        output = help_of(tuple(args[:2]))
        assert [flag for flag in flags(args) if flag not in output.split() and f"{flag} " not in output] == []


def test_dask_parses_every_argument(objects: list[dict[str, Any]]) -> None:
    for pod in pods(objects):
        if pod.component in CLICK:
            assert pod.container["args"][:2] == ["dask", pod.component]
            configured = parsed(pod)
            assert configured["protocol"] == "tls"
            assert configured["preload_argv"] == (), "a word that Dask does not know is handed on, and does nothing"
            assert f":{configured_port(pod)}" == configured["dashboard_address"]


def test_worker_is_one_process_with_one_thread_and_fixed_ports(objects: list[dict[str, Any]]) -> None:
    [worker] = [pod for pod in pods(objects) if pod.component == "worker"]
    configured, ports = parsed(worker), {port["name"]: port["containerPort"] for port in worker.container["ports"]}
    assert (configured["nthreads"], configured["n_workers"], configured["scheduler"]) == (1, None, None)
    assert configured["name"] == "$(DASK_WORKER_NAME)"  # by which the operator finds the pod of a worker that is to go
    assert "DASK_WORKER_NAME" in worker.env
    assert (configured["worker_port"], configured["nanny_port"]) == (str(ports["worker"]), str(ports["nanny"]))


def test_unknown_dask_flag_is_detected() -> None:
    with pytest.raises(click.UsageError, match="not a valid integer"):
        dask_worker.main.make_context("worker", ["--nthreads", "one"])
    with pytest.raises(click.UsageError, match="No such option"):
        dask_worker.main.make_context("worker", ["tls://a:1", "--nthread=1"])


def test_client_arguments_are_accepted_by_masksift(objects: list[dict[str, Any]]) -> None:
    for pod in pods(objects):
        if pod.component == "client":
            program, *args = pod.container["args"]
            known, rest = make_parser().parse_known_args(args)
            assert (program, rest) == ("masksift", [])
            assert known.config == "/etc/masksift/run/run.toml"
            assert {"name": "run", "mountPath": "/etc/masksift/run", "readOnly": True} in pod.container["volumeMounts"]


def test_pre_stop_hook_is_valid_python(objects: list[dict[str, Any]]) -> None:
    for pod in pods(objects):
        if "lifecycle" in pod.container:
            *_, text = pod.container["lifecycle"]["preStop"]["exec"]["command"]
            compile(text, "preStop", "exec")


def test_pods_limit_threads_and_trim_memory(objects: list[dict[str, Any]]) -> None:
    for pod in pods(objects):
        assert pod.env["MALLOC_TRIM_THRESHOLD_"] == "65536"
        assert pod.component == "scheduler" or {pod.env["OMP_NUM_THREADS"], pod.env["OPENBLAS_NUM_THREADS"]} == {"1"}


# ------------------------------------------------------------------------------------------------------- settings


def test_dask_knows_every_setting(objects: list[dict[str, Any]]) -> None:
    known = yaml.safe_load((files("distributed") / "distributed.yaml").read_text())
    configured = settings(objects)
    assert unknown(configured, known) == []
    configured["distributed"]["scheduler"]["worker_tll"] = "60s"
    assert unknown(configured, known) == ["distributed.scheduler.worker_tll"]


def test_tls_is_required_and_uses_the_mounted_secret(
    objects: list[dict[str, Any]],
) -> None:
    comm = settings(objects)["distributed"]["comm"]
    assert (comm["default-scheme"], comm["require-encryption"]) == ("tls", True)
    tls = comm["tls"]
    places = [
        tls["ca-file"],
        *(tls[role][file] for role in ("scheduler", "worker", "client") for file in ("cert", "key")),
    ]
    assert {Path(place).name for place in places} == {"ca.crt", "tls.crt", "tls.key"}
    for pod in pods(objects):
        mounts = {mount["name"]: mount["mountPath"] for mount in pod.container["volumeMounts"]}
        assert {str(Path(place).parent) for place in places} == {mounts["tls"]}
        assert pod.env["DASK_CONFIG"] == mounts["dask"]
        [volume] = [one for one in pod.spec["volumes"] if one["name"] == "tls"]
        assert volume["secret"]["defaultMode"] == 0o440


def test_scheduler_serves_the_operator_api_and_no_dashboard(objects: list[dict[str, Any]]) -> None:
    http = {role: settings(objects)["distributed"][role]["http"]["routes"] for role in ("scheduler", "worker")}
    paths = {role: [route[0] for name in http[role] for route in importlib.import_module(name).routes] for role in http}
    requested = ["/api/v1/retire_workers", "/api/v1/adaptive_target", "/api/v1/check_idle"]
    assert set(requested) | {"/health", "/metrics"} <= set(paths["scheduler"])
    assert {"/health", "/metrics"} <= set(paths["worker"])
    assert not [path for path in paths["scheduler"] if "info" in path or "json" in path or "proxy" in path]


def test_silent_worker_is_dropped_before_its_pod(objects: list[dict[str, Any]]) -> None:
    worker_ttl = parse_timedelta(settings(objects)["distributed"]["scheduler"]["worker-ttl"])
    [worker] = [pod for pod in pods(objects) if pod.component == "worker"]
    probe = worker.container["livenessProbe"]
    assert 10 < worker_ttl < probe["periodSeconds"] * probe["failureThreshold"]


def test_processes_log_json_lines(tmp_path: Path) -> None:
    [text] = {text for folder in RENDERED for text in texts(render(folder), "masksift-dask")}
    (tmp_path / "masksift.yaml").write_text(text)
    script = "import logging, distributed; logging.getLogger('masksift').warning('message: %s', 'text')"
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"DASK_CONFIG": str(tmp_path)}, capture_output=True, text=True
    )
    output = [json.loads(line) for line in done.stderr.splitlines()]
    assert [value for line in output for value in line.values() if value == "message: text"] == ["message: text"]


def test_run_configuration_is_accepted(objects: list[dict[str, Any]], tmp_path: Path) -> None:
    [text] = texts(objects, "masksift-run")
    (tmp_path / "run.toml").write_text(text)
    config = build_config(RunConfig, read_toml(str(tmp_path / "run.toml")), {})
    [scheduler] = [pod for pod in pods(objects) if pod.component == "scheduler"]
    assert scheduler.labels["app.kubernetes.io/name"] == "masksift"
    assert config.executor.kind == "dask"
    assert config.executor.address == "tls://masksift-scheduler.masksift.svc.cluster.local:8786"
    for scaler in (one["spec"] for one in objects if one["kind"] == "DaskAutoscaler"):
        assert config.executor.workers == scaler["maximum"]
    assert config.executor.timeout >= 600  # a node may have to be started first
    assert config.out.partition("://")[0] in ("s3", "gs")


def test_autoscaler_names_the_cluster_and_keeps_one_worker() -> None:
    for folder in ("base/cluster", "base/job"):
        [scaler] = [one["spec"] for one in render(folder) if one["kind"] == "DaskAutoscaler"]
        [cluster] = [one for one in render(folder) if one["kind"] in ("DaskCluster", "DaskJob")]
        assert scaler["cluster"] == cluster["metadata"]["name"]
        assert 1 <= scaler["minimum"] <= scaler["maximum"]


def test_plain_job_retries_only_resumable_exit_codes() -> None:
    [job] = [one["spec"] for one in render("plain") if one["kind"] == "Job"]
    [final, ignored] = job["podFailurePolicy"]["rules"]
    assert (final["action"], final["onExitCodes"]["operator"], final["onExitCodes"]["values"]) == (
        "FailJob",
        "In",
        [2, 3, 4],
    )
    assert final["onExitCodes"]["containerName"] == job["template"]["spec"]["containers"][0]["name"]
    assert ignored["action"] == "Ignore"
    assert job["template"]["spec"]["restartPolicy"] == "Never"  # a policy asks for that
    assert job["backoffLimit"] > 0


def test_readme_names_existing_files_secrets_and_flags() -> None:
    text = (FOLDER.parents[1] / "docs/guides/kubernetes.md").read_text()
    assert len(text) > 5000
    for path in re.findall(r"deploy/kubernetes/([\w./-]*[\w])", text):
        assert (FOLDER / path).exists(), path
    for path in re.findall(r"`((?:base|components|overlays|cert-manager|plain)[\w./-]*)`", text):
        assert (FOLDER / path).exists(), path
    assert set(re.findall(r"secret generic (\S+)", text)) == {"masksift-s3"}
    for verb, flag in re.findall(r"`masksift (\w+) [\w.]* ?(--[\w.-]+)", text):
        assert flag in help_of(("masksift", verb))
    for flag in re.findall(r"--executor\.\w+", text):
        assert flag in help_of(("masksift", "run"))


def parsed(pod: Pod) -> dict[str, Any]:
    """Arguments of a pod as parsed by Dask."""
    return CLICK[pod.component].make_context(pod.component, list(pod.container["args"][2:])).params


def configured_port(pod: Pod) -> int:
    [port] = [one["containerPort"] for one in pod.container["ports"] if one["name"] == "http-dashboard"]
    return int(port)


def texts(objects: list[dict[str, Any]], name: str) -> Iterator[str]:
    for one in objects:
        if (one["kind"], one["metadata"]["name"]) == ("ConfigMap", name):
            yield from one["data"].values()


def settings(objects: list[dict[str, Any]]) -> Any:
    [text] = texts(objects, "masksift-dask")
    return yaml.safe_load(text)


def unknown(configured: Mapping[str, Any], known: Mapping[str, Any], place: str = "") -> list[str]:
    """Keys that Dask does not know, without those of the standard library's logging."""
    found = []
    for key, value in configured.items():
        name = f"{place}{key}"
        if name == "logging":
            continue
        if key not in known:
            found.append(name)
        elif isinstance(value, dict):
            found += unknown(value, known[key] or {}, f"{name}.")
    return found
