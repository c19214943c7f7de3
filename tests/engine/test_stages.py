"""Before a run starts, its workers are compared with the plan and with the client."""

from __future__ import annotations

from pathlib import Path

import pytest

from masksift.config.load import build_run_config
from masksift.core.errors import PlanRefused
from masksift.engine.planning.plan import Plan
from masksift.engine.stages import check_workers
from masksift.run import open_and_plan
from masksift.runtime.executors import WorkerInfo
from masksift.runtime.executors.serial import SerialExecutor
from masksift.runtime.progress import ProgressReporter
from support.run_processes import small

HERE = {"python": "3.11.7", "masksift": "1.0", "dask": "2026.8.0", "zarr": "3.1.6"}


class Told(ProgressReporter):
    """Remembers what is said."""

    def __init__(self) -> None:
        super().__init__("quiet")
        self.lines: list[str] = []

    def message(self, text: str, **facts: object) -> None:
        self.lines.append(text)


class With(SerialExecutor):
    """An executor with the given workers."""

    def __init__(self, *workers: WorkerInfo) -> None:
        super().__init__()
        self._given = list(workers)

    def workers(self) -> list[WorkerInfo]:
        return self._given


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    folder = tmp_path_factory.mktemp("job")
    config = build_run_config({"sources": [str(small(folder / "s.zarr", images=4))], "out": str(folder / "out")}, {})
    return open_and_plan(config)[1]


def check(plan: Plan, *workers: WorkerInfo) -> list[str]:
    told = Told()
    assert check_workers(plan, With(*workers), lambda: HERE, told) == list(workers)
    return told.lines


def test_equal_workers_pass_in_silence(plan: Plan) -> None:
    assert (
        check(plan, WorkerInfo("a", 4 << 30, HERE), WorkerInfo("b", None, HERE), WorkerInfo("this process", None)) == []
    )


def test_a_worker_with_less_memory_than_the_plan_is_refused_with_both_numbers(plan: Plan) -> None:
    with pytest.raises(
        PlanRefused, match=r"the run needs \d+\.\d MiB a worker .*, worker b has 100\.0 MiB; it would be"
    ):
        check(plan, WorkerInfo("a", 4 << 30, HERE), WorkerInfo("b", 100 << 20, HERE))


@pytest.mark.parametrize(
    ("name", "version"), [("masksift", "1.1"), ("dask", "2026.7.1"), ("python", "3.12.1"), ("masksift", None)]
)
def test_versions_that_must_agree_are_refused(plan: Plan, name: str, version: str | None) -> None:
    versions = {**HERE, name: version} if version else {k: v for k, v in HERE.items() if k != name}
    with pytest.raises(
        PlanRefused, match=rf"worker b has {name} {version or 'none'} \(here {HERE[name]}\).*same image"
    ):
        check(plan, WorkerInfo("a", None, HERE), WorkerInfo("b", None, versions))  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "version"), [("zarr", "3.4.2"), ("python", "3.11.9")])
def test_other_versions_are_said_and_tolerated(plan: Plan, name: str, version: str) -> None:
    said = check(plan, WorkerInfo("b", None, {**HERE, name: version}))
    assert said == [f"worker b has {name} {version} (here {HERE[name]}): tolerated"]


def test_a_run_on_real_workers_that_are_too_small_ends_with_4(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], scheduler_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from masksift.cli.main import main
    from masksift.engine.planning import plan as planning

    monkeypatch.setattr(planning, "BASE_MEMORY_BYTES", 5 << 30)
    source = small(tmp_path / "s.zarr", images=4)
    words = ["run", "--source", str(source), "--out", str(tmp_path / "out")]
    assert main([*words, "--executor.kind", "dask", "--executor.address", scheduler_address]) == 4
    assert "has 3.0 GiB; it would be killed in the middle." in capsys.readouterr().err
