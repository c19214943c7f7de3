"""A real Prometheus scrapes a run: alerts and dashboard see what the run did. Debian package `prometheus`."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.dask_processes import Processes
from support.run_processes import write_small_source
from support.telemetry_collectors import ObservedRun, run_on
from system.deploy.helpers.monitoring import ALERTS, METRIC, dashboard, queries, rules


def program(name: str) -> str:
    """Return the path of a program of Prometheus."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian package prometheus)")
    return found


def run_promtool(*args: object, stdin: bytes | None = None) -> subprocess.CompletedProcess[str]:
    command = [program("promtool"), *map(str, args)]
    text = None if stdin is None else stdin.decode()
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


@dataclass
class Prometheus:
    """A running server."""

    url: str

    def get(self, path: str, **query: str) -> Any:
        """Return the data of an answer of the HTTP API."""
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}") as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as e:
            raise AssertionError(f"{query}: {e.read().decode()}") from e

    def value(self, query: str) -> float | None:
        """Return the value of a query with one result, None without one."""
        result = self.get("query", query=query)["result"]
        return float(result[0]["value"][1]) if result else None

    def states(self) -> dict[str, str]:
        """Return the state of each alert."""
        return {rule["name"]: rule["state"] for group in self.get("rules")["groups"] for rule in group["rules"]}


@contextmanager
def run_prometheus(directory: Path, cluster: Processes) -> Iterator[Prometheus]:
    """Scrape a cluster every second, with the labels that a PodMonitor adds, and evaluate the alerts."""
    targets = {"scheduler": cluster.scheduler} | {f"worker-{n}": url for n, url in enumerate(cluster.workers)}
    static = [
        {"targets": [url.removeprefix("http://")], "labels": {"namespace": "quality", "pod": pod}}
        for pod, url in targets.items()
    ]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [{"job_name": "masksift", "static_configs": static}],
    }
    (directory / "prometheus.yaml").write_text(yaml.safe_dump(config))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [
        program("prometheus"),
        f"--config.file={directory}/prometheus.yaml",
        f"--storage.tsdb.path={directory}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    server = Prometheus(f"http://127.0.0.1:{port}")

    def scraped() -> bool:
        assert process.poll() is None, (directory / "log").read_text()
        try:
            return server.value("count(up == 1)") == len(targets)
        except OSError:
            return False

    try:
        wait_until(scraped)
        yield server
    finally:
        process.terminate()
        process.wait()


def wait_until(condition: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.2)


# ------------------------------------------------------------------------------------------------------ a run


@pytest.fixture(scope="module")
def prometheus(cluster: Processes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with run_prometheus(tmp_path_factory.mktemp("prometheus"), cluster) as server:
        yield server


@pytest.fixture(scope="module")
def observed(prometheus: Prometheus, cluster: Processes, tmp_path_factory: pytest.TempPathFactory) -> ObservedRun:
    """Run with quarantined images, then one that fails, and all of their counters scraped."""
    directory = tmp_path_factory.mktemp("observed")
    source = write_small_source(directory / "street.zarr", images=40)
    (source / "predictions/c/5/0/0/0").unlink()
    run = run_on(cluster, source, directory / "out", {})
    failing = directory / "failing"
    shutil.copytree(run.out, failing)
    for file in [failing / "run.json", sorted((failing / "manifest/score").iterdir())[5]]:  # its input is gone
        file.unlink()
    failed = run_on(cluster, source, failing, {})
    assert (run.code, failed.code) == (3, 2), run.errors + failed.errors
    for name in ("masksift_images_total", "masksift_task_failures_total"):
        # other tasks of the failed run may end after its last sample
        counted = sum(value for (metric, _), value in failed.after.items() if metric == name)
        wait_until(lambda name=name, counted=counted: (prometheus.value(f"sum({name})") or 0) >= counted)  # type: ignore[misc]
    return run


def test_prometheus_has_every_metric_of_alerts_and_dashboard(prometheus: Prometheus, observed: ObservedRun) -> None:
    names = set(prometheus.get("label/__name__/values"))
    used = {name for query in queries() for name in METRIC.findall(query)}
    assert used - names == set()


def test_prometheus_counts_the_images_of_the_record(prometheus: Prometheus, observed: ObservedRun) -> None:
    for status, count in observed.record["counts"].items():
        query = f'sum(increase(masksift_images_total{{stage="condense", status="{status}"}}[1h]))'
        assert prometheus.value(query) == pytest.approx(count, rel=0.5), "increase() extrapolates"


def test_queries_of_the_dashboard_are_answered(prometheus: Prometheus, observed: ObservedRun) -> None:
    empty = []
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"].replace("$__rate_interval", "10m").replace("$__range", "1h")
            query = query.replace("$namespace", "quality").replace("$pod", ".*")
            empty += [] if prometheus.get("query", query=query)["result"] else [query]
    assert empty == []


def test_alerts_are_evaluated_and_see_failure_and_quarantine(prometheus: Prometheus, observed: ObservedRun) -> None:
    wait_until(lambda: prometheus.states()["MasksiftTasksFail"] == "firing")
    wait_until(lambda: prometheus.states()["MasksiftQuarantineSurge"] == "pending")
    states = prometheus.states()
    assert set(states) == {rule["alert"] for rule in rules()}
    assert (
        states["MasksiftWorkersGone"] == states["MasksiftWorkersDie"] == states["MasksiftMemoryNearLimit"] == "inactive"
    )
    for group in prometheus.get("rules")["groups"]:
        assert [(rule["health"], rule.get("lastError")) for rule in group["rules"]] == [("ok", None)] * len(rules())
    (alert,) = [one for one in prometheus.get("alerts")["alerts"] if one["labels"]["alertname"] == "MasksiftTasksFail"]
    assert alert["annotations"]["summary"].startswith("Tasks of stage score raise ")


def test_promtool_accepts_the_exposition_of_scheduler_and_workers(cluster: Processes, observed: ObservedRun) -> None:
    for url in (cluster.scheduler, *cluster.workers):
        with urllib.request.urlopen(f"{url}/metrics") as answer:
            done = run_promtool("check", "metrics", stdin=answer.read())
        problems = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("dask_")]
        assert [line for line in problems if not line.startswith("python_")] == []


# ---------------------------------------------------------------------------------------------------- the alerts


def test_promtool_accepts_the_alerts() -> None:
    done = run_promtool("check", "rules", "--lint=all", "--lint-fatal", ALERTS)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "7 rules found" in done.stdout


SCHEDULER, WORKER = 'namespace="q", pod="scheduler"', 'namespace="q", pod="worker-1"'
SCENARIOS: dict[str, tuple[dict[str, str], str, dict[str, str], str]] = {
    "MasksiftStalled": (
        {f'dask_scheduler_tasks{{{SCHEDULER}, state="processing"}}': "4x40", "masksift_task_seconds_count": "7x40"},
        "25m",
        {"namespace": "q"},
        "Tasks are waiting, and none has finished for 15 minutes",
    ),
    "MasksiftWorkersGone": (
        {
            f'dask_scheduler_workers{{{SCHEDULER}, state="idle"}}': "2x5 0x40",
            f"dask_scheduler_clients{{{SCHEDULER}}}": "1x50",
        },
        "12m",
        {"namespace": "q"},
        "A run is connected, but no worker exists",
    ),
    "MasksiftWorkersDie": (
        {f'dask_scheduler_tasks_suspicious_total{{{SCHEDULER}, task_prefix_name="condense"}}': "0x5 1+1x10"},
        "12m",
        {"namespace": "q", "task_prefix_name": "condense"},
        "Workers die while running tasks of stage condense",
    ),
    "MasksiftTasksFail": (
        {f'masksift_task_failures_total{{{WORKER}, stage="score", error="DataError"}}': "_x5 1x20"},
        "8m",
        {"namespace": "q", "stage": "score", "error": "DataError"},
        "Tasks of stage score raise DataError",
    ),
    "MasksiftQuarantineSurge": (
        {
            f'masksift_images_total{{{WORKER}, stage="condense", status="scored"}}': "0+90x40",
            f'masksift_images_total{{{WORKER}, stage="condense", status="unreadable"}}': "0+10x40",
            f'masksift_images_total{{{WORKER}, stage="condense", status="all_ignored"}}': "0+0x40",
        },
        "20m",
        {"namespace": "q"},
        "10% of the images are quarantined",
    ),
    "MasksiftRequestsRepeated": (
        {
            f'masksift_store_repeated_total{{{WORKER}, stage="condense"}}': "0+20x40",
            f'masksift_store_requests_total{{{WORKER}, stage="condense"}}': "0+60x40",
            f'masksift_store_puts_total{{{WORKER}, stage="condense"}}': "0+20x40",
        },
        "30m",
        {"namespace": "q"},
        "25% of the requests to the store are repeated",
    ),
    "MasksiftMemoryNearLimit": (
        {
            f'dask_worker_memory_bytes{{{WORKER}, type="managed"}}': "500x20",
            f'dask_worker_memory_bytes{{{WORKER}, type="unmanaged"}}': "450x20",
            f'dask_worker_memory_bytes{{{WORKER}, type="spilled"}}': "900x20",
            f"masksift_worker_memory_limit_bytes{{{WORKER}}}": "1000x20",
        },
        "10m",
        {"namespace": "q", "pod": "worker-1"},
        "Worker worker-1 uses 95% of its memory",
    ),
}
"""Series, the time at which the alert has fired, its labels and its summary."""


def test_every_alert_has_a_scenario() -> None:
    assert set(SCENARIOS) == {rule["alert"] for rule in rules()}


@pytest.mark.parametrize("alert", SCENARIOS)
@pytest.mark.parametrize("fires", [True, False])
def test_alert_fires_in_its_scenario_and_not_without(alert: str, fires: bool, tmp_path: Path) -> None:
    series, at, labels, summary = SCENARIOS[alert]
    (rule,) = [rule for rule in rules() if rule["alert"] == alert]
    annotations = {"summary": summary, "question": rule["annotations"]["question"]}
    expected = [{"exp_labels": {**labels, **rule["labels"]}, "exp_annotations": annotations}]
    # without: a quiet cluster, whose series do not change
    inputs = [{"series": name, "values": values if fires else "1x40"} for name, values in series.items()]
    if not fires and alert == "MasksiftMemoryNearLimit":
        inputs[-1]["values"] = "100x40"
    if not fires and alert == "MasksiftStalled":
        inputs[0]["values"] = "0x40"
    test = {
        "interval": "1m",
        "input_series": inputs,
        "alert_rule_test": [
            {"eval_time": at if fires else "40m", "alertname": alert, "exp_alerts": expected if fires else []}
        ],
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": [test]}))
    done = run_promtool("test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr
