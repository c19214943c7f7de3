"""Prometheus metrics of the workers equal the run record."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from support.dask_processes import Processes
from support.fault_proxy import Faults, run_fault_proxy
from support.run_processes import write_small_source
from support.s3_server import ACCESS_KEY, SECRET_KEY, S3Server
from support.telemetry_collectors import ObservedRun, run_on

STAGES = ("condense", "score")
RECORD_KEYS = {
    "masksift_read_bytes_total": "bytes_read",
    "masksift_written_bytes_total": "bytes_written",
    "masksift_store_requests_total": "requests",
    "masksift_store_puts_total": "puts",
    "masksift_store_repeated_total": "repeated",
    "masksift_blocks_total": "blocks",
    "masksift_blocks_reused_total": "reused_blocks",
    "masksift_task_seconds_count": "blocks",
}
"""Key of each counter in the stages of the run record."""


@pytest.fixture(scope="module")
def again(cluster: Processes, first: ObservedRun, span_settings: dict[str, str]) -> ObservedRun:
    """Repeat the run without its record, as after a kill before the record was written."""
    (first.out / "run.json").rename(first.out.parent / "run.json")
    run = run_on(cluster, first.source, first.out, span_settings)
    (first.out.parent / "run.json").rename(first.out / "run.json")
    return run


def test_worker_serves_all_metrics_from_its_start(first: ObservedRun) -> None:
    assert first.before["masksift_build_info", frozenset({("version", version("masksift"))})] == 2, "one per worker"
    assert first.before["masksift_worker_memory_limit_bytes", frozenset()] == 2 * (2 << 30)
    names = {name for name, _ in first.before}
    assert names > set(RECORD_KEYS) - {"masksift_task_seconds_count"}
    assert "dask_worker_threads" in names, "Dask's metrics are served too"


@pytest.mark.parametrize("stage", STAGES)
def test_images_are_counted_by_status(first: ObservedRun, stage: str) -> None:
    assert first.code == 3, first.errors
    counts = first.record["counts"]
    assert counts == {"scored": 38, "missing_chunk": 1, "all_ignored": 1}
    for status in ("scored", "missing_chunk", "all_ignored", "bad_labels"):
        assert first.increase("masksift_images_total", stage=stage, status=status) == counts.get(status, 0)


@pytest.mark.parametrize("name", RECORD_KEYS)
@pytest.mark.parametrize("stage", STAGES)
def test_sum_over_workers_equals_the_record(first: ObservedRun, stage: str, name: str) -> None:
    (facts,) = (facts for facts in first.record["stages"] if facts["name"] == stage)
    assert first.increase(name, stage=stage) == facts[RECORD_KEYS[name]]
    assert facts["blocks"] == first.record["blocks"] > 8, "several blocks are summed"


def test_task_time_equals_the_record(first: ObservedRun) -> None:
    for stage in STAGES:
        (facts,) = (facts for facts in first.record["stages"] if facts["name"] == stage)
        assert first.increase("masksift_task_seconds_sum", stage=stage) >= facts["task_seconds"] - 0.01, (
            "workers measure slightly more than the record"
        )


def test_reductions_and_report_are_counted(first: ObservedRun) -> None:
    assert {dict(labels)["stage"] for _, labels in first.grown("masksift_task_seconds_count")} >= {
        "condense",
        "statistics",
        "score",
        "report",
    }
    assert first.grown("masksift_task_failures_total") == {}


def test_reused_blocks_count_as_reused_only(again: ObservedRun) -> None:
    assert again.code == 3, again.errors
    for stage in STAGES:
        assert again.increase("masksift_blocks_reused_total", stage=stage) == again.record["blocks"]
        for name in RECORD_KEYS.keys() - {"masksift_blocks_reused_total"}:
            assert again.increase(name, stage=stage) == 0
    assert {dict(labels)["stage"] for _, labels in again.grown("masksift_images_total")} == {"report"}


def test_failed_task_is_counted_by_stage_and_error(failed: ObservedRun) -> None:
    sample = "masksift_task_failures_total", frozenset({("stage", "score"), ("error", "DataError")})
    assert failed.grown("masksift_task_failures_total") == {sample: 1}, "damaged data are not tried again"


def test_retried_requests_are_counted_and_logged_without_credentials(
    cluster: Processes, s3_server: S3Server, s3_credentials: None, span_settings: dict[str, str], tmp_path: Path
) -> None:
    source = write_small_source(tmp_path / "a.zarr", images=6)
    s3_server.filesystem().put(f"{source}/", "lake/a.zarr/", recursive=True)
    with run_fault_proxy(s3_server.port, Faults(slow_down=0.15, seed=3)) as proxy:
        args = ("--storage.endpoint_url", proxy.url, "--max_quarantined", "1", "--evidence.keep", "true")
        run = run_on(cluster, "s3://lake/a.zarr", tmp_path / "out", span_settings, *args)
    assert run.code == 0, run.errors
    record = run.record
    for stage in STAGES:
        (facts,) = (facts for facts in record["stages"] if facts["name"] == stage)
        for name in ("masksift_store_repeated_total", "masksift_store_requests_total", "masksift_read_bytes_total"):
            assert run.increase(name, stage=stage) == facts[RECORD_KEYS[name]]
    assert record["repeated"] > 0
    logs = cluster.log("")
    assert "attempt 1 at s3://lake/a.zarr" in logs
    for secret in (ACCESS_KEY, SECRET_KEY):
        assert secret not in logs + run.errors


def test_run_without_a_server_imports_no_telemetry_library(tmp_path: Path) -> None:
    source = write_small_source(tmp_path / "a.zarr", images=4)
    script = (
        "import sys\n"
        "from masksift.cli.main import main\n"
        f"args = ['run', '--source', {str(source)!r}, '--out', {str(tmp_path / 'out')!r}]\n"
        "code = main([*args, '--max_quarantined', '1', '--executor.kind', 'serial'])\n"
        "print(code, sorted(name for name in sys.modules if name.startswith(('prometheus', 'opentelemetry'))))\n"
    )
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=quiet, timeout=120)
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr
