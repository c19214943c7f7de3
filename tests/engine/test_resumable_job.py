"""The skeleton of the resumable commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from masksift.config.sections import ExecutorSection
from masksift.core.errors import DataError, MasksiftError, PlanRefused, UsageError
from masksift.core.task_result import TaskResult
from masksift.engine.resumable_job import ResumableJob, make_plan_record
from masksift.runtime.progress import ProgressReporter
from masksift.storage.objects import ObjectDirectory
from support.results import read_files
from support.run_processes import locked_by_another_process

SERIAL = ExecutorSection(kind="serial")


@pytest.fixture
def job(tmp_path: Path) -> ResumableJob:
    return make_job(tmp_path / "out")


def make_job(out: Path, **identity: object) -> ResumableJob:
    plan = make_plan_record({"configuration": identity})
    return ResumableJob(ObjectDirectory(str(out)), plan, "job.json", "job", str(out), ProgressReporter("quiet"))


def run_task(number: int) -> TaskResult | MasksiftError:
    if number < 0:
        return DataError("Task failed", "Use other data")
    return TaskResult(number, 1, 1, {})


def test_plan_record_with_the_same_identity_has_the_same_fingerprint() -> None:
    assert make_plan_record({"a": 1, "b": 2}) == make_plan_record({"b": 2, "a": 1})
    assert make_plan_record({"a": 1})["fingerprint"] != make_plan_record({"a": 2})["fingerprint"]


def test_job_that_is_interrupted_has_no_record_until_it_is_repeated(job: ResumableJob, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Task failed"), job.open_executor(SERIAL, 1, 1, 1.0, "the job") as executor:
        job.run_tasks(executor, run_task, [0, -1], "stage", 2)
    again = make_job(tmp_path / "out")
    assert again.is_resumable
    assert again.finished_record() is None
    with again.open_executor(SERIAL, 1, 1, 1.0, "the job") as executor:
        assert [answer.number for answer in again.run_tasks(executor, run_task, [0, 1], "stage", 2)] == [0, 1]
        again.write_record({"tasks": 2})
    assert make_job(tmp_path / "out").finished_record() == {"tasks": 2}
    assert set(read_files(tmp_path / "out")) == {"job.json", "manifest/plan.json"}
    assert json.loads((tmp_path / "out/manifest/plan.json").read_text()) == job.plan


def test_job_with_another_identity_is_refused(job: ResumableJob, tmp_path: Path) -> None:
    with job.lock():
        pass
    with pytest.raises(UsageError, match="holds results of other inputs"):
        make_job(tmp_path / "out", seed=2).finished_record()


def test_job_on_a_small_worker_writes_nothing(job: ResumableJob, tmp_path: Path) -> None:
    small = ExecutorSection(kind="serial", memory="1 MiB")
    with pytest.raises(PlanRefused, match="The job needs"), job.open_executor(small, 1, 2 << 20, 1.0, "the job"):
        pass
    assert not (tmp_path / "out").exists()


def test_job_while_another_process_holds_the_lock_changes_nothing(job: ResumableJob, tmp_path: Path) -> None:
    with locked_by_another_process(tmp_path / "out"):
        before = read_files(tmp_path / "out")
        with (
            pytest.raises(UsageError, match="is in use by another run"),
            job.open_executor(SERIAL, 1, 1, 1.0, "the job"),
        ):
            pass
        assert read_files(tmp_path / "out") == before
