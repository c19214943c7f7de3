"""Dask clusters: a run closes what it has opened, and reports what it runs on and waits for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import dask
import pytest
from distributed import Client, LocalCluster

from masksift.core.errors import RunFailed, UsageError
from masksift.runtime.executors import Executor, make_executor, worker_watch
from masksift.runtime.executors.dask_clusters import without_credentials
from runtime.executors import task_functions as jobs
from support.certificates import certificates, environment
from system.executors.processes import SOURCES, is_alive, running, start_worker, stop, until

# dask_jobqueue leaves the pipes of its local jobs, and a cluster that it could not make, to the garbage collector
unclosed = pytest.mark.filterwarnings(
    "ignore::ResourceWarning",
    "ignore:Exception ignored:pytest.PytestUnraisableExceptionWarning",
    "ignore:.*subprocess .* is still running:pytest.PytestUnraisableExceptionWarning",
)
JOBS = "dask_jobqueue.local.LocalCluster"
A_JOB = {"cores": 1, "memory": "1 GiB", "processes": 1, "nanny": False}
A_JOB |= {"scheduler_options": {"dashboard_address": "127.0.0.1:0", "host": "127.0.0.1"}}


@pytest.fixture(autouse=True)
def _jobs_import_the_tests_and_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo the DASK_LOGGING that a nanny leaves in the environment: a local job is up once it has logged so."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(SOURCES))
    monkeypatch.delenv("DASK_LOGGING", raising=False)


class Messages(list[str]):
    """Collect notifications."""

    def __call__(self, text: str, **fields: object) -> None:
        self.append(text)


def jobqueue(**kwargs: object) -> Executor:
    """Open a job queue whose jobs are processes of this machine."""
    return make_executor(JOBS, workers=1, memory=None, options=A_JOB, timeout=60, **kwargs)  # type: ignore[arg-type]


def test_existing_cluster_stays_up(scheduler_address: str) -> None:
    with make_executor("dask", workers=None, memory=None, address=scheduler_address) as executor:
        before = executor.cluster
        pids = set(executor.map(jobs.pid, range(20), "pid"))
    assert all(map(is_alive, pids))
    with make_executor("dask", workers=None, memory=None, address=scheduler_address) as executor:
        assert executor.cluster == before


@unclosed
@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_opened_cluster_is_closed_after_success_error_or_ctrl_c(
    error: type[BaseException] | None,
) -> None:
    pids: set[int] = set()

    def use() -> None:
        with jobqueue() as executor:
            pids.update(executor.map(jobs.pid, range(3), "pid"))
            assert all(map(is_alive, pids))
            if error is not None:
                raise error("in the middle")

    if error is None:
        use()
    else:
        with pytest.raises(error, match="in the middle"):
            use()
    assert len(pids) == 1
    until(lambda: not any(map(is_alive, pids)), "the worker has stopped")


def test_ctrl_c_stops_the_jobs_of_a_command(tmp_path: Path) -> None:
    script = (
        "from runtime.executors import task_functions as jobs\n"
        "from system.executors import test_dask_clusters as test_clusters\n"
        "from masksift.core.signals import install_signal_handlers\n"
        "install_signal_handlers()\n"
        "with test_clusters.jobqueue() as executor:\n"
        "    print(*executor.map(jobs.pid, [0], 'pid'), flush=True)\n"
        "    list(executor.map(jobs.slow_square, range(10_000), 'slow'))\n"
    )
    found = {"PYTHONPATH": ":".join(SOURCES), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    command = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=found, cwd=tmp_path
    )
    assert command.stdout is not None
    worker = int(command.stdout.readline())
    command.send_signal(signal.SIGINT)
    assert command.wait(timeout=60) != 0
    command.stdout.close()
    until(lambda: not is_alive(worker), "the worker has stopped")


def test_cluster_without_workers_fails_with_advice_and_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed: list[bool] = []

    class Lazy(LocalCluster):
        def scale(self, n: int) -> None:  # type: ignore[override]
            pass

        def close(self, timeout: float | None = None) -> None:
            closed.append(True)
            super().close(timeout)

    monkeypatch.setattr(jobs, "Lazy", Lazy, raising=False)
    options = {"n_workers": 0, "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with (
        pytest.raises(
            RunFailed,
            match=r"No worker of .*task_functions.Lazy has connected .* 1 s\. Check the queue",
        ),
        make_executor("runtime.executors.task_functions.Lazy", workers=2, memory=None, options=options, timeout=1),
    ):
        pass
    assert closed


@pytest.mark.parametrize(("workers", "items", "requested"), [(2, 100, 2), (50, 2, 2), (3, 0, 1)])
def test_cluster_class_is_scaled_to_the_useful_workers(
    workers: int, items: int, requested: int, tmp_path: Path
) -> None:
    messages = Messages()
    options = {"folder": str(tmp_path)}
    with make_executor(
        "runtime.executors.task_functions.ScaledCluster",
        workers=workers,
        memory=None,
        options=options,
        items=items,
        notify=messages,
    ) as executor:
        assert sorted(executor.map(jobs.square, range(5), "square")) == [0, 1, 4, 9, 16]
        assert executor.cluster.kind == "runtime.executors.task_functions.ScaledCluster"
    assert (tmp_path / "requested").read_text() == str(requested)
    assert messages[-1].startswith("running on runtime.executors.task_functions.ScaledCluster at ")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere.Cluster", r"is 'nowhere.Cluster', but this class is not installed \(No module .*\).*Install its"),
        (
            "runtime.executors.task_functions.Asekd",
            r"this class is not installed \(module 'runtime.executors.task_functions' has no attribute 'Asekd'\)",
        ),
        ("pathlib.Path", r"is 'pathlib.Path', which is not a Dask cluster class \(it has no scale and no close\)"),
    ],
)
def test_invalid_cluster_class_fails(path: str, message: str) -> None:
    with pytest.raises(UsageError, match=message), make_executor(path, workers=1, memory=None):
        pass


@unclosed
def test_unknown_option_of_a_cluster_class_fails() -> None:
    with (
        pytest.raises(UsageError, match=rf"{JOBS} \(.*coers.*Check executor.options"),
        make_executor(JOBS, workers=1, memory=None, options={**A_JOB, "coers": 2}),
    ):
        pass


def test_run_reports_its_cluster(scheduler_address: str) -> None:
    messages = Messages()
    with make_executor("dask", workers=None, memory=None, address=scheduler_address, notify=messages) as executor:
        cluster = executor.cluster
    assert (cluster.kind, cluster.address, cluster.workers, cluster.threads) == ("dask", scheduler_address, 2, 2)
    assert cluster.memory == 2 * (3 << 30)
    assert messages == [cluster.text]
    assert cluster.text.startswith(
        f"running on dask at {scheduler_address}: 2 workers, 2 threads, 6.0 GiB; dashboard http://127"
    )


def test_serial_cluster_has_one_worker() -> None:
    with make_executor("serial", workers=None, memory=None) as executor:
        assert executor.cluster.text == "running on serial: 1 worker, 1 thread, no memory limit"


def test_without_credentials_removes_user_and_password() -> None:
    assert without_credentials("gateway://me:secret@host:8786/name") == "gateway://host:8786/name"
    assert without_credentials("tls://host:8786") == "tls://host:8786"


def test_run_without_workers_waits_and_reports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_watch, "THREAD_COUNT_AGE_SECONDS", 0.1)
    monkeypatch.setattr(worker_watch, "OUTAGE_LOG_SECONDS", 0.3)
    messages = Messages()
    with (
        running() as (address, worker),
        make_executor("dask", workers=None, memory=None, address=address, notify=messages) as executor,
    ):
        answers = executor.map(jobs.slow_square, range(10), "spot")
        found = [next(answers)]
        worker.kill()
        other: list[subprocess.Popen[bytes]] = []

        def notify(text: str, **fields: object) -> None:
            messages(text)
            if "is connected for" in text and not other:
                other.append(start_worker(address))

        monkeypatch.setattr(executor._watch, "_notify", notify)
        try:
            found += answers
        finally:
            stop(*other)
    assert sorted(found) == [i * i for i in range(10)]
    lines = [line for line in messages if "worker" in line and not line.startswith("running")]
    assert lines[0] == f"no worker of {address} is connected; none is pending; waiting up to 600 s for one"
    assert lines[1].startswith(f"no worker of {address} is connected for ")
    assert lines[-1] == f"workers of {address} are back: 1"


def test_run_without_workers_ends_after_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_watch, "THREAD_COUNT_AGE_SECONDS", 0.1)
    with (
        running() as (address, worker),
        make_executor("dask", workers=None, memory=None, address=address, timeout=60) as executor,
    ):
        monkeypatch.setattr(executor._watch, "_outage_timeout", 0.5)
        answers = executor.map(jobs.slow_square, range(100), "gone")
        next(answers)
        worker.kill()
        message = (
            rf"No worker of {address} has been connected for \d s, and none is pending\. Finished blocks are kept\. "
            r"Start workers .* Run the same command again\."
        )
        with pytest.raises(RunFailed, match=message):
            list(answers)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment with the certificates of a cluster."""
    return environment(certificates(tmp_path_factory.mktemp("tls")))


@pytest.fixture(scope="module")
def secured(tls: dict[str, str]) -> Iterator[str]:
    """Start a scheduler and a worker that accept TLS only."""
    with running("tls", {**tls, "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True"}) as (address, _):
        yield address


def settings(environment: dict[str, str]) -> dask.config.set:
    """Apply environment variables as Dask settings."""
    names = {name: name.removeprefix("DASK_").lower().replace("__", ".") for name in environment}
    return dask.config.set({names[name].replace("ca_file", "ca-file"): value for name, value in environment.items()})


def test_tls_cluster_uses_the_certificates_of_the_dask_configuration(secured: str, tls: dict[str, str]) -> None:
    with settings(tls), make_executor("dask", workers=None, memory=None, address=secured) as executor:
        assert executor.reduce(jobs.square, range(5), jobs.add, "sum") == 30
        assert executor.cluster.address == secured


def test_tls_without_certificates_fails_with_the_missing_keys(tmp_path: Path, tls: dict[str, str]) -> None:
    with (
        pytest.raises(UsageError, match=r"requires TLS, but distributed.comm.tls.ca-file and .*client.cert not set\. "),
        make_executor("dask", workers=None, memory=None, address="tls://127.0.0.1:9"),
    ):
        pass
    lost = {**tls, "DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY": str(tmp_path / "none.key")}
    with (
        settings(lost),
        pytest.raises(UsageError, match=r"distributed.comm.tls.client.key \(.*none.key\) not readable"),
        make_executor("dask", workers=None, memory=None, address="tls://127.0.0.1:9"),
    ):
        pass


def test_tls_with_a_certificate_of_another_ca_fails(secured: str, tmp_path: Path, tls: dict[str, str]) -> None:
    with settings(tls), Client(secured, set_as_default=False) as client:  # the cluster is up
        client.wait_for_workers(1)
    with (
        settings(environment(certificates(tmp_path / "others"))),
        pytest.raises(UsageError, match=rf"No scheduler at {secured} answered within 3 s \(.*cate of its CA"),
        make_executor("dask", workers=None, memory=None, address=secured, timeout=3),
    ):
        pass
    with (
        pytest.raises(UsageError, match=r"No scheduler at tcp://.* answered within 2 s"),
        make_executor("dask", workers=None, memory=None, address=secured.replace("tls", "tcp"), timeout=2),
    ):
        pass


def test_adaptive_cluster_grows_up_to_the_expected_workers() -> None:
    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        protocol="tcp://",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    ) as cluster:
        # a worker for each second of work that the scheduler knows of: three tasks of 0.2 s would never be two
        cluster.adapt(minimum=1, maximum=4, interval="100ms", target_duration="1s", wait_count=1000)
        with make_executor("dask", workers=4, memory=None, address=cluster.scheduler_address, items=100) as executor:
            most = 0
            for _ in executor.map(partial(jobs.slow_square), range(60), "grows"):
                most = max(most, len(cluster.scheduler.workers))
        cluster.adapt(minimum=1, maximum=1)
    assert most >= 2
