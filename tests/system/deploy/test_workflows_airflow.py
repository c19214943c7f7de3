"""DAG run by Airflow itself, in the environment of `make workflows`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from system.deploy.helpers.nightly import (
    COMMAND,
    LEFT_OUT,
    WHOLE,
    files,
    lake,
    record,
    write_config,
    write_fake_command,
)

ROOT = Path(__file__).parents[3]
AIRFLOW = ROOT / ".venv-airflow" / "bin"
DAG = ROOT / "deploy/workflows/airflow/masksift_nightly.py"
WIDE = {"max_flagged": "100%", "max_quarantined": "50%", "max_drop": "100%"}

pytestmark = [
    pytest.mark.skipif(not AIRFLOW.exists(), reason="Airflow is not in .venv-airflow: `make workflows` installs it"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Airflow home with an empty database, the DAG, and a data lake."""
    folder = tmp_path_factory.mktemp("airflow")
    (folder / "dags").mkdir()
    shutil.copy(DAG, folder / "dags")
    lake(folder / "lake")
    write_config(folder)
    done = subprocess.run(
        [AIRFLOW / "airflow", "db", "migrate"],
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def environment(folder: Path, **more: str) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "AIRFLOW"))}
    return plain | {
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_VAR_MASKSIFT_COMMAND": COMMAND,
        "NO_PROXY": "*",
        **more,
    }


def conf(folder: Path, **more: str) -> dict[str, str]:
    """Configuration of a DAG run for the lake."""
    return {
        "source": str(folder / "lake"),
        "quality": str(folder / "quality"),
        "config": str(folder / "run.toml"),
        **WIDE,
        **more,
    }


def after(day: str) -> str:
    """Logical time of the run that processes a day: 02:00 of the next day."""
    return f"{day[:-2]}{int(day[-2:]) + 1:02d}T02:00:00+00:00"


def nights(folder: Path, *requested: dict[str, Any], **more: str) -> tuple[list[dict[str, Any]], str]:
    """Results of several DAG runs in one Airflow process, and its output."""
    requests = [{"command": COMMAND, **one} for one in requested]
    done = subprocess.run(
        [AIRFLOW / "python", ROOT / "tests/system/deploy/flows/airflow_nights.py"],
        input=json.dumps(requests),
        text=True,
        env=environment(folder, **more),
        capture_output=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found, done.stdout + done.stderr


@contextmanager
def webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """URL of the webhook and the bodies posted to it."""
    posted: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/hooks/secret-word", posted
        finally:
            server.shutdown()
            thread.join()


def test_dag_run_twice_publishes_one_copy(home: Path) -> None:
    found = []
    args = ["dags", "test", "masksift_nightly", after(WHOLE[0]), "--conf", json.dumps(conf(home))]
    for _ in range(2):
        done = subprocess.run(
            [AIRFLOW / "airflow", *args],
            env=environment(home),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        found.append(files(home / "quality"))
    assert found[0] == found[1]
    assert {name.split("/")[0] for name in found[0]} == {f"dt={WHOLE[0]}"}
    assert record(home / "quality", WHOLE[0])["counts"] == {"scored": 12}
    # a backfill: a past day, then one with a quarantined image
    with webhook() as (url, posted):
        connection = json.dumps({"conn_type": "http", "password": url})
        results, output = nights(
            home,
            {"date": after(WHOLE[1]), "conf": conf(home)},
            {"date": after(LEFT_OUT), "conf": conf(home)},
            {"date": after(LEFT_OUT), "conf": conf(home, max_quarantined="0")},
            AIRFLOW_CONN_MASKSIFT_NOTIFY=connection,
        )
    good, warned, broken = ({name: state for name, (state, _) in one["tasks"].items()} for one in results)
    line = dict.fromkeys(["yesterday", "plan", "run", "any_left_out", "check"], "success")
    assert good == {**line, "left_out": "skipped", "notify": "skipped"}
    assert warned == {**line, "left_out": "success", "notify": "success"}
    assert [one["state"] for one in results] == ["success", "success", "failed"]
    assert broken["check"] == "failed"
    assert results[2]["tasks"]["check"][1] == 1, "a limit that is broken is no better the next time"
    quality = home / "quality"
    assert [record(quality, day)["configuration"]["base"] for day in (WHOLE[1], LEFT_OUT)] == [
        f"{quality}/dt={day}" for day in WHOLE
    ]
    assert len(posted) == 2, "the repeated night notifies again"
    assert f"{LEFT_OUT}-b2" in posted[0]["text"]
    assert "missing_chunk" in posted[0]["text"]
    assert "secret-word" not in output
    assert "downstream tasks do not start. See" in output


def test_refused_plan_fails_the_dag_run_with_its_message(home: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.toml"
    small.write_text('[executor]\nkind = "local"\nworkers = 1\nmemory = "64 MiB"\n')
    results, output = nights(
        home, {"date": after(WHOLE[0]), "conf": conf(home, config=str(small), quality=str(tmp_path / "refused"))}
    )
    assert results[0]["state"] == "failed"
    assert results[0]["tasks"]["plan"] == ["failed", 1]
    assert results[0]["tasks"]["run"][0] == "upstream_failed"
    assert "`masksift plan` exited with code 4: masksift: " in output
    assert "has 64.0 MiB" in output
    assert not (tmp_path / "refused").exists()


def test_only_interrupted_tasks_are_retried(home: Path, tmp_path: Path) -> None:
    codes = {"once": "5 0", "never": "2", "quarantine": "3"}
    bins = [write_fake_command(tmp_path / name, run=exit_codes) for name, exit_codes in codes.items()]
    results, output = nights(
        home, *({"date": after(WHOLE[0]), "conf": conf(home), "command": f"{bin_}/masksift"} for bin_ in bins)
    )
    assert [one["tasks"]["run"] for one in results] == [["success", 2], ["failed", 1], ["success", 1]]
    assert [one["state"] for one in results] == ["success", "failed", "success"]
    assert results[2]["tasks"]["notify"] == ["success", 1], "without a webhook the log has the table, and all is well"
    assert f"the words were check {home}/quality/dt={WHOLE[0]} --max-quarantined 0 --top 20" in output
    args = (bins[0] / "called").read_text().splitlines()
    before = f"{home}/quality/dt=2026-11-20"
    line = (
        f"{home}/run.toml --source {home}/lake/dt={WHOLE[0]}/site=* --out {home}/quality/dt={WHOLE[0]} --base={before}"
    )
    assert args == [
        f"check {before} --max-quarantined 100% --top 0",
        f"plan {line}",
        *[f"run {line} --log-format json"] * 2,
        f"check {home}/quality/dt={WHOLE[0]} --max-flagged 100% --max-quarantined 50% --base={before} "
        "--max-drop-in-class-quality=100%",
    ]
