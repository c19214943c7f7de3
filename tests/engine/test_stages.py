"""Checks of workers before a run starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from masksift.config.load import build_run_config
from masksift.core.errors import PlanRefused
from masksift.engine.planning import plan as plan_module
from masksift.engine.planning.plan import Plan
from masksift.engine.stages import check_workers
from masksift.runner import plan as make_run_plan
from masksift.runtime.executors import WorkerInfo
from masksift.runtime.executors.serial import SerialExecutor
from masksift.runtime.progress import ProgressReporter
from support.run_processes import write_small_source

CLIENT_VERSIONS = {"python": "3.11.7", "masksift": "1.0", "dask": "2026.8.0", "zarr": "3.1.6"}


class RecordingReporter(ProgressReporter):
    def __init__(self) -> None:
        super().__init__("quiet")
        self.messages: list[str] = []

    def message(self, text: str, **fields: object) -> None:
        self.messages.append(text)


class ExecutorWithWorkers(SerialExecutor):
    def __init__(self, *workers: WorkerInfo) -> None:
        super().__init__()
        self._workers = list(workers)

    def workers(self) -> list[WorkerInfo]:
        return self._workers


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    path = tmp_path_factory.mktemp("stages")
    source = write_small_source(path / "s.zarr", images=4)
    return make_run_plan(build_run_config({"sources": [str(source)], "out": str(path / "out")}, {}))


def check(plan: Plan, *workers: WorkerInfo) -> list[str]:
    """Check the workers and return the messages."""
    progress = RecordingReporter()
    assert check_workers(plan, ExecutorWithWorkers(*workers), lambda: CLIENT_VERSIONS, progress) == list(workers)
    return progress.messages


def test_workers_equal_to_the_client_pass_without_a_message(plan: Plan) -> None:
    workers = (
        WorkerInfo("a", 4 << 30, CLIENT_VERSIONS),
        WorkerInfo("b", None, CLIENT_VERSIONS),
        WorkerInfo("this process", None),
    )
    assert check(plan, *workers) == []


def test_worker_with_too_little_memory_is_refused_with_both_amounts(plan: Plan) -> None:
    workers = (WorkerInfo("a", 4 << 30, CLIENT_VERSIONS), WorkerInfo("b", 100 << 20, CLIENT_VERSIONS))
    with pytest.raises(PlanRefused, match=r"run needs \d+\.\d MiB .*worker b has 100\.0 MiB"):
        check(plan, *workers)


@pytest.mark.parametrize(
    ("name", "version"), [("masksift", "1.1"), ("dask", "2026.7.1"), ("python", "3.12.1"), ("masksift", None)]
)
def test_worker_with_another_version_that_must_agree_is_refused(plan: Plan, name: str, version: str | None) -> None:
    versions = {key: value for key, value in CLIENT_VERSIONS.items() if key != name}
    versions |= {} if version is None else {name: version}
    match = rf"Worker b has {name} {version or 'none'} \(here {CLIENT_VERSIONS[name]}\).*same image"
    with pytest.raises(PlanRefused, match=match):
        check(plan, WorkerInfo("a", None, CLIENT_VERSIONS), WorkerInfo("b", None, versions))


@pytest.mark.parametrize(("name", "version"), [("zarr", "3.4.2"), ("python", "3.11.9")])
def test_worker_with_another_version_that_may_differ_is_reported(plan: Plan, name: str, version: str) -> None:
    messages = check(plan, WorkerInfo("b", None, {**CLIENT_VERSIONS, name: version}))
    assert messages == [f"worker b has {name} {version} (here {CLIENT_VERSIONS[name]}): tolerated"]


def test_run_on_a_cluster_with_too_little_memory_exits_with_4(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], scheduler_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from masksift.cli.main import main

    monkeypatch.setattr(plan_module, "BASE_MEMORY_BYTES", 5 << 30)
    source = write_small_source(tmp_path / "s.zarr", images=4)
    args = ["run", "--source", str(source), "--out", str(tmp_path / "out")]
    assert main([*args, "--executor.kind", "dask", "--executor.address", scheduler_address]) == 4
    assert "has 3.0 GiB. " in capsys.readouterr().err
